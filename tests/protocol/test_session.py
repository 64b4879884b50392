"""Both ends of a connection, fed in any pieces, with the fds as a kernel delivers them."""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptymux.errors import (
    OutOfResourcesError,
    ProtocolError,
    PtymuxError,
    UnknownPtyError,
)
from ptymux.protocol.lines import LARGEST_LINE
from ptymux.protocol.messages import (
    LARGEST_PAYLOAD,
    Failure,
    Notification,
    Reply,
    Request,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
)
from ptymux.protocol.session import ClientSession, Outgoing, ServerSession

Piece = tuple[bytes, tuple[int, ...]]
Answer = Reply | Failure | Notification

SPAWN = b'{"jsonrpc":"2.0","id":1,"method":"spawn","params":{"payload_bytes":%d}}\n'
TEXT = st.text(max_size=5)
SIZES = st.lists(st.integers(1, 60), max_size=200)
# A method, its payload if it has one, and how many fds go with that.
CALL = st.tuples(st.sampled_from(["list", "get", "attach"]), st.just(b""), st.just(0))
SPAWN_CALL = st.tuples(st.just("spawn"), st.binary(min_size=1, max_size=90), st.integers(1, 2))
CALLS = st.lists(CALL | SPAWN_CALL, max_size=8)
NOTE = st.builds(Notification, TEXT, st.dictionaries(TEXT, st.integers(), max_size=1))
# How a request is answered: a result and a number of fds, or an error; and what comes before.
OUTCOME = st.tuples(st.dictionaries(TEXT, TEXT, max_size=2), st.integers(0, 3)) | st.builds(
    UnknownPtyError, TEXT
)
OUTCOMES = st.lists(st.tuples(st.lists(NOTE, max_size=2), OUTCOME), max_size=8)


class Numbers:
    """Gives fds: numbers that were not given before."""

    def __init__(self) -> None:
        self.last = 100

    def take(self, count: int) -> tuple[int, ...]:
        self.last += count
        return tuple(range(self.last - count + 1, self.last + 1))


def delivered(parts: Sequence[Outgoing], sizes: Sequence[int]) -> Iterator[Piece]:
    """Yield what receives of at most these sizes return, then large ones, after sends of `parts`.

    The kernel returns the fds with the first byte that they were sent with, and then nothing from
    behind the bytes of the same send.
    """
    wanted = iter(sizes)
    waiting = [(part.data, tuple(part.fds)) for part in parts if part.data]
    while waiting:
        piece, room = b"", next(wanted, 1 << 16)
        fds: tuple[int, ...] = ()
        while waiting and room > 0 and not fds:
            data, fds = waiting.pop(0)
            piece, rest, room = piece + data[:room], data[room:], room - len(data)
            if rest:
                waiting.insert(0, (rest, ()))
        yield piece, fds


def requests_of(session: ServerSession) -> list[Request]:
    return list(iter(session.next_request, None))


def answers_of(session: ClientSession) -> list[Answer]:
    return list(iter(session.next_answer, None))


def greeted() -> ServerSession:
    session = ServerSession()
    session.version = 1
    return session


def make_calls(
    client: ClientSession, calls: Sequence[tuple[str, bytes, int]], numbers: Numbers
) -> tuple[list[Outgoing], list[Request]]:
    """Return what a client sends for calls, and the requests that a server is to have of it."""
    parts: list[Outgoing] = []
    requests = []
    for id, (method, payload, count) in enumerate(calls, 1):
        params = {"payload_bytes": len(payload)} if payload else {"pty": "\u20ac\n"}
        fds = numbers.take(count)
        parts += client.request(method, params, payload, fds)
        requests.append(Request(id, method, dict(params), payload, fds))
    return parts, requests


# What the kernel does ---------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.integers(0, 2)), max_size=6),
    SIZES,
)
def test_a_kernel_delivers_fds_as_these_tests_have_it(
    sends: list[tuple[bytes, int]], sizes: list[int]
) -> None:
    expected = [
        (piece, len(fds))
        for piece, fds in delivered([Outgoing(data, (0,) * count) for data, count in sends], sizes)
    ]
    sender, receiver = socket.socketpair()
    with sender, receiver, open(os.devnull) as file:
        for data, count in sends:
            socket.send_fds(sender, [data], [file.fileno()] * count)
        got = []
        for number in range(len(expected)):
            size = sizes[number] if number < len(sizes) else 1 << 16
            piece, fds, _flags, _address = socket.recv_fds(receiver, size, 2)
            got.append((piece, len(fds)))
            for fd in fds:
                os.close(fd)

    assert got == expected


# Requests ---------------------------------------------------------------------------------------


@given(CALLS, SIZES, st.data())
def test_requests_arrive_with_their_payload_and_fds_however_they_are_cut(
    calls: list[tuple[str, bytes, int]], sizes: list[int], data: st.DataObject
) -> None:
    parts, expected = make_calls(ClientSession(), calls, Numbers())
    server = greeted()

    got: list[Request] = []
    for piece, fds in delivered(parts, sizes):
        server.feed(piece, fds)
        if data.draw(st.booleans(), "looks"):
            got += requests_of(server)
    got += requests_of(server)

    assert got == expected
    assert server.end() == []


def test_fds_may_come_with_the_line_in_the_place_of_the_payload() -> None:
    server = greeted()

    server.feed(SPAWN[:5], [7])
    assert server.next_request() is None
    server.feed(SPAWN[5:] % 1 + b"x")

    request = server.next_request()
    assert request is not None
    assert (request.payload, request.fds) == (b"x", (7,))


def test_fds_may_come_with_a_piece_that_has_more_than_their_request() -> None:
    server = greeted()

    server.feed(SPAWN % 1 + b"x" + b'{"id":2,"method":"list"}\n{"id"', [7, 8])

    assert [request.fds for request in requests_of(server)] == [(7, 8), ()]
    assert server.end() == []


def test_a_request_is_refused_by_the_payload_that_it_names_or_does_not() -> None:
    server = greeted()

    for size in (b"null", b"-1", b'"1"', b"%d" % (LARGEST_PAYLOAD + 1)):
        server.feed(SPAWN.replace(b"%d", size) + b'{"id":2,"method":"list"}\n')

        assert [(r.method, r.payload) for r in requests_of(server)] == [
            ("spawn", b""),
            ("list", b""),
        ]


def test_a_payload_follows_a_spawn_only_and_only_after_hello() -> None:
    server = ServerSession()
    server.feed(SPAWN % 9)
    assert [request.method for request in requests_of(server)] == ["spawn"]

    server.version = 1
    server.feed(SPAWN.replace(b"spawn", b"list") % 9)
    assert [request.method for request in requests_of(server)] == ["list"]
    server.feed(SPAWN % 9)
    assert server.next_request() is None


def test_a_payload_that_follows_hello_in_one_piece_is_a_payload() -> None:
    server = ServerSession()
    server.feed(b'{"id":1,"method":"hello"}\n' + SPAWN % 3 + b"a\nb")

    hello = server.next_request()
    server.version = 1
    spawn = server.next_request()

    assert hello is not None
    assert hello.method == "hello"
    assert spawn is not None
    assert spawn.payload == b"a\nb"


def test_fds_that_a_request_does_not_take_are_unasked_once_it_is_taken() -> None:
    server = greeted()

    server.feed(b'{"id":1,', [3, 4])
    assert server.next_request() is None
    assert server.take_unasked_fds() == []
    server.feed(b'"method":"list"}\n')
    assert server.next_request() is not None

    assert server.take_unasked_fds() == [3, 4]
    assert server.take_unasked_fds() == []


def test_a_spawn_takes_the_fds_of_one_send() -> None:
    server = greeted()

    server.feed(SPAWN % 2, [])
    server.feed(b"a", [3])
    server.feed(b"b", [4])

    assert [request.fds for request in requests_of(server)] == [(3,)]
    assert server.take_unasked_fds() == [4]


def test_fds_that_were_lost_refuse_one_request_and_those_that_came_are_unasked() -> None:
    server = greeted()

    server.feed(SPAWN % 1)
    server.feed(b"x", [3], fds_lost=True)
    server.feed(SPAWN % 1)
    server.feed(b"x", [4])

    assert [request.fds for request in requests_of(server)] == [None, (4,)]
    assert server.end() == [3]


def test_more_fds_than_a_request_may_bring_are_no_loss() -> None:
    server = greeted()

    all_that_fit = range(3, 3 + ServerSession.MOST_FDS)
    server.feed(SPAWN % 1 + b"x", all_that_fit, fds_lost=True)

    assert [request.fds for request in requests_of(server)] == [tuple(all_that_fit)]


def test_fds_beyond_what_is_held_for_requests_sent_ahead_are_lost_and_closed() -> None:
    server = greeted()
    most = ServerSession.MOST_FDS
    fds = [tuple(range(first, first + most)) for first in (100, 200, 300)]

    for piece in fds:
        server.feed(SPAWN % 1 + b"x", piece)

    assert [request.fds for request in requests_of(server)] == [fds[0], fds[1], None]
    assert server.end() == list(fds[2])


# Limits of what a server holds ------------------------------------------------------------------


def test_fds_wait_for_eight_requests_and_those_of_a_ninth_are_unasked() -> None:
    server = greeted()
    for fd in range(1, 10):
        server.feed(SPAWN % 1 + b"x", [fd])

    assert server.take_unasked_fds() == [9]
    assert [request.fds for request in requests_of(server)] == [
        *((fd,) for fd in range(1, 9)),
        (),
    ]


def test_a_line_of_the_largest_size_is_taken_and_a_longer_one_ends_the_connection() -> None:
    start, end = b'{"id":5,"method":"list","x":"', b'"}\n'
    fill = b"x" * (LARGEST_LINE - len(start + end))
    server = greeted()

    server.feed(start + fill + end, [7])
    server.feed(start + fill + b"x" + end, [8])

    assert server.next_request() == Request(5, "list", {})
    with pytest.raises(ProtocolError, match="longer than") as caught:
        server.next_request()
    assert server.failure(caught.value).data == encode_error(None, caught.value)
    assert server.take_rest() == b""  # nothing of it is held any longer
    assert server.end() == [7, 8]


def test_the_largest_payload_is_taken() -> None:
    payload = bytes(LARGEST_PAYLOAD)
    server = greeted()
    server.feed(SPAWN % LARGEST_PAYLOAD)

    for at in range(0, LARGEST_PAYLOAD, 1 << 16):
        assert server.next_request() is None
        server.feed(payload[at : at + (1 << 16)])

    assert [len(request.payload) for request in requests_of(server)] == [LARGEST_PAYLOAD]


def test_what_is_ahead_counts_until_more_is_needed() -> None:
    server = greeted()

    server.feed(b'{"id":1,"method":"list"}\n{"id"')
    assert server.ahead == 30
    assert server.next_request() is not None
    assert server.ahead == 30
    assert server.next_request() is None
    assert server.ahead == 0
    server.feed(b":")
    assert server.ahead == 1
    server.take_rest()
    assert server.ahead == 0


# What a server answers --------------------------------------------------------------------------


def test_answers_have_the_ids_of_the_requests_in_their_order() -> None:
    server = greeted()
    error, last_error = UnknownPtyError("web"), ProtocolError("say hello first")
    for id in (b"7", b'"a"', b"null", b"8"):
        server.feed(b'{"id":' + id + b',"method":"list"}\n')
    assert len(requests_of(server)) == 4

    assert server.result({"x": 1}, [3]) == Outgoing(encode_result(7, {"x": 1}), [3])
    assert server.notification("end", {}) == Outgoing(encode_notification("end", {}))
    assert server.failure(error) == Outgoing(encode_error("a", error))
    assert server.result({}) == Outgoing(encode_result(None, {}))
    assert server.failure(last_error) == Outgoing(encode_error(None, last_error))


def test_a_refusal_before_any_request_has_no_id() -> None:
    error = PtymuxError("full")

    assert ServerSession().failure(error).data == encode_error(None, error)


def test_a_result_that_is_too_long_can_be_refused_yet() -> None:
    server = greeted()
    server.feed(b'{"id":7,"method":"list"}\n')
    server.next_request()

    with pytest.raises(ProtocolError, match="longer than") as caught:
        server.result({"x": "x" * LARGEST_LINE})

    refusal = PtymuxError(str(caught.value))
    assert server.failure(refusal).data == encode_error(7, refusal)


# Answers ----------------------------------------------------------------------------------------


@given(OUTCOMES, SIZES, st.data())
def test_answers_arrive_with_their_fds_however_they_are_cut(
    outcomes: list[tuple[list[Notification], tuple[dict[str, str], int] | PtymuxError]],
    sizes: list[int],
    data: st.DataObject,
) -> None:
    client, numbers = ClientSession(), Numbers()
    parts: list[Outgoing] = []
    expected: list[object] = []
    for id, (notes, outcome) in enumerate(outcomes, 1):
        client.request("get", {})
        parts += [Outgoing(encode_notification(note.method, note.params)) for note in notes]
        expected += notes
        if isinstance(outcome, PtymuxError):
            parts.append(Outgoing(encode_error(id, outcome)))
            expected.append((id, str(outcome)))
        else:
            result, count = outcome
            fds = numbers.take(count)
            parts += [Outgoing(encode_result(id, result), fds)]
            expected.append(Reply(id, dict(result), fds))

    got: list[Answer] = []
    for piece, fds in delivered(parts, sizes):
        client.feed(piece, fds)
        if data.draw(st.booleans(), "looks"):
            got += answers_of(client)
    got += answers_of(client)

    assert [(a.id, str(a.error)) if isinstance(a, Failure) else a for a in got] == expected
    assert client.end() == []


def test_only_requests_that_were_made_are_answered_and_each_once() -> None:
    client = ClientSession()
    client.request("get", {})
    stray = encode_result(2, {}) + encode_result(None, {}) + encode_error(99, PtymuxError("no"))

    client.feed(stray + encode_result("1", {}) + encode_result(1, {"x": 1}) * 2)

    assert answers_of(client) == [Reply(1, {"x": 1})]


def test_a_failure_about_the_connection_comes_whatever_was_asked() -> None:
    client = ClientSession()
    client.feed(encode_error(None, PtymuxError("full")))

    (failure,) = answers_of(client)

    assert isinstance(failure, Failure)
    assert (failure.id, str(failure.error)) == (None, "full")


def test_ids_grow_also_by_a_request_that_was_too_long() -> None:
    client = ClientSession()

    assert client.request("a", {}) == [Outgoing(encode_request(1, "a", {}))]
    with pytest.raises(ProtocolError, match="longer than"):
        client.request("b", {"x": "x" * LARGEST_LINE})
    assert client.request("c", {}, b"\0", [3]) == [
        Outgoing(encode_request(3, "c", {})),
        Outgoing(b"\0", [3]),
    ]

    client.feed(encode_result(2, {}))
    assert answers_of(client) == []


def test_a_reply_has_all_fds_when_it_is_the_last_that_is_awaited() -> None:
    client = ClientSession()
    client.request("attach", {})

    client.feed(encode_result(1, {}) + b"\1\0\0", [3])  # a frame was sent together with the reply

    assert answers_of(client)[:1] == [Reply(1, {}, (3,))]


def test_fds_of_other_than_a_reply_are_unasked() -> None:
    client = ClientSession()
    client.request("get", {})

    client.feed(encode_notification("event", {}), [3])
    client.feed(encode_result(99, {}), [4])
    client.feed(encode_error(1, PtymuxError("no")), [5])

    assert len(answers_of(client)) == 2
    assert client.take_unasked_fds() == [3, 4, 5]


def test_fds_that_came_before_a_request_do_not_answer_it() -> None:
    client = ClientSession()
    client.feed(b" ", [3])

    client.request("get", {})
    client.feed(encode_result(1, {}))

    assert answers_of(client) == [Reply(1, {})]
    assert client.take_unasked_fds() == [3]


def test_a_client_without_open_files_for_all_fds_is_at_its_end() -> None:
    client = ClientSession()
    client.request("attach", {})

    with pytest.raises(OutOfResourcesError, match="open files"):
        client.feed(encode_result(1, {}), [3], fds_lost=True)

    assert client.end() == [3]


def test_what_no_server_says_is_refused_by_the_name_of_who_said_it() -> None:
    junk = b"220 mail.example.org ESMTP\r\n"
    named, nameless = ClientSession("what is at /s"), ClientSession()
    for client in (named, nameless):
        client.feed(junk)

    with pytest.raises(ProtocolError, match=r"^what is at /s does not speak as .*: not JSON"):
        named.next_answer()
    with pytest.raises(ProtocolError, match=r"^not JSON"):
        nameless.next_answer()


# Both -------------------------------------------------------------------------------------------


def turn(client: ClientSession, server: ServerSession, numbers: Numbers) -> list[Outgoing]:
    """Take a server's requests; return the answers, each with as many fds as it brought."""
    answers = []
    for request in requests_of(server):
        if request.method == "get":
            answers.append(server.failure(UnknownPtyError("web")))
            continue
        answers.append(server.notification("event", {"seq": request.id}))
        result = {"method": request.method, "size": len(request.payload)}
        answers.append(server.result(result, numbers.take(len(request.fds or ()))))
    return answers


@given(CALLS, SIZES, SIZES, st.booleans())
def test_each_call_has_its_own_answer_through_both_ends(
    calls: list[tuple[str, bytes, int]], sizes: list[int], sizes_back: list[int], waits: bool
) -> None:
    client, server = ClientSession(), greeted()
    asked, given_back = Numbers(), Numbers()
    rounds = [[call] for call in calls] if waits else [calls]
    got: list[Answer] = []
    for round_of_calls in rounds:
        parts, _requests = make_calls(client, round_of_calls, asked)
        answers: list[Outgoing] = []
        for piece, fds in delivered(parts, sizes):
            server.feed(piece, fds)
            answers += turn(client, server, given_back)
        for piece, fds in delivered(answers, sizes_back):
            client.feed(piece, fds)
            got += answers_of(client)

    ends = [answer for answer in got if not isinstance(answer, Notification)]
    assert [answer.id for answer in ends] == list(range(1, len(calls) + 1))
    for (method, payload, count), answer in zip(calls, ends, strict=True):
        assert isinstance(answer, Failure) == (method == "get")
        if isinstance(answer, Reply):
            assert answer.result == {"method": method, "size": len(payload)}
            assert len(answer.fds) == count
    assert client.end() == server.end() == []


@given(st.binary(max_size=200), SIZES, SIZES)
def test_an_upgrade_gives_every_byte_behind_the_last_message(
    frames: bytes, sizes: list[int], sizes_back: list[int]
) -> None:
    client, server = ClientSession(), greeted()

    # Only a server knows where the lines of a client end, so a client waits for the reply.
    for piece, fds in delivered(client.request("attach", {}), sizes):
        server.feed(piece, fds)
    assert len(requests_of(server)) == 1
    got, reply = b"", None
    for piece, fds in delivered([server.result({}, [3]), Outgoing(frames)], sizes_back):
        client.feed(piece, fds)
        if reply is None:
            reply = client.next_answer()
        if reply is not None:
            got += client.take_rest()
    got_back = b""
    for piece, _fds in delivered([Outgoing(frames)], sizes):
        server.feed(piece)
        got_back += server.take_rest()

    assert (reply, got, got_back) == (Reply(1, {}, (3,)), frames, frames)


def test_fds_are_unasked_from_an_upgrade_on() -> None:
    for session in (ClientSession(), greeted()):
        session.feed(b"ab", [3])
        assert session.take_rest() == b"ab"
        assert session.take_unasked_fds() == [3]
        session.feed(b"cd", [4])
        assert session.take_unasked_fds() == [4]
        assert session.take_rest() == b"cd"
        assert session.end() == []


JUNK = st.lists(
    st.binary(max_size=40)
    | st.sampled_from(
        [
            SPAWN % 5,
            SPAWN % 0,
            b'{"id":1,"method":"list"}\n',
            encode_result(1, {}),
            encode_error(2, PtymuxError("no")),
            encode_notification("event", {}),
        ]
    ),
    max_size=8,
).map(b"".join)


@given(JUNK, SIZES, st.lists(st.integers(0, 3), max_size=40), st.lists(st.booleans(), max_size=40))
def test_junk_is_taken_or_refused_and_each_fd_comes_out_once(
    junk: bytes, sizes: list[int], counts: list[int], losses: list[bool]
) -> None:
    server, client = greeted(), ClientSession()
    for _ in range(3):
        client.request("get", {})
    for session in (server, client):
        numbers, out = Numbers(), list[int]()
        wanted, lost = iter(counts), iter(losses)
        with suppress(ProtocolError, OutOfResourcesError):
            for piece, _fds in delivered([Outgoing(junk)], sizes):
                fds = array("i", numbers.take(next(wanted, 0)))
                session.feed(piece, fds, fds_lost=next(lost, False))
                for message in drained(session):
                    out += getattr(message, "fds", None) or ()
                out += session.take_unasked_fds()

        out += session.end()
        assert sorted(out) == list(range(101, numbers.last + 1))


def drained(session: ClientSession | ServerSession) -> Iterator[object]:
    take = session.next_answer if isinstance(session, ClientSession) else session.next_request
    while (message := take()) is not None:
        yield message

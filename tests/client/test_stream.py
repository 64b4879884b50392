"""Attachments and lifelines, with a server and an engine that behave or die."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptymux.client.attach_request import AttachRequest
from ptymux.client.server_connection import ServerConnection
from ptymux.client.stream import Lifeline, Stream, attach, open_input, send
from ptymux.errors import (
    ConnectionClosedError,
    InputCutError,
    ProtocolError,
    UnknownPtyError,
)
from ptymux.protocol.framing import (
    LARGEST_DATA,
    Ack,
    Detach,
    Exit,
    Frame,
    Gap,
    In,
    Out,
    Ping,
    Redraw,
    Resize,
)
from ptymux.protocol.messages import encode_result
from tests.client.stub import Peer, StubServer, engine_end
from tests.timing import deadline_seconds

END = Exit({"pty_id": "pty_1", "exit_code": 0})


@pytest.fixture
def ends() -> Iterator[tuple[Stream, Peer]]:
    ours, theirs = socket.socketpair()
    with Stream(ours, offset=10) as stream, theirs:
        theirs.settimeout(deadline_seconds())
        yield stream, Peer(theirs)


# Frames from the server -------------------------------------------------------------------------


def test_iterating_gives_output_gaps_and_the_end(ends: tuple[Stream, Peer]) -> None:
    stream, peer = ends
    frames = [Out(10, b"abc"), Gap(13, 20), Out(20, b"d"), END]

    peer.send_frames(frames[0], Ping(), *frames[1:], Out(99, b"never seen"))

    assert list(stream) == frames
    assert stream.offset == 21
    assert stream.is_over
    assert list(stream) == []


def test_a_detach_by_the_server_ends_the_iteration(ends: tuple[Stream, Peer]) -> None:
    stream, peer = ends
    peer.send_frames(Out(10, b"abc"), Detach())

    assert list(stream) == [Out(10, b"abc")]
    assert stream.is_over


def test_a_server_that_dies_is_no_end_and_the_offset_is_where_to_go_on(
    ends: tuple[Stream, Peer],
) -> None:
    stream, peer = ends
    peer.send(Out(10, b"abc").encode() + Out(13, b"cut").encode()[:-1])
    peer.sock.close()

    with pytest.raises(ConnectionClosedError, match="before the PTY did"):
        list(stream)
    assert stream.offset == 13


@pytest.mark.parametrize("frame", [Out(11, b"x"), Out(9, b"x"), Gap(11, 12)])
def test_output_that_is_left_out_without_a_gap_is_an_error(
    ends: tuple[Stream, Peer], frame: Frame
) -> None:
    stream, peer = ends
    peer.send_frames(frame)

    with pytest.raises(ProtocolError, match="without a gap"):
        list(stream)


def test_an_iteration_that_was_left_can_be_taken_up(ends: tuple[Stream, Peer]) -> None:
    stream, peer = ends
    frames = [Out(10, b"a"), Out(11, b"b"), Out(12, b"c"), END]
    peer.send_frames(*frames)

    first = next(iter(stream))

    assert [first, *stream] == frames


def test_receiving_reads_once_and_gives_every_frame(ends: tuple[Stream, Peer]) -> None:
    stream, peer = ends
    whole = Out(11, b"later").encode()
    peer.send(Ping(b"1").encode() + Out(10, b"a").encode() + whole[:4])

    assert stream.receive() == [Ping(b"1"), Out(10, b"a")]
    peer.send(whole[4:])
    assert stream.receive() == [Out(11, b"later")]
    assert stream.pending() == []


def test_a_flood_arrives_in_order(ends: tuple[Stream, Peer]) -> None:
    stream, peer = ends
    chunk = bytes(range(256)) * (LARGEST_DATA // 256)

    def flood() -> None:
        for number in range(40):
            peer.send_frames(Out(10 + number * len(chunk), chunk))
        peer.send_frames(END)

    flooding = threading.Thread(target=flood)
    flooding.start()
    size = sum(len(frame.data) for frame in stream if isinstance(frame, Out))
    flooding.join()

    assert size == 40 * len(chunk) == stream.offset - 10


# Frames to the server ---------------------------------------------------------------------------


def test_what_the_client_says_arrives_as_frames(ends: tuple[Stream, Peer]) -> None:
    stream, peer = ends

    stream.acknowledge(7)
    stream.resize(120, 40)
    stream.redraw()
    stream.ping(b"?")
    stream.send_input(b"ls\n")
    stream.send_input(b"")
    stream.detach()
    stream.close()

    assert peer.frames_until_end() == [
        Ack(7),
        Resize(120, 40),
        Redraw(),
        Ping(b"?"),
        In(b"ls\n"),
        Detach(),
    ]


def test_input_of_any_size_fits_into_frames(ends: tuple[Stream, Peer]) -> None:
    stream, peer = ends
    data = os.urandom(700_000)
    got: list[Frame] = []
    server = threading.Thread(target=lambda: got.extend(peer.frames_until_end()))
    server.start()

    stream.send_input(data)
    stream.close()
    server.join()

    assert b"".join(frame.data for frame in got if isinstance(frame, In)) == data


def test_saying_something_to_a_dead_server_leaves_its_last_words_readable(
    ends: tuple[Stream, Peer],
) -> None:
    stream, peer = ends
    peer.send_frames(END)
    peer.sock.close()

    stream.resize(80, 24)

    assert list(stream) == [END]


# Attach -----------------------------------------------------------------------------------------


def test_attaching_turns_the_connection_into_frames_and_brings_a_lifeline(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    got: list[Frame] = []
    asked: list[object] = []

    def serve(peer: Peer) -> None:
        peer.greet()
        request = peer.request()
        asked.append(request.params)
        lifeline, engine = engine_end()
        reply = encode_result(
            request.id, {"pty": {"pty_id": "pty_1"}, "offset": 5, "lifeline": True}
        )
        peer.send(reply + Out(5, b"at once").encode(), [lifeline])
        os.close(lifeline)
        got.extend(peer.frames_until_end())
        engine.join()

    with (
        StubServer(path, serve),
        ServerConnection(path) as connection,
        attach(connection, AttachRequest("web", "lossless", 5, cols=80, rows=24)) as stream,
    ):
        assert stream.pty == {"pty_id": "pty_1"}
        assert stream.pending() == [Out(5, b"at once")]
        assert connection.fileno() == -1
        assert stream.lifeline is not None
        assert stream.lifeline.offer(b"ls\n") == 3
        assert stream.lifeline.finish() == 3
        stream.acknowledge(12)
    assert got == [Ack(12)]
    params = {"pty": "web", "kind": "lossless", "offset": 5, "input": True, "cols": 80, "rows": 24}
    assert asked == [params]


def test_a_refused_attach_leaves_the_connection_usable(tmp_path: Path) -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        peer.refuse(peer.request(), UnknownPtyError("web"))
        peer.reply(peer.request(), {"pty": {}, "offset": 0, "lifeline": False})
        peer.send_frames(END)

    path = str(tmp_path / "s")
    with StubServer(path, serve), ServerConnection(path) as connection:
        with pytest.raises(UnknownPtyError):
            attach(connection, AttachRequest("web"))
        with attach(connection, AttachRequest("3", wants_input=False)) as stream:
            assert stream.lifeline is None
            assert list(stream) == [END]


@pytest.mark.parametrize("reply", [{}, {"offset": "now"}, {"offset": -1}, {"offset": True}])
def test_a_reply_without_an_offset_is_refused_and_leaks_nothing(
    tmp_path: Path, reply: dict[str, object]
) -> None:
    def serve(peer: Peer) -> None:
        peer.greet()
        lifeline, engine = engine_end()
        peer.reply(peer.request(), reply, [lifeline, lifeline])
        os.close(lifeline)
        engine.join()

    path = str(tmp_path / "s")
    with (
        StubServer(path, serve),
        ServerConnection(path) as connection,
        pytest.raises(ProtocolError, match="offset"),
    ):
        attach(connection, AttachRequest("web"))


# Lifelines --------------------------------------------------------------------------------------


@pytest.mark.requirement("FR-010")
@pytest.mark.parametrize("size", [0, 1, 4096, 3_000_000])
def test_input_of_any_size_is_taken_and_counted(size: int) -> None:
    fd, engine = engine_end()

    with Lifeline(fd) as lifeline:
        assert lifeline.send_all(b"x" * size)
        assert lifeline.finish() == size
    engine.join()


@pytest.mark.requirement("FR-010")
def test_a_terminal_that_ends_in_between_has_said_how_much_it_took() -> None:
    fd, engine = engine_end(take=100_000)

    with Lifeline(fd) as lifeline:
        assert not lifeline.send_all(b"x" * 3_000_000)
        assert lifeline.finish() == 100_000
        assert lifeline.offer(b"more") is None
    engine.join()


def test_a_full_lifeline_takes_nothing_and_does_not_block() -> None:
    ours, theirs = socket.socketpair()
    with ours, Lifeline(theirs.detach()) as lifeline:
        while lifeline.offer(b"x" * 65536):
            continue

        assert lifeline.offer(b"x") == 0
        poll = select.poll()
        poll.register(lifeline, select.POLLOUT)
        assert poll.poll(0) == []


def test_a_keeper_that_died_leaves_it_unknown_what_was_taken() -> None:
    ours, theirs = socket.socketpair()
    with Lifeline(theirs.detach()) as lifeline:
        ours.send(b"\1\2\3")  # not a whole word
        ours.close()

        with pytest.raises(ConnectionClosedError, match="unknown"):
            lifeline.finish()


def test_a_lifeline_has_ended_once_the_other_side_sends_no_more() -> None:
    ours, theirs = socket.socketpair()
    with ours, Lifeline(theirs.detach()) as lifeline:
        assert not lifeline.has_ended()

        ours.sendall(Out(0, b"x").encode())
        assert not lifeline.has_ended()  # an echo that nobody has read yet

        ours.sendall((7).to_bytes(8, "little"))
        ours.shutdown(socket.SHUT_RDWR)  # a replaced keeper's server may hold a duplicate
        assert lifeline.has_ended()


def test_a_lifeline_has_ended_once_its_keeper_died() -> None:
    ours, theirs = socket.socketpair()
    with Lifeline(theirs.detach()) as lifeline:
        ours.close()

        assert lifeline.has_ended()


def serve_input(take: int | None) -> tuple[list[object], Callable[[Peer], None]]:
    """Return the requests to come, and what answers each with a lifeline."""
    asked: list[object] = []

    def serve(peer: Peer) -> None:
        peer.greet()
        while True:
            request = peer.request()
            asked.append((request.method, request.params))
            fd, engine = engine_end(take)
            peer.reply(request, {"pty": {}, "offset": 77}, [fd])
            os.close(fd)
            engine.join()

    return asked, serve


@pytest.mark.requirement("FR-010")
def test_sending_returns_the_offset_before_once_all_was_taken(tmp_path: Path) -> None:
    asked, serve = serve_input(None)
    path = str(tmp_path / "s")

    with StubServer(path, serve), ServerConnection(path) as connection:
        assert send(connection, "web", b"ls\n") == 77
        assert send(connection, "web", b"") == 77
    assert asked == [("send", {"pty": "web", "size": 3}), ("send", {"pty": "web", "size": 0})]


@pytest.mark.requirement("FR-010")
def test_sending_what_is_taken_in_part_tells_how_much(tmp_path: Path) -> None:
    _asked, serve = serve_input(1000)
    path = str(tmp_path / "s")

    with StubServer(path, serve), ServerConnection(path) as connection:
        with pytest.raises(InputCutError, match="took 1000 of 5000000 bytes") as caught:
            send(connection, "web", bytes(5_000_000))
        assert caught.value.taken == 1000


def test_input_without_a_known_size_has_a_lifeline_of_its_own(tmp_path: Path) -> None:
    asked, serve = serve_input(None)
    path = str(tmp_path / "s")

    with StubServer(path, serve), ServerConnection(path) as connection:
        lifeline, offset = open_input(connection, "web")
        with lifeline:
            assert offset == 77
            assert lifeline.send_all(b"a")
            assert lifeline.send_all(b"b")
            assert lifeline.finish() == 2
    assert asked == [("send", {"pty": "web"})]

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.model import OnFull, SpawnOptions, WindowSize
from ptymux.errors import LinkClosedError
from ptymux.handover.wire import (
    Inbox,
    Message,
    Outbox,
    options_as_json,
    options_from_json,
    pack_strings,
    unpack_strings,
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


def test_a_message_arrives_with_its_bytes_and_fds(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    read, write = os.pipe()
    outbox, inbox = Outbox(ends[0]), Inbox(ends[1])

    outbox.send({"op": "spawn", "n": 1}, b"\0payload", [write])
    os.close(write)
    (message,) = inbox.receive()

    assert (message.body, message.data) == ({"op": "spawn", "n": 1}, b"\0payload")
    with os.fdopen(message.fds[0], "wb") as sent:
        sent.write(b"through it")
    assert not os.get_inheritable(read)
    with os.fdopen(read, "rb") as received:
        assert received.read() == b"through it"


def test_what_does_not_fit_waits_in_order_with_its_fds(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    outbox, inbox = Outbox(ends[0]), Inbox(ends[1])
    fd = os.open(os.devnull, os.O_RDONLY)
    for number in range(20):
        outbox.send({"number": number}, bytes(100_000), [fd] if number == 19 else [])
    os.close(fd)
    waited = outbox.is_waiting

    messages: list[Message] = []
    while len(messages) < 20:
        messages += list(inbox.receive())
        outbox.flush()

    assert [message.body["number"] for message in messages] == list(range(20))
    assert (waited, outbox.is_waiting) == (True, False)
    assert [len(message.fds) for message in messages] == [0] * 19 + [1]
    os.close(messages[-1].fds[0])


def test_closing_with_messages_and_fds_on_the_way_leaks_nothing(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    outbox, inbox = Outbox(ends[0]), Inbox(ends[1])
    with open(os.devnull, "rb") as file:
        outbox.send({}, bytes(1_000_000), [file.fileno()])
        outbox.send({}, b"", [file.fileno()])

    list(inbox.receive())
    outbox.close()
    inbox.close()


def test_the_end_of_the_other_side_is_told_to_both(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ends[1].close()

    with pytest.raises(LinkClosedError):
        Outbox(ends[0]).send({"op": "ready"})
    with pytest.raises(LinkClosedError):
        list(Inbox(ends[0]).receive())


def test_a_message_larger_than_any_of_ours_closes_the_link(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ends[0].send(b"\xff" * 64)

    with pytest.raises(LinkClosedError, match="bytes"):
        list(Inbox(ends[1]).receive())


@pytest.mark.parametrize("text", [b"[]", b'"fds"', b"[" * 50_000, b"{", b'{"fds": 1}'])
def test_what_is_no_message_closes_the_link(
    ends: tuple[socket.socket, socket.socket], text: bytes
) -> None:
    ends[0].send(len(text).to_bytes(4, "big") + bytes(4) + text)

    with pytest.raises(LinkClosedError, match="no message"):
        list(Inbox(ends[1]).receive())


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
def test_strings_come_back_as_they_were_packed(strings: list[str]) -> None:
    assert unpack_strings(pack_strings(strings)) == strings


def test_options_come_back_without_the_environment() -> None:
    options = SpawnOptions(
        argv=("ls", "-la"),
        env={"SECRET": "hunter2"},
        umask=0o27,
        nofile=256,
        size=WindowSize(120, 40),
        buffer_size=1024,
        threshold=0.5,
        on_full=OnFull.BLOCK,
        plain_output=True,
        echo=False,
    )

    told = options_as_json(options)

    assert "hunter2" not in str(told)
    back = options_from_json(told, options.argv, cwd="/tmp", stdin=0)
    assert (back.argv, back.size, back.umask, back.nofile) == (
        ("ls", "-la"),
        WindowSize(120, 40),
        0o27,
        256,
    )
    assert (back.buffer_size, back.threshold, back.on_full) == (1024, 0.5, OnFull.BLOCK)
    assert (back.plain_output, back.cwd, back.stdin_fd) == (True, "/tmp", 0)
    assert back.echo is False
    del told["echo"]  # as of a server that does not know it yet
    assert options_from_json(told, options.argv).echo
    assert options_from_json(told, options.argv, passed={3: 9}).pass_fds == {3: 9}


def test_that_there_is_output_is_told_in_between(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    slots: list[int] = []
    outbox, inbox = Outbox(ends[0]), Inbox(ends[1], slots.append)

    outbox.send({"op": "a"})
    outbox.notify_output([7, 4_000_000_000])
    outbox.send({"op": "b"})

    assert [message.body["op"] for message in inbox.receive()] == ["a", "b"]
    assert slots == [7, 4_000_000_000]


def test_that_there_is_output_waits_its_turn_when_the_socket_is_full(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    slots: list[int] = []
    outbox, inbox = Outbox(ends[0]), Inbox(ends[1], slots.append)
    outbox.send({"op": "large"}, bytes(4 << 20))

    outbox.notify_output([1])
    messages: list[Message] = []
    while outbox.is_waiting or not slots:
        messages += inbox.receive()
        outbox.flush()

    assert [message.body["op"] for message in messages] == ["large"]
    assert slots == [1]

"""Output comes by two ways, the stream and the lifeline's echoes: each byte is taken once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.client.attach_request import AttachRequest
from ptymux.client.attachment import Attachment
from ptymux.client.stream import Lifeline, Stream, unseen
from ptymux.protocol.framing import Exit, Frame, Gap, Out, Taken

WRITTEN = bytes(range(200))
RANGES = st.tuples(st.integers(0, 200), st.integers(0, 12)).map(
    lambda pair: (pair[0], min(200, pair[0] + pair[1]))
)


class Peers:
    """The server's end of the stream and the engine's of the lifeline."""

    def __init__(self, server: socket.socket, engine: socket.socket) -> None:
        self.server = server
        self.engine = engine
        self.sent = 0  # offset up to which the server sent


@contextmanager
def attachment() -> Iterator[tuple[Attachment, Peers]]:
    stream_end, server = socket.socketpair()
    line_end, engine = socket.socketpair()
    lifeline = Lifeline(line_end.detach())
    stream = Stream(stream_end, pty={"pty_id": "pty_1"}, lifeline=lifeline)
    attached = Attachment("/nowhere", stream, AttachRequest("pty_1"))
    with server, engine:
        yield attached, Peers(server, engine)
        attached.close(detach=False)


def out(start: int, end: int) -> Out:
    return Out(start, WRITTEN[start:end])


def content(frames: list[Frame]) -> bytes:
    """Return what frames say, NULs where they say that it was missed."""
    pieces = []
    for frame in frames:
        if isinstance(frame, Out):
            pieces.append(frame.data)
        elif isinstance(frame, Gap):
            pieces.append(bytes(frame.end - frame.start))
    return b"".join(pieces)


@given(st.lists(st.one_of(RANGES, st.integers(1, 30)), max_size=30))
def test_every_byte_comes_once_and_in_order_whatever_is_echoed(
    steps: list[tuple[int, int] | int],
) -> None:
    with attachment() as (attached, peers):
        got = b""
        for step in [*steps, 200]:
            if isinstance(step, int):
                end = min(200, peers.sent + step)
                peers.server.sendall(out(peers.sent, end).encode())
                peers.sent = end
                got += content(attached.receive())
            else:
                peers.engine.sendall(out(*step).encode())
                got += attached.receive_echoes()
            assert got == WRITTEN[: len(got)]
            assert attached.offset == len(got)

    assert got == WRITTEN


def test_an_echo_that_is_ahead_of_what_was_seen_waits_for_the_stream() -> None:
    with attachment() as (attached, peers):
        peers.engine.sendall(out(5, 6).encode())
        assert attached.receive_echoes() == b""

        peers.server.sendall(out(0, 6).encode())
        assert attached.receive() == [out(0, 6)]


def test_only_what_was_not_echoed_of_a_gap_is_missing() -> None:
    with attachment() as (attached, peers):
        peers.engine.sendall(out(0, 6).encode())
        assert attached.receive_echoes() == WRITTEN[:6]

        peers.server.sendall(Gap(0, 20).encode() + out(20, 21).encode())
        assert attached.receive() == [Gap(6, 20), out(20, 21)]
        assert attached.offset == 21


def test_echoes_end_with_the_lifeline() -> None:
    with attachment() as (attached, peers):
        assert attached.lifeline is not None
        peers.engine.sendall(out(0, 1).encode() + Taken(7).encode())
        peers.engine.close()

        assert attached.receive_echoes() == WRITTEN[:1]
        assert not attached.lifeline.is_over
        assert attached.receive_echoes() == b""
        assert attached.lifeline.is_over


def test_nothing_waits_for_an_echo_that_does_not_come() -> None:
    with attachment() as (attached, _peers):
        assert attached.receive_echoes() == b""


def test_echoes_are_put_together_however_they_come() -> None:
    with attachment() as (attached, peers):
        echo = out(3, 9).encode()
        peers.engine.sendall(out(0, 1).encode() + out(1, 3).encode() + echo[:-1])
        assert attached.receive_echoes() == WRITTEN[:3]

        peers.engine.sendall(echo[-1:] + out(9, 10).encode())
        assert attached.receive_echoes() == WRITTEN[3:10]


@pytest.mark.parametrize(
    ("frame", "fresh"),
    [
        (Out(0, b"abcd"), None),
        (Out(0, b"abcde"), Out(4, b"e")),
        (Out(4, b"e"), Out(4, b"e")),
        (Out(9, b"j"), Out(9, b"j")),
        (Gap(0, 4), None),
        (Gap(0, 5), Gap(4, 5)),
        (Gap(4, 5), Gap(4, 5)),
        (Exit({}), Exit({})),
    ],
)
def test_unseen(frame: Frame, fresh: Frame | None) -> None:
    assert unseen(frame, 4) == fresh

"""Input goes on after a keeper died, and says what became of it when it cannot."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress

import pytest

from ptymux.client.cut_lines import Lines
from ptymux.client.input_channel import InputChannel
from ptymux.client.stream import Lifeline
from ptymux.errors import ConnectionClosedError, InputCutError, InvalidStateError
from tests.client.stub import engine_end

LINES = Lines(None)


def ended_pty() -> Lifeline:
    raise InvalidStateError("p", "stopped", "it takes no input")


def never() -> Lifeline:
    raise AssertionError("no other lifeline is needed")


def lifeline() -> tuple[Lifeline, socket.socket]:
    ours, theirs = socket.socketpair()
    return Lifeline(ours.detach()), theirs


def test_a_lifeline_is_opened_when_there_is_none() -> None:
    line, engine = lifeline()
    opened: list[Lifeline] = [line]

    with engine, InputChannel("p", None, opened.pop) as channel:
        channel.send(b"", LINES)
        assert opened
        channel.send(b"ab", LINES)
        channel.send(b"c", LINES)
        assert engine.recv(10) == b"abc"


def test_input_goes_on_through_another_lifeline_when_the_keeper_died(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, dying = lifeline()
    second, engine = lifeline()

    with engine, InputChannel("p", first, lambda: second) as channel:
        channel.send(b"a", LINES)
        dying.recv(1)
        dying.close()
        with caplog.at_level(logging.WARNING, "ptymux"):
            channel.send(b"b", LINES)
        assert engine.recv(10) == b"b"

    assert "PTY p: the keeper died: how much input arrived is unknown" in caplog.text


def test_input_after_the_end_of_the_pty_is_refused() -> None:
    line, engine = lifeline()

    with InputChannel("p", line, ended_pty) as channel:
        with engine:
            engine.send((0).to_bytes(8, "little"))
        with pytest.raises(InvalidStateError):
            channel.send(b"a", LINES)


def test_input_that_is_cut_by_the_end_tells_how_much_was_taken() -> None:
    fd, engine = engine_end(take=5000)

    with InputChannel("p", Lifeline(fd), ended_pty) as channel:
        channel.send(b"x" * 1000, LINES)
        with pytest.raises(InputCutError) as cut:
            channel.send(b"x" * 1_000_000, LINES)
        engine.join()
        assert (cut.value.taken, cut.value.size) == (5000, 1_001_000)
        with pytest.raises(InvalidStateError):
            channel.send(b"x", LINES)


def test_input_under_way_when_the_keeper_dies_is_unknown() -> None:
    line, dying = lifeline()

    def die() -> None:
        with dying, suppress(OSError):
            dying.recv(1000)

    engine = threading.Thread(target=die)
    engine.start()
    with (
        InputChannel("p", line, never) as channel,
        pytest.raises(ConnectionClosedError, match="unknown"),
    ):
        channel.send(b"x" * 1_000_000, LINES)
    engine.join()


def test_lines_count_what_was_sent_before(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def collects(pid: int) -> bool:
        looked.append(pid)
        return False

    monkeypatch.setattr("ptymux.posix.tty.process_is_canonical", collects)
    lines = Lines(7)

    lines.check(b"x" * 4000)
    lines.check(b"x" * 95 + b"\n" + b"x" * 4095 + b"\r")
    assert looked == []
    lines.check(b"x" * 4000)
    lines.check(b"x" * 96)
    assert looked == [7]

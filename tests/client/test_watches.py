"""Watches see silence and prompts, of which only a clock and the output as it comes can tell."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import cast

import pytest

from ptymux.client import watches
from ptymux.client.stream import Stream
from ptymux.client.watches import Marks, PromptWatch, Silence, TimeIsUpError
from ptymux.protocol.framing import Frame, Out

MARK = b"\x1b]133;A\x07$ "


class LateOutput:
    """A stream with a frame for each byte of a socket, and a clock: each look at it takes time."""

    def __init__(self) -> None:
        self.offset = 0
        self.is_over = False
        self.look_seconds = 0.0
        self._now = 1000.0
        self._reading, self._writing = socket.socketpair()

    def __enter__(self) -> LateOutput:
        return self

    def __exit__(self, *_error: object) -> None:
        self._reading.close()
        self._writing.close()

    def fileno(self) -> int:
        return self._reading.fileno()

    def write(self, size: int) -> None:
        self._writing.send(bytes(size))

    def pending(self) -> list[Frame]:
        return []

    def receive(self) -> list[Frame]:
        frame = Out(self.offset, self._reading.recv(1))
        self.offset += 1
        return [frame]

    def monotonic(self) -> float:
        self._now += self.look_seconds
        return self._now


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[LateOutput]:
    """Output that is read late, as it may be on a busy machine."""
    with LateOutput() as output:
        monkeypatch.setattr(watches, "time", output)
        yield output


@pytest.mark.parametrize("stall_seconds", [0.0, 0.9, 1000.0])
def test_output_that_came_is_no_silence_however_late_it_is_read(
    output: LateOutput, stall_seconds: float
) -> None:
    output.write(5)
    output.look_seconds = stall_seconds
    silence = Silence(0.01, 0)

    assert silence.wait(cast(Stream, output)) == "silence"

    assert silence.offset == 5


def test_a_watch_gives_up_when_its_time_is_up_also_amid_output() -> None:
    for size in (0, 5):
        with LateOutput() as output:
            output.write(size)
            with pytest.raises(TimeIsUpError):
                Silence(1000.0, 0, until=time.monotonic() + 0.01).wait(cast(Stream, output))
    watch = PromptWatch(None, 0, needs_output=True, until=time.monotonic() + 0.01)
    with LateOutput() as output, pytest.raises(TimeIsUpError):
        watch.wait(cast(Stream, output))


@pytest.mark.parametrize("size", range(1, len(MARK) + 1))
def test_mark_is_found_however_it_is_cut(size: int) -> None:
    marks = Marks()
    output = b"make: done\r\n" + MARK

    found = [marks.feed(output[at : at + size]) for at in range(0, len(output), size)]

    assert found.count(True) == 1


def test_other_marks_of_a_shell_are_none() -> None:
    marks = Marks()

    assert not marks.feed(b"\x1b]133;B\x07\x1b]133;C\x07\x1b]133;D;0\x07")


def test_mark_is_not_put_together_across_a_gap() -> None:
    marks = Marks()

    assert not marks.feed(MARK[:4])
    marks.skip()
    assert not marks.feed(MARK[4:])


def test_mark_is_told_once() -> None:
    marks = Marks()

    assert [marks.feed(data) for data in (MARK, b"", b"x")] == [True, False, False]


def test_shell_is_at_its_prompt_only_after_what_it_said_before(
    output: LateOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "waits_for_typing", lambda _pid: True)
    output.write(5)
    output.look_seconds = 1000.0
    watch = PromptWatch(1, 0, needs_output=False)

    assert watch.wait(cast(Stream, output)) == "foreground"

    assert watch.offset == 5

"""Output that a command is late to read, as it may be on a busy machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ptymux.cli.waiting import conditions, shell_prompt
from ptymux.protocol.framing import Frame, Out


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
    with LateOutput() as output:
        for module in (conditions, shell_prompt):
            monkeypatch.setattr(module, "time", output)
        yield output

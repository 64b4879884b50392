"""An engine that is turned by the test itself, with real children on real PTYs."""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import pytest

from ptymux.core.model import SpawnOptions
from ptymux.core.ring import Cursor, RingBuffer
from ptymux.core.windows import Windows
from ptymux.engine import engine as engine_module
from ptymux.engine import terminal as terminal_module
from ptymux.engine.engine import Engine
from ptymux.engine.reports import Closed, Exited, Report
from ptymux.errors import SignalError
from ptymux.posix.process import ExitStatus, send, session_members
from tests.gate import gate
from tests.timing import Wait, wait_until

__all__ = ["Clock", "Driver", "driver", "gate", "seeded", "windows"]

LONG = 3600.0  # seconds of a window that is not to pass during a test
_SOON_SECONDS = 10.0

R = TypeVar("R", bound=Report)


def seeded() -> random.Random:
    """Return a generator whose seed a failing test shows."""
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    return random.Random(seed)


class Clock:
    """The time as an engine sees it: the real one, and what the test has skipped."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    def skip(self, seconds: float) -> None:
        self._skipped += seconds


class Driver:
    """Turns an engine and keeps all it reported."""

    def __init__(self, windows: Windows) -> None:
        self.clock = Clock()
        self.windows = windows
        self.engine = Engine(windows)
        self.reports: list[Report] = []
        self.pids: dict[int, int] = {}
        self.rings: dict[int, RingBuffer] = {}
        self.sockets: list[socket.socket] = []

    def spawn(self, *argv: str, env: Mapping[str, str] | None = None, **options: Any) -> int:
        """Start `argv` with SpawnOptions as keywords; return its slot."""
        slot = len(self.pids) + 1
        whole = {"PATH": os.environ["PATH"], "LC_ALL": "C"} if env is None else env
        spawned = self.engine.spawn(slot, SpawnOptions(argv=argv, **options), whole)
        self.pids[slot], self.rings[slot] = spawned.pid, spawned.ring
        return slot

    def shell(self, script: str, **options: Any) -> int:
        return self.spawn("/bin/sh", "-c", script, **options)

    def turn(self, timeout: float = 0.02) -> None:
        if (deadline := self.engine.deadline) is not None:
            timeout = max(0.0, min(timeout, deadline - self.clock.monotonic()))
        self.reports += self.engine.run_once(timeout)

    def until(self, condition: Callable[[], object]) -> None:
        for _ in self.turns_until(condition):
            pass

    def turns_until(self, condition: Callable[[], object]) -> Iterator[None]:
        """Turn until the condition comes true, and give control after each turn."""
        wait = Wait(condition)
        while not wait.is_over():
            self.turn()
            yield

    def is_idle(self) -> bool:
        """Whether the engine has nothing to do unless something happens, and nothing is due.

        An engine that an event calls again and again for nothing is never idle.
        """
        poll = select.poll()
        poll.register(self.engine.fileno(), select.POLLIN)
        due = self.engine.deadline
        is_due = due is not None and due < self.clock.monotonic() + _SOON_SECONDS
        return not is_due and not poll.poll(0)

    def until_idle(self) -> None:
        """Turn until all that happened so far has had its effect."""
        self.until(self.is_idle)

    def skip(self, seconds: float) -> None:
        """Have time pass for the engine, and let it do what is due then."""
        self.clock.skip(seconds)
        self.turn(0)

    def wait_unread(self, slot: int, size: int) -> None:
        """Return once so much output waits to be read; the engine does nothing meanwhile."""
        master = self.engine.pty_fds(slot).master
        assert master is not None
        held = bytearray(4)

        def is_there() -> bool:
            fcntl.ioctl(master, termios.FIONREAD, held)
            return int.from_bytes(held, sys.byteorder) >= size

        wait_until(is_there, f"{size} bytes of unread output")

    def of(self, kind: type[R], slot: int) -> list[R]:
        return [each for each in self.reports if isinstance(each, kind) and each.slot == slot]

    def status(self, slot: int) -> ExitStatus:
        self.until(lambda: self.of(Exited, slot))
        (report,) = self.of(Exited, slot)
        return report.status

    def output(self, slot: int) -> bytes:
        """Return what the ring retains."""
        ring = self.rings[slot]
        return Cursor(ring).peek(ring.capacity).data

    def until_output(self, slot: int, text: bytes) -> None:
        self.until(lambda: text in self.output(slot))

    def until_closed(self, slot: int) -> None:
        self.until(lambda: self.of(Closed, slot))

    def lifeline(self, slot: int, *, echoes: bool = False) -> tuple[int, socket.socket]:
        number, sock = self.engine.open_lifeline(slot, echoes=echoes)
        sock.setblocking(False)
        self.sockets.append(sock)
        return number, sock

    def last_word(self, sock: socket.socket) -> int:
        """Return how much was taken, as the engine says at the end of a lifeline."""
        word = b""

        def complete() -> bool:
            nonlocal word
            with suppress(BlockingIOError):
                more = sock.recv(64)
                assert more, f"the lifeline ended after {word!r}"
                word += more
            return len(word) >= 8

        self.until(complete)
        assert len(word) == 8
        return int.from_bytes(word, "little")

    def end(self) -> None:
        for sock in self.sockets:
            sock.close()
        for slot, pid in self.pids.items():
            for member in session_members(pid):
                with suppress(SignalError):
                    send(member, signal.SIGKILL)
            ring = self.rings[slot]
            ring.limit = 1 << 62
            self.engine.credit_raised(slot)
        self.until(lambda: all(self.of(Exited, slot) for slot in self.pids))
        self.engine.close()
        for ring in self.rings.values():
            ring.release()


@pytest.fixture
def windows() -> Windows:
    """The time windows of the engine: those by which a PTY ends or is counted do not pass.

    A test for which one has to pass lets `driver.skip` pass it; a module or a test that needs
    others overrides this.
    """
    return Windows(tail_silence=LONG, tail=LONG, paused_end=LONG, count_paused=LONG)


@pytest.fixture
def driver(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    driver = Driver(windows)
    for module in (engine_module, terminal_module):
        monkeypatch.setattr(module, "time", driver.clock)
    yield driver
    driver.end()

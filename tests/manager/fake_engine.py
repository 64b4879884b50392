"""A link to an engine without processes: a test says what the children do; the rings are real."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ptymux.core.model import OnFull, SpawnOptions, WindowSize
from ptymux.core.ring import RingBuffer
from ptymux.engine.engine import SpawnedPty
from ptymux.engine.reports import Closed, Exited, Output, Report, Suspended
from ptymux.errors import LinkClosedError, UnknownPtyError
from ptymux.link.interface import OnReport
from ptymux.posix.process import ExitStatus

__all__ = ["FakeChild", "FakeEngine"]

_NO_SUCH_PID = 1 << 22  # the kernel gives none above it


@dataclass
class FakeChild:
    """What a child is to an engine: a terminal that is read into a ring, and an end."""

    slot: int
    options: SpawnOptions
    env: Mapping[str, str]
    ring: RingBuffer
    size: WindowSize
    typed: bytearray = field(default_factory=bytearray)
    waiting: bytearray = field(default_factory=bytearray)  # written, and not read by the engine
    signals: list[int] = field(default_factory=list)
    lifelines: list[socket.socket] = field(default_factory=list)
    is_canonical: bool = False
    has_exited: bool = False
    is_closed: bool = False
    survives_close: bool = False  # as one does that is stuck in the kernel
    told: int = -1


class FakeEngine:
    """A `Link`. Reports are delivered in order, in a later turn of the loop."""

    keeps_ended = False

    def __init__(self) -> None:
        self.children: dict[int, FakeChild] = {}
        self.forgotten: list[int] = []
        self.cancelled: list[int] = []
        self.is_closed = False
        self.gate: asyncio.Event | None = None  # spawns wait until it is set
        self.failures: list[Exception] = []  # of the next spawns
        self.reports_first = False  # a spawn's reports overtake its answer
        self._on_report: OnReport | None = None

    # What a test says ------------------------------------------------------------------------

    def write(self, slot: int, data: bytes) -> None:
        """The child writes; the engine reads what the credit allows."""
        child = self.children[slot]
        child.waiting += data
        self._drain(child)

    def exit(
        self, slot: int, code: int | None = 0, signum: int | None = None, *, tail: bool = False
    ) -> None:
        """The child ends; with `tail` something else still holds the terminal."""
        child = self.children[slot]
        assert not child.has_exited
        child.has_exited = True
        self._report(Exited(slot, ExitStatus(code, signum, False), tail))
        if not tail and not child.is_closed:
            self.close_terminal(slot)

    def close_terminal(self, slot: int) -> None:
        """Nobody has the terminal open any more."""
        child = self.children[slot]
        assert not child.is_closed
        child.is_closed = True
        self._report(Closed(slot))
        for line in child.lifelines:
            self._end_lifeline(child, line)

    def suspend(self, slot: int, suspended: bool) -> None:
        self._report(Suspended(slot, suspended))

    # Link ------------------------------------------------------------------------------------

    def start(self, on_report: OnReport) -> None:
        self._on_report = on_report

    async def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> SpawnedPty:
        if self.gate is not None:
            await self.gate.wait()
        self._check()
        if self.failures:
            raise self.failures.pop(0)
        ring = RingBuffer(options.buffer_size)
        ring.wake_at = 1
        if options.on_full is OnFull.BLOCK:
            ring.limit = options.buffer_size
        self.children[slot] = FakeChild(slot, options, env, ring, options.size)
        if self.reports_first:
            self.write(slot, b"early")
            self.exit(slot, 3)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return SpawnedPty(_NO_SUCH_PID + slot, ring)

    def cancel_spawn(self, slot: int) -> None:
        """Note it."""
        self.cancelled.append(slot)

    async def open_lifeline(
        self, slot: int, *, echoes: bool = False, kept: Collection[int] = ()
    ) -> tuple[int, socket.socket]:
        assert not echoes  # nobody asks for it
        child = self._child(slot)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        child.lifelines.append(ours)
        asyncio.get_running_loop().add_reader(ours, self._type, child, ours)
        return 1, theirs

    async def resize(self, slot: int, size: WindowSize) -> None:
        self._child(slot).size = size

    async def signal_foreground(self, slot: int, signum: int) -> int:
        child = self._child(slot)
        if child.has_exited:
            raise UnknownPtyError(str(slot))
        child.signals.append(signum)
        return _NO_SUCH_PID + slot

    async def is_canonical(self, slot: int) -> bool:
        return self._child(slot).is_canonical

    async def close_pty(self, slot: int) -> None:
        child = self._child(slot)
        if not child.is_closed:
            self.close_terminal(slot)
        if not child.has_exited and not child.survives_close:
            self.exit(slot, None, signal.SIGHUP)

    def credit_raised(self, slot: int) -> None:
        self._check()
        if slot in self.children:
            self._drain(self.children[slot])

    def forget(self, slot: int) -> None:
        self._check()
        assert slot not in self.forgotten
        self.forgotten.append(slot)
        del self.children[slot]

    async def close(self) -> None:
        self.is_closed = True

    # How it does it --------------------------------------------------------------------------

    def _check(self) -> None:
        if self.is_closed:
            raise LinkClosedError("the engine is gone")

    def _child(self, slot: int) -> FakeChild:
        self._check()
        if slot not in self.children:
            raise UnknownPtyError(str(slot))
        return self.children[slot]

    def _drain(self, child: FakeChild) -> None:
        ring = child.ring
        while child.waiting and ring.total < ring.limit:
            size = min(len(child.waiting), ring.limit - ring.total, 4096)
            ring.write(child.waiting[:size])
            del child.waiting[:size]
        if ring.total >= ring.wake_at and ring.total != child.told:
            child.told = ring.total
            self._report(Output(child.slot))

    def _report(self, report: Report) -> None:
        assert self._on_report is not None
        asyncio.get_running_loop().call_soon(self._on_report, report)

    def _type(self, child: FakeChild, line: socket.socket) -> None:
        data = line.recv(4096)
        child.typed += data
        if not data:
            self._end_lifeline(child, line)

    def _end_lifeline(self, child: FakeChild, line: socket.socket) -> None:
        if line.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(line)
            line.send(len(child.typed).to_bytes(8, "little"), socket.MSG_NOSIGNAL)
            line.close()

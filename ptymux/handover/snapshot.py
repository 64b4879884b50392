"""What one process tells the other of a PTY that outlives it, with the fds that go with it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptymux.core.ring import RingBuffer
from ptymux.engine.reports import Closed, Exited, LifelineEnded, Report
from ptymux.handover.state_file import ChildProof
from ptymux.handover.wire import Message
from ptymux.posix.memory import map_ring_memory

__all__ = ["Greeting", "PtySnapshot", "SnapshotStore", "RestoredPty"]


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a keeper says of itself."""

    pid: int
    next_slot: int
    next_line: int
    replacements: int  # of the server
    bound: tuple[int, int]  # device and inode of the socket
    left: tuple[ChildProof, ...]  # children that a keeper before it left behind, and nobody claimed


@dataclass(frozen=True, slots=True)
class RestoredPty:
    """A PTY that was there before this server; `ring` is None for one that never ran."""

    slot: int
    ring: RingBuffer | None
    record: Mapping[str, Any]
    lines: tuple[int, ...]  # lifelines that are open
    is_exiting: bool  # its child is gone


@dataclass(frozen=True, slots=True)
class PtySnapshot:
    """One PTY: what is to be known of it, and the fds that it needs.

    `pty_fds` are its memfd, master and pidfd, -1 where one was closed; empty for a PTY that never
    ran. `lines` are the numbers and fds of the engine's ends of its open lifelines.
    """

    slot: int
    record: bytes  # JSON
    pty_fds: tuple[int, ...] = ()
    lines: tuple[tuple[int, int], ...] = ()
    is_exiting: bool = False  # its child is gone, whatever of its output is still to come

    @property
    def message(self) -> Message:
        """What carries it; the fds stay where they are."""
        return Message(self._body, self.record, self._fds)

    @property
    def _body(self) -> Mapping[str, Any]:
        return {
            "op": "slot",
            "slot": self.slot,
            "kept": [fd >= 0 for fd in self.pty_fds],
            "lines": [number for number, _fd in self.lines],
            "exiting": self.is_exiting,
        }

    @property
    def _fds(self) -> list[int]:
        return [fd for fd in (*self.pty_fds, *(fd for _number, fd in self.lines)) if fd >= 0]

    @classmethod
    def of(cls, message: Message) -> PtySnapshot:
        """Return what a message carries; its fds belong to the receiver."""
        body, fds = message.body, iter(message.fds)
        pty_fds = tuple(next(fds) if kept else -1 for kept in body["kept"])
        lines = tuple((number, next(fds)) for number in body["lines"])
        return cls(body["slot"], message.data, pty_fds, lines, body["exiting"])


class SnapshotStore:
    """What a server holds of its PTYs, for itself and for a keeper that is to take over.

    Per PTY: the record to be remembered, the fds as `PtySnapshot.pty_fds`, and the engine's ends of
    its lifelines.
    """

    def __init__(self) -> None:
        self._records: dict[int, bytes] = {}
        self._fds: dict[int, tuple[int, ...]] = {}
        self._lines: dict[int, dict[int, int]] = {}  # by slot and number
        self._ended_lines: dict[int, set[int]] = {}  # before their fds were held
        self._early: dict[int, list[Report]] = {}  # of PTYs whose fds are on their way

    def expect(self, slot: int) -> None:
        """Take notice of what ends of a PTY before its fds are held."""
        self._early[slot] = []

    def expect_no_more(self, slot: int) -> None:
        """No fds will come."""
        self._early.pop(slot, None)

    def remember(self, slot: int, record: bytes) -> None:
        """Keep what is to be known of a PTY."""
        self._records[slot] = record

    def hold(self, slot: int, fds: Sequence[int]) -> RingBuffer:
        """Take over the fds of a PTY and return its ring; nothing is kept when that fails.

        Raises:
            OutOfResourcesError: open files or memory.
            InvalidValueError: it is no ring.
        """
        ring = RingBuffer.attach(map_ring_memory(fds[0]))
        self._fds[slot] = tuple(fds)
        for report in self._early.pop(slot, ()):
            self.note(report)
        return ring

    def hold_line(self, slot: int, number: int, fd: int) -> None:
        """Take over the engine's end of a lifeline; -1, or one that has ended, is not kept."""
        ended = self._ended_lines.get(slot, set())
        if fd < 0 or number in ended:
            ended.discard(number)
            _close(fd)
        else:
            self._lines.setdefault(slot, {})[number] = fd

    def has_line(self, slot: int, number: int) -> bool:
        """Whether a lifeline is open."""
        return number in self._lines.get(slot, {})

    def note(self, report: Report) -> None:
        """Let go of what ended; the master not least, whose last holder hangs up."""
        if report.slot in self._early:
            self._early[report.slot].append(report)
            return
        match report:
            case LifelineEnded(slot, number):
                if self.has_line(slot, number):
                    _close(self._lines[slot].pop(number))
                elif slot in self._records:
                    self._ended_lines.setdefault(slot, set()).add(number)
            case Closed(slot):
                self._release(slot, 1)
            case Exited(slot):
                self._release(slot, 2)

    def _release(self, slot: int, which: int) -> None:
        fds = list(self._fds.get(slot, ()))
        if fds:
            _close(fds[which])
            fds[which] = -1
            self._fds[slot] = tuple(fds)

    def drop(self, slot: int) -> None:
        """Let go of a PTY."""
        self._records.pop(slot, None)
        self._early.pop(slot, None)
        self._ended_lines.pop(slot, None)
        for fd in (*self._fds.pop(slot, ()), *self._lines.pop(slot, {}).values()):
            _close(fd)

    def clear(self) -> None:
        """Let go of everything."""
        for slot in {*self._records, *self._fds, *self._lines, *self._ended_lines}:
            self.drop(slot)

    @property
    def has_live(self) -> bool:
        """Whether a terminal is open or a child has not ended."""
        return any(fd >= 0 for fds in self._fds.values() for fd in fds[1:])

    def children(self) -> dict[int, int]:
        """Return the pidfd of each child by its slot, -1 once it has ended."""
        return {slot: fds[2] for slot, fds in self._fds.items()}

    def snapshots(self) -> list[PtySnapshot]:
        """Return everything, oldest PTY first."""
        found = []
        for slot in sorted(self._records):
            fds = self._fds.get(slot, ())
            lines = tuple(self._lines.get(slot, {}).items())
            is_exiting = bool(fds) and fds[2] < 0
            found.append(PtySnapshot(slot, self._records[slot], fds, lines, is_exiting))
        return found


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)

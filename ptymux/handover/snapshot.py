"""The snapshot of a PTY, its state and its fds, that a handover passes to the next process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ptymux.core.ring import RingBuffer
from ptymux.engine.reports import Closed, Exited, LifelineEnded, Report
from ptymux.engine.terminal import PtyFds
from ptymux.handover.state_file import ChildProof
from ptymux.handover.wire import Message
from ptymux.posix.memory import map_ring_memory

__all__ = ["Greeting", "PtySnapshot", "SnapshotStore", "RestoredPty"]


@dataclass(frozen=True, slots=True)
class Greeting:
    """A keeper's first message to a server."""

    pid: int
    next_slot: int  # the lowest number for a new PTY
    next_line: int  # the lowest number for a new lifeline
    replacements: int  # how often the server was replaced
    bound: tuple[int, int]  # device and inode of the socket
    left: tuple[ChildProof, ...]  # children of an earlier keeper, which belong to no PTY now


@dataclass(frozen=True, slots=True)
class RestoredPty:
    """A PTY from before this server started; `ring` is None if its child never ran."""

    slot: int
    ring: RingBuffer | None
    record: Mapping[str, Any]  # the state that the server before stored
    lines: tuple[int, ...]  # numbers of the open lifelines
    is_exiting: bool  # its child has exited
    launch: bytes | None = None  # how it was started, if that is known


@dataclass(frozen=True, slots=True)
class PtySnapshot:
    """A PTY's state and its open fds, as they are passed to another process.

    `pty_fds` is None if its child never ran. `lines` has number and fd of the engine's end of each
    open lifeline.
    """

    slot: int
    record: bytes  # the server's state of the PTY, as JSON
    pty_fds: PtyFds | None = None
    lines: tuple[tuple[int, int], ...] = ()
    is_exiting: bool = False  # its child has exited; more of its output may still come

    @property
    def message(self) -> Message:
        """The snapshot as a message; the fds stay their owner's."""
        return Message(self._body, self.record, self._fds)

    @property
    def _body(self) -> Mapping[str, Any]:
        fds = self.pty_fds
        return {
            "op": "slot",
            "slot": self.slot,
            "kept": [fd is not None for fd in (fds.memfd, fds.master, fds.pidfd)] if fds else [],
            "lines": [number for number, _fd in self.lines],
            "exiting": self.is_exiting,
        }

    @property
    def _fds(self) -> list[int]:
        pty_fds = self.pty_fds.open if self.pty_fds else []
        return [*pty_fds, *(fd for _number, fd in self.lines)]

    @classmethod
    def of(cls, message: Message) -> PtySnapshot:
        """Return the snapshot in a message; its fds belong to the receiver."""
        body, fds = message.body, iter(message.fds)
        pty_fds = None
        if kept := body["kept"]:
            memfd, *rest = (next(fds) if is_open else None for is_open in kept)
            assert memfd is not None
            pty_fds = PtyFds(memfd, *rest)
        lines = tuple((number, next(fds)) for number in body["lines"])
        return cls(body["slot"], message.data, pty_fds, lines, body["exiting"])


class SnapshotStore:
    """The snapshots of all PTYs that a manager keeps, ready to be passed to a new keeper.

    For each PTY it has the record, and duplicates of its fds and of the engine's ends of its
    lifelines.
    """

    def __init__(self) -> None:
        self._records: dict[int, bytes] = {}
        self._launches: dict[int, bytes] = {}  # how each was started
        self._fds: dict[int, PtyFds] = {}
        self._lines: dict[int, dict[int, int]] = {}  # by slot and number
        self._ended_lines: dict[int, set[int]] = {}  # ended before their fds arrived
        self._early: dict[int, list[Report]] = {}  # reports of PTYs whose fds are on their way

    def expect(self, slot: int) -> None:
        """Keep the reports of a PTY until its fds arrive: a spawn is on its way."""
        self._early[slot] = []

    def expect_no_more(self, slot: int) -> None:
        """Forget the reports of a PTY whose spawn failed."""
        self._early.pop(slot, None)

    def remember(self, slot: int, record: bytes) -> None:
        """Keep the record of a PTY."""
        self._records[slot] = record

    def remember_launch(self, slot: int, launch: bytes) -> None:
        """Keep how a PTY was started."""
        self._launches[slot] = launch

    def launch(self, slot: int) -> bytes | None:
        """Return how a PTY was started, if that is known."""
        return self._launches.get(slot)

    def launch_messages(self) -> list[Message]:
        """Return the messages that have how PTYs were started, the oldest first."""
        known = sorted(self._launches.items())
        return [Message({"op": "launch", "slot": slot}, launch) for slot, launch in known]

    def amend(self, slot: int, facts: Mapping[str, Any]) -> None:
        """Add facts to the record of a PTY, which need not be there yet."""
        record = json.loads(self._records.get(slot, b"{}"))
        self._records[slot] = json.dumps({**record, **facts}).encode()

    def hold(self, slot: int, fds: PtyFds) -> RingBuffer:
        """Own the fds of a PTY from now on; return its ring. On failure nothing is kept.

        Raises:
            OutOfResourcesError: open files or memory.
            InvalidValueError: the memfd contains no ring.
        """
        ring = RingBuffer.attach(map_ring_memory(fds.memfd))
        self._fds[slot] = fds
        for report in self._early.pop(slot, ()):
            self.note(report)
        return ring

    def hold_line(self, slot: int, number: int, fd: int | None) -> None:
        """Own a duplicate of a lifeline's engine end; it is closed if the lifeline has ended.

        None: the lifeline had ended before its engine end could be duplicated.
        """
        ended = self._ended_lines.get(slot, set())
        if fd is None or number in ended:
            ended.discard(number)
            _close(fd)
        else:
            self._lines.setdefault(slot, {})[number] = fd

    def has_line(self, slot: int, number: int) -> bool:
        """Return whether a lifeline is open."""
        return number in self._lines.get(slot, {})

    def note(self, report: Report) -> None:
        """Close the fds of what has ended; a master's last close sends HUP to its processes."""
        if report.slot in self._early:
            self._early[report.slot].append(report)
            return
        match report:
            case LifelineEnded(slot, number):
                if self.has_line(slot, number):
                    _close(self._lines[slot].pop(number))
                elif slot in self._records:
                    self._ended_lines.setdefault(slot, set()).add(number)
            case Closed(slot) if fds := self._fds.get(slot):
                _close(fds.master)
                self._fds[slot] = replace(fds, master=None)
            case Exited(slot) if fds := self._fds.get(slot):
                _close(fds.pidfd)
                self._fds[slot] = replace(fds, pidfd=None)

    def drop(self, slot: int) -> None:
        """Forget a PTY and close its fds."""
        self._records.pop(slot, None)
        self._launches.pop(slot, None)
        self._early.pop(slot, None)
        self._ended_lines.pop(slot, None)
        fds = self._fds.pop(slot, None)
        for fd in (*(fds.open if fds else ()), *self._lines.pop(slot, {}).values()):
            _close(fd)

    def clear(self) -> None:
        """Forget all PTYs and close their fds."""
        for slot in {*self._records, *self._launches, *self._fds, *self._lines, *self._ended_lines}:
            self.drop(slot)

    @property
    def has_live(self) -> bool:
        """Whether any PTY has an open terminal or a living child."""
        return any(len(fds.open) > 1 for fds in self._fds.values())

    def master(self, slot: int) -> int | None:
        """Return the master of a PTY, which stays ours; None if it is closed or unknown."""
        fds = self._fds.get(slot)
        return None if fds is None else fds.master

    def children(self) -> dict[int, int | None]:
        """Return the pidfd of each PTY's child by slot; None if it has exited."""
        return {slot: fds.pidfd for slot, fds in self._fds.items()}

    def snapshots(self) -> list[PtySnapshot]:
        """Return the snapshots of all PTYs, the oldest first."""
        found = []
        for slot in sorted(self._records):
            fds = self._fds.get(slot)
            lines = tuple(self._lines.get(slot, {}).items())
            is_exiting = fds is not None and fds.pidfd is None
            found.append(PtySnapshot(slot, self._records[slot], fds, lines, is_exiting))
        return found


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)

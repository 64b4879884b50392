"""A keeper's table of PTYs: the engine's PTYs, and the records that servers store with them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ptymux.core.model import SpawnOptions
from ptymux.core.windows import Windows
from ptymux.engine.engine import Engine, SpawnedPty
from ptymux.engine.reports import Closed, Exited, Report, Suspended, report_as_json
from ptymux.engine.terminal import PtyFds
from ptymux.errors import BadDirectoryError, LimitReachedError
from ptymux.handover.snapshot import PtySnapshot
from ptymux.handover.state_file import ChildRecords
from ptymux.handover.wire import Message, options_from_json, unpack_strings
from ptymux.posix.caller import CallerWorld, world_of
from ptymux.posix.local_paths import LocalPaths
from ptymux.posix.process import start_time
from ptymux.posix.spawn import PtyPair
from ptymux.posix.tty import unlock_terminal

__all__ = ["PtyTable"]

SpawnAnswer = Callable[[Callable[[], tuple[dict[str, Any], PtyFds]]], None]


class PtyTable:
    """All PTYs of a keeper: its engine, and a server's record for each slot.

    A new server gets all of it as snapshots (`handover/snapshot.py`).
    """

    def __init__(self, state: ChildRecords, windows: Windows) -> None:
        self.engine = Engine(windows)
        self.state = state
        self._paths = LocalPaths()
        self._world: CallerWorld | None = None
        self._world_until = 0.0  # on time.monotonic
        self.next_slot = 1  # numbers are never reused, also not by the next server
        self._records: dict[int, bytes] = {}
        self._launches: dict[int, bytes] = {}  # how each was started, for `ptymux again`
        self._pids: dict[int, int] = {}  # of children that were not reaped
        self._in_engine: set[int] = set()  # slots; the others' children never ran
        self._suspended: set[int] = set()
        self._ended: dict[int, list[Report]] = {}  # sent to each new server, until forgotten

    @property
    def has_children(self) -> bool:
        """Whether any PTY's child has not ended."""
        return bool(self._pids)

    @property
    def pids(self) -> set[int]:
        """The pids of the children that the engine reaps."""
        return {*self._pids.values(), *self.engine.launching}

    @property
    def leaders(self) -> dict[int, int | None]:
        """Pid and start time of each child that lives or whose terminal is open."""
        found = {}
        for slot in self._in_engine:
            fds = self.engine.pty_fds(slot)
            if fds.master is not None or fds.pidfd is not None:
                facts = json.loads(self._records[slot])
                found[int(facts["pid"])] = facts.get("start_time")
        return found

    def spawn(
        self, body: Mapping[str, Any], message: Message, answer: SpawnAnswer
    ) -> tuple[dict[str, Any], PtyFds] | None:
        """Start a child as the request says; return the reply's values and its fds.

        If that may have to wait for a file system, or if the child has other limits or priorities
        than we have, or a limit below its fds, None is returned, and `answer` is called later
        with a function that returns or raises what would be returned or raised here.

        Raises:
            PtymuxError: as `Engine.spawn`, or there are too many children.
        """
        slot = body["slot"]
        self.next_slot = max(self.next_slot, slot + 1)
        if self.state.is_full:
            raise LimitReachedError("children", len(self._pids), "end some of them")
        words = unpack_strings(message.data)
        argc, envc = body["argc"], body["envc"]
        env = dict(word.partition("=")[::2] for word in words[argc : argc + envc])
        cwd = f"/proc/self/fd/{message.fds[0]}"
        pty = PtyPair(message.fds[1], body["slave"])
        numbers = body.get("pass_fds", ())  # older servers pass none
        others = message.fds[2 : len(message.fds) - len(numbers)]
        options = options_from_json(
            body["options"],
            words[:argc],
            cwd=cwd,
            stdin=others[0] if others else None,
            passed=dict(zip(numbers, message.fds[2 + len(others) :], strict=True)),
        )
        self.state.intend(slot, env.get("PTYMUX_ID", ""))
        with ExitStack() as undo:
            undo.callback(self.state.leave, slot)
            unlock_terminal(pty.master)  # from here on a child may come to be
            spawned = self._start(body, options, env, message.fds[0], pty, answer)
            undo.pop_all()
        return spawned

    def _start(
        self,
        body: Mapping[str, Any],
        options: SpawnOptions,
        env: Mapping[str, str],
        directory: int,
        pty: PtyPair,
        answer: SpawnAnswer,
    ) -> tuple[dict[str, Any], PtyFds] | None:
        slot, search_path = body["slot"], env.get("PATH", os.defpath)
        given = body.get("caller")
        world = None if given is None else CallerWorld.from_json(given)
        is_other = world is not None and world != self._own_world()
        is_low = _is_limit_below_fds(options)
        if is_other or is_low or self._paths.may_wait(options.argv, search_path, directory):
            self.engine.launch(
                slot,
                options,
                env,
                directory,
                pty,
                world if is_other else None,
                begin=lambda: self.state.enter(slot, os.getpid(), start_time(os.getpid())),
                on_end=lambda spawned: answer(lambda: self._enter_launched(slot, spawned)),
            )
            return None
        try:
            spawned = self.engine.spawn(slot, options, env, pty)
        except BadDirectoryError:
            path = os.readlink(f"/proc/self/fd/{directory}")
            raise BadDirectoryError(path, "it cannot be entered") from None
        return self._enter(slot, spawned)

    def _enter_launched(
        self, slot: int, spawned: Callable[[], SpawnedPty]
    ) -> tuple[dict[str, Any], PtyFds]:
        try:
            return self._enter(slot, spawned())
        except BaseException:
            self.state.leave(slot)
            raise

    def _own_world(self) -> CallerWorld | None:
        """Return our limits and priorities as of a second ago at most; somebody may change them."""
        now = time.monotonic()
        if now >= self._world_until:
            self._world, self._world_until = world_of(), now + 1.0
        return self._world

    def _enter(self, slot: int, spawned: SpawnedPty) -> tuple[dict[str, Any], PtyFds]:
        """Note a child that runs; return what a server is told of it."""
        self.state.enter(slot, spawned.pid, spawned.start_time)
        self._pids[slot] = spawned.pid
        self._in_engine.add(slot)
        spawned.ring.release()
        facts = {"pid": spawned.pid, "start_time": spawned.start_time}
        # The server stores a full record after this reply; it could be killed before.
        record = json.loads(self._records.get(slot, b"{}"))
        self._records[slot] = json.dumps({**record, **facts}).encode()
        return facts, self.engine.pty_fds(slot)

    def restore(self, snapshot: PtySnapshot) -> dict[int, int]:
        """Continue a PTY of a keeper that died; returns what `Engine.restore` does."""
        slot = snapshot.slot
        self._records[slot] = snapshot.record
        self.next_slot = max(self.next_slot, slot + 1)
        if snapshot.pty_fds is None:
            return {}
        lines = [(number, socket.socket(fileno=fd)) for number, fd in snapshot.lines]
        unknown = self.engine.restore(slot, snapshot.pty_fds, lines)
        self._in_engine.add(slot)
        if not snapshot.is_exiting:
            facts = json.loads(snapshot.record)
            self._pids[slot] = pid = facts.get("pid") or 0
            self.state.keep(slot, pid, facts.get("start_time"))
        return unknown

    def remember(self, slot: int, record: bytes) -> None:
        """Store the record of a PTY for the next server."""
        self._records[slot] = record
        self.next_slot = max(self.next_slot, slot + 1)

    def remember_launch(self, slot: int, launch: bytes) -> None:
        """Store how a PTY was started."""
        self._launches[slot] = launch

    def launch_message(self, slot: int) -> Message:
        """Return the message that has how a PTY was started."""
        return Message({"op": "launch", "slot": slot}, self._launches.get(slot, b""))

    def has_launch(self, slot: int) -> bool:
        """Return whether it is known how a PTY was started."""
        return slot in self._launches

    def forget(self, slot: int) -> None:
        """Remove a PTY and close its fds; an unknown slot is no error."""
        if slot in self._in_engine:
            self.engine.forget(slot)
            self._in_engine.discard(slot)
        self.state.leave(slot)
        self._suspended.discard(slot)
        for known in (self._records, self._launches, self._pids, self._ended):
            known.pop(slot, None)

    def abandon(self, slot: int) -> None:
        """Kill a child whose spawn could not be reported; it is reaped as an orphan is."""
        if slot in self._pids:
            pidfd = self.engine.pty_fds(slot).pidfd
            if pidfd is not None:
                with contextlib.suppress(OSError):  # it has ended
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        self.forget(slot)

    @property
    def slots(self) -> list[int]:
        """The slots of all PTYs."""
        return list(self._records)

    def snapshot(self, slot: int) -> PtySnapshot:
        """Return the snapshot of a PTY for a new server."""
        record = self._records[slot]
        if slot not in self._in_engine:
            return PtySnapshot(slot, record)
        pty_fds, lines = self.engine.pty_fds(slot), self.engine.lifelines(slot)
        exiting = self.engine.is_exiting(slot)
        return PtySnapshot(slot, record, pty_fds, tuple(lines), exiting)

    def past_reports(self) -> Iterator[Report]:
        """Return reports that a new server has not seen, and an old one perhaps not."""
        for slot in self._pids:
            yield Suspended(slot, slot in self._suspended)
        for reports in self._ended.values():
            yield from reports

    def note(self, reports: Sequence[Report]) -> list[list[Any]]:
        """Record the engine's reports; return them as JSON for the server."""
        sent = []
        for report in reports:
            if report.slot in self._records:  # else the PTY was removed meanwhile
                self._note(report)
                sent.append(report_as_json(report))
        return sent

    def _note(self, report: Report) -> None:
        slot = report.slot
        match report:
            case Exited():
                self._pids.pop(slot, None)
                self._suspended.discard(slot)
                self.state.leave(slot)
                self._remember_end(report)
            case Closed():
                self._remember_end(report)
            case Suspended():
                (self._suspended.add if report.suspended else self._suspended.discard)(slot)

    def _remember_end(self, report: Report) -> None:
        known = self._ended.setdefault(report.slot, [])
        if report not in known:
            known.append(report)

    def close(self) -> None:
        """Close the fds of all PTYs."""
        self._paths.close()
        self.engine.close()


def _is_limit_below_fds(options: SpawnOptions) -> bool:
    """Whether the child's own limit is too low to make its fds under; see `process_limits`."""
    fds = (options.stdin_fd or 0, *options.pass_fds, *options.pass_fds.values())
    return options.nofile is not None and options.nofile <= max(fds)

"""Ends the whole session of a PTY, in a task that follows a plan of `core/escalation.py`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Generic, TypeVar

from ptymux.core.escalation import (
    GIVE_UP_SECONDS,
    Escalation,
    Outcome,
    SignalEnvelope,
)
from ptymux.core.event_log import Topic
from ptymux.core.model import CorrelationId, PtyId
from ptymux.core.windows import Windows
from ptymux.engine.session_end import perform
from ptymux.errors import OutOfResourcesError, ProcessGoneError, PtymuxError
from ptymux.link.interface import Link
from ptymux.manager.managed_pty import ManagedPty
from ptymux.manager.publisher import Json
from ptymux.posix.process import (
    ProcessId,
    SessionMember,
    escaped_descendants,
    open_pidfd,
    send,
    session_scan,
)

__all__ = ["Termination", "Terminations"]

_log = logging.getLogger("ptymux")

_RETRY_SECONDS: Final = 0.1  # after a scan for which there were no open files
_SPACING_SECONDS: Final = 0.005  # between two scans, so that those who ask meanwhile share one

T = TypeVar("T")


class _SharedScan(Generic[T]):
    """One scan for all that ask before it begins."""

    def __init__(self, look: Callable[[Collection[int]], Mapping[int, tuple[T, ...]]]) -> None:
        self._look = look
        self._wanted: set[int] = set()
        self._next: asyncio.Task[Mapping[int, tuple[T, ...]]] | None = None
        self._last = float("-inf")

    async def ask(self, sid: int) -> tuple[T, ...]:
        """Return what a scan that begins after the call finds for `sid`."""
        self._wanted.add(sid)
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return (await asyncio.shield(self._next)).get(sid, ())

    async def _run(self) -> Mapping[int, tuple[T, ...]]:
        await asyncio.sleep(self._last + _SPACING_SECONDS - time.monotonic())
        wanted, self._wanted, self._next = self._wanted, set(), None
        try:
            return self._look(wanted)
        finally:
            self._last = time.monotonic()


class SessionScanner:
    """Scans /proc for the processes of sessions; one scan serves many PTYs that end at once."""

    def __init__(self) -> None:
        self._members = _SharedScan(session_scan)
        self._escaped = _SharedScan(escaped_descendants)

    async def members(self, sid: int) -> tuple[SessionMember, ...]:
        """Return the session's living processes.

        Raises:
            OutOfResourcesError: no more open files.
        """
        return await self._members.ask(sid)

    async def escaped(self, sid: int) -> tuple[int, ...]:
        """Return the pids of a session's descendants that left it, by setsid for example.

        Limit: they are found through their living ancestors, so ask before you signal those.

        Raises:
            OutOfResourcesError: no more open files.
        """
        return tuple(process.pid for process in await self._escaped.ask(sid))


class Termination:
    """The task that ends one PTY; asking again with a shorter grace shortens it.

    The grace begins once the spawn is over.
    """

    def __init__(
        self,
        pty: ManagedPty,
        link: Link,
        scanner: SessionScanner,
        grace_seconds: float,
        cause: CorrelationId,
        windows: Windows,
        *,
        timed_out: bool = False,
    ) -> None:
        self._pty = pty
        self._timed_out = timed_out
        self._link = link
        self._scanner = scanner
        self._grace_seconds = grace_seconds
        self._cause = cause
        self._windows = windows
        self._plan: Escalation[ProcessId] | None = None
        self._changed = asyncio.Event()
        self._pidfds: dict[ProcessId, int] = {}
        self._noted: set[tuple[ProcessId, int, Outcome]] = set()
        self._failures: dict[ProcessId, str] = {}
        self._published_kill = False
        self.is_patient = True  # it waits for a consumer that must lose nothing
        self.task = asyncio.create_task(self._run())

    def shorten(self, grace_seconds: float) -> None:
        """End the grace earlier."""
        if self._plan is None:
            self._grace_seconds = min(self._grace_seconds, grace_seconds)
        else:
            self._plan.shorten(time.monotonic(), grace_seconds)
            self._changed.set()

    async def _run(self) -> None:
        pty = self._pty
        await self._settle()
        if pty.is_gone:
            return
        if not pty.end.is_terminating:  # else the server before this one published it
            pty.end.begin_termination(self._cause)
            timed_out = self._timed_out and not pty.has_exited
            payload: dict[str, Json] = {
                "grace_seconds": self._grace_seconds,
                "timed_out": timed_out,
            }
            pty.publish(Topic.TERMINATING, payload, self._cause)
            if timed_out:
                pty.update(timed_out=True)
            pty.note_change()
        self._plan = Escalation(time.monotonic(), self._grace_seconds)
        try:
            await self._end_session(self._plan)
        finally:
            self._close_pidfds(list(self._pidfds))
        await self._end_terminal()

    async def _settle(self) -> None:
        """Wait until the spawn is over; one that waits for a file system is given up soon."""
        settled = self._pty.milestones.settled
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(settled.wait(), self._windows.kill_launch)
        if not settled.is_set():
            self._link.cancel_spawn(self._pty.slot)
        await settled.wait()

    async def _end_session(self, plan: Escalation[ProcessId]) -> None:
        sid = self._pty.record.pid
        assert sid is not None
        with contextlib.suppress(OutOfResourcesError):
            self._pty.end.escaped = await self._scanner.escaped(sid)
        blind_until = time.monotonic() + self._grace_seconds + GIVE_UP_SECONDS
        seconds: float | None = 0.0
        while seconds is not None:
            self._changed.clear()
            try:
                members = self._pty.own(await self._scanner.members(sid))
            except OutOfResourcesError as error:
                if time.monotonic() > blind_until:
                    await self._give_up(str(error), [])
                    return
                await asyncio.sleep(_RETRY_SECONDS)  # until there are open files again
                continue
            self._watch(members)
            # The leader first: else a shell sees its child die and runs the next command.
            leader_first = sorted(members, key=lambda member: member.pid != sid)
            seconds = perform(plan, leader_first, self._deliver)
            if seconds is not None:
                await self._wait(seconds)
        if plan.left:
            reason = "processes outlived a second of KILL; closed by force"
            self._pty.end.left = {
                process.pid: self._failures.get(process, "it does not react to KILL")
                for process in plan.left
            }
            await self._give_up(reason, [process.pid for process in plan.left])

    async def _wait(self, seconds: float) -> None:
        """Return when a process ended, when the grace was shortened, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def _end_terminal(self) -> None:
        """Return once the terminal is closed: by the engine, or by force when that takes long.

        A paused one may take as long as the engine waits for its consumer.
        """
        gone = self._pty.milestones.gone
        patience = time.monotonic() + self._windows.paused_end
        while not gone.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), self._windows.close)
            is_awaited = self.is_patient and self._pty.awaits_consumer
            if not is_awaited or time.monotonic() > patience:
                break
        if not gone.is_set():
            await self._link.close_pty(self._pty.slot)
            await gone.wait()

    async def _give_up(self, reason: str, left: list[int]) -> None:
        self._pty.publish_error(reason, left=left)
        await self._link.close_pty(self._pty.slot)

    def _deliver(self, process: ProcessId, signum: int) -> None:
        outcome, error = Outcome.DELIVERED, None
        if signum == signal.SIGKILL and self._grace_seconds > 0:
            outcome = Outcome.ESCALATED
        if signum == signal.SIGKILL and not self._published_kill:
            self._published_kill = True
            payload = {"grace_seconds": self._grace_seconds}
            self._pty.publish(Topic.FORCE_KILLED, payload, self._cause)
        try:
            send(process, signum)
        except ProcessGoneError:
            return  # it ended by itself, or by the signal before
        except PtymuxError as failure:
            outcome, error = Outcome.FAILED, str(failure)
            self._failures[process] = error
        self._note(process, signum, outcome, error)

    def _note(self, process: ProcessId, signum: int, outcome: Outcome, error: str | None) -> None:
        """Keep a delivery and publish it; KILL is sent again and again, and noted once."""
        if (process, signum, outcome) not in self._noted:
            self._noted.add((process, signum, outcome))
            pty = self._pty
            at = time.time()
            envelope = SignalEnvelope(pty.pty_id, process.pid, signum, at, outcome, error)
            pty.note(envelope, self._cause)

    def _watch(self, members: Iterable[SessionMember]) -> None:
        """Have the loop call `_on_end` when one of these processes ends."""
        wanted = {ProcessId(member.pid, member.start_time) for member in members}
        self._close_pidfds([process for process in self._pidfds if process not in wanted])
        loop = asyncio.get_running_loop()
        for process in wanted - self._pidfds.keys():
            with contextlib.suppress(OutOfResourcesError):  # the plan's own pace will do
                pidfd = open_pidfd(process.pid, process.start_time)
                if pidfd is not None:
                    self._pidfds[process] = pidfd
                    loop.add_reader(pidfd, self._on_end, process)

    def _on_end(self, process: ProcessId) -> None:
        self._close_pidfds([process])
        self._changed.set()

    def _close_pidfds(self, processes: Iterable[ProcessId]) -> None:
        for process in processes:
            pidfd = self._pidfds.pop(process, None)
            if pidfd is not None:
                asyncio.get_running_loop().remove_reader(pidfd)
                os.close(pidfd)


class Terminations:
    """The terminations in progress, one for each PTY."""

    def __init__(self, link: Link, windows: Windows) -> None:
        self._link = link
        self._windows = windows
        self._scanner = SessionScanner()
        self._running: dict[PtyId, Termination] = {}

    def of(self, pty: ManagedPty) -> Termination | None:
        """Return the termination of a PTY that is under way."""
        return self._running.get(pty.pty_id)

    def begin(
        self,
        pty: ManagedPty,
        grace_seconds: float,
        cause: CorrelationId,
        *,
        timed_out: bool = False,
    ) -> Termination:
        """Begin to end a PTY, once its spawn is over; `timed_out`: as it has run for too long."""
        termination = Termination(
            pty,
            self._link,
            self._scanner,
            grace_seconds,
            cause,
            self._windows,
            timed_out=timed_out,
        )
        self._running[pty.pty_id] = termination
        termination.task.add_done_callback(lambda _task: self._running.pop(pty.pty_id))
        return termination

    def shorten(self, grace_seconds: float) -> None:
        """End every grace earlier."""
        for termination in self._running.values():
            termination.shorten(grace_seconds)

    async def finish(self) -> None:
        """Return once all are over; they wait for no consumer any more."""
        running = list(self._running.values())
        for termination in running:
            termination.is_patient = False
        tasks = [termination.task for termination in running]
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                _log.error("a PTY could not be ended: %s", result)

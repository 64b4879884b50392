"""Ends a PTY's whole session: performs the plan of `core.escalation` on real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable
from typing import Final

from ptymux.core.escalation import (
    Action,
    Escalation,
    GiveUp,
    Outcome,
    Send,
    SignalEnvelope,
)
from ptymux.core.events import Topic
from ptymux.errors import OutOfResourcesError, ProcessGoneError, PtymuxError
from ptymux.keeper.link import Link
from ptymux.manager.pty import ManagedPty
from ptymux.posix.process import (
    ProcessId,
    SessionMember,
    open_pidfd,
    send,
    session_scan,
    tree_escaped,
)

__all__ = ["SessionScanner", "Termination"]

_SCAN_SPACING_SECONDS: Final = 0.005  # so that many terminations at once share their scans
_CLOSE_SECONDS: Final = 1.5  # for the engine to close the terminal once the session is gone


class SessionScanner:
    """Looks for the processes of many sessions with one scan of /proc."""

    def __init__(self) -> None:
        self._wanted: set[int] = set()
        self._scan: asyncio.Task[dict[int, tuple[SessionMember, ...]]] | None = None
        self._last = float("-inf")

    async def members(self, sid: int) -> tuple[SessionMember, ...]:
        """Return the session's living processes, as of a scan that begins after the call."""
        self._wanted.add(sid)
        if self._scan is None:
            self._scan = asyncio.create_task(self._run())
        return (await asyncio.shield(self._scan)).get(sid, ())

    async def _run(self) -> dict[int, tuple[SessionMember, ...]]:
        await asyncio.sleep(self._last + _SCAN_SPACING_SECONDS - time.monotonic())
        wanted, self._wanted, self._scan = self._wanted, set(), None
        found = session_scan(wanted)
        self._last = time.monotonic()
        return found


class Termination:
    """One PTY's end; asking again with a shorter grace shortens it."""

    def __init__(
        self, pty: ManagedPty, link: Link, scanner: SessionScanner, grace_seconds: float
    ) -> None:
        self._pty = pty
        self._link = link
        self._scanner = scanner
        self._grace_seconds = grace_seconds
        self._plan: Escalation[ProcessId] = Escalation(time.monotonic(), grace_seconds)
        self._changed = asyncio.Event()
        self._pidfds: dict[ProcessId, int] = {}
        self._told_kill = False
        self.task = asyncio.create_task(self._run())

    def shorten(self, grace_seconds: float) -> None:
        """End the grace earlier."""
        self._plan.shorten(time.monotonic(), grace_seconds)
        self._changed.set()

    async def _run(self) -> None:
        pty = self._pty
        await pty.settled.wait()
        if pty.gone.is_set():
            return
        pty.terminating = True
        pty.tell(Topic.TERMINATING, {"grace_seconds": self._grace_seconds})
        try:
            await self._end_session()
        finally:
            self._close_pidfds(list(self._pidfds))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pty.gone.wait(), _CLOSE_SECONDS)
        if not pty.gone.is_set():
            await self._link.close_pty(pty.slot)
            await pty.gone.wait()

    async def _end_session(self) -> None:
        sid = self._pty.record.pid
        assert sid is not None
        self._pty.escaped = tuple(member.pid for member in tree_escaped(sid))
        while True:
            members = await self._scanner.members(sid)
            self._changed.clear()
            alive = {ProcessId(member.pid, member.start_time): member for member in members}
            ignoring = {process for process, member in alive.items() if member.ignores_term}
            self._watch(alive)
            for action in self._plan.step(time.monotonic(), set(alive), ignoring):
                await self._perform(action)
            if self._plan.is_over:
                return
            await self._wait()

    async def _wait(self) -> None:
        """Return when a process ended, the grace was shortened, or the plan wants a look."""
        now = time.monotonic()
        deadline = self._plan.deadline(now)
        assert deadline is not None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), deadline - now)

    async def _perform(self, action: Action[ProcessId]) -> None:
        if isinstance(action, Send):
            self._send(action.process, action.signal)
        elif isinstance(action, GiveUp):
            self._pty.tell(
                Topic.ERROR,
                {
                    "error": "processes outlived a second of KILL; closed by force",
                    "left": [process.pid for process in action.left],
                },
            )
            await self._link.close_pty(self._pty.slot)

    def _send(self, process: ProcessId, signum: int) -> None:
        outcome, error = Outcome.DELIVERED, None
        if signum == signal.SIGKILL and self._grace_seconds > 0:
            outcome = Outcome.ESCALATED
        if signum == signal.SIGKILL and not self._told_kill:
            self._told_kill = True
            self._pty.tell(Topic.FORCE_KILLED, {"grace_seconds": self._grace_seconds})
        try:
            send(process, signum)
        except ProcessGoneError:
            return  # a race with the end it was meant to bring
        except PtymuxError as failure:
            outcome, error = Outcome.FAILED, str(failure)
        self._pty.note(
            SignalEnvelope(self._pty.pty_id, process.pid, signum, time.time(), outcome, error)
        )

    def _watch(self, alive: Iterable[ProcessId]) -> None:
        """Have the loop tell when one of these processes ends."""
        wanted = set(alive)
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

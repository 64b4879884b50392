"""How the processes of a session are ended: step by step by a plan, or at once by a keeper.

`perform` takes one step of a plan (`core/escalation.py`) on real processes. It neither scans nor
waits, so that a manager can call it from a task and a keeper from a loop that blocks.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Protocol

from ptymux.core.escalation import Escalation, Send
from ptymux.core.windows import Windows
from ptymux.errors import PtymuxError
from ptymux.posix.process import (
    Identity,
    ProcessId,
    SessionMember,
    send,
    session_scan,
    start_time,
)
from ptymux.posix.tty import lock_terminal, terminal_session

__all__ = ["Target", "end_newborn", "end_sessions", "newborn", "perform", "send_if_possible"]

_NEWBORN_LOOKS: Final = 3
_NEWBORN_LOOK_SECONDS: Final = 0.002
_NEWBORN_SCANS: Final = 10
_NEWBORN_SCAN_SECONDS: Final = 0.01


class Target(Identity, Protocol):
    """A living process that is to be ended, as a scan found it."""

    @property
    def ignores_term(self) -> bool:
        """Whether it ignored TERM then, as interactive shells do."""
        ...


def send_if_possible(process: Identity, signum: int) -> None:
    """Signal exactly that process, unless it is gone or belongs to another user."""
    with contextlib.suppress(PtymuxError):
        send(process, signum)


def perform(
    plan: Escalation[ProcessId],
    alive: Iterable[Target],
    deliver: Callable[[ProcessId, int], None] = send_if_possible,
) -> float | None:
    """Take one step of `plan`; return the seconds until the next one, None once the plan is over.

    `alive` are the session's processes as just scanned, in the order in which they are to be
    signalled. `deliver` is called with each process and signal that the plan wants sent.
    """
    targets = {ProcessId(each.pid, each.start_time): each for each in alive}
    ignoring = {process for process, each in targets.items() if each.ignores_term}
    for action in plan.step(time.monotonic(), targets.keys(), ignoring):
        if isinstance(action, Send):
            deliver(action.process, action.signal)
    now = time.monotonic()
    deadline = plan.deadline(now)
    return None if deadline is None else deadline - now


def end_sessions(
    leaders: Mapping[int, int | None],
    close_terminals: Callable[[], None],
    windows: Windows,
) -> None:
    """Return once nothing of these sessions is alive, or a second after KILL was sent.

    `leaders` maps the pid of each session's leader to its start time, where that is known. The
    sessions get HUP and CONT and their terminals are closed, as if a terminal window was closed.
    Whatever is left a moment later gets TERM, and KILL after the grace. This blocks.
    """
    if not leaders:
        close_terminals()
        return
    members = _members(leaders)
    for signum in (signal.SIGHUP, signal.SIGCONT):
        for member in members:
            send_if_possible(member, signum)
    close_terminals()
    until = time.monotonic() + windows.hangup
    while _members(leaders):
        if time.monotonic() >= until:
            _escalate(leaders, windows)
            return
        time.sleep(windows.scan)


def _escalate(leaders: Mapping[int, int | None], windows: Windows) -> None:
    plan: Escalation[ProcessId] = Escalation(time.monotonic(), windows.grace)
    while (seconds := perform(plan, _members(leaders))) is not None:
        # Nobody wakes us when a process ends, so look more often than the plan needs.
        time.sleep(min(seconds, windows.scan))


def newborn(master: int) -> int | None:
    """Return the pid of what a keeper has started on this terminal before it died.

    None: there is nothing, or not any more. The terminal is locked first, so that a child that has
    not opened it yet fails to, and ends by itself.
    """
    lock_terminal(master)
    for _ in range(_NEWBORN_LOOKS):  # one may be opening it now
        leader = terminal_session(master)
        if leader is not None:
            return leader
        time.sleep(_NEWBORN_LOOK_SECONDS)
    return None


def end_newborn(master: int) -> None:
    """Kill what `newborn` finds, with its jobs."""
    leader = newborn(master)
    if leader is None:
        return
    for _ in range(_NEWBORN_SCANS):  # one scan may miss what is forked meanwhile
        members = _members({leader: start_time(leader)})
        for member in members:
            send_if_possible(member, signal.SIGKILL)
        if not members:
            return
        time.sleep(_NEWBORN_SCAN_SECONDS)


def _members(leaders: Mapping[int, int | None]) -> Collection[SessionMember]:
    """Return the living processes of the sessions, without those of a new one with an old id.

    The kernel gives a pid to nobody else while a session is named after it. So if the process with
    that pid has another start time, it leads a new session.
    """
    try:
        sessions = session_scan(leaders)
    except PtymuxError:  # no open files; whoever has them is about to end, too
        return ()
    return [
        member
        for sid, members in sessions.items()
        if not any(m.pid == sid and leaders[sid] not in (None, m.start_time) for m in members)
        for member in members
    ]

"""Ends whole sessions when nobody is left who could ask for it more gently.

What a terminal does that is closed, then the plan of `core.escalation`. It blocks and scans /proc,
as there is nothing else to do any more.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from ptymux.core.escalation import Escalation, Send
from ptymux.errors import PtymuxError
from ptymux.posix.process import ProcessId, SessionMember, send, session_scan, start_time
from ptymux.posix.tty import lock_terminal, terminal_session

__all__ = ["GRACE_SECONDS", "HANGUP_SECONDS", "end_newborn", "end_sessions"]

HANGUP_SECONDS: Final = 0.3  # for what cleans up at HUP; a TERM would end it then
GRACE_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 0.01
_NEWBORN_SCANS: Final = 10


def end_sessions(leaders: Mapping[int, int | None], close_terminals: Callable[[], None]) -> None:
    """Return once nothing of these sessions is alive, or a second after it was killed.

    `leaders` are pids and start times, when known. HUP and CONT, and the terminals are closed; a
    moment later TERM, and KILL after the grace.
    """
    if not leaders:
        close_terminals()
        return
    members = _members(leaders)
    for signum in (signal.SIGHUP, signal.SIGCONT):
        for member in members:
            _send(member, signum)
    close_terminals()
    until = time.monotonic() + HANGUP_SECONDS
    while _members(leaders):
        if time.monotonic() >= until:
            _escalate(leaders)
            return
        time.sleep(_STEP_SECONDS)


def end_newborn(master: int) -> None:
    """Kill what a keeper started on this terminal and died before it told anybody of.

    Nothing can open the terminal afterwards, so that what had not come so far ends by itself.
    """
    lock_terminal(master)
    leader = terminal_session(master)
    if leader is None:
        return
    for _ in range(_NEWBORN_SCANS):  # what forks meanwhile may be missing in one
        members = _members({leader: start_time(leader)})
        for member in members:
            _send(member, signal.SIGKILL)
        if not members:
            return
        time.sleep(_STEP_SECONDS)


def _escalate(leaders: Mapping[int, int | None]) -> None:
    plan: Escalation[ProcessId] = Escalation(time.monotonic(), GRACE_SECONDS)
    while not plan.is_over:
        members = _members(leaders)
        alive = {ProcessId(member.pid, member.start_time) for member in members}
        ignoring = {ProcessId(m.pid, m.start_time) for m in members if m.ignores_term}
        for action in plan.step(time.monotonic(), alive, ignoring):
            if isinstance(action, Send):
                _send(action.process, action.signal)
        if alive:
            time.sleep(_STEP_SECONDS)


def _members(leaders: Mapping[int, int | None]) -> Collection[SessionMember]:
    """Return the living processes of the sessions, those of a new one with an old id left out.

    A pid is not given out again while a session is named after it; so who has it and another start
    time leads a new one.
    """
    try:
        sessions = session_scan(leaders)
    except PtymuxError:  # no open files; but who shares them with us is gone soon
        return ()
    return [
        member
        for sid, members in sessions.items()
        if not any(m.pid == sid and leaders[sid] not in (None, m.start_time) for m in members)
        for member in members
    ]


def _send(process: ProcessId | SessionMember, signum: int) -> None:
    with contextlib.suppress(PtymuxError):  # gone meanwhile, or somebody else's
        send(process, signum)

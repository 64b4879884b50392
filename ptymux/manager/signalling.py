"""Delivers signals to a PTY's processes, and keeps a record, an envelope, of each delivery."""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
import time
from typing import Final, NamedTuple

from ptymux.core.escalation import Outcome, SignalEnvelope, parse_signal
from ptymux.core.model import CorrelationId, OnFull
from ptymux.errors import PtymuxError
from ptymux.link.interface import Link
from ptymux.manager.managed_pty import ManagedPty
from ptymux.posix.process import FOREGROUND_SIGNALS, group_members, send, session_members

__all__ = ["deliver", "hang_up"]


_CONTINUED: Final = frozenset((signals.SIGTERM, signals.SIGHUP))


class _Attempt(NamedTuple):
    """One process, or for a key's signal one group, that a signal was sent to."""

    pid: int  # 0 if nobody knows which
    error: str | None = None  # why it could not be delivered


async def deliver(
    link: Link, pty: ManagedPty, signal: int | str, *, session: bool, cause: CorrelationId
) -> tuple[SignalEnvelope, ...]:
    """Send a signal; keep, publish and return the envelope of each delivery.

    INT, QUIT and TSTP go to the terminal's foreground group, others to the processes of the
    leader's group; with `session` to every process of the session. After TERM and HUP those that
    are stopped get CONT, so that they act upon it.

    Raises:
        UnknownSignalError: there is no such signal.
    """
    number = parse_signal(signal)
    pid = pty.record.pid
    attempts: list[_Attempt]
    if not pty.is_live or pid is None:
        attempts = [_Attempt(pid or 0, f"the PTY is {pty.state.value}")]
    else:
        take_back = pty.end.ask(number, cause)  # first: its end may be reported at any moment
        if number in FOREGROUND_SIGNALS and not session:
            attempts = [await _to_foreground(link, pty, number)]
        else:
            attempts = _to_processes(pty, pid, number, session=session)
        if all(attempt.error for attempt in attempts):
            take_back()
    envelopes = tuple(_envelope(pty, number, attempt) for attempt in attempts)
    for envelope in envelopes:
        pty.note(envelope, cause)
    return envelopes


async def hang_up(link: Link, pty: ManagedPty, cause: CorrelationId, hangup_seconds: float) -> None:
    """Send HUP and CONT to a PTY's session; return once the PTY is gone or the time is over."""
    pty.flow.set_on_full(OnFull.DROP)  # nobody is left who could read
    for signum in (signals.SIGHUP, signals.SIGCONT):
        await deliver(link, pty, signum, session=True, cause=cause)
    with contextlib.suppress(TimeoutError):
        seconds = min(hangup_seconds, pty.options.grace_seconds)
        await asyncio.wait_for(pty.milestones.gone.wait(), seconds)


def _envelope(pty: ManagedPty, number: int, attempt: _Attempt) -> SignalEnvelope:
    outcome = Outcome.FAILED if attempt.error else Outcome.DELIVERED
    return SignalEnvelope(pty.pty_id, attempt.pid, number, time.time(), outcome, attempt.error)


async def _to_foreground(link: Link, pty: ManagedPty, number: int) -> _Attempt:
    try:
        return _Attempt(await link.signal_foreground(pty.slot, number))
    except PtymuxError as error:
        return _Attempt(0, str(error))


def _to_processes(pty: ManagedPty, leader: int, number: int, *, session: bool) -> list[_Attempt]:
    try:
        members = pty.own(session_members(leader) if session else group_members(leader))
    except PtymuxError as error:
        return [_Attempt(leader, str(error))]
    attempts = []
    for member in members:
        try:
            send(member, number)
            attempts.append(_Attempt(member.pid))
            if number in _CONTINUED and member.state == "T":
                send(member, signals.SIGCONT)
        except PtymuxError as error:
            attempts.append(_Attempt(member.pid, str(error)))
    return attempts or [_Attempt(leader, "no process of it is alive")]

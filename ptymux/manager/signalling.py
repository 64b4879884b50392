"""Delivers signals to a PTY's processes, and keeps a record, an envelope, of each delivery."""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
import time
from typing import TypeAlias

from ptymux.core.escalation import Outcome, SignalEnvelope, parse_signal
from ptymux.core.model import CorrelationId, OnFull
from ptymux.errors import PtymuxError
from ptymux.link.interface import Link
from ptymux.manager.managed_pty import ManagedPty
from ptymux.posix.process import FOREGROUND_SIGNALS, group_members, send, session_members

__all__ = ["deliver", "hang_up"]

_Sent: TypeAlias = "list[tuple[int, str | None]]"  # to whom, and why it failed


async def deliver(
    link: Link, pty: ManagedPty, signal: int | str, *, session: bool, cause: CorrelationId
) -> tuple[SignalEnvelope, ...]:
    """Send a signal; keep, publish and return the envelope of each delivery.

    INT, QUIT and TSTP go to the terminal's foreground group, others to the processes of the
    leader's group; with `session` to every process of the session.

    Raises:
        UnknownSignalError: there is no such signal.
    """
    number = parse_signal(signal)
    pid = pty.record.pid
    sent: _Sent
    if not pty.is_live or pid is None:
        sent = [(pid or 0, f"the PTY is {pty.state.value}")]
    else:
        take_back = pty.end.ask(number, cause)  # first: its end may be reported at any moment
        if number in FOREGROUND_SIGNALS and not session:
            sent = [await _to_foreground(link, pty, number)]
        else:
            sent = _to_processes(pty, pid, number, session=session)
        if all(error for _pid, error in sent):
            take_back()
    envelopes = tuple(_envelope(pty, each, number, error) for each, error in sent)
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


def _envelope(pty: ManagedPty, pid: int, number: int, error: str | None) -> SignalEnvelope:
    outcome = Outcome.FAILED if error else Outcome.DELIVERED
    return SignalEnvelope(pty.pty_id, pid, number, time.time(), outcome, error)


async def _to_foreground(link: Link, pty: ManagedPty, number: int) -> tuple[int, str | None]:
    try:
        return await link.signal_foreground(pty.slot, number), None
    except PtymuxError as error:
        return 0, str(error)


def _to_processes(pty: ManagedPty, leader: int, number: int, *, session: bool) -> _Sent:
    try:
        members = pty.own(session_members(leader) if session else group_members(leader))
    except PtymuxError as error:
        return [(leader, str(error))]
    sent: _Sent = []
    for member in members:
        try:
            send(member, number)
            sent.append((member.pid, None))
        except PtymuxError as error:
            sent.append((member.pid, str(error)))
    return sent or [(leader, "no process of it is alive")]

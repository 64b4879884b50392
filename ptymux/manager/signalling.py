"""Delivers signals to a PTY's processes and makes an envelope of each delivery."""

from __future__ import annotations

import time

from ptymux.core.escalation import Outcome, SignalEnvelope, parse_signal
from ptymux.errors import PtymuxError
from ptymux.keeper.link import Link
from ptymux.manager.pty import ManagedPty
from ptymux.posix.process import FOREGROUND_SIGNALS, group_members, send, session_members

__all__ = ["deliver"]


async def deliver(
    link: Link, pty: ManagedPty, signal: int | str, *, session: bool
) -> tuple[SignalEnvelope, ...]:
    """Send a signal and return what became of each delivery; each is kept and published.

    INT, QUIT and TSTP go to the terminal's foreground group, others to the processes of the
    leader's group; with `session` to every process of the session.

    Raises:
        UnknownSignalError: there is no such signal.
    """
    number = parse_signal(signal)
    record = pty.record
    sent: list[tuple[int, str | None]]  # to whom, and why it failed
    if not pty.is_live or record.pid is None:
        sent = [(record.pid or 0, f"it is {pty.state.value}")]
    else:
        pty.asked_signals.add(number)
        if number in FOREGROUND_SIGNALS and not session:
            sent = [await _to_foreground(link, pty, number)]
        else:
            sent = _to_processes(record.pid, number, session=session)
    envelopes = tuple(
        SignalEnvelope(
            pty.pty_id,
            pid,
            number,
            time.time(),
            Outcome.FAILED if error else Outcome.DELIVERED,
            error,
        )
        for pid, error in sent
    )
    for envelope in envelopes:
        pty.note(envelope)
    return envelopes


async def _to_foreground(link: Link, pty: ManagedPty, number: int) -> tuple[int, str | None]:
    try:
        return await link.signal_foreground(pty.slot, number), None
    except PtymuxError as error:
        return 0, str(error)


def _to_processes(leader: int, number: int, *, session: bool) -> list[tuple[int, str | None]]:
    members = session_members(leader) if session else group_members(leader)
    sent: list[tuple[int, str | None]] = []
    for member in members:
        try:
            send(member, number)
            sent.append((member.pid, None))
        except PtymuxError as error:
            sent.append((member.pid, str(error)))
    return sent or [(leader, "no process of it is alive")]

"""Ends PTYs that have run for their timeout, and removes ended ones after their time to live."""

from __future__ import annotations

import asyncio
import logging

from ptymux.core.lifetime import next_look
from ptymux.errors import PtymuxError
from ptymux.manager.managed_pty import ManagedPty, PtyHost
from ptymux.manager.publisher import cause_of
from ptymux.manager.roster import Roster
from ptymux.manager.termination import Terminations

__all__ = ["Lifetimes"]

_log = logging.getLogger("ptymux")


class Lifetimes:
    """The one timer of a manager for the lifetimes of all its PTYs."""

    def __init__(self, roster: Roster, terminations: Terminations, host: PtyHost) -> None:
        self._roster = roster
        self._terminations = terminations
        self._host = host
        self._keeps_until = 0.0  # clients of a server before this one may still come to look
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def note_begun(self, pty: ManagedPty) -> None:
        """Note that a PTY's child runs."""
        if pty.lifetime.timeout_at is not None:
            self.look_soon()

    def note_gone(self, pty: ManagedPty) -> None:
        """Note that a PTY has ended and its terminal is closed."""
        if pty.lifetime.removal_at is not None:
            self.look_soon()

    def keep_all(self, seconds: float) -> None:
        """Remove nothing in the next `seconds`."""
        self._keeps_until = self._host.clock() + seconds

    def look_soon(self) -> None:
        """Look at all PTYs in the next turn of the event loop."""
        self._arm(0.0)

    def close(self) -> None:
        """End and remove nothing any more."""
        self._is_closed = True
        self._arm(None)

    def _arm(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        now = self._host.clock()
        for pty in self._roster:
            try:
                self._look_at(pty, now)
            except PtymuxError as error:  # what concerns one PTY must not hurt the others
                _log.error("PTY %s: at the end of its time: %s", pty.pty_id, error)
        times = [time for pty in self._roster for time in self._times_of(pty)]
        self._arm(next_look(times, now))

    def _look_at(self, pty: ManagedPty, now: float) -> None:
        timeout_at, removal_at = self._times_of(pty)
        if timeout_at is not None and now >= timeout_at:
            self._terminations.begin(pty, pty.options.grace_seconds, cause_of(None), timed_out=True)
        elif removal_at is not None and now >= removal_at:
            self._roster.remove(pty)

    def _times_of(self, pty: ManagedPty) -> tuple[float | None, float | None]:
        """Return when a PTY is to be ended and when to be removed, as far as that is up to us."""
        is_ending = pty.end.is_terminating or self._terminations.of(pty) is not None
        runs = pty.is_live and not pty.has_exited
        timeout_at = pty.lifetime.timeout_at if runs and not is_ending else None
        removal_at = pty.lifetime.removal_at
        is_up_to_us = pty.is_gone and not (pty.is_removed_at_end or pty.is_watched)
        if not is_up_to_us or removal_at is None:
            return timeout_at, None
        return timeout_at, max(removal_at, self._keeps_until)

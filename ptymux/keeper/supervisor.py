"""Has a server forked, and another when it ended: at once, or after a while when that goes on.

A server is known by a pidfd, with which it introduces itself on its end of the link; it gets
nothing from the keeper before that. Thus one that came too late, when another had been asked for,
finds the link closed and has served nobody.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Final

from ptymux.keeper.zygote_client import QUICK_SECONDS, Zygote, pause, receive_fds

__all__ = ["Supervisor", "log"]

_HOPELESS_FAILURES: Final = 5
_COME_SECONDS: Final = 2.0  # for a server to come; after each that did not, twice as long
_LONGEST_COME_SECONDS: Final = 30.0
_LEAVE_SECONDS: Final = 5.0  # for a server that hung up to be gone


class Supervisor:
    """Holds a pidfd of the server and decides when there is to be another."""

    def __init__(self, path: str) -> None:
        self.handle = -1  # a pidfd of the server; -1: there is none
        self.replacements = 0
        self.due: float | None = None  # on time.monotonic: when to do the next step
        self.zygote = Zygote(path)
        self._started = 0.0
        self._is_ready = False
        self._deaths = 0  # in a row, of servers that served, each soon after its start
        self._failures = 0  # in a row, to have one that serves

    @property
    def is_there(self) -> bool:
        """A server lives, whether or not it serves."""
        return self.handle >= 0

    @property
    def is_hopeless(self) -> bool:
        """No server came up, time and again."""
        return self._failures >= _HOPELESS_FAILURES

    def take_over(self, handle: int, replacements: int) -> None:
        """Look after a server that is there already, and serves; takes over its pidfd."""
        self.handle = handle
        self.replacements = replacements
        self._started = time.monotonic()
        self._is_ready = True

    def start(self, listener: socket.socket) -> socket.socket | None:
        """Ask for a server; return our end of the link on which it will come.

        None: later, at `due`.
        """
        self._started = time.monotonic()
        self._is_ready = False
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            self._note_failure()
            return None
        with theirs:
            try:
                self.zygote.fork_server(theirs, listener)
            except OSError:
                ours.close()
                self._note_failure()
                return None
        ours.setblocking(False)
        patience = _COME_SECONDS * float(1 << min(self._failures, 8))
        self.due = self._started + min(patience, _LONGEST_COME_SECONDS)
        return ours

    def meet(self, link: socket.socket) -> bool:
        """Take the pidfd with which a server introduces itself on this link; False: none came."""
        try:
            _word, fds = receive_fds(link, 1)
        except OSError:
            fds = []
        if not fds:
            self.note_absence()
            return False
        (self.handle,) = fds
        self.due = None
        return True

    def note_absence(self) -> None:
        """The server that was asked for did not come: have the next one of another zygote."""
        self.zygote.kill()  # what it has imported, or how it does, may be the cause
        self._note_failure()

    def note_ready(self) -> None:
        """The server serves."""
        self._is_ready = True
        self._failures = 0

    def note_hang_up(self) -> None:
        """The server closed the link and should be gone soon."""
        if self.is_there and self.due is None:
            self.due = time.monotonic() + _LEAVE_SECONDS

    def note_end(self) -> None:
        """The server has ended: another is due at once; where they keep dying, a little later."""
        os.close(self.handle)
        self.handle = -1
        self.replacements += 1
        if not self._is_ready:
            self.note_absence()
            return
        now = time.monotonic()
        self._deaths = self._deaths + 1 if now - self._started < QUICK_SECONDS else 0
        self.due = now + min(0.01 * max(0, self._deaths - 1), 0.25)

    def _note_failure(self) -> None:
        self._failures += 1
        self.due = time.monotonic() + pause(self._failures)

    def terminate(self) -> None:
        """Ask the server to end everything."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End a server that does not end."""
        self.due = None
        self._signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        if self.is_there:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, signum)


def log(text: str) -> None:
    """Write a line to stderr, which is the server's log file."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        os.write(2, f"{stamp} keeper: {text}\n".encode())

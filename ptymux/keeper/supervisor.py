"""Starts the server, and a replacement when it ends: at once, or later if servers keep dying.

A server is forked from the zygote. It introduces itself by sending its pidfd on its end of the
link, and gets nothing from the keeper before that. So a server that comes too late, when another
one was requested already, finds the link closed and has served nobody.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Final

from ptymux.core.windows import Windows
from ptymux.keeper.zygote_client import Zygote, pause, receive_fds

__all__ = ["Supervisor", "introduced", "log"]

_HOPELESS_FAILURES: Final = 5
_LONGEST_COME_SECONDS: Final = 30.0
_LEAVE_SECONDS: Final = 5.0  # for a server that closed the link to end


class Supervisor:
    """The keeper's view of its server: its pidfd, and when to start another."""

    def __init__(
        self, path: str, windows: Windows | None = None, zygote: Zygote | None = None
    ) -> None:
        """Look after the server at `path`; its zygote may have been started before."""
        self.pidfd = -1  # of the server; -1: there is none
        self.replacements = 0
        self.due: float | None = None  # on time.monotonic: when the keeper takes the next step
        self._windows = windows or Windows()
        self.zygote = zygote or Zygote(path, self._windows)
        self._started = 0.0
        self._is_ready = False
        self._deaths = 0  # in a row: servers that served, and died soon after their start
        self._failures = 0  # in a row: attempts that led to no server

    @property
    def is_there(self) -> bool:
        """Whether a server lives, ready or not."""
        return self.pidfd >= 0

    @property
    def is_hopeless(self) -> bool:
        """Whether so many attempts in a row have failed that no server can be expected."""
        return self._failures >= _HOPELESS_FAILURES

    def take_over(self, pidfd: int, replacements: int) -> None:
        """Look after a server that serves already; `pidfd` is ours from now on."""
        self.pidfd = pidfd
        self.replacements = replacements
        self._started = time.monotonic()
        self._is_ready = True

    def start(self, listener: socket.socket) -> socket.socket | None:
        """Request a server; return our end of the link on which it will introduce itself.

        None: it could not be requested; try again at `due`.
        """
        self._started = time.monotonic()
        self._is_ready = False
        try:
            ours = self.request(listener)
        except OSError:
            self._note_failure()
            return None
        patience = self._windows.come * float(1 << min(self._failures, 8))
        self.due = self._started + min(patience, _LONGEST_COME_SECONDS)
        return ours

    def request(self, listener: socket.socket) -> socket.socket:
        """Have a server forked; return our end of the link on which it will introduce itself.

        Raises:
            OSError: open files, processes or memory.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self.zygote.fork_server(theirs, listener)
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        return ours

    def accept(self, link: socket.socket) -> bool:
        """Take the pidfd that a server sends on this link; return whether one came."""
        pidfd = introduced(link)
        if pidfd is None:
            self.note_absence()
            return False
        self.pidfd = pidfd
        self.due = None
        return True

    def change_to(self, pidfd: int) -> None:
        """Look after the server that has taken over from the one before, which has ended."""
        os.close(self.pidfd)
        self.pidfd = pidfd
        self.replacements += 1
        self.due = None
        self._started = time.monotonic()
        self._is_ready = False

    def note_absence(self) -> None:
        """Record that the requested server did not come; the next is forked from a new zygote."""
        self.zygote.kill()  # the zygote, or the code that it has imported, may be the cause
        self._note_failure()

    def note_ready(self) -> None:
        """Record that the server serves."""
        self._is_ready = True
        self._failures = 0

    def note_hang_up(self) -> None:
        """Record that the server closed the link; it should end soon."""
        if self.is_there and self.due is None:
            self.due = time.monotonic() + _LEAVE_SECONDS

    def note_end(self) -> None:
        """Record that the server ended; the next is due at once, or later if they keep dying."""
        os.close(self.pidfd)
        self.pidfd = -1
        self.replacements += 1
        if not self._is_ready:
            self.note_absence()
            return
        now = time.monotonic()
        self._deaths = self._deaths + 1 if now - self._started < self._windows.quick else 0
        self.due = now + min(0.01 * max(0, self._deaths - 1), 0.25)

    def _note_failure(self) -> None:
        self._failures += 1
        self.due = time.monotonic() + pause(self._failures, self._windows.again)

    def terminate(self) -> None:
        """Send TERM to the server: it ends all PTYs and itself."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send KILL to the server, which did not end by itself."""
        self.due = None
        self._signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        if self.is_there:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signum)


def introduced(link: socket.socket) -> int | None:
    """Return the pidfd that a server has sent on this link, as all do first; None: none came."""
    try:
        _word, fds = receive_fds(link, 1)
    except OSError:
        return None
    return fds[0] if fds else None


def log(text: str) -> None:
    """Write a line to stderr, which is the server's log file."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        os.write(2, f"{stamp} keeper: {text}\n".encode())

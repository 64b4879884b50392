"""Starts a server, and another when it ended: at once, or after a while when that goes on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from typing import Final

__all__ = ["LINK_FD", "LISTENER_FD", "Supervisor", "log"]

LINK_FD: Final = 3  # in the server
LISTENER_FD: Final = 4

_FLAGS = "-ISE"  # of the interpreter: nothing from the user's environment or site
# asyncio does without ssl, which takes 15 of the 115 ms until a server has imported everything.
_SERVER: Final = "sys.modules['ssl'] = None; from ptymux.server.app import main; main()"
_QUICK_SECONDS: Final = 2.0  # a server that lived less died of something that is still there
_HOPELESS_DEATHS: Final = 5  # of servers that never became ready
_LEAVE_SECONDS: Final = 5.0  # for a server that hung up to be gone


class Supervisor:
    """Holds the pid of the server and decides when there is to be another."""

    def __init__(self, path: str) -> None:
        self.pid = 0  # of the server, our child; 0: there is none
        self.replacements = 0
        self.due: float | None = None  # on time.monotonic: when to call `start` or `kill`
        self._path = path
        self._started = 0.0
        self._is_ready = False
        self._deaths = 0  # in a row, each soon after the start

    @property
    def is_hopeless(self) -> bool:
        """No server came up, time and again."""
        return not self._is_ready and self._deaths >= _HOPELESS_DEATHS

    def adopt(self, pid: int, replacements: int) -> None:
        """Look after a server that is there already, and serves."""
        self.pid = pid
        self.replacements = replacements
        self._started = time.monotonic()
        self._is_ready = True

    def start(self, listener: socket.socket) -> socket.socket | None:
        """Start a server; return our end of the link to it, or None: later, at `due`."""
        self.due = None
        self._started = time.monotonic()
        self._is_ready = False
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            self._note_death()
            return None
        with theirs:
            try:
                self.pid = self._spawn(theirs, listener)
            except OSError:
                ours.close()
                self._note_death()
                return None
        ours.setblocking(False)
        return ours

    def _spawn(self, link: socket.socket, listener: socket.socket) -> int:
        code = f"import sys; sys.path.insert(0, {sys.path[0]!r}); {_SERVER}"
        with contextlib.ExitStack() as stack:
            # Above the numbers that they will have, so that neither overwrites the other.
            sources = []
            for sock in (link, listener):
                fd = fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, LISTENER_FD + 1)
                stack.callback(os.close, fd)
                sources.append(fd)
            return os.posix_spawn(
                sys.executable,
                [sys.executable, _FLAGS, "-c", code, self._path],
                dict(os.environ),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, sources[0], LINK_FD),
                    (os.POSIX_SPAWN_DUP2, sources[1], LISTENER_FD),
                ],
                setsigdef=(signal.SIGCHLD, signal.SIGTERM),
                setsigmask=(),
            )

    def note_ready(self) -> None:
        """The server serves."""
        self._is_ready = True

    def note_hang_up(self) -> None:
        """The server closed the link and should be gone soon."""
        if self.pid and self.due is None:
            self.due = time.monotonic() + _LEAVE_SECONDS

    def note_end(self) -> None:
        """The server was reaped."""
        self.pid = 0
        self.replacements += 1
        self._note_death()

    def _note_death(self) -> None:
        """Another is due at once; where they keep dying, later and later."""
        now = time.monotonic()
        self._deaths = self._deaths + 1 if now - self._started < _QUICK_SECONDS else 0
        if self._is_ready:
            delay = min(0.01 * max(0, self._deaths - 1), 0.25)
        else:
            delay = min(0.1 * 2 ** min(self._deaths, 8), 5.0) if self._deaths > 1 else 0.0
        self.due = now + delay

    def terminate(self) -> None:
        """Ask the server to end everything."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End a server that does not end."""
        self.due = None
        self._signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        if self.pid:  # our child, and not reaped, or watched: the pid is still its own
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)


def log(text: str) -> None:
    """Write a line to stderr, which is the server's log file."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        os.write(2, f"{stamp} keeper: {text}\n".encode())

"""A keeper's hold on the process that servers are forked from: see `server/zygote.py` for that one.

A request is one byte with two fds, the server's end of a link and the listener, and there is no
answer to it: the server that was forked says on its link who it is. Whatever becomes of the
request, nobody else has that end of the link, so that the link closes when no server comes.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from typing import Final

__all__ = ["CONTROL_FD", "QUICK_SECONDS", "Zygote", "pause", "receive_fds"]

CONTROL_FD: Final = 3  # in the zygote
QUICK_SECONDS: Final = 2.0  # who lived less died of something that is still there

_FLAGS = "-ISE"  # of the interpreter: nothing from the user's environment or site
# asyncio does without ssl, which takes 15 of the 115 ms until everything has been imported.
_ZYGOTE: Final = "sys.modules['ssl'] = None; from ptymux.server.zygote import main; main()"


def pause(deaths: int) -> float:
    """Return how many seconds to leave what never came up, dead so often in a row, alone."""
    return min(0.1 * 2 ** min(deaths, 8), 5.0) if deaths > 1 else 0.0


def receive_fds(sock: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """Return one byte, none at the end, and the fds that came with it; no child inherits them.

    Raises:
        OSError: nothing came, or nothing will.
    """
    word, fds, _flags, _address = socket.recv_fds(sock, 1, most)
    for fd in fds:
        os.set_inheritable(fd, False)  # `recv_fds` has flags for that and drops them, in 3.11
    return word, list(fds)


class Zygote:
    """Starts it, asks it for servers, and starts another when it ended."""

    def __init__(self, path: str) -> None:
        self.pid = 0  # our child; 0: there is none
        self.due: float | None = None  # on time.monotonic: when to call `start`
        self._path = path
        self._control: socket.socket | None = None
        self._started = 0.0
        self._deaths = 0  # in a row, each soon after the start

    def start(self) -> None:
        """Have one that is ready when it is needed; where none can be started, later."""
        self.due = None
        try:
            self._reach()
        except OSError:
            self._note_death()

    def fork_server(self, link: socket.socket, listener: socket.socket) -> None:
        """Ask for a server with these; a zygote that still starts sees to it afterwards.

        Raises:
            OSError: open files, processes or memory.
        """
        fds = [link.fileno(), listener.fileno()]
        try:
            socket.send_fds(self._reach(), [b"\0"], fds)
        except (BrokenPipeError, ConnectionResetError):  # it is dead, and not reaped yet
            self.kill()
            socket.send_fds(self._reach(), [b"\0"], fds)

    def _reach(self) -> socket.socket:
        """Return the socket to it, which is started if need be."""
        if self._control is None:
            self.due = None
            self._started = time.monotonic()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                try:
                    self.pid = self._spawn(theirs)
                except OSError:
                    ours.close()
                    raise
            ours.setblocking(False)
            self._control = ours
        return self._control

    def _spawn(self, control: socket.socket) -> int:
        code = f"import sys; sys.path.insert(0, {sys.path[0]!r}); {_ZYGOTE}"
        # Above the number that it will have, which dup2 would else leave to close on exec.
        fd = fcntl.fcntl(control, fcntl.F_DUPFD_CLOEXEC, CONTROL_FD + 1)
        try:
            return os.posix_spawn(
                sys.executable,
                [sys.executable, _FLAGS, "-c", code, self._path],
                dict(os.environ),
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, CONTROL_FD)],
                setsigdef=(signal.SIGCHLD, signal.SIGTERM),
                setsigmask=(),
            )
        finally:
            os.close(fd)

    def kill(self) -> None:
        """End it; the keeper reaps it as it does every child. Another starts when it is needed."""
        self.due = None
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)  # our child, and not reaped: the pid is its own
        self._let_go()

    def close(self) -> None:
        """End it and wait for that."""
        pid = self.pid
        self.kill()
        if pid:
            os.waitpid(pid, 0)

    def note_end(self) -> None:
        """It was reaped: another is due at once; where they keep dying, later and later."""
        self._let_go()
        self._note_death()

    def _note_death(self) -> None:
        now = time.monotonic()
        self._deaths = self._deaths + 1 if now - self._started < QUICK_SECONDS else 0
        self.due = now + pause(self._deaths)

    def _let_go(self) -> None:
        self.pid = 0
        if self._control is not None:
            self._control.close()
            self._control = None

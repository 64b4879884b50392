"""The keeper's side of the zygote, the process that servers are forked from (`server/zygote.py`).

The zygote sends one byte once it has imported everything: then it is warm. A request is one byte
with two fds: the server's end of a link, and the listening socket. The zygote does not answer. The
forked server introduces itself on its end of the link. Nobody else has that end; so the link
closes if no server comes.

If no zygote can be started, as the files of the installation are gone, one is forked: by a keeper
that has the code in memory, else by the server that serves, which has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final

from ptymux.core.windows import Windows
from ptymux.posix.reserve_fds import forget_reserve
from ptymux.posix.runtime import start_code

__all__ = ["CONTROL_FD", "Zygote", "pause", "receive_fds"]

CONTROL_FD: Final = 3  # the zygote's end of the socket to its keeper

_FLAGS = "-ISE"  # interpreter options: ignore the user's environment and site-packages
# asyncio works without ssl, which takes 15 of the 115 ms that all imports take.
# What a zygote runs that cannot be started as usual; a keeper that was forked has it in memory.
forked_main: Callable[[], None] | None = None

_ZYGOTE: Final = "sys.modules['ssl'] = None; from ptymux.server.zygote import main; main()"


def pause(deaths: int, again: float) -> float:
    """Return the seconds to wait before the next start, after so many deaths in a row.

    `again` is the window of that name.
    """
    return min(again * 2 ** min(deaths, 8), 5.0) if deaths > 1 else 0.0


def receive_fds(sock: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """Return one byte and the fds that came with it, set to close on exec; b"" at the end.

    Raises:
        OSError: nothing has arrived, or the socket failed.
    """
    word, fds, _flags, _address = socket.recv_fds(sock, 1, most)
    for fd in fds:
        os.set_inheritable(fd, False)  # `recv_fds` ignores the flag for it in Python 3.11
    return word, list(fds)


class Zygote:
    """The zygote of a keeper: started when needed, and again when it has ended."""

    def __init__(self, path: str, windows: Windows) -> None:
        self.pid = 0  # the zygote is our child; 0: there is none, or the server has forked it
        self.due: float | None = None  # on time.monotonic: when to call `start`
        self._path = path
        self._windows = windows
        self._control: socket.socket | None = None
        self._started = 0.0
        self._deaths = 0  # in a row: zygotes that died soon after their start
        # Has the server fork a zygote, with both ends of the socket to it; False: it cannot now.
        self.borrow: Callable[[socket.socket, socket.socket], bool] = lambda _ours, _theirs: False
        self.give_back: Callable[[int], None] = lambda _fd: None  # called before our end is closed
        self._is_borrowed = False
        self._is_warm = False  # as far as we have looked
        self._may_start = True  # not so once one gave up before it was warm

    def start(self) -> None:
        """Start a zygote if there is none, so that it is ready when needed; on failure later."""
        self.due = None
        try:
            self._connect()
        except OSError:
            self._may_start = forked_main is not None
            self._note_death()

    def await_warm(self, *, until_readable: int) -> bool:
        """Return once the zygote can fork a server at once; False: it ended, or never began.

        It returns True early if the fd `until_readable` is readable.
        """
        if self._control is None:
            return False
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(until_readable, select.POLLIN)
        if any(fd == until_readable for fd, _events in poll.poll()):
            return True
        return self._look_for_warmth()

    def _look_for_warmth(self) -> bool:
        if self._control is not None and not self._is_warm:
            with contextlib.suppress(OSError):
                self._is_warm = bool(self._control.recv(1))
        return self._is_warm

    def fork_server(self, link: socket.socket, listener: socket.socket) -> None:
        """Request a server with these sockets; a zygote that is still starting does it later.

        Raises:
            OSError: open files, processes or memory.
        """
        fds = [link.fileno(), listener.fileno()]
        try:
            socket.send_fds(self._connect(), [b"\0"], fds)
        except (BrokenPipeError, ConnectionResetError):  # it is dead, and not reaped yet
            self.kill()
            socket.send_fds(self._connect(), [b"\0"], fds)

    def _connect(self) -> socket.socket:
        """Return the socket to the zygote, which is started if there is none."""
        if self._control is None:
            self.due = None
            self._started = time.monotonic()
            self._is_warm = False
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                try:
                    self._is_borrowed = not self._may_start and self.borrow(ours, theirs)
                    if not self._is_borrowed:
                        self.pid = self._spawn(theirs)
                except OSError:
                    ours.close()
                    raise
            ours.setblocking(False)
            self._control = ours
        return self._control

    def _spawn(self, control: socket.socket) -> int:
        if self._deaths and forked_main is not None:
            return self._fork(control, forked_main)
        code = start_code(sys.path[0], _ZYGOTE)
        # A higher number than CONTROL_FD: dup2 onto the same number would keep close-on-exec.
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

    def _fork(self, control: socket.socket, main: Callable[[], None]) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            gc.freeze()  # what belongs to the keeper is never closed: its fds are others' now
            signal.set_wakeup_fd(-1)
            for signum in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(signum, signal.SIG_DFL)
            os.dup2(control.fileno(), CONTROL_FD)
            forget_reserve()
            sys.argv[1:] = [self._path]
            main()
            os._exit(0)
        except BaseException:  # a border: this must not get to the keeper's code
            traceback.print_exc()
        finally:
            os._exit(1)

    def kill(self) -> None:
        """Kill the zygote; the keeper reaps it later. The next one starts when it is needed."""
        self.due = None
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)  # our child, not reaped: the pid is not reused
        self._forget()

    def close(self) -> None:
        """Kill the zygote and reap it."""
        pid = self.pid
        self.kill()
        if pid:
            os.waitpid(pid, 0)

    def note_end(self, *, was_killed: bool = False) -> None:
        """Record that it has ended; the next is due at once, or later if they keep dying.

        One that was killed, by a signal, says nothing of the files that it was started from.
        """
        if not (self._look_for_warmth() or was_killed):
            self._may_start = self._is_borrowed or forked_main is not None
        self._forget()
        self._note_death()

    def _note_death(self) -> None:
        now = time.monotonic()
        self._deaths = self._deaths + 1 if now - self._started < self._windows.quick else 0
        self.due = now + pause(self._deaths, self._windows.again)

    def _forget(self) -> None:
        self.pid = 0
        if self._control is not None:
            if self._is_borrowed:
                self.give_back(self._control.fileno())
            self._control.close()
            self._control = None

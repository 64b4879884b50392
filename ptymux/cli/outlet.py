"""Where output goes, for a command that waits in one place for everything.

Like `sink`, of which it is the half without asyncio.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
from typing import Final

__all__ = ["Outlet"]

_ALWAYS_ROOM: Final = 512  # what is writable takes this much without blocking; PIPE_BUF
_TIOCGDEV: Final = 0x80045432  # asm-generic/ioctls.h: which terminal it is


class Outlet:
    """Writes to an fd that somebody else owns, never blocks, and leaves its flags as they are.

    O_NONBLOCK belongs to the open file, which is shared with whoever gave it to us: a pipe or a
    terminal is opened anew; what else may block is polled before each write, which is kept small.
    """

    def __init__(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        self._own = _open_anew(fd) if stat.S_ISFIFO(mode) or os.isatty(fd) else -1
        self._fd = fd if self._own < 0 else self._own
        self._polls = self._own < 0 and not stat.S_ISREG(mode)

    def fileno(self) -> int:
        """Return the fd to wait for."""
        return self._fd

    def offer(self, data: bytes | memoryview) -> int:
        """Write what it takes now; return how much that was, 0 for nothing.

        Raises:
            OSError: nobody reads it any more, or it cannot be written.
        """
        if self._polls:
            if not self._has_room(0):
                return 0
            data = data[:_ALWAYS_ROOM]
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def write(self, data: bytes, seconds: float | None = None) -> bool:
        """Write all of `data`; False: it took nothing for `seconds`.

        Raises:
            OSError: as `offer`.
        """
        rest = memoryview(data)
        while rest:
            taken = self.offer(rest)
            if not taken and not self._has_room(seconds):
                return False
            rest = rest[taken:]
        return True

    def close(self) -> None:
        """Let go of what was opened."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def _has_room(self, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        events = poll.poll(None if seconds is None else 1000 * seconds)
        if events and not events[0][1] & select.POLLOUT and events[0][1] & select.POLLNVAL:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return bool(events)


def _open_anew(fd: int) -> int:
    """Return another open file of the same pipe or terminal that does not block, or -1."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        own = os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        return -1
    # Opening /dev/tty or the master of a PTY anew may lead to another terminal.
    if _terminal(own) == _terminal(fd):
        return own
    os.close(own)
    return -1


def _terminal(fd: int) -> bytes:
    try:
        return fcntl.ioctl(fd, _TIOCGDEV, bytes(4))
    except OSError:  # a pipe is none
        return b""

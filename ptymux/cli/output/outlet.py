"""Writes to stdout or stderr without ever blocking, whatever kind of file that is."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
from collections.abc import Callable
from functools import partial
from typing import Final

from ptymux.errors import ClosedOutputError

__all__ = ["Outlet"]

_ALWAYS_ROOM: Final = 512  # what is writable takes this much without blocking; PIPE_BUF
_TIOCGDEV: Final = 0x80045432  # asm-generic/ioctls.h: which terminal it is
_MEMORY_DEVICES: Final = 1  # the major number of /dev/null and its like, which take all


class Outlet:
    """Writes to an fd that it does not own: never blocks, and leaves the flags of the file alone.

    O_NONBLOCK belongs to the open file, which is shared with whoever gave it to us, so that a
    pipe or a terminal is opened anew for ourselves, and a socket is asked not to block with each
    write. What else may block (a terminal of another user) is polled before each write, which
    is kept small. Regular files always take all.
    """

    def __init__(self, fd: int) -> None:
        status = os.fstat(fd)
        self._own = -1
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(status.st_mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif stat.S_ISFIFO(status.st_mode) or os.isatty(fd):
            self._own = _open_anew(fd)
        self._fd = fd if self._own < 0 else self._own
        self._write: Callable[[bytes | memoryview], int] = partial(os.write, self._fd)
        if self._socket is not None:
            self._write = self._send
        elif self._own < 0 and not _takes_all(status):
            self._write = self._write_little

    def fileno(self) -> int:
        """Return the fd to wait for."""
        return self._fd

    def offer(self, data: bytes | memoryview) -> int:
        """Write as much as the file takes now; return how many bytes that were.

        Raises:
            BrokenPipeError: nobody reads any more.
            ClosedOutputError: it cannot be written: a full disk, say.
        """
        try:
            return self._write(data)
        except BlockingIOError:
            return 0
        except ConnectionResetError as error:
            raise BrokenPipeError(*error.args) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise ClosedOutputError(f"cannot write to stdout: {reason}") from error

    def write(self, data: bytes, seconds: float | None = None) -> bool:
        """Write all of `data`; return False if the file took nothing for `seconds`.

        Raises:
            BrokenPipeError, ClosedOutputError: as `offer`.
        """
        rest = memoryview(data)
        while rest:
            taken = self.offer(rest)
            if not taken and not self._has_room(seconds):
                return False
            rest = rest[taken:]
        return True

    def close(self) -> None:
        """Close what was opened here."""
        if self._socket is not None:
            self._socket.close()
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def _send(self, data: bytes | memoryview) -> int:
        assert self._socket is not None
        return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _write_little(self, data: bytes | memoryview) -> int:
        return os.write(self._fd, data[:_ALWAYS_ROOM]) if self._has_room(0) else 0

    def _has_room(self, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        events = poll.poll(None if seconds is None else min(1000 * seconds, 1e9))
        if events and events[0][1] & select.POLLNVAL:
            raise ClosedOutputError(f"cannot write to stdout: {os.strerror(errno.EBADF).lower()}")
        return bool(events)


def _takes_all(status: os.stat_result) -> bool:
    """Whether nothing that is written there ever has to wait."""
    if stat.S_ISCHR(status.st_mode):
        return os.major(status.st_rdev) == _MEMORY_DEVICES
    return stat.S_ISREG(status.st_mode)


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

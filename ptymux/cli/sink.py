"""Where output goes: takes what it can without blocking, whatever kind of file it is."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
import stat
from typing import Final

from ptymux.errors import ClosedOutputError

__all__ = ["Sink"]

_ALWAYS_ROOM: Final = 512  # what is writable takes this much without blocking; PIPE_BUF
_TIOCGDEV: Final = 0x80045432  # asm-generic/ioctls.h: which terminal it is


class Sink:
    """Writes to an fd that somebody else owns, leaving its flags as they are.

    O_NONBLOCK belongs to the open file, which is shared with whoever gave it to us, so that a
    pipe or a terminal is opened anew for ourselves, and a socket is asked not to block with each
    write. What else may block (a terminal of another user) is polled before each write, which
    is kept small. Regular files always take all.
    """

    def __init__(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        self._polls = not stat.S_ISREG(mode)
        self._own = -1
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif stat.S_ISFIFO(mode) or os.isatty(fd):
            self._own = _open_anew(fd)
        self._fd = fd if self._own < 0 else self._own

    def write(self, data: bytes) -> int:
        """Write what it takes now; return how much that was, 0 for nothing.

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

    def _write(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if self._own >= 0 or not self._polls:
            return os.write(self._fd, data)
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return os.write(self._fd, data[:_ALWAYS_ROOM]) if poll.poll(0) else 0

    async def wait(self) -> None:
        """Return once it may take more."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_writer(self._fd, ready.set)
        except PermissionError:  # such as /dev/null: never full
            return
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._fd)

    def close(self) -> None:
        """Let go of what was opened."""
        if self._socket is not None:
            self._socket.close()
        if self._own >= 0:
            os.close(self._own)
            self._own = -1


def _open_anew(fd: int) -> int:
    """Return another open file of the same pipe or terminal that does not block, or -1."""
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
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

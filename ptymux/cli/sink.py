"""Where output goes: takes what it can without blocking, whatever kind of file it is."""

from __future__ import annotations

import asyncio
import os
import select
import stat
from typing import Final

from ptymux.errors import ClosedOutputError

__all__ = ["Sink"]

_ALWAYS_ROOM: Final = 512  # a pipe that is writable takes this much without blocking; PIPE_BUF


class Sink:
    """Writes to an fd that somebody else owns, leaving its flags as they are.

    O_NONBLOCK belongs to the open file, which is shared with whoever gave it to us, so that a
    pipe or a terminal is opened anew for ourselves. What cannot be (a socket; a terminal of
    another user) is asked before each write, which is kept small. Regular files always take all.
    """

    def __init__(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        self._polls = not stat.S_ISREG(mode)
        self._own = -1
        if stat.S_ISFIFO(mode) or os.isatty(fd):
            try:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
                self._own = os.open(f"/proc/self/fd/{fd}", flags)
            except OSError:
                self._own = -1
        self._fd = fd if self._own < 0 else self._own

    def write(self, data: bytes) -> int:
        """Write what it takes now; return how much that was, 0 for nothing.

        Raises:
            BrokenPipeError: nobody reads any more.
            ClosedOutputError: it cannot be written: a full disk, say.
        """
        try:
            if self._own >= 0 or not self._polls:
                return os.write(self._fd, data)
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            return os.write(self._fd, data[:_ALWAYS_ROOM]) if poll.poll(0) else 0
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ClosedOutputError(f"cannot write the output: {error.strerror}") from error

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

    async def write_all(self, data: bytes) -> None:
        """Write all of `data`; raises as `write`."""
        while data := data[self.write(data) :]:
            await self.wait()

    def close(self) -> None:
        """Let go of what was opened."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

"""Notices at once that something was removed from a directory, or the directory itself."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Final

__all__ = ["DirectoryWatch"]

# linux/inotify.h
_IN_MOVED_FROM: Final = 0x40
_IN_DELETE: Final = 0x200
_IN_DELETE_SELF: Final = 0x400
_IN_MOVE_SELF: Final = 0x800
_REMOVALS: Final = _IN_MOVED_FROM | _IN_DELETE | _IN_DELETE_SELF | _IN_MOVE_SELF
_READ: Final = 64 * 1024


class DirectoryWatch:
    """An fd that is readable once something was removed.

    Raises:
        OSError: open files; or this user has too many such watches.
    """

    def __init__(self, path: str) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._path = os.fsencode(path)
        self._fd = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no watch")
        self.renew()

    def fileno(self) -> int:
        """Return the fd."""
        return self._fd

    def renew(self) -> None:
        """Forget what has happened, and watch the directory that is at the path now, if any."""
        with suppress(BlockingIOError):
            while os.read(self._fd, _READ):
                pass
        self._libc.inotify_add_watch(self._fd, self._path, _REMOVALS)

    def close(self) -> None:
        """Close the fd."""
        os.close(self._fd)

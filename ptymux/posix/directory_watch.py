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

    Call `forget` before a look at the directory and `follow` after it: no removal is missed then,
    whenever it happens.

    Raises:
        OSError: open files; or this user has too many such watches.
    """

    def __init__(self, path: str) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._path = os.fsencode(path)
        self._fd = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no watch")
        self._watch = -1  # the kernel's number for a directory and a path to it
        self.follow()

    def fileno(self) -> int:
        """Return the fd."""
        return self._fd

    def forget(self) -> None:
        """Forget what was removed until now."""
        with suppress(BlockingIOError):
            while os.read(self._fd, _READ):
                pass

    def follow(self) -> bool:
        """Watch the directory that is at the path now, if any; return whether it is another one.

        Removals from another one were not seen until now.
        """
        before = self._watch
        self._watch = int(self._libc.inotify_add_watch(self._fd, self._path, _REMOVALS))
        return self._watch not in (before, -1)

    def close(self) -> None:
        """Close the fd."""
        os.close(self._fd)

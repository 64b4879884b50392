"""What makes a keeper the only one of a socket path: the lock, the socket, the file of children."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

from ptymux.core.model import Limits
from ptymux.errors import PtymuxError, UnsafeDirectoryError
from ptymux.handover.state_file import StateFile
from ptymux.posix.runtime import ensure_directory, is_at, listen, lock, state_path

__all__ = ["SocketLock"]

_SLOTS: Final = 2 * Limits().ptys  # also for children that outlive a terminal closed by force


class SocketLock:
    """Holds a socket path, and holds on to it when somebody cleans the directory up.

    Raises:
        AlreadyRunningError: another keeper has it.
        UnsafeDirectoryError: it cannot be used.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        ensure_directory(os.path.dirname(path))
        self.lock = lock(state_path(path, "lock"))
        try:
            self.state = StateFile(state_path(path, "state"), _SLOTS)
            self.listener = listen(path)
        except PtymuxError:
            self._leave()
            raise
        self.bound = _file_at(path)  # device and inode of the socket

    @classmethod
    def from_handover(
        cls, path: str, lock: int, listener: socket.socket, bound: tuple[int, int]
    ) -> SocketLock:
        """Take over what a dead keeper had; its lock is held as long as anybody has it open.

        Where its file of children cannot be used, memory will do until `renew` puts one there.
        """
        socket_lock = cls.__new__(cls)
        socket_lock._path = path
        socket_lock.lock = lock
        try:
            socket_lock.state = StateFile(state_path(path, "state"), _SLOTS)
        except UnsafeDirectoryError:
            socket_lock.state = StateFile(None, _SLOTS)
        socket_lock.listener = listener
        socket_lock.bound = bound
        return socket_lock

    def renew(self) -> bool:
        """Put back what was removed; return whether there is another listener or lock now.

        Raises:
            AlreadyRunningError: another keeper has taken the path meanwhile.
            UnsafeDirectoryError: it cannot be used at the moment.
        """
        is_new = False
        if not is_at(self.lock, state_path(self._path, "lock")):
            ensure_directory(os.path.dirname(self._path))
            again = lock(state_path(self._path, "lock"))
            os.close(self.lock)
            self.lock = again
            is_new = True
        if not os.path.lexists(state_path(self._path, "state")):
            before, self.state = self.state, StateFile(state_path(self._path, "state"), _SLOTS)
            self.state.copy_from(before)
        if self._is_bound():
            return is_new
        listener = listen(self._path)
        self.bound = _file_at(self._path)
        self.listener.close()
        self.listener = listener
        return True

    def _is_bound(self) -> bool:
        return _file_at(self._path) == self.bound

    def close(self) -> None:
        """Give the path up and remove what is ours there, if that can be done.

        What stays looks as after a death, and is taken over by the next one.
        """
        if self._is_bound():
            _remove(self._path)
        self.listener.close()
        self.state.close()
        self._leave()

    def _leave(self) -> None:
        path = state_path(self._path, "lock")
        if is_at(self.lock, path):
            _remove(state_path(self._path, "state"))
            _remove(path)
        os.close(self.lock)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # a file system that became read-only, say
        os.unlink(path)


def _file_at(path: str) -> tuple[int, int]:
    """Return device and inode of what is at `path`, zeros when there is nothing."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino

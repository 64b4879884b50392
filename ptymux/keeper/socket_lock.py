"""The lock of a socket path, which only one keeper can hold, with the socket and the state file."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

from ptymux.core.model import Limits
from ptymux.errors import PtymuxError, UnsafeDirectoryError
from ptymux.handover.state_file import StateFile
from ptymux.posix.orphans import identify
from ptymux.posix.renewed_env import remove_links
from ptymux.posix.runtime import ensure_directory, is_at, listen, lock, state_path

__all__ = ["SocketLock"]

_SLOTS: Final = 2 * Limits().ptys  # some children outlive their PTY, if it was closed by force


class SocketLock:
    """The files of one socket path: lock, socket and state file, made again if they are removed.

    Raises:
        AlreadyRunningError: another keeper has the path.
        UnsafeDirectoryError: it cannot be used.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        ensure_directory(os.path.dirname(path))
        self.lock = lock(state_path(path, "lock"))
        try:
            self.state = StateFile(state_path(path, "state"), _SLOTS)
            self.state.settle_intents(identify)
            self.listener = listen(path)
        except PtymuxError:
            self._leave()
            raise
        self.bound = _file_at(path)  # device and inode of the socket

    @classmethod
    def from_handover(
        cls, path: str, lock: int, listener: socket.socket, bound: tuple[int, int]
    ) -> SocketLock:
        """Return the socket lock of a keeper that died; a lock lasts while any process has it open.

        If the state file cannot be used, plain memory takes its place until `renew` makes a file.
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
        """Make files that were removed again; return whether the listener or the lock is new.

        Raises:
            AlreadyRunningError: another keeper has the path now.
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
        self.state.mend()
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
        """Give the path up and remove our files there, if possible.

        Files that cannot be removed look as after a kill: the next keeper reuses them.
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
            remove_links(self._path)
            _remove(path)
        os.close(self.lock)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # the file system may have become read-only
        os.unlink(path)


def _file_at(path: str) -> tuple[int, int]:
    """Return device and inode of the file at `path`; zeros if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino

"""What makes a keeper the only one of a socket path: the lock, the socket, the file of children."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from ptymux.core.model import Limits
from ptymux.errors import PtymuxError
from ptymux.keeper.statefile import StateFile
from ptymux.posix.runtime import ensure_directory, is_at, listen, lock, state_path

__all__ = ["Claim"]

_SLOTS: Final = 2 * Limits().ptys  # also for children that outlive a terminal closed by force


class Claim:
    """Holds a socket path, and holds on to it when somebody cleans the directory up.

    Raises:
        AlreadyRunningError: another keeper has it.
        UnsafeDirectoryError: it cannot be used.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        ensure_directory(os.path.dirname(path))
        self._lock = lock(state_path(path, "lock"))
        try:
            self.state = StateFile(state_path(path, "state"), _SLOTS)
            self.state.clear()
            self.listener = listen(path)
        except PtymuxError:
            self._leave()
            raise
        self._bound = os.lstat(path)

    def renew(self) -> bool:
        """Put back what was removed; return whether there is another listener now.

        Raises:
            AlreadyRunningError: another keeper has taken the path meanwhile.
            UnsafeDirectoryError: it cannot be used at the moment.
        """
        if not is_at(self._lock, state_path(self._path, "lock")):
            ensure_directory(os.path.dirname(self._path))
            again = lock(state_path(self._path, "lock"))
            os.close(self._lock)
            self._lock = again
        if not os.path.lexists(state_path(self._path, "state")):
            before, self.state = self.state, StateFile(state_path(self._path, "state"), _SLOTS)
            for proof in before.proofs():
                self.state.enter(proof.number, proof.pid, proof.start_time)
            before.close()
        if self._is_bound():
            return False
        listener = listen(self._path)
        self._bound = os.lstat(self._path)
        self.listener.close()
        self.listener = listener
        return True

    def _is_bound(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self._path), self._bound)
        except OSError:
            return False

    def close(self) -> None:
        """Give the path up and remove what is ours there."""
        if self._is_bound():
            os.unlink(self._path)
        self.listener.close()
        self.state.close()
        self._leave()

    def _leave(self) -> None:
        path = state_path(self._path, "lock")
        if is_at(self._lock, path):
            with contextlib.suppress(OSError):
                os.unlink(state_path(self._path, "state"))
            os.unlink(path)
        os.close(self._lock)

"""A server that was requested to take the place of one that serves, and waits for that."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from ptymux.keeper.manager_link import ManagerLink

__all__ = ["Replacement"]


class Replacement:
    """What a keeper has of such a server: the link, once it has come its pidfd, and the token.

    It takes over by taking the token and ending the server before (`handover/token.py`). If it
    cannot, `close` has the server before go on.
    """

    def __init__(self, sock: socket.socket, taking: int, holding: int, seconds: float) -> None:
        """Own these: our end of the link, and both ends of the token.

        It has so many seconds to take over: the server that serves does nothing meanwhile.
        """
        self.sock = sock
        self.taking = taking
        self.pidfd = -1
        self.link: ManagerLink | None = None  # since it has come
        self.due: float | None = time.monotonic() + seconds  # when to give it up
        self._holding = holding

    @property
    def has_come(self) -> bool:
        """Whether it has introduced itself, and got what it needs to take over."""
        return self.link is not None

    def kill(self) -> None:
        """Kill it, if it has come: it may have taken the token already."""
        self.due = None
        if self.pidfd < 0:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self, unwatch: Callable[[int], None]) -> None:
        """Let go of it, dead or never come, so that the server before decides what to do.

        `unwatch` is called with each fd that is about to be closed.
        """
        if self.link is not None:
            self.link.close()
        else:
            unwatch(self.sock.fileno())
            self.sock.close()
        if self.pidfd >= 0:
            unwatch(self.pidfd)
            os.close(self.pidfd)
        self.close_token()

    def close_token(self) -> None:
        """Let go of the token: the decision has been made, or the server before makes it."""
        os.close(self.taking)
        os.close(self._holding)

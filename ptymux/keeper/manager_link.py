"""A keeper's end of a link to a manager: it sends messages, and passes on those that come."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ptymux.engine.engine import Engine
from ptymux.errors import LinkClosedError
from ptymux.handover.wire import Inbox, Message, Outbox

__all__ = ["ManagerLink"]


class ManagerLink:
    """A link over a socket that it owns, watched by the engine's loop.

    `on_message` is called with each message, and `on_lost` once if the manager ends the link.
    """

    def __init__(
        self,
        engine: Engine,
        sock: socket.socket,
        inbox: Inbox,
        on_message: Callable[[ManagerLink, Message], None],
        on_lost: Callable[[ManagerLink], None],
    ) -> None:
        self._engine = engine
        self._sock = sock
        self._inbox, self._outbox = inbox, Outbox(sock)
        self._on_message, self._on_lost = on_message, on_lost
        self._mask = select.EPOLLIN  # the events that the engine waits for
        engine.watch(sock.fileno(), self._mask, self._on_events)

    def send(
        self, body: Mapping[str, Any], data: bytes = b"", fds: Sequence[int] | None = None
    ) -> None:
        """Send a message, or queue it; if the manager is gone, do nothing.

        Raises:
            OutOfResourcesError: as `Outbox.send`.
        """
        with contextlib.suppress(LinkClosedError):  # first read what it sent before its end
            self._outbox.send(body, data, fds or [])
            self._flush()

    def send_in_turn(self, make: Callable[[], Message]) -> None:
        """Send the message that `make` returns, after those before it."""
        with contextlib.suppress(LinkClosedError):
            self._outbox.send_in_turn(make)
            self._flush()

    def notify_output(self, slots: Sequence[int]) -> None:
        """Send a report of output for each of these slots."""
        try:
            self._outbox.notify_output(slots)
            if self._outbox.is_waiting:
                self._flush()
        except LinkClosedError:
            return  # as for `send`; this is called for every key, and has to be quick

    def close(self) -> None:
        """Close the link; a second call does nothing."""
        if self._sock.fileno() >= 0:
            self._engine.watch(self._sock.fileno(), 0, self._on_events)
            self._inbox.close()
            self._outbox.close()
            self._sock.close()

    def _on_events(self, events: int) -> None:
        try:
            if events & (select.EPOLLIN | select.EPOLLHUP):
                for message in self._inbox.receive():
                    self._on_message(self, message)
            if events & select.EPOLLOUT and self._sock.fileno() >= 0:
                self._flush()
        except LinkClosedError:
            self.close()
            self._on_lost(self)

    def _flush(self) -> None:
        self._outbox.flush()
        mask = select.EPOLLIN | (select.EPOLLOUT if self._outbox.is_waiting else 0)
        if mask != self._mask:
            self._mask = mask
            self._engine.watch(self._sock.fileno(), mask, self._on_events)

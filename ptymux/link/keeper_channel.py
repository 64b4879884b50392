"""One socket to a keeper: sends requests, matches replies, and delivers all other messages."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from ptymux.errors import LinkClosedError, PtymuxError
from ptymux.handover.wire import Inbox, Message, Outbox

__all__ = ["KeeperChannel"]

_LAST_WORDS_SECONDS: Final = 1.0  # for a keeper to take the messages before a close


class KeeperChannel:
    """A connection to one keeper, over a socket that it owns.

    `on_message` is called with each message that is no reply, `on_output` with each slot that has
    output, and `on_lost` once, with the reason, if the keeper ends the connection.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Message], None],
        on_lost: Callable[[str], None],
        on_output: Callable[[int], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_message = on_message
        self._on_lost = on_lost
        self._inbox, self._outbox = Inbox(sock, on_output), Outbox(sock)
        self._replies: dict[int, asyncio.Future[Message]] = {}
        self._next_id = 1
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._on_readable)

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended, from either side."""
        return self._sock.fileno() < 0

    @property
    def is_asked(self) -> bool:
        """Whether a request waits for its reply."""
        return bool(self._replies)

    def flush(self, seconds: float) -> None:
        """Send what waits before this returns; give up after `seconds`."""
        if self._sock.fileno() >= 0:
            with contextlib.suppress(LinkClosedError):  # the end is noticed in its turn
                self._outbox.finish(seconds)

    async def ask(
        self, op: str, body: Mapping[str, Any], data: bytes = b"", fds: list[int] | None = None
    ) -> Message:
        """Send a request and return its reply.

        Raises:
            LinkClosedError: the connection has ended, before or during the request.
        """
        if self._sock.fileno() < 0:
            raise LinkClosedError("the keeper is gone; try again")
        number = self._next_id
        self._next_id += 1
        future: asyncio.Future[Message] = self._loop.create_future()
        self._replies[number] = future
        try:
            self.send({"op": op, "id": number, **body}, data, fds)
            return await future
        finally:
            self._replies.pop(number, None)

    def send_in_turn(self, message: Message) -> None:
        """Send a message after all before it; its fds must stay open until then."""
        if self._sock.fileno() < 0:
            return
        try:
            self._outbox.send_in_turn(lambda: message)
        except LinkClosedError as error:
            self._lose(str(error))
            return
        if self._outbox.is_waiting:
            self._loop.add_writer(self._sock, self._on_writable)

    def send(
        self, body: Mapping[str, Any], data: bytes = b"", fds: list[int] | None = None
    ) -> None:
        """Send a message that has no reply; if the connection has ended, do nothing."""
        if self._sock.fileno() < 0:
            return
        try:
            self._outbox.send(body, data, fds or [])
        except LinkClosedError as error:
            self._lose(str(error))
            return
        if self._outbox.is_waiting:
            self._loop.add_writer(self._sock, self._on_writable)

    def close(self) -> None:
        """Close the connection after sending what waits; a second call does nothing."""
        if self._sock.fileno() >= 0:
            with contextlib.suppress(LinkClosedError):
                self._outbox.finish(_LAST_WORDS_SECONDS)
            self._end("closed")

    def _on_writable(self) -> None:
        try:
            self._outbox.flush()
        except LinkClosedError as error:
            self._lose(str(error))
            return
        if not self._outbox.is_waiting:
            self._loop.remove_writer(self._sock)

    def _on_readable(self) -> None:
        try:
            for message in self._inbox.receive():
                self._take(message)
        except PtymuxError as error:
            self._lose(str(error))
        except (LookupError, TypeError, ValueError) as error:
            self._lose(f"it sent what this server does not understand: {error!r}")

    def _take(self, message: Message) -> None:
        if message.body["op"] != "reply":
            self._on_message(message)
            return
        future = self._replies.get(message.body["id"])
        if future is not None and not future.done():
            future.set_result(message)
        else:
            for fd in message.fds:  # the request was cancelled
                os.close(fd)

    def _lose(self, reason: str) -> None:
        if self._sock.fileno() >= 0:
            self._end("the keeper is gone; try again")
            self._on_lost(reason)

    def _end(self, reason: str) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._inbox.close()
        self._outbox.close()
        self._sock.close()
        for future in self._replies.values():
            if not future.done():
                future.set_exception(LinkClosedError(reason))

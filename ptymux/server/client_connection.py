"""The server's connection to one client: an asyncio socket driven by a `ServerSession`.

What a client can make the server hold is bounded: one line or one payload that is being received,
and one reply that the client does not read. No further request is read meanwhile.

A client that has shut down its sending still gets its replies. When a client is gone, what it asked
for is cancelled, but input that it sent before is typed first.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import select
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ptymux.core.model import PtyId
from ptymux.errors import (
    ConnectionClosedError,
    OutOfResourcesError,
    ProtocolError,
    PtymuxError,
)
from ptymux.protocol.messages import Request
from ptymux.protocol.session import Outgoing, ServerSession
from ptymux.server.turns import TimeBudget, Turns

__all__ = ["ClientConnection"]

_log = logging.getLogger("ptymux")

_READ: Final = 64 * 1024
_FDS_SPACE: Final = socket.CMSG_SPACE(4 * ServerSession.MOST_FDS)
_PART_SECONDS: Final = 1.0  # for a client that is cut off to see why
_LOOK_SECONDS: Final = 1.0  # between two looks whether a client is gone, while nothing is read


@dataclass(slots=True)
class _Unsent:
    """Data that was offered to the client, as far as its socket did not take it yet."""

    rest: memoryview
    fds: Sequence[int]
    is_begun: bool  # the socket took the beginning, so the end must follow
    taken: asyncio.Future[None]


class ClientConnection:
    """One client: its requests, the answers to them, then the bytes of an attachment.

    `serve` is run with it, and cancelled when the client is gone.
    """

    def __init__(
        self,
        sock: socket.socket,
        serve: Callable[[ClientConnection], Awaitable[None]],
        pid: int = 0,
        turns: Turns | None = None,
    ) -> None:
        """Begin to serve the client, which is process `pid`; 0 if that is not known."""
        sock.setblocking(False)
        self.budget = TimeBudget(turns or Turns())
        self._sock = sock
        self.pid = pid
        self._loop = asyncio.get_running_loop()
        self._session = ServerSession()
        self._arrived = asyncio.Event()
        self._unsent: deque[_Unsent] = deque()  # in the order in which it was offered
        self._look: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None  # for the client's hello
        self.request: Request  # that is being answered
        self.gone = asyncio.Event()  # nobody is at the other end
        self.is_patient = False  # `serve` is not cancelled when the client is gone, but ends soon
        self._is_ended = False  # the client sends no more
        self.on_done: Callable[[ClientConnection], None] = lambda _connection: None
        self.owned: set[PtyId] = set()  # PTYs that are hung up when this connection ends
        self._loop.add_reader(sock, self._on_readable)
        self.task = asyncio.create_task(self._run(serve))

    async def _run(self, serve: Callable[[ClientConnection], Awaitable[None]]) -> None:
        try:
            await serve(self)
        except (ConnectionClosedError, asyncio.CancelledError):
            pass
        except ProtocolError as error:
            _log.info("a client was cut off: %s", error)
            await self._part()
        except PtymuxError as error:
            _log.warning("a connection failed: %s", error)
        except Exception:  # a failing connection takes down itself
            _log.exception("a connection failed")
        finally:
            self._close()

    async def _part(self) -> None:
        """Give the client time to read why: a close with data unread would discard that."""
        with contextlib.suppress(OSError, ConnectionClosedError, TimeoutError):
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_PART_SECONDS):
                while True:
                    await self.read_bytes()

    def close(self) -> None:
        """End the connection."""
        self.task.cancel()

    def expect_hello(self, seconds: float) -> None:
        """End the connection unless `greet` is called in time."""
        self._patience = self._loop.call_later(seconds, self.close)

    @property
    def version(self) -> int:
        """The version of the protocol; 0 until it is agreed on."""
        return self._session.version

    def greet(self, version: int) -> None:
        """Note the version of the protocol that was agreed on."""
        self._session.version = version
        if self._patience is not None:
            self._patience.cancel()

    def _close(self) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        for timer in (self._look, self._patience):
            if timer is not None:
                timer.cancel()
        for unsent in self._unsent:
            unsent.taken.cancel()
        self._sock.close()
        _close_all(self._session.end())
        self.on_done(self)

    # Receiving -------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        if self._session.ahead > _READ:
            # Not taken yet: the socket's own buffer pushes back on the client.
            self._pause()
            return
        try:
            data, ancillary, flags, _address = self._sock.recvmsg(
                _READ, _FDS_SPACE, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary, flags = b"", [], 0
        if ancillary or flags & socket.MSG_CTRUNC:
            self._feed_with_fds(data, ancillary, fds_lost=bool(flags & socket.MSG_CTRUNC))
        else:
            self._session.feed(data)
        self._arrived.set()
        if not data:
            self._is_ended = True
            self._pause()

    def _feed_with_fds(
        self, data: bytes, ancillary: Sequence[tuple[int, int, bytes]], *, fds_lost: bool
    ) -> None:
        fds = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        self._session.feed(data, fds, fds_lost=fds_lost)
        _close_all(self._session.take_unasked_fds())

    def _pause(self) -> None:
        """Read no more for now, but look from time to time whether the client is gone."""
        self._loop.remove_reader(self._sock)
        if self._look is None:
            self._look_for_client()

    def _look_for_client(self) -> None:
        poll = select.poll()
        poll.register(self._sock, 0)
        if poll.poll(0):  # POLLHUP: both directions are closed
            self._look = None
            self.gone.set()
            if not self.is_patient:
                self.task.cancel()
        else:
            self._look = self._loop.call_later(_LOOK_SECONDS, self._look_for_client)

    async def _more(self) -> None:
        """Return once something has arrived that the session has not looked at."""
        while not self._session.ahead:
            if self._is_ended:
                raise ConnectionClosedError
            self._arrived.clear()
            if self._look is not None:
                self._look.cancel()
                self._look = None
            self._loop.add_reader(self._sock, self._on_readable)
            await self._arrived.wait()
            self.budget.begin()

    async def next_request(self) -> Request:
        """Return the next request, which is to be answered before the one behind it.

        Raises:
            ProtocolError: what the client sent is not a request, or too long.
            ConnectionClosedError: the client sends no more.
        """
        while True:
            request = self._session.next_request()
            _close_all(self._session.take_unasked_fds())
            if request is not None:
                self.request = request
                return request
            await self._more()

    async def read_bytes(self) -> bytes:
        """Return some bytes of a connection that carries no more requests.

        Raises:
            ConnectionClosedError: the client sends no more.
        """
        while not (data := self._session.take_rest()):
            await self._more()
        return data

    def take_payload(self) -> bytes:
        """Return the payload that came with the request, which is not kept here any longer."""
        payload, self.request.payload = self.request.payload, b""
        return payload

    def take_fds(self) -> tuple[int, ...]:
        """Return the fds that came with the request; the caller owns them.

        Raises:
            OutOfResourcesError: the server had no open files left for all of them.
        """
        fds, self.request.fds = self.request.fds, ()
        if fds is None:
            raise OutOfResourcesError("open files of the server", "end some PTYs or clients")
        return fds

    # Sending ---------------------------------------------------------------------------------

    async def reply(self, result: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send the result of the request, and duplicates of the fds.

        Raises:
            ProtocolError: the result is too long, or cannot be expressed in JSON; nothing was sent.
            ConnectionClosedError: the client is gone.
        """
        await self._send(self._session.result(result, fds))

    async def refuse(self, error: PtymuxError) -> None:
        """Send the error that the request is refused with; a ProtocolError ends the connection."""
        await self._send(self._session.failure(error))

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Send a notification."""
        await self._send(self._session.notification(method, params))

    async def _send(self, message: Outgoing) -> None:
        await self.send(message.data, message.fds)

    async def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Return once the kernel took all of `data`; the fds go with its first byte.

        What several tasks send goes out one after the other.
        """
        taken = self.offer(data, fds)
        if taken is not None:
            await taken

    def offer(self, data: bytes, fds: Sequence[int] = ()) -> asyncio.Future[None] | None:
        """Send what the kernel takes of `data` now, and return None when that is all of it.

        Else the rest follows on its own, and the future that is returned is done once the kernel
        took it. If it is cancelled before the first byte was taken, nothing is sent.

        Raises:
            ConnectionClosedError: the client is gone; the future may raise it as well.
        """
        sent = 0 if self._unsent else self._push(data, fds)
        if sent == len(data):
            return None
        if not self._unsent:
            self._loop.add_writer(self._sock, self._on_writable)
        taken: asyncio.Future[None] = self._loop.create_future()
        rest = memoryview(data)[sent:]
        self._unsent.append(_Unsent(rest, () if sent else fds, sent > 0, taken))
        return taken

    def _push(self, data: bytes | memoryview, fds: Sequence[int]) -> int:
        try:
            if fds:
                return socket.send_fds(self._sock, [data], list(fds))
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            raise ConnectionClosedError from None

    def _on_writable(self) -> None:
        try:
            while self._unsent and self._send_first(self._unsent[0]):
                self._unsent.popleft()
        except ConnectionClosedError as error:
            self._fail(error)
        if not self._unsent:
            self._loop.remove_writer(self._sock)

    def _send_first(self, unsent: _Unsent) -> bool:
        """Send what the kernel takes; return whether there is nothing left to send of it."""
        if unsent.taken.cancelled() and not unsent.is_begun:
            return True
        sent = self._push(unsent.rest, unsent.fds)
        if sent:
            unsent.rest, unsent.fds, unsent.is_begun = unsent.rest[sent:], (), True
        if unsent.rest:
            return False
        if not unsent.taken.done():
            unsent.taken.set_result(None)
        return True

    def _fail(self, error: ConnectionClosedError) -> None:
        while self._unsent:
            taken = self._unsent.popleft().taken
            if not taken.done():
                taken.set_exception(error)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)

"""One client's connection: requests in, replies out, until it is upgraded to frames or closed.

What a client can make us hold is bounded: one line or one payload that is being received, and one
reply that its socket does not take yet; no further request is read meanwhile.

A client that only shut down its sending still gets its replies. One that is gone gives up what it
asked for, once what it sent was taken where that is input.
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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ptymux.core.model import PtyId
from ptymux.errors import (
    ConnectionClosedError,
    OutOfResourcesError,
    ProtocolError,
    PtymuxError,
)
from ptymux.protocol.lines import LineDecoder

__all__ = ["ClientConnection"]

_log = logging.getLogger("ptymux")

_READ: Final = 64 * 1024
_MOST_FDS: Final = 2  # that a request may bring: a directory and a stdin
_MOST_BATCHES: Final = 8  # of fds, for requests that wait
_PART_SECONDS: Final = 1.0  # for a client that is cut off to see why
_LOOK_SECONDS: Final = 1.0  # between two looks whether a client left of which nothing is read


@dataclass(slots=True)
class _Unsent:
    """What the socket did not take yet of something that was offered."""

    rest: memoryview
    fds: Sequence[int]
    is_begun: bool  # the client has the beginning, and must get the end
    taken: asyncio.Future[None]


class ClientConnection:
    """Reads lines and bytes with their fds, and sends, all without blocking anybody else."""

    def __init__(
        self, sock: socket.socket, serve: Callable[[ClientConnection], Awaitable[None]]
    ) -> None:
        """Begin to serve `sock` with `serve`, which is cancelled when the client goes away."""
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._lines = LineDecoder()
        self._received = bytearray()  # not looked at yet
        self._fds: deque[list[int] | None] = deque()  # a request's together; None: not all came
        self._arrived = asyncio.Event()
        self._unsent: deque[_Unsent] = deque()  # in the order in which it was offered
        self._look: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None  # for the client's hello
        self.gone = asyncio.Event()  # nobody is at the other end
        self.is_patient = False  # what is being done goes on for a moment when the client is gone
        self._is_ended = False  # the client sends no more
        self.on_done: Callable[[ClientConnection], None] = lambda _connection: None
        self.version = 0  # of the protocol, once agreed on
        self.owned: set[PtyId] = set()  # spawned here, and hung up with us
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
        """Have the client read what it was told: closed with its data unread, it could not."""
        with contextlib.suppress(OSError, ConnectionClosedError, TimeoutError):
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_PART_SECONDS):
                while True:
                    await self._more()

    def close(self) -> None:
        """End the connection."""
        self.task.cancel()

    def expect_hello(self, seconds: float) -> None:
        """End the connection unless `greet` is called in time."""
        self._patience = self._loop.call_later(seconds, self.close)

    def greet(self, version: int) -> None:
        """Note the version of the protocol that was agreed on."""
        self.version = version
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
        self._drop_fds()
        self.on_done(self)

    # Receiving -------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        if len(self._received) > _READ:
            # Not taken yet: the socket's own buffer pushes back on the client.
            self._pause()
            return
        try:
            data, ancillary, flags, _address = self._sock.recvmsg(
                _READ, socket.CMSG_SPACE(4 * _MOST_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary, flags = b"", [], 0
        self._keep_fds(ancillary, flags)
        if not data:
            self._is_ended = True
            self._arrived.set()
            self._pause()
            return
        self._received += data
        self._arrived.set()

    def _pause(self) -> None:
        """Read no more for now; whether the client is gone has to be looked for then."""
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

    def _keep_fds(self, ancillary: Sequence[tuple[int, int, bytes]], flags: int) -> None:
        fds = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if flags & socket.MSG_CTRUNC and len(fds) < _MOST_FDS:
            _close_all(fds)
            self._fds.append(None)
        elif fds:
            self._fds.append(list(fds))
        while len(self._fds) > _MOST_BATCHES:
            _close_all(self._fds.pop() or ())

    def _drop_fds(self) -> None:
        while self._fds:
            _close_all(self._fds.popleft() or ())

    async def _more(self) -> bytes:
        """Return what has arrived since the last time, waiting for it."""
        while not self._received:
            if self._is_ended:
                raise ConnectionClosedError
            self._arrived.clear()
            if self._look is not None:
                self._look.cancel()
                self._look = None
            self._loop.add_reader(self._sock, self._on_readable)
            await self._arrived.wait()
        data = bytes(self._received)
        self._received.clear()
        return data

    async def read_line(self) -> bytes:
        """Return the next line, without its newline.

        Raises:
            ProtocolError: it is longer than a line may be.
            ConnectionClosedError: the client sends no more.
        """
        while (line := self._lines.next_line()) is None:
            if not self._received:
                self._drop_fds()  # all that came was looked at, and nobody asked for them
            self._lines.feed(await self._more())
        return line

    async def read_payload(self, size: int) -> bytes:
        """Return the `size` bytes that follow the last line."""
        while (payload := self._lines.take_payload(size)) is None:
            self._lines.feed(await self._more())
        return payload

    async def read_bytes(self) -> bytes:
        """Return some bytes beyond the lines, of a connection that was upgraded."""
        return self._lines.take_rest() or await self._more()

    def take_fds(self) -> list[int]:
        """Return the fds that came with a request; the caller owns them.

        Raises:
            OutOfResourcesError: there were no open files for all of them.
        """
        fds = self._fds.popleft() if self._fds else []
        if fds is None:
            raise OutOfResourcesError("open files of the server", "end some PTYs or clients")
        return fds

    # Sending ---------------------------------------------------------------------------------

    async def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Return once the kernel took all of `data`; the fds go with its first byte.

        What several tasks send goes out one after the other.
        """
        taken = self.offer(data, fds)
        if taken is not None:
            await taken

    def offer(self, data: bytes, fds: Sequence[int] = ()) -> asyncio.Future[None] | None:
        """Send `data` as far as the kernel takes it now: None when that is all of it.

        Else the rest follows, and the future is done once that was taken. Cancelled before the
        first byte went, nothing is sent.

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

"""One client's connection: requests in, replies out, until it is upgraded to frames or closed.

What a client can make us hold is bounded: one line or one payload that is being received, and one
reply that its socket does not take yet; no further request is read meanwhile.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ptymux.errors import ConnectionClosedError, ProtocolError, PtymuxError
from ptymux.protocol.framing import LineDecoder

__all__ = ["Connection"]

_log = logging.getLogger("ptymux")

_READ: Final = 64 * 1024
_MOST_FDS: Final = 2  # that a request may bring: a directory and a stdin


class Connection:
    """Reads lines and bytes with their fds, and sends, all without blocking anybody else."""

    def __init__(self, sock: socket.socket, serve: Callable[[Connection], Awaitable[None]]) -> None:
        """Begin to serve `sock` with `serve`, which is cancelled when the client goes away."""
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._lines = LineDecoder()
        self._received = bytearray()  # not looked at yet
        self._fds: list[int] = []
        self._arrived = asyncio.Event()
        self._is_ended = False  # the client sends no more
        self.on_done: Callable[[Connection], None] = lambda _connection: None
        self.version = 0  # of the protocol, once agreed on
        self._loop.add_reader(sock, self._on_readable)
        self.task = asyncio.create_task(self._run(serve))

    async def _run(self, serve: Callable[[Connection], Awaitable[None]]) -> None:
        try:
            await serve(self)
        except (ConnectionClosedError, asyncio.CancelledError):
            pass
        except (ProtocolError, ConnectionError) as error:
            _log.info("a client was cut off: %s", error)
        except PtymuxError as error:
            _log.warning("a connection failed: %s", error)
        except Exception:  # a failing connection takes down itself
            _log.exception("a connection failed")
        finally:
            self._close()

    def close(self) -> None:
        """End the connection."""
        self.task.cancel()

    def _close(self) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self.on_done(self)

    # Receiving -------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        if len(self._received) > _READ:
            # Not taken yet: the socket's own buffer pushes back on the client.
            self._loop.remove_reader(self._sock)
            return
        try:
            data, ancillary, _flags, _address = self._sock.recvmsg(
                _READ, socket.CMSG_SPACE(4 * _MOST_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        self._keep_fds(ancillary)
        if not data:
            self._is_ended = True
            self._loop.remove_reader(self._sock)
            # A client that goes away gives up what it asked for.
            self._arrived.set()
            self.task.cancel()
            return
        self._received += data
        self._arrived.set()

    def _keep_fds(self, ancillary: Sequence[tuple[int, int, bytes]]) -> None:
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
                self._fds += fds
        while len(self._fds) > _MOST_FDS:
            os.close(self._fds.pop())

    async def _more(self) -> bytes:
        """Return what has arrived since the last time, waiting for it."""
        while not self._received:
            if self._is_ended:
                raise ConnectionClosedError
            self._arrived.clear()
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
        """Return the fds that came; the caller owns them."""
        fds, self._fds = self._fds, []
        return fds

    # Sending ---------------------------------------------------------------------------------

    async def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Return once the kernel took all of `data`; the fds go with its first byte."""
        rest = memoryview(data)
        while rest:
            try:
                sent = (
                    socket.send_fds(self._sock, [rest], list(fds)) if fds else self._sock.send(rest)
                )
            except BlockingIOError:
                await self._writable()
                continue
            except OSError:
                raise ConnectionClosedError from None
            rest, fds = rest[sent:], ()

    async def _writable(self) -> None:
        ready = asyncio.Event()
        self._loop.add_writer(self._sock, ready.set)
        try:
            await ready.wait()
        finally:
            with contextlib.suppress(ValueError, OSError):
                self._loop.remove_writer(self._sock)

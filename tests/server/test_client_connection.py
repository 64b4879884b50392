"""What a client does not take yet: in order, whole, and taken back only where nothing went."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ptymux.errors import ConnectionClosedError
from ptymux.server.client_connection import ClientConnection
from tests.timing import deadline_seconds

_LARGE = bytes(range(256)) * 4096  # more than a socket takes at once


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[ClientConnection, socket.socket]]:
    async def serve(_connection: ClientConnection) -> None:
        await asyncio.Event().wait()

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with theirs:
        connection = ClientConnection(ours, serve)
        try:
            yield connection, theirs
        finally:
            connection.close()
            await connection.task


async def received(sock: socket.socket, size: int) -> bytes:
    data = b""
    async with asyncio.timeout(deadline_seconds()):
        while len(data) < size:
            data += await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
    return data


def run(test: Callable[[ClientConnection, socket.socket], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with connected() as (connection, theirs):
            await test(connection, theirs)

    asyncio.run(whole())


def test_what_was_begun_is_sent_to_its_end_though_its_sender_gave_up() -> None:
    async def test(connection: ClientConnection, theirs: socket.socket) -> None:
        begun = connection.offer(_LARGE)
        assert begun is not None
        begun.cancel()

        sending = asyncio.create_task(connection.send(b"end"))

        assert await received(theirs, len(_LARGE) + 3) == _LARGE + b"end"
        await sending

    run(test)


def test_what_was_not_begun_is_taken_back_when_its_sender_gives_up() -> None:
    async def test(connection: ClientConnection, theirs: socket.socket) -> None:
        begun, waiting = connection.offer(_LARGE), connection.offer(b"never")
        assert begun is not None
        assert waiting is not None
        waiting.cancel()

        last = connection.offer(b"end")

        assert await received(theirs, len(_LARGE) + 3) == _LARGE + b"end"
        assert last is not None
        await last
        assert begun.done()

    run(test)


def test_who_waits_learns_that_the_client_is_gone() -> None:
    async def test(connection: ClientConnection, theirs: socket.socket) -> None:
        first, second = connection.offer(_LARGE), connection.offer(b"end")
        assert first is not None
        assert second is not None

        theirs.close()

        for taken in (first, second):
            with pytest.raises(ConnectionClosedError):
                await asyncio.wait_for(taken, deadline_seconds())

    run(test)

"""What a client sends, and what it does not take yet: in order, whole, taken back if not begun."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ptymux.errors import ConnectionClosedError
from ptymux.server.client_connection import ClientConnection
from tests.timing import deadline_seconds

_LARGE = bytes(range(256)) * 4096  # more than a socket takes at once, as it has little room
_ROOM = 1 << 16


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[ClientConnection, socket.socket]]:
    async def serve(_connection: ClientConnection) -> None:
        await asyncio.Event().wait()

    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
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
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
    return data


def run(test: Callable[[ClientConnection, socket.socket], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(deadline_seconds()), connected() as (connection, theirs):
            await test(connection, theirs)

    asyncio.run(whole())


SPAWN = b'{"id":1,"method":"spawn","params":{"payload_bytes":3}}\n'


def test_a_payload_and_its_fds_are_passed_on_once() -> None:
    async def test(connection: ClientConnection, theirs: socket.socket) -> None:
        connection.greet(1)
        theirs.send(SPAWN + b"a")
        request = asyncio.create_task(connection.next_request())
        with open(os.devnull) as file:
            socket.send_fds(theirs, [b"bc"], [file.fileno()])

        assert (await request).method == "spawn"
        assert (connection.take_payload(), connection.take_payload()) == (b"abc", b"")
        (fd,) = connection.take_fds()
        os.close(fd)
        assert connection.take_fds() == ()

    run(test)


def test_fds_that_nobody_asked_for_are_closed() -> None:
    async def test(connection: ClientConnection, theirs: socket.socket) -> None:
        reader, writer = os.pipe()
        socket.send_fds(theirs, [b'{"id":1,"method":"status"}\n'], [writer])
        assert (await connection.next_request()).fds == ()
        theirs.send(b"frames")
        assert await connection.read_bytes() == b"frames"
        socket.send_fds(theirs, [b"more"], [writer])
        assert await connection.read_bytes() == b"more"
        os.close(writer)

        assert os.read(reader, 1) == b""  # nobody has the other end
        os.close(reader)

    run(test)


def test_a_client_that_sends_far_ahead_is_read_a_little_ahead() -> None:
    async def test(connection: ClientConnection, theirs: socket.socket) -> None:
        request = b'{"id":1,"method":"status"}\n'
        sending = asyncio.create_task(
            asyncio.get_running_loop().sock_sendall(theirs, request * 60_000)
        )
        for _ in range(30_000):
            assert (await connection.next_request()).id == 1
            assert connection._session.ahead <= 2 << 16
        assert not sending.done()
        for _ in range(30_000):
            await connection.next_request()
        await sending

    run(test)


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
                await taken

    run(test)

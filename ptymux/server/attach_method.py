"""An attachment: a reader and a lifeline for one client, over frames."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ptymux.core.model import PtyId, PtyRecord, WindowSize
from ptymux.core.reader import ReaderKind
from ptymux.errors import ConnectionClosedError, InvalidStateError, PtymuxError
from ptymux.manager import OutputReader
from ptymux.manager.attachments import LifelineAttachment
from ptymux.protocol.framing import Detach, Frame, FrameDecoder, In, Ping, Redraw, Resize
from ptymux.protocol.params import Params
from ptymux.server.client_connection import ClientConnection
from ptymux.server.pump import pump
from ptymux.server.reply import Answer

if TYPE_CHECKING:
    from ptymux.server.app import App

__all__ = ["attach"]


async def attach(
    app: App, connection: ClientConnection, record: PtyRecord, params: Params
) -> dict[str, Any]:
    """Attach; return the reply after which the connection carries frames."""
    kind = ReaderKind(params.choice("kind", [k.value for k in ReaderKind], default="consumer"))
    cols = params.optional_number("cols", 1, 10_000)
    rows = params.optional_number("rows", 1, 10_000)
    reader = app.manager.reader(record.pty_id, kind, offset=_offset(app, record, params))
    with contextlib.ExitStack() as undo:
        undo.callback(reader.close)
        received = params.optional_number("received_from", 0, reader.offset)
        if received is not None:  # before the last one to come back lets losses be judged
            reader.note_received(received)
        reply = Answer()
        line = await _line(app, connection, reader, params, reply)
        undo.callback(app.manager.detach, record.pty_id, line)
        if reply.fd >= 0:
            undo.callback(os.close, reply.fd)
        if cols is not None and rows is not None:
            with contextlib.suppress(InvalidStateError):
                await app.show(record.pty_id, WindowSize(cols, rows))
        publish_end = app.manager.describer(record.pty_id)
        reply |= {
            "pty": publish_end(),
            "offset": reader.offset,
            "lifeline": reply.fd >= 0,
            "line": line,
        }
        undo.pop_all()
    reply.then = lambda: _carry(app, connection, reader, line, publish_end)
    reply.undo = reader.close
    return reply


async def _line(
    app: App, connection: ClientConnection, reader: OutputReader, params: Params, reply: Answer
) -> int | None:
    """Return the lifeline that this attachment lives by, a new one in the reply, or None."""
    types = params.flag("input")
    if not (types or params.flag("lifeline")):
        return app.manager.come_back(reader.pty_id, params.optional_number("line", 1, 1 << 62))
    hangs_up = params.flag("hangup")
    attached = LifelineAttachment(reader.kind, readers=1)
    try:
        number, sock = await app.manager.open_line(
            reader.pty_id, attached, types=types, echoes=params.flag("echo"), hangs_up=hangs_up
        )
    except InvalidStateError:  # it has ended: there is output to read
        return None
    reply.fd = sock.detach()
    if hangs_up:
        connection.owned.discard(reader.pty_id)
    return number


def _offset(app: App, record: PtyRecord, params: Params) -> int | None:
    wanted = params.number_or_choice("offset", ["oldest", "now"], default="oldest")
    if wanted == "oldest":
        return None
    if wanted == "now":
        return app.manager.get_buffer_stats(record.pty_id).total_written
    assert isinstance(wanted, int)
    return wanted


async def _carry(
    app: App,
    connection: ClientConnection,
    reader: OutputReader,
    line: int | None,
    publish_end: Callable[[], dict[str, Any]],
) -> None:
    """Carry frames both ways until the client detaches or the PTY has told its end.

    A connection that just ends is no leave: the attachment lives as long as its lifeline.
    """
    if line is not None:
        app.manager.note_owner_notified(reader.pty_id, line)
    connection.is_patient = True
    tasks = [
        listening := asyncio.create_task(_listen(app, connection, reader.pty_id)),
        asyncio.create_task(pump(reader, connection.offer, publish_end)),
        asyncio.create_task(connection.gone.wait()),
    ]
    try:
        with reader:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if connection.gone.is_set():  # it may have typed something before
            await asyncio.wait([listening], timeout=app.manager.windows.last_input)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if results[0] is True:
            app.manager.detach(reader.pty_id, line)
        elif line is not None:
            app.manager.go_away(reader.pty_id, line)
    if results[0] is True:  # the client may let go of its lifeline now
        await connection.send(Detach().encode())
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _listen(app: App, connection: ClientConnection, pty_id: PtyId) -> bool:
    """Take what the client sends: a new size, a redraw, input from one without a lifeline.

    True: it took leave. False: it is gone.
    """
    decoder = FrameDecoder()
    with _Typing(app, pty_id) as typing:
        while True:
            try:
                piece = await connection.read_bytes()
            except ConnectionClosedError:  # it sends no more, but may still read
                await connection.gone.wait()
                return False
            for frame in decoder.feed(piece):
                if isinstance(frame, Detach):
                    return True
                with contextlib.suppress(PtymuxError):  # it ended meanwhile, or has no such size
                    await _take(app, connection, typing, frame)


async def _take(app: App, connection: ClientConnection, typing: _Typing, frame: Frame) -> None:
    match frame:
        case Resize():
            await app.show(typing.pty_id, WindowSize(frame.cols, frame.rows))
        case Redraw():
            await app.manager.nudge(typing.pty_id)
        case In():
            await typing.send(frame.data)
        case Ping():
            await connection.send(frame.encode())


class _Typing:
    """A lifeline for a client that has none: opened with its first input, closed at the end."""

    def __init__(self, app: App, pty_id: PtyId) -> None:
        self.pty_id = pty_id
        self._app = app
        self._lifeline: socket.socket | None = None

    def __enter__(self) -> _Typing:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._lifeline is not None:
            self._lifeline.close()

    async def send(self, data: bytes) -> None:
        """Return once the lifeline took `data`; what waits there is typed whatever happens."""
        if self._lifeline is None:
            self._lifeline = await self._app.manager.open_input(self.pty_id)
            self._lifeline.setblocking(False)
        with contextlib.suppress(OSError):  # the PTY ended
            await asyncio.get_running_loop().sock_sendall(self._lifeline, data)

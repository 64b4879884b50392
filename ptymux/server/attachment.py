"""An attachment: a reader and a lifeline for one client, over frames."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

from ptymux.core.model import PtyRecord, WindowSize
from ptymux.core.output import ReaderKind
from ptymux.errors import InvalidStateError, PtymuxError
from ptymux.manager import OutputReader
from ptymux.protocol.framing import Detach, FrameDecoder, In, Redraw, Resize
from ptymux.protocol.messages import Params
from ptymux.server.connection import Connection
from ptymux.server.pump import pump

if TYPE_CHECKING:
    from ptymux.server.app import App

__all__ = ["attach"]


async def attach(
    app: App, connection: Connection, record: PtyRecord, params: Params
) -> dict[str, Any]:
    """Attach; return the reply after which the connection carries frames."""
    from ptymux.server.commands import Answer

    kind = ReaderKind(params.choice("kind", [k.value for k in ReaderKind], default="consumer"))
    offset = _offset(app, record, params)
    cols, rows = (
        params.optional_number("cols", 1, 10_000),
        params.optional_number("rows", 1, 10_000),
    )
    reader = app.manager.reader(record.pty_id, kind, offset=offset)
    lifeline: socket.socket | None = None
    try:
        if params.flag("input"):
            with contextlib.suppress(InvalidStateError):  # it has ended: there is output to read
                lifeline = await app.manager.open_input(record.pty_id)
        if cols is not None and rows is not None:
            with contextlib.suppress(InvalidStateError):
                await app.show(record.pty_id, WindowSize(cols, rows))
    except BaseException:
        reader.close()
        raise
    reply = Answer(
        pty=app.describe(record.pty_id), offset=reader.offset, lifeline=lifeline is not None
    )
    reply.fd = -1 if lifeline is None else lifeline.detach()
    reply.then = lambda: _carry(app, connection, reader)
    return reply


def _offset(app: App, record: PtyRecord, params: Params) -> int | None:
    wanted = params.number_or_choice("offset", ["oldest", "now"], default="oldest")
    if wanted == "oldest":
        return None
    if wanted == "now":
        return app.manager.get_buffer_stats(record.pty_id).total_written
    assert isinstance(wanted, int)
    return wanted


async def _carry(app: App, connection: Connection, reader: OutputReader) -> None:
    """Carry frames both ways until the client detaches or the PTY has told its end."""
    with reader:
        listening = asyncio.create_task(_listen(app, connection, reader))
        pumping = asyncio.create_task(
            pump(reader, connection.send, lambda: app.describe(reader.pty_id))
        )
        try:
            await asyncio.wait((listening, pumping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (listening, pumping):
                task.cancel()
            await asyncio.gather(listening, pumping, return_exceptions=True)


async def _listen(app: App, connection: Connection, reader: OutputReader) -> None:
    """Take what the client sends: a new size, a redraw, input from one without a lifeline."""
    decoder = FrameDecoder()
    while True:
        for frame in decoder.feed(await connection.read_bytes()):
            with contextlib.suppress(InvalidStateError):  # it ended meanwhile
                match frame:
                    case Detach():
                        return
                    case Resize():
                        await app.show(reader.pty_id, WindowSize(frame.cols, frame.rows))
                    case Redraw():
                        await app.nudge(reader.pty_id)
                    case In():
                        with contextlib.suppress(PtymuxError):
                            await app.manager.write_input(reader.pty_id, frame.data)

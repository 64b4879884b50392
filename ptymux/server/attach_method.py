"""The method `attach`: gives a client a reader and a lifeline, then carries frames both ways."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from ptymux.core.model import PtyId, PtyRecord, WindowSize
from ptymux.core.reader import ReaderKind
from ptymux.errors import CircleError, ConnectionClosedError, InvalidStateError, PtymuxError
from ptymux.manager import OutputReader
from ptymux.manager.attachments import LifelineAttachment
from ptymux.manager.server_manager import ServerManager
from ptymux.protocol.framing import Detach, Frame, FrameDecoder, In, Ping, Redraw, Resize
from ptymux.server.method_call import MethodCall, MethodReply
from ptymux.server.pump import pump

__all__ = ["attach"]


async def attach(call: MethodCall, record: PtyRecord) -> MethodReply:
    """Attach a reader to a PTY; return the reply after which the connection carries frames."""
    params = call.params
    kind = ReaderKind(params.choice("kind", [k.value for k in ReaderKind], default="consumer"))
    cols = params.optional_number("cols", 1, 10_000)
    rows = params.optional_number("rows", 1, 10_000)
    offset, modes = _offset(call, record)
    reader = call.manager.reader(record.pty_id, kind, offset=offset)
    with contextlib.ExitStack() as undo:
        undo.callback(reader.close)
        end_show = _begin_show(call, record, kind)
        undo.callback(end_show)
        received = params.optional_number("received_from", 0, reader.offset)
        if received is not None:  # first: losses are accounted once the last reader is back
            reader.note_received(received)
        line, fd = await _line(call, reader)
        undo.callback(call.manager.detach, record.pty_id, line)
        if fd is not None:
            undo.callback(os.close, fd)
        if cols is not None and rows is not None:
            with contextlib.suppress(InvalidStateError):
                await call.manager.show(record.pty_id, WindowSize(cols, rows), line)
            if params.flag("only"):
                call.manager.send_away(record.pty_id, but=line, by=call.connection.pid)
        elif params.flag("echo"):  # a terminal that the PTY was made for
            call.manager.note_size(record.pty_id, line)
        describe_end = call.manager.describer(record.pty_id)
        result: dict[str, Any] = {
            "pty": describe_end(),
            "offset": reader.offset,
            "lifeline": fd is not None,
            "line": line,
        }
        if modes is not None:
            result["modes"] = modes
        undo.pop_all()

    def undo_all() -> None:
        reader.close()
        end_show()
        if line is not None:
            call.manager.go_away(record.pty_id, line)

    return MethodReply(
        result,
        fd=fd,
        upgrade=lambda: _carry(call, reader, line, describe_end, end_show),
        undo=undo_all,
    )


def _begin_show(call: MethodCall, record: PtyRecord, kind: ReaderKind) -> Callable[[], None]:
    """Note in which PTY the client shows this one; return what takes that back.

    Raises:
        CircleError: it is shown here already. Who comes back was not refused before, either.
    """
    inside = call.params.optional_text("inside")
    if inside is None or kind not in (ReaderKind.CONSUMER, ReaderKind.LOSSLESS):
        return lambda: None
    shows, where = call.manager.shows, PtyId(inside)
    if not call.params.has("line") and shows.would_be_circle(record.pty_id, where):
        known = call.manager.knows(where)
        raise CircleError(record.called, call.manager.get(where).called if known else inside)
    shows.begin(record.pty_id, where)
    return lambda: shows.end(record.pty_id, where)


async def _line(call: MethodCall, reader: OutputReader) -> tuple[int | None, int | None]:
    """Return the number of the lifeline that the attachment lives by, and an fd if it is new.

    A client that attaches again passes the number of the lifeline that it has.
    """
    params = call.params
    types = params.flag("input")
    if not (types or params.flag("lifeline")):
        line = params.optional_number("line", 1, 1 << 62)
        return call.manager.come_back(reader.pty_id, line), None
    hangs_up = params.flag("hangup")
    attachment = LifelineAttachment(
        reader.kind,
        readers=1,
        pid=call.connection.pid,
        is_terminal=params.has("cols") or params.flag("echo"),
    )
    try:
        number, sock = await call.manager.open_line(
            reader.pty_id, attachment, types=types, echoes=params.flag("echo"), hangs_up=hangs_up
        )
    except InvalidStateError:  # it has ended; its output can be read all the same
        return None, None
    if hangs_up:
        call.connection.owned.discard(reader.pty_id)
    return number, sock.detach()


def _offset(call: MethodCall, record: PtyRecord) -> tuple[int | None, str | None]:
    """Return the offset at which the client wants to begin; None: at the oldest byte.

    For `now` also return what switches on the terminal modes as of there.
    """
    wanted = call.params.number_or_choice("offset", ["oldest", "now"], default="oldest")
    if wanted == "oldest":
        return None, None
    if wanted == "now":
        return call.manager.modes(record.pty_id)
    assert isinstance(wanted, int)
    return wanted, None


async def _carry(
    call: MethodCall,
    reader: OutputReader,
    line: int | None,
    describe_end: Callable[[], dict[str, Any]],
    end_show: Callable[[], None],
) -> None:
    """Carry frames both ways until the client detaches or has been sent the PTY's end.

    A lost connection is not a detach: the attachment lives as long as its lifeline.
    """
    manager, connection = call.manager, call.connection
    if line is not None:
        manager.note_owner_notified(reader.pty_id, line)
    connection.is_patient = True
    tasks = [
        listening := asyncio.create_task(_listen(call, reader.pty_id, line)),
        asyncio.create_task(pump(reader, connection.offer, describe_end)),
        asyncio.create_task(connection.gone.wait()),
        asyncio.create_task(manager.sent_away(reader.pty_id, line).wait()),
    ]
    try:
        with reader:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if connection.gone.is_set():  # it may have typed something before
            await asyncio.wait([listening], timeout=manager.windows.last_input)
    finally:
        end_show()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        has_detached = results[0] is True or results[-1] is True
        if has_detached:
            manager.detach(reader.pty_id, line)
        elif line is not None:
            manager.go_away(reader.pty_id, line)
    if has_detached:  # the client waits for this before it closes its lifeline
        await connection.send(Detach().encode())
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _listen(call: MethodCall, pty_id: PtyId, line: int | None) -> bool:
    """Handle what the client sends: a size, a redraw, input if it has no lifeline.

    Returns True once it detaches, False once it is gone.
    """
    decoder = FrameDecoder()
    with _Typing(call.manager, pty_id) as typing:
        while True:
            try:
                piece = await call.connection.read_bytes()
            except ConnectionClosedError:  # it sends no more, but may still read
                await call.connection.gone.wait()
                return False
            for frame in decoder.feed(piece):
                await call.pause()
                if isinstance(frame, Detach):
                    return True
                with contextlib.suppress(PtymuxError):  # the PTY ended, or has no such size
                    await _handle(call, typing, frame, line)


async def _handle(call: MethodCall, typing: _Typing, frame: Frame, line: int | None) -> None:
    match frame:
        case Resize():
            await call.manager.show(typing.pty_id, WindowSize(frame.cols, frame.rows), line)
        case Redraw():
            await call.manager.nudge(typing.pty_id)
        case In():
            await typing.send(frame.data)
        case Ping():
            await call.connection.send(frame.encode())


class _Typing:
    """A lifeline for a client that has none: opened for its first input, closed at the end."""

    def __init__(self, manager: ServerManager, pty_id: PtyId) -> None:
        self.pty_id = pty_id
        self._manager = manager
        self._lifeline: socket.socket | None = None

    def __enter__(self) -> _Typing:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._lifeline is not None:
            self._lifeline.close()

    async def send(self, data: bytes) -> None:
        """Return once the lifeline has `data`; from there the engine types it."""
        if self._lifeline is None:
            self._lifeline = await self._manager.open_input(self.pty_id)
            self._lifeline.setblocking(False)
        with contextlib.suppress(OSError):  # the PTY ended
            await asyncio.get_running_loop().sock_sendall(self._lifeline, data)

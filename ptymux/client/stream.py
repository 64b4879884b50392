"""The two connections of an attachment: the stream of a PTY's output, and the lifeline for input.

A stream is the socket to the server after the request `attach`: the server sends output in frames
(`ptymux.protocol.framing`), and the client says what size its terminal has and that it leaves. A
lifeline is a socket to the keeper, the process that has the terminals. So input arrives, and the
attachment lives, while the server is being replaced.
"""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress

from ptymux.client.closing import Closing
from ptymux.errors import ConnectionClosedError, InputCutError, ProtocolError
from ptymux.protocol.framing import (
    Ack,
    Detach,
    Exit,
    FrameDecoder,
    Gap,
    In,
    Out,
    Ping,
    Redraw,
    Resize,
    only_out,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from ptymux.client.attach_request import AttachRequest
    from ptymux.client.server_connection import ServerConnection
    from ptymux.core.model import SpawnOptions
    from ptymux.protocol.framing import Frame

__all__ = [
    "Lifeline",
    "Stream",
    "attach",
    "open_input",
    "send",
    "spawn_and_attach",
    "unseen",
    "write_all",
]

_READ: Final = 128 * 1024
_ECHOES: Final = 16 * 1024
_LAST_WORD: Final = 8  # bytes in which the keeper says how many bytes of input a terminal took


class Lifeline(Closing):
    """A socket on which input for a PTY is written; the keeper types it into the terminal.

    It belongs to an attachment, which ends when the lifeline is closed, or to a `send`. The other
    way it carries, if that was asked for with `echo`, what the terminal answers to a key. What the
    terminal does not take waits in the socket, which then takes no more. When a lifeline ends, the
    keeper's last word on it is how many bytes of input the terminal took.
    """

    def __init__(self, fd: int) -> None:
        """Take over `fd`."""
        self.number: int | None = None  # by which the server knows it
        self.modes = b""  # what switches on the terminal's modes as they were when it was opened
        self.is_over = False  # its end was received, behind all echoes
        self._decoder = FrameDecoder()
        self._sock = socket.socket(fileno=fd)
        self._sock.setblocking(False)

    def fileno(self) -> int:
        """Return the fd, to wait until it takes more; -1 once closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """End the lifeline, and the attachment that lives by it; again is no error."""
        self._sock.close()

    def has_ended(self) -> bool:
        """Whether the keeper ended it, as the PTY has ended, or died; input would go nowhere.

        The end is that the other side sends no more (RDHUP), and not that there is something to
        read: that may be an echo which nobody has read yet. The keeper sends its last word just
        before the end, so that nothing but echoes can be there without an end for long.
        Source: POLLRDHUP in poll(2); `engine/input.py` sends the last word and shuts down at once.
        """
        poll = select.poll()  # select() has no room for fds above 1023
        poll.register(self._sock, select.POLLRDHUP)
        return bool(poll.poll(0))

    def offer(self, data: bytes | memoryview) -> int | None:
        """Write what the socket takes now and return its size; None when the lifeline has ended."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return None

    def send_all(self, data: bytes) -> bool:
        """Write all of `data`, however long the terminal takes; False when the PTY ended before.

        How much the terminal took then is what `finish` returns.
        """
        rest = memoryview(data)
        while rest:
            size = self.offer(rest)
            if size is None:
                return False
            rest = rest[size:]
            if rest:
                self._wait(select.POLLOUT)
        return True

    def receive(self) -> list[Frame]:
        """Return the echoes that are here, if the lifeline was asked for with `echo`.

        Raises:
            ProtocolError: what came is no frame.
        """
        try:
            piece = self._sock.recv(_ECHOES)
        except BlockingIOError:
            return []
        except OSError:
            piece = b""
        if not self._decoder.held and (echo := only_out(piece)) is not None:
            return [echo]  # as nearly always, and somebody waits for it
        self.is_over = not piece
        return list(self._decoder.feed(piece))

    def finish(self) -> int:
        """End the input, and return how many bytes of all that was written the terminal took.

        It returns once the terminal has taken everything, or the PTY has ended. It is not for a
        lifeline that was asked for with `echo`.

        Raises:
            ConnectionClosedError: the keeper died, so that nobody knows how many.
        """
        with suppress(OSError):  # the other end is closed; its last word waits to be read
            self._sock.shutdown(socket.SHUT_WR)
        word = b""
        while len(word) < _LAST_WORD:
            self._wait(select.POLLIN)
            try:
                piece = self._sock.recv(_LAST_WORD - len(word))
            except BlockingIOError:
                continue
            except OSError:
                piece = b""
            if not piece:
                raise ConnectionClosedError("the keeper died: how much input arrived is unknown")
            word += piece
        return int.from_bytes(word, "little")

    def _wait(self, events: int) -> None:
        poll = select.poll()  # select() has no room for fds above 1023
        poll.register(self._sock, events)
        poll.poll()


class Stream(Closing):
    """The connection of an attachment: output comes in frames, and a few small frames go out.

    Either iterate, or call `receive` whenever the fd is readable. Some frames came with the attach
    itself: call `pending` before the first wait. `offset` is that of the next byte of output, where
    another stream goes on after a reconnect. Since `received_from` no byte before it was missed.
    """

    def __init__(
        self,
        sock: socket.socket,
        piece: bytes = b"",
        *,
        pty: dict[str, Any] | None = None,
        offset: int = 0,
        lifeline: Lifeline | None = None,
    ) -> None:
        """Take over `sock` and `lifeline`; `piece` was read from `sock` before."""
        self.pty = pty or {}  # as of the attach
        self.offset = self.received_from = offset
        self.lifeline = lifeline
        self.modes = b""  # what switches on the terminal's modes at an offset that was `now`
        self.is_over = False  # the last frame was received: Exit or Detach
        self._decoder = FrameDecoder(piece)
        self._sock = sock
        sock.settimeout(None)

    def __iter__(self) -> Iterator[Out | Gap | Exit]:
        """Give output, gaps and the end in order, until the PTY ends or the server detaches us.

        Another iteration goes on where one was left.

        Raises:
            ConnectionClosedError: the server went away; `offset` is where to go on.
            ProtocolError: it sent what is no frame, or left bytes out without a gap.
        """
        while True:
            while (frame := self._take()) is not None:
                if isinstance(frame, (Out, Gap, Exit)):
                    yield frame
            if self.is_over:
                return
            self._read()

    def fileno(self) -> int:
        """Return the fd, to wait until there is something to receive; -1 once closed."""
        return self._sock.fileno()

    def wait(self, deadline: float | None) -> bool:
        """Return True once `receive` would not block; False when the deadline came before."""
        poll = select.poll()  # select() has no room for fds above 1023
        poll.register(self._sock, select.POLLIN)
        left = None if deadline is None else 1000 * max(0.0, deadline - time.monotonic())
        return bool(poll.poll(left))

    def close(self) -> None:
        """End the stream, and the lifeline unless somebody took it; again is no error."""
        self._sock.close()
        if self.lifeline is not None:
            self.lifeline.close()

    def interrupt(self) -> None:
        """Have a thread that waits in `wait` or `receive` find the end of the connection."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def pending(self) -> list[Frame]:
        """Return the frames that were received already; raises ProtocolError as iterating does."""
        return list(iter(self._take, None))

    def receive(self) -> list[Frame]:
        """Read once, which blocks if nothing came, and return the frames that are whole.

        Raises:
            ConnectionClosedError, ProtocolError: as iterating does.
        """
        self._read()
        return self.pending()

    def acknowledge(self, offset: int) -> None:
        """Notify the server that all output before `offset` was used.

        This and the methods below do nothing when the connection has ended; `receive` raises then.
        They block while the server takes nothing.
        """
        self._send(Ack(offset))

    def resize(self, cols: int, rows: int) -> None:
        """Give the PTY the size of the terminal that shows it."""
        self._send(Resize(cols, rows))

    def redraw(self) -> None:
        """Have the program draw everything again."""
        self._send(Redraw())

    def ping(self, data: bytes = b"") -> None:
        """Ask for a Ping with the same data."""
        self._send(Ping(data))

    def detach(self) -> None:
        """End the attachment; what is on its way can still be received."""
        self._send(Detach())

    def send_input(self, data: bytes) -> None:
        """Type `data` by way of the server: for an attachment without a lifeline."""
        for start in range(0, len(data), _READ):
            self._send(In(data[start : start + _READ]))

    def _take(self) -> Frame | None:
        frame = None if self.is_over else self._decoder.take()
        if isinstance(frame, Out):
            self._advance(frame.offset, frame.offset + len(frame.data))
        elif isinstance(frame, Gap):
            self._advance(frame.start, frame.end)
            self.received_from = frame.end
        elif isinstance(frame, (Exit, Detach)):
            self.is_over = True
        return frame

    def _advance(self, start: int, end: int) -> None:
        if start != self.offset:
            raise ProtocolError(f"output goes on at {start}, not at {self.offset}, without a gap")
        self.offset = end

    def _read(self) -> None:
        try:
            piece = self._sock.recv(_READ)
        except OSError:
            piece = b""
        if not piece:
            raise ConnectionClosedError("the server ended the connection before the PTY did")
        self._decoder.feed(piece)

    def _send(self, frame: Frame) -> None:
        with suppress(OSError):
            self._sock.sendall(frame.encode())


def unseen(frame: Frame, offset: int) -> Frame | None:
    """Return what of a frame is new to a client that has all output before `offset`."""
    if isinstance(frame, Out) and frame.offset < offset:
        data = frame.data[offset - frame.offset :]
        return Out(offset, data) if data else None
    if isinstance(frame, Gap) and frame.start < offset:
        return Gap(offset, frame.end) if frame.end > offset else None
    return frame


def attach(connection: ServerConnection, request: AttachRequest) -> Stream:
    """Attach as `request` says, and return the stream, which the connection becomes.

    Raises:
        PtymuxError: as `ServerConnection.call`; the connection is as it was.
    """
    result, lifeline = _ask(connection, "attach", **request.params())
    start = _start(result, connection, lifeline)
    if lifeline is not None:
        lifeline.number = result.get("line")
    sock, piece = connection.upgrade()
    stream = Stream(sock, piece, pty=result.get("pty"), offset=start, lifeline=lifeline)
    stream.modes = _modes(result)
    return stream


def spawn_and_attach(
    connection: ServerConnection,
    options: SpawnOptions,
    *,
    remove: bool,
    hangup: bool,
    request: str,
) -> tuple[Stream, AttachRequest]:
    """Start a command, and return the stream of its output and how it was attached to.

    The connection becomes the stream: the server forgets no PTY before that ends. With `hangup` the
    end of the lifeline hangs the PTY up; that one is not for input then.

    Raises:
        PtymuxError: as `ServerConnection.spawn`.
    """
    from ptymux.client.attach_request import AttachRequest

    with connection:
        spawned = connection.spawn(
            options, remove=remove, hangup=hangup, attaches=True, request=request
        )
        how = AttachRequest(
            spawned["pty"]["pty_id"],
            offset=0,
            wants_input=not hangup,
            lifeline=True,
            hangup=hangup,
        )
        return attach(connection, how), how


def open_input(
    connection: ServerConnection, pty: str, size: int | None = None
) -> tuple[Lifeline, int]:
    """Return a lifeline to `pty`, and the offset of its next output; `size`: of all the input.

    Raises:
        PtymuxError: as `ServerConnection.call`.
    """
    result, lifeline = _ask(connection, "send", pty=pty, size=size)
    if lifeline is None:
        raise ProtocolError("the server sent no lifeline")
    lifeline.modes = _modes(result)
    return lifeline, _start(result, connection, lifeline)


def _modes(result: dict[str, Any]) -> bytes:
    """Return the bytes that switch the terminal's modes on; a server before 0.2 sends none."""
    return str(result.get("modes") or "").encode("latin-1", "ignore")


def send(connection: ServerConnection, pty: str, data: bytes) -> int:
    """Type `data` into `pty`; once the terminal took all, return where its next output was before.

    Raises:
        InputCutError: the PTY ended and took less; `taken` says how much.
        ConnectionClosedError: the keeper died, so that nobody knows how much.
        PtymuxError: as `ServerConnection.call`; nothing was written.
    """
    lifeline, offset = open_input(connection, pty, len(data))
    write_all(lifeline, pty, data)
    return offset


def write_all(lifeline: Lifeline, pty: str, data: bytes) -> None:
    """Write `data` as all the input of `lifeline` and close it, once the terminal took all.

    Raises:
        InputCutError: the PTY ended and took less; `taken` says how much.
        ConnectionClosedError: the keeper died, so that nobody knows how much.
    """
    with lifeline:
        lifeline.send_all(data)
        taken = lifeline.finish()
    if taken < len(data):
        raise InputCutError(pty, taken, len(data))


def _ask(
    connection: ServerConnection, method: str, **params: object
) -> tuple[dict[str, Any], Lifeline | None]:
    result, fds = connection.call_with_fds(method, **params)
    for unasked in fds[1:]:
        os.close(unasked)
    try:
        return result, Lifeline(fds[0]) if fds else None
    except OSError as error:
        os.close(fds[0])
        raise ProtocolError("what the server sent is no lifeline") from error


def _start(result: dict[str, Any], connection: ServerConnection, lifeline: Lifeline | None) -> int:
    offset = result.get("offset")
    if type(offset) is int and offset >= 0:
        return offset
    connection.close()
    if lifeline is not None:
        lifeline.close()
    raise ProtocolError("the server did not tell the offset")

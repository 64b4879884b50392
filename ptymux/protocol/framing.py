"""The frames of an attachment, and a decoder that turns bytes into them; no I/O.

Feed the decoder a piece as the socket gave it, take from it until it has nothing whole any more,
then feed the next piece. It never holds more than the largest frame and one piece.

A frame is 1 byte of type, 4 bytes of length, big-endian, and so many bytes. Types that this
version does not know are skipped, and so is what follows the fields of one that it knows.
"""

from __future__ import annotations

from struct import Struct

from ptymux.errors import ProtocolError
from ptymux.protocol.frame_header import (
    HEADER,
    LARGEST_DATA,
    LARGEST_FRAME,
    NUMBERED_HEADER,
    OUT,
    TAKEN,
    out_header,
)
from ptymux.protocol.values import Value, dump_object, parse_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final, Self

__all__ = [
    "LARGEST_FRAME",
    "LARGEST_DATA",
    "HEADER_SIZE",
    "Frame",
    "Out",
    "In",
    "Ack",
    "Resize",
    "Redraw",
    "Gap",
    "Exit",
    "Ping",
    "Detach",
    "Taken",
    "FrameDecoder",
    "only_out",
    "out_header",
]

HEADER_SIZE: Final = HEADER.size

_OFFSET: Final = Struct(">Q")
_RANGE: Final = Struct(">QQ")
_SIZE: Final = Struct(">HH")


class Frame(Value):
    """One message of an attachment, in either direction."""

    __slots__ = ()
    TYPE = 0

    def encode(self) -> bytes:
        """Return the frame as bytes.

        Raises:
            ProtocolError: it is larger than the largest.
        """
        payload = self._payload()
        if len(payload) > LARGEST_FRAME:
            raise ProtocolError(f"a frame is larger than {LARGEST_FRAME} bytes")
        return HEADER.pack(self.TYPE, len(payload)) + payload

    def _payload(self) -> bytes:
        return b""

    @classmethod
    def _parse(cls, payload: memoryview) -> Self:
        return cls()


class Out(Frame):
    """A piece of the PTY's output, from the server; `offset` is that of its first byte."""

    __slots__ = ("data", "offset")
    TYPE = OUT

    def __init__(self, offset: int, data: bytes) -> None:
        self.offset = offset
        self.data = data

    def _payload(self) -> bytes:
        return _OFFSET.pack(self.offset) + self.data

    @classmethod
    def _parse(cls, payload: memoryview) -> Self:
        return cls(_OFFSET.unpack_from(payload)[0], payload[_OFFSET.size :].tobytes())


class In(Frame):
    """Input for the PTY, from a client that cannot be passed an fd to write it to."""

    __slots__ = ("data",)
    TYPE = 2

    def __init__(self, data: bytes) -> None:
        self.data = data

    def _payload(self) -> bytes:
        return self.data

    @classmethod
    def _parse(cls, payload: memoryview) -> Self:
        return cls(bytes(payload))


class Ack(Frame):
    """Receipt from the client: it has used all output before `offset`."""

    __slots__ = ("offset",)
    TYPE = 3

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def _payload(self) -> bytes:
        return _OFFSET.pack(self.offset)

    @classmethod
    def _parse(cls, payload: memoryview) -> Self:
        return cls(*_OFFSET.unpack_from(payload))


class Resize(Frame):
    """New size of the client's terminal, in cells; the decoder does not check its range."""

    __slots__ = ("cols", "rows")
    TYPE = 4

    def __init__(self, cols: int, rows: int) -> None:
        self.cols = cols
        self.rows = rows

    def _payload(self) -> bytes:
        return _SIZE.pack(self.cols, self.rows)

    @classmethod
    def _parse(cls, payload: memoryview) -> Self:
        return cls(*_SIZE.unpack_from(payload))


class Redraw(Frame):
    """Request from the client that the program draws its whole screen again."""

    __slots__ = ()
    TYPE = 5


# Type 6 is reserved for SCREEN: what a full-screen client will get in the place of output.


class Gap(Frame):
    """Range of output that this reader missed, [start, end); sent before the next OUT."""

    __slots__ = ("end", "start")
    TYPE = 7

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    def _payload(self) -> bytes:
        return _RANGE.pack(self.start, self.end)

    @classmethod
    def _parse(cls, payload: memoryview) -> Self:
        start, end = _RANGE.unpack_from(payload)
        if end < start:
            raise ProtocolError(f"a gap from {start} to {end} ends before it begins")
        return cls(start, end)


class Exit(Frame):
    """Last frame of a PTY that has ended, behind all its output; `pty` describes it, as JSON."""

    __slots__ = ("pty",)
    TYPE = 8

    def __init__(self, pty: dict[str, Any]) -> None:
        self.pty = pty

    def _payload(self) -> bytes:
        return dump_object(self.pty)

    @classmethod
    def _parse(cls, payload: memoryview) -> Self:
        return cls(parse_object(bytes(payload)))


class Ping(Frame):
    """Proof that the other side lives: the server sends a client's PING back as it is."""

    __slots__ = ("data",)
    TYPE = 9

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def _payload(self) -> bytes:
        return self.data

    @classmethod
    def _parse(cls, payload: memoryview) -> Self:
        return cls(bytes(payload))


class Detach(Frame):
    """Last frame of its sender: the attachment is over, and the PTY lives on."""

    __slots__ = ()
    TYPE = 10


class Taken(Frame):
    """How many bytes of all input the terminal took; ends a lifeline that carries echoes."""

    __slots__ = ("size",)
    TYPE = TAKEN

    def __init__(self, size: int) -> None:
        self.size = size

    def _payload(self) -> bytes:
        return _OFFSET.pack(self.size)

    @classmethod
    def _parse(cls, payload: memoryview) -> Self:
        return cls(*_OFFSET.unpack_from(payload))


_KINDS: Final[dict[int, tuple[type[Frame], int]]] = {
    kind.TYPE: (kind, smallest)
    for kind, smallest in (
        (Out, _OFFSET.size),
        (In, 0),
        (Ack, _OFFSET.size),
        (Resize, _SIZE.size),
        (Redraw, 0),
        (Gap, _RANGE.size),
        (Exit, 0),
        (Ping, 0),
        (Detach, 0),
        (Taken, _OFFSET.size),
    )
}


def only_out(piece: bytes) -> Out | None:
    """Return the OUT if `piece` is exactly one; None if it is anything else."""
    if len(piece) < NUMBERED_HEADER.size:
        return None
    number, size, offset = NUMBERED_HEADER.unpack_from(piece)
    if number != OUT or HEADER_SIZE + size != len(piece):
        return None
    return Out(offset, piece[NUMBERED_HEADER.size :])


class FrameDecoder:
    """Cuts the bytes of an attachment into frames; `piece` came behind the reply to `attach`."""

    def __init__(self, piece: bytes = b"") -> None:
        self._held: bytes | bytearray = piece
        self._at = 0  # what lies before was taken

    @property
    def held(self) -> int:
        """Bytes that were fed and not taken; above 0 at the end, the last frame is incomplete."""
        return len(self._held) - self._at

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Add a piece, and return an iterator that takes the frames that are whole by now.

        Raises:
            ProtocolError: more than the largest frame waits to be taken already.
        """
        held = self._held
        if len(held) == self._at:  # mostly: a piece is whole frames, and is not copied
            self._held = piece
        elif len(held) - self._at > HEADER_SIZE + LARGEST_FRAME:
            raise ProtocolError(f"more than {LARGEST_FRAME} bytes of frames wait")
        else:
            if not isinstance(held, bytearray):
                held = self._held = bytearray(memoryview(held)[self._at :])
            else:
                del held[: self._at]
            held += piece
        self._at = 0
        return iter(self.take, None)

    def take(self) -> Frame | None:
        """Return the next frame of a known type; None when none is whole yet.

        Raises:
            ProtocolError: the frame is too large, or has less than its type needs.
        """
        held = self._held
        while len(held) >= (start := self._at + HEADER_SIZE):
            number, size = HEADER.unpack_from(held, self._at)
            if size > LARGEST_FRAME:
                raise ProtocolError(f"a frame of {size} bytes is larger than {LARGEST_FRAME}")
            if len(held) < start + size:
                return None
            self._at = start + size
            known = _KINDS.get(number)
            if known is None:
                continue
            kind, smallest = known
            if size < smallest:
                raise ProtocolError(f"a frame of type {number} has {size} bytes, not {smallest}")
            with memoryview(held)[start : start + size] as payload:
                return kind._parse(payload)
        if len(held) == self._at:
            self._held, self._at = b"", 0
        return None

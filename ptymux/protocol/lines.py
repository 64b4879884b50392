"""A decoder that turns the bytes of a connection into lines and payloads; no I/O.

Feed it a piece as the socket gave it, take from it until it has nothing whole any more, then feed
the next piece. It never holds more than the largest line, or the payload that is awaited, and one
piece. Bytes that were fed behind the last line are kept for what follows the lines.
"""

from __future__ import annotations

from ptymux.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["LARGEST_LINE", "LineDecoder"]

LARGEST_LINE: Final = 1024 * 1024  # with its newline


class LineDecoder:
    """Cuts the bytes of a connection into lines, until it carries something else."""

    def __init__(self, largest: int = LARGEST_LINE) -> None:
        self._largest = largest
        self._allowed = largest  # bytes held before a piece; more while a payload is awaited
        self._held = bytearray()
        self._searched = 0  # bytes held that are known to have no newline

    @property
    def held(self) -> int:
        """Bytes that were fed and not taken."""
        return len(self._held)

    def feed(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            ProtocolError: more than the largest line waits to be taken already.
        """
        if len(self._held) > self._allowed:
            raise ProtocolError(f"more than {self._allowed} bytes were sent ahead of the answers")
        self._held += piece

    def next_line(self) -> bytes | None:
        """Return the next line without its newline; None when none is whole yet.

        Raises:
            ProtocolError: the line is longer than the largest.
        """
        end = self._held.find(b"\n", self._searched, self._largest)
        if end < 0:
            if len(self._held) >= self._largest:
                raise ProtocolError(f"a line is longer than {self._largest} bytes")
            self._searched = len(self._held)
            return None
        return self._cut(end + 1)[:-1]

    def take_payload(self, size: int) -> bytes | None:
        """Return the next `size` bytes, whatever they are; None when not all are here yet."""
        if len(self._held) < size:
            self._allowed = max(self._largest, size)
            return None
        self._allowed = self._largest
        return self._cut(size)

    def take_rest(self) -> bytes:
        """Return all bytes that were fed and not taken."""
        rest = bytes(self._held)
        self._held.clear()
        self._searched = 0
        return rest

    def _cut(self, size: int) -> bytes:
        cut = bytes(self._held[:size])
        del self._held[:size]
        self._searched = 0
        return cut

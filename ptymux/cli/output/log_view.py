"""How `ptymux logs` shows output: as it was, without what the terminal added, or as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ptymux.client.plain_text import Plain, Run

__all__ = ["NO_COLOUR", "Bytes", "LogView", "Stamped", "Text", "Unterminal"]

NO_COLOUR: Final = b"\x1b[0m"
_ODD: Final = re.compile(  # letters in UTF-8, or a byte that some terminals act upon
    rb"([\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})|[\x80-\x9f]"
)
_REPLACEMENT: Final = "\ufffd".encode()


class LogView:
    """One way to show output, which is fed in pieces; this one leaves it as it is."""

    is_raw = False  # every byte is wanted, those of a line that was cut, too
    has_colours = False  # some were set, and may be set still

    def feed(self, data: bytes) -> bytes:
        """Return what to print for this output and what was held back."""
        return data

    def line(self) -> bytes:
        """Return the line in which the cursor is, which was not returned yet."""
        return b""

    def finish(self) -> bytes:
        """Return what was held back, as nothing follows directly."""
        return b""

    def skip(self, offset: int) -> bytes:
        """Go on at `offset`, after a gap; return what `finish` does."""
        return self.finish()


class Bytes(LogView):
    """Output as it was."""

    is_raw = True


class Unterminal(LogView):
    """Output without the CR that the terminal has put before each newline."""

    def __init__(self) -> None:
        self._held = b""  # a CR that may stand before a newline

    def feed(self, data: bytes) -> bytes:
        """Return the output up to a CR that may belong to a newline."""
        data = (self._held + data).replace(b"\r\n", b"\n")
        self._held = b"\r" if data.endswith(b"\r") else b""
        return data[:-1] if self._held else data

    def finish(self) -> bytes:
        """Return a CR that was held back."""
        held, self._held = self._held, b""
        return held


class Text(LogView):
    """Lines as a terminal leaves them, with `colours` as it shows them."""

    def __init__(self, *, colours: bool) -> None:
        self._plain = Plain(colours=colours)
        self._colours = colours

    def feed(self, data: bytes) -> bytes:
        """Return the lines that are complete now."""
        return self._joined(self._plain.feed(data))

    def line(self) -> bytes:
        """Return the line that is not complete."""
        return self._shown(self._plain.draw())

    def finish(self) -> bytes:
        """Return the last line."""
        return self._joined(self._plain.finish())

    def skip(self, offset: int) -> bytes:
        """Return the last line before a gap."""
        return self._joined(self._plain.skip(offset))

    def _joined(self, runs: list[Run]) -> bytes:
        return self._shown(b"".join(run.data for run in runs))

    def _shown(self, data: bytes) -> bytes:
        if not self._colours:
            return data
        self.has_colours = self.has_colours or b"\x1b" in data
        return data if data.isascii() else _ODD.sub(lambda m: m[1] or _REPLACEMENT, data)


class Stamped(LogView):
    """Another view's lines, each behind the time of its first byte; it begins at `offset`."""

    def __init__(self, view: LogView, offset: int, stamp: Callable[[int], bytes]) -> None:
        self._view = view
        self._offset = self._line_start = offset  # of the next byte, and of its line
        self._stamp = stamp  # what stands before a line, by the offset at which it begins
        self._is_amid = False  # a line, of which something was returned

    @property
    def has_colours(self) -> bool:  # type: ignore[override]
        """Whether some were set, and may be set still."""
        return self._view.has_colours

    def feed(self, data: bytes) -> bytes:
        """Return what the other view does, with times."""
        found = []
        for line in _lines(data):
            found.append(self._stamped(self._view.feed(line)))
            self._offset += len(line)
            if line.endswith(b"\n"):
                self._line_start = self._offset
        return b"".join(found)

    def line(self) -> bytes:
        """Return the line in which the cursor is, with its time."""
        line = self._view.line()
        return self._stamp(self._line_start) + line if line else b""

    def finish(self) -> bytes:
        """Return what was held back."""
        return self._stamped(self._view.finish())

    def skip(self, offset: int) -> bytes:
        """Go on at `offset`; the line that a gap has cut ends, as the next one has a time, too."""
        rest = self._stamped(self._view.skip(offset))
        if self._is_amid:
            rest += b"\n"
        self._offset = self._line_start = offset
        self._is_amid = False
        return rest

    def _stamped(self, data: bytes) -> bytes:
        found = []
        for line in _lines(data):
            found.append(line if self._is_amid else self._stamp(self._line_start) + line)
            self._is_amid = not line.endswith(b"\n")
        return b"".join(found)


def _lines(data: bytes) -> list[bytes]:
    """Return the data in pieces that end behind each newline; no other character ends a line."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]

"""Takes output apart as a terminal in UTF-8 does: text, control characters, escape sequences.

It is fed bytes in pieces of any size, and calls a `Screen` with each part and the part's offset in
the output. An escape sequence comes whole, and a broken one ends where it broke. C1 controls are
known as UTF-8 only: single bytes from 0x80 on are text, as they may be letters in another encoding.
What OSC, DCS and their like contain is no text, and is left out.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

__all__ = ["EscapeParser", "Screen"]

_LETTER: Final = (
    rb"\xc2[\xa0-\xbf]|[\xc3-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_TEXT: Final = re.compile(rb"(?:[\x20-\x7e]+|" + _LETTER + rb")+")
_LINES: Final = re.compile(
    rb"(?:(?:[\t\x20-\x7e]+|\x1b\[[0-9;:]{0,64}m|" + _LETTER + rb")*+\r*\n)+"
)
# What may become a letter, or a C1 control, with the bytes to come.
_BEGUN: Final = re.compile(
    rb"(?:[\xc2-\xdf]|\xe0[\xa0-\xbf]?|[\xe1-\xec\xee\xef][\x80-\xbf]?|\xed[\x80-\x9f]?"
    rb"|\xf0(?:[\x90-\xbf][\x80-\xbf]?)?|[\xf1-\xf3][\x80-\xbf]{0,2}|\xf4(?:[\x80-\x8f][\x80-\xbf]?)?)\Z"
)
_CONTROL: Final = re.compile(rb"\x1b|\xc2[\x80-\x9f]")
_BODY: Final = re.compile(rb"[0-?]{0,256}[ -/]{0,8}")  # of a CSI; one that is longer is broken
_INTERMEDIATE: Final = re.compile(rb"[ -/]{0,8}")  # of other sequences
_STRING_ENDS: Final = re.compile(rb"[\x07\x18\x1a\x1b]|\xc2(?:\x9c|\Z)")
_LONGEST_STRING: Final = 1024 * 1024  # what is longer was none: it would hide all that follows

_ESCAPE: Final = 0x1B
_CSI: Final = ord("[")
_STRINGS: Final = frozenset(b"]PX^_")  # OSC, DCS, SOS, PM, APC: text up to a terminator
_INCOMPLETE: Final = -1


class Screen(Protocol):
    """What acts upon the parts; each comes with its offset in the output."""

    is_at_start: bool  # of a line of which nothing is there yet: `lines` may come

    def lines(self, offset: int, data: bytes) -> None:
        """Take whole lines of text, tabs and colours, each with its newline, maybe behind CRs."""

    def text(self, offset: int, data: bytes) -> None:
        """Take characters that can be seen."""

    def control(self, offset: int, byte: int) -> None:
        """Take a C0 control character, or DEL."""

    def sequence(self, offset: int, data: bytes) -> None:
        """Take an escape sequence as it would be in 7 bits, ESC first; none that has a text."""


class EscapeParser:
    """The parser; it begins at `offset`."""

    def __init__(self, screen: Screen, offset: int = 0) -> None:
        self._screen = screen
        self._offset = offset  # of the first byte of the rest
        self._rest = b""
        self._string_size = 0  # of the string that we are in, with its introducer

    def feed(self, data: bytes) -> None:
        """Take apart `data`, behind what was held back before."""
        data = self._rest + data
        at, end = 0, len(data)
        while at < end:
            after = self._string(data, at) if self._string_size else self._ground(data, at)
            if after == _INCOMPLETE:
                break
            at = after
        self._rest = data[at:]
        self._offset += at

    def finish(self) -> None:
        """Take what was held back, as nothing follows it directly."""
        if not self._string_size and not _CONTROL.match(self._rest):
            for at, byte in enumerate(self._rest):
                self._screen.text(self._offset + at, bytes([byte]))
        self._offset += len(self._rest)
        self._rest = b""
        self._string_size = 0

    def skip(self, offset: int) -> None:
        """Go on at `offset`, after a gap and `finish`."""
        self._offset = offset

    def _ground(self, data: bytes, at: int) -> int:
        """Take the part that begins at `at`; return where it ends."""
        if self._screen.is_at_start:
            lines = _LINES.match(data, at)
            if lines is not None:
                self._screen.lines(self._offset + at, lines[0])
                return lines.end()
        text = _TEXT.match(data, at)
        if text is not None:
            self._screen.text(self._offset + at, text[0])
            return text.end()
        byte = data[at]
        if byte == _ESCAPE:
            return self._escape(data, at)
        if byte < 0x80:
            self._screen.control(self._offset + at, byte)
            return at + 1
        if _BEGUN.match(data, at):
            return _INCOMPLETE
        if byte == 0xC2 and 0x80 <= data[at + 1] <= 0x9F:
            return self._introduced(data, at, data[at + 1] - 0x40, at + 2)
        self._screen.text(self._offset + at, data[at : at + 1])
        return at + 1

    def _escape(self, data: bytes, at: int) -> int:
        if at + 1 == len(data):
            return _INCOMPLETE
        return self._introduced(data, at, data[at + 1], at + 2)

    def _introduced(self, data: bytes, at: int, kind: int, body: int) -> int:
        """Take the sequence at `at` of this kind, whose body begins at `body`."""
        if kind == _CSI:
            return self._control_sequence(data, at, body)
        if kind in _STRINGS:
            self._string_size = body - at
            return body
        if data[at] != _ESCAPE:  # another C1 control
            self._screen.sequence(self._offset + at, bytes((_ESCAPE, kind)))
            return body
        inner = _INTERMEDIATE.match(data, at + 1)
        assert inner is not None
        end = inner.end()
        if end == len(data) and len(inner[0]) < 8:
            return _INCOMPLETE
        if end < len(data) and 0x30 <= data[end] <= 0x7E:
            self._screen.sequence(self._offset + at, data[at : end + 1])
            return end + 1
        return end

    def _control_sequence(self, data: bytes, at: int, body: int) -> int:
        inner = _BODY.match(data, body)
        assert inner is not None
        end = inner.end()
        if end == len(data):
            return _INCOMPLETE if end - body < 264 else end
        if not 0x40 <= data[end] <= 0x7E:
            return end
        self._screen.sequence(self._offset + at, b"\x1b[" + data[body : end + 1])
        return end + 1

    def _string(self, data: bytes, at: int) -> int:
        """Take more of the string that was begun; return where what was taken ends."""
        found = _STRING_ENDS.search(data, at, at + _LONGEST_STRING - self._string_size)
        if found is None:
            end = min(len(data), at + _LONGEST_STRING - self._string_size)
            self._string_size += end - at
            if self._string_size >= _LONGEST_STRING:
                self._string_size = 0
            return end
        if found[0] == b"\xc2":  # may be the first half of a terminator
            if found.start() == at and at + 1 == len(data):
                return _INCOMPLETE
            end = max(found.start(), at + 1)
            self._string_size += end - at
            return end
        self._string_size = 0
        # An ESC ends it whatever follows; with a backslash it is a sequence that does nothing.
        return found.start() if found[0] == b"\x1b" else found.end()

"""Output without escape codes: text, newlines and tabs, and colours if wanted.

A parser that is fed bytes in pieces of any size, and returns the text in runs, each with its offset
in the output. It does what a terminal in UTF-8 does: an escape sequence is taken out whole, a
broken one up to where it broke. C1 controls are taken out, both as UTF-8 and as single bytes. Other
bytes that are no UTF-8 stay, as they may be letters in another encoding.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Plain", "Run"]

_LETTER: Final = (
    rb"\xc2[\xa0-\xbf]|[\xc3-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_TEXT: Final = re.compile(rb"(?:[\t\n\x20-\x7e]+|" + _LETTER + rb")+")
# What may become a letter, or a C1 control, with the bytes to come.
_BEGUN: Final = re.compile(
    rb"(?:[\xc2-\xdf]|\xe0[\xa0-\xbf]?|[\xe1-\xec\xee\xef][\x80-\xbf]?|\xed[\x80-\x9f]?"
    rb"|\xf0(?:[\x90-\xbf][\x80-\xbf]?)?|[\xf1-\xf3][\x80-\xbf]{0,2}|\xf4(?:[\x80-\x8f][\x80-\xbf]?)?)\Z"
)
_COLOUR: Final = re.compile(rb"\x1b\[[0-9;:]*m")
_BODY: Final = re.compile(rb"[0-?]{0,256}[ -/]{0,8}")  # of a CSI; one that is longer is broken
_INTERMEDIATE: Final = re.compile(rb"[ -/]{0,8}")  # of other sequences
_STRING_ENDS: Final = re.compile(rb"[\x07\x18\x1a\x1b]|\xc2(?:\x9c|\Z)")
_LONGEST_STRING: Final = 1024 * 1024  # what is longer was none: it would hide all that follows

_ESCAPE: Final = 0x1B
_CSI: Final = ord("[")
_STRINGS: Final = frozenset(b"]PX^_")  # OSC, DCS, SOS, PM, APC: text up to a terminator
_INCOMPLETE: Final = -1


class Run(NamedTuple):
    """Text that was kept; its bytes are next to each other in the output, too."""

    offset: int
    data: bytes


class Plain:
    """The parser; it begins at `offset`, and with `colours` keeps what sets colours and styles."""

    def __init__(self, offset: int = 0, *, colours: bool = False) -> None:
        self._offset = offset  # of the first byte of the rest
        self._rest = b""
        self._colours = colours
        self._string_size = 0  # of the string that we are in, with its introducer
        self._kept: list[Run] = []

    def feed(self, data: bytes) -> list[Run]:
        """Return the text of `data` and of what was held back before."""
        data = self._rest + data
        at, end = 0, len(data)
        while at < end:
            after = self._string(data, at) if self._string_size else self._ground(data, at)
            if after == _INCOMPLETE:
                break
            at = after
        self._rest = data[at:]
        self._offset += at
        kept, self._kept = self._kept, []
        return kept

    def skip(self, offset: int) -> list[Run]:
        """Go on at `offset`, after a gap; return the text that was held back, as `finish` does."""
        kept = self.finish()
        self._offset = offset
        return kept

    def finish(self) -> list[Run]:
        """Return the text of the bytes that were held back, as none follow directly."""
        runs = []
        if not self._string_size and not self._rest.startswith(b"\x1b"):
            runs = [
                Run(self._offset + at, bytes([byte]))
                for at, byte in enumerate(self._rest)
                if byte >= 0xA0
            ]
        self._offset += len(self._rest)
        self._rest = b""
        self._string_size = 0
        return runs

    def _keep(self, at: int, data: bytes) -> None:
        self._kept.append(Run(self._offset + at, data))

    def _ground(self, data: bytes, at: int) -> int:
        """Take the text or sequence that begins at `at`; return where it ends."""
        text = _TEXT.match(data, at)
        if text is not None:
            self._keep(at, text[0])
            return text.end()
        byte = data[at]
        if byte == _ESCAPE:
            return self._escape(data, at)
        if _BEGUN.match(data, at):
            return _INCOMPLETE
        if byte == 0xC2 and 0x80 <= data[at + 1] <= 0x9F:
            return self._introduced(data, at, data[at + 1] - 0x40, at + 2)
        if byte >= 0xA0:
            self._keep(at, data[at : at + 1])
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
            return body
        inner = _INTERMEDIATE.match(data, at + 1)
        assert inner is not None
        if inner.end() == len(data) and len(inner[0]) < 8:
            return _INCOMPLETE
        has_final = inner.end() < len(data) and 0x30 <= data[inner.end()] <= 0x7E
        return inner.end() + has_final

    def _control_sequence(self, data: bytes, at: int, body: int) -> int:
        inner = _BODY.match(data, body)
        assert inner is not None
        end = inner.end()
        if end == len(data):
            return _INCOMPLETE if end - body < 264 else end
        if not 0x40 <= data[end] <= 0x7E:
            return end
        if self._colours and _COLOUR.fullmatch(data, at, end + 1):
            self._keep(at, data[at : end + 1])
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

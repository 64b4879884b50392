"""The title that a program gives its terminal, and how often it rings the bell.

Both are found in the output, as a terminal would: the bell is a BEL that ends no control string,
the title comes with OSC 0 or OSC 2, and a program can keep one and have it back (CSI 22 t, 23 t).
Nothing else is read, so that output without an escape sequence costs next to nothing.

Source: XTerm Control Sequences, OSC and window operations; ECMA-48 for the form of strings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ptymux.core.units import printable

__all__ = ["TITLE_LENGTH", "TerminalTitle"]

TITLE_LENGTH: Final = 256  # characters of a title that are kept
_DEPTH: Final = 10  # of the stack of titles, as in xterm
_BODY: Final = 4 * TITLE_LENGTH + 8  # bytes of a string that may be a title
_OSC: Final = ord("]")

_MARK: Final = re.compile(rb"\x1b(?:[\]PX^_]|\[2[23](?:;[0-2])?t)")
_CUT: Final = re.compile(rb"\x1b(?:\[(?:2(?:[23](?:;[0-2]?)?)?)?)?\Z")  # may become a mark
_LONGEST_CUT: Final = 6
_OSC_END: Final = re.compile(rb"[\x07\x18\x1a\x1b]")
_STRING_END: Final = re.compile(rb"[\x18\x1a\x1b]")  # of a string in which BEL is like any byte
_TITLE: Final = re.compile(rb"[02];(.*)", re.DOTALL)


class TerminalTitle:
    """The title as of the output that was seen, and counts of what happened in it."""

    def __init__(self, titles: Sequence[str] = ()) -> None:
        """Begin with these titles: those that are kept for later, then the current one."""
        self._kept = [_clean(title) for title in titles[:-1]][-_DEPTH:]
        self.title = _clean(titles[-1]) if titles else ""
        self.changes = 0  # how often it changed
        self.bells = 0
        self._rest = b""  # what may be the beginning of a mark
        self._string: int | None = None  # the kind of the control string in which the output is
        self._body = b""  # of that string, as far as it may be a title

    @property
    def titles(self) -> list[str]:
        """What another one goes on with: the titles that are kept, then the current one."""
        return [*self._kept, self.title]

    @property
    def pending(self) -> int:
        """How many of the last bytes are to be seen again by another one that goes on."""
        body = len(self._body) + 2 if self._string == _OSC and len(self._body) < _BODY else 0
        return len(self._rest) + body

    def skip(self) -> None:
        """Take note that output is missing: no sequence goes across that."""
        self._rest, self._string, self._body = b"", None, b""

    def see(self, data: bytes | memoryview) -> None:
        """Take output.

        It costs 0.1 ms for each MiB of text, and 3 where colours are in every line.
        """
        text = b"".join((self._rest, data)) if self._rest else bytes(data)
        self._rest = b""
        at = 0 if self._string is None else self._end_string(text, 0)
        while at < len(text):
            mark = _MARK.search(text, at)
            if mark is None:
                break
            self._count_bells(text, at, mark.start())
            at = mark.end()
            kind = text[mark.start() + 1]
            if kind == ord("["):
                self._use_stack(mark.group())
            else:
                self._string = kind
                at = self._end_string(text, at)
        else:
            return
        if cut := _CUT.search(text, max(at, len(text) - _LONGEST_CUT)):
            self._rest = cut.group()
        self._count_bells(text, at, len(text))

    def _count_bells(self, text: bytes, start: int, end: int) -> None:
        if text.find(b"\x07", start, end) >= 0:  # which is faster than to count none
            self.bells += text.count(b"\x07", start, end)

    def _end_string(self, text: bytes, at: int) -> int:
        """Go on in a control string; return where the text behind it begins."""
        is_osc = self._string == _OSC
        found = (_OSC_END if is_osc else _STRING_END).search(text, at)
        end = len(text) if found is None else found.start()
        if is_osc:
            self._body += text[at : min(end, at + _BODY - len(self._body))]
        if found is None:
            return len(text)
        ends_well = found.group() == b"\x07"
        if found.group() == b"\x1b":
            if end + 1 == len(text):
                self._rest = b"\x1b"
                return len(text)
            ends_well = text[end + 1] == ord("\\")
            end += ends_well - (not ends_well)  # another ESC begins something else
        if is_osc and ends_well and (title := _TITLE.match(self._body)):
            self._set(title[1].decode("utf-8", "replace"))
        self._string, self._body = None, b""
        return end + 1

    def _set(self, title: str) -> None:
        title = _clean(title)
        if title != self.title:
            self.title = title
            self.changes += 1

    def _use_stack(self, operation: bytes) -> None:
        if operation.endswith((b";1t",)):
            return  # of the icon's title
        if operation.startswith(b"\x1b[22"):
            self._kept = [*self._kept[1 - _DEPTH :], self.title]
        elif self._kept:
            self._set(self._kept.pop())


def _clean(title: str) -> str:
    return printable(title[: 2 * TITLE_LENGTH]).strip()[:TITLE_LENGTH]

"""The modes that a program switched on in its terminal, and the bytes that undo or redo them.

A program that is killed leaves the mouse, the alternate screen or a keyboard protocol behind, with
which no shell can be used. Only what is still on is undone: the rest may be the user's own. And a
terminal that comes to a running program later needs the modes that were switched on before.

This is no terminal: it knows no screen. Its state is a short list, however long the output.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["TerminalModes"]

# Source: XTerm Control Sequences, DECSET; 2031 and 2048: Contour's and kitty's reports.
_MOUSE: Final = (9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016)
_SCREEN: Final = (5, 6, 7, 25, 45, 47, 1047, 1049, 2026, 2048)
_KEYS: Final = (1, 8, 66, 67, 2004)
_PRIVATE: Final = frozenset((*_KEYS, *_SCREEN, *_MOUSE, 2031))
_USUALLY_ON: Final = frozenset((7, 8, 25))  # lines wrap, keys repeat, the cursor is shown
_SOFT_RESET: Final = ("1", "6", "25", "66", "keypad", "ansi4")  # what DECSTR switches off
_TITLE_DEPTH: Final = 10  # of the stack of titles, as in xterm
_KITTY_DEPTH: Final = 8  # of the stack of kitty's keyboard protocol; terminals bound it, too

_SEQUENCE: Final = re.compile(  # without groups, which would cost twice the time
    rb"\x1b(?:\[(?:"
    rb"\?[0-9;]{1,40}[hl]"
    rb"|>4;?[0-9]?m"  # xterm's modifyOtherKeys
    rb"|[<>=][0-9]{0,4}(?:;[0-9]?)?u"  # kitty's keyboard protocol
    rb"|[0-9]? q"  # the form of the cursor
    rb"|(?:4|20)[hl]"  # insert, and new line for Enter
    rb"|!p"  # soft reset
    rb"|2[23](?:;[0-2])?t"  # keep the title, and have it back
    rb")|[=>c]"  # keypad, full reset
    rb"|\([0-9A-Z])"  # line drawing characters
)
# What may become such a sequence. One that is cut waits for its rest.
_CUT: Final = re.compile(
    rb"\x1b(?:\(|\[(?:\?[0-9;]{0,40}|[<>=][0-9]{0,4}(?:;[0-9]?)?"
    rb"|2[23];[0-2]?|[0-9]{0,2}|[0-9]? |!)?)?\Z"
)
_LONGEST: Final = 48
_CALM: Final = b"\x1b[0m\x1b(B"  # no colours, letters are letters


class TerminalModes:
    """Notes in output which modes it switches on and off."""

    def __init__(self) -> None:
        self._rest = b""
        self._draws = False
        # What undoes it, and what does it again, in the order in which they were last switched on.
        self._on: dict[str, tuple[bytes, bytes]] = {}
        self._kitty: list[bytes] = []  # what was pushed, and not popped
        self._titles = 0  # that were kept on the terminal's stack, and not had back

    def see(self, data: bytes | memoryview) -> bool:
        """Take output that was shown; return whether it switched anything.

        It costs 0.03 ms for each MiB of text, and 15 where colours are in every line.
        """
        text = b"".join((self._rest, data)) if self._rest else bytes(data)
        self._rest = b""
        at = text.rfind(b"\x1b")
        if at < 0:
            return False
        self._draws = True
        if len(text) - at < _LONGEST and _CUT.match(text, at):
            self._rest = text[at:]
        found: list[bytes] = _SEQUENCE.findall(text)
        if not found:
            return False
        before = dict(self._on), self._kitty
        # Of those that are alike only the last one counts, but for a stack.
        for sequence in reversed(dict.fromkeys(reversed(found))):
            self._take(sequence)
        for sequence in found:
            if sequence[-1:] == b"t":
                self._keep_title(sequence)
            elif sequence[-1] in b"uc":
                self._stack(sequence)
        return (self._on, self._kitty) != before

    @property
    def pending(self) -> int:
        """How many of the last bytes may begin a sequence; they have changed nothing yet."""
        return len(self._rest)

    def skip(self) -> None:
        """Take note that output is missing: no sequence goes across that."""
        self._rest = b""

    def _take(self, sequence: bytes) -> None:
        last, body = sequence[-1:], sequence[2:-1]
        is_on = last == b"h"
        if body[:1] == b"?":
            self._take_private(body[1:], is_on)
        elif last in b"hl":
            self._note("ansi" + body.decode(), is_on, b"\x1b[%sl" % body, sequence)
        elif sequence[1:2] == b"(":
            self._note("charset", last != b"B", b"\x1b(B", sequence)
        elif last == b"q":
            self._note("cursor", body not in (b" ", b"0 "), b"\x1b[0 q", sequence)
        elif last == b"m":
            self._note(
                "keys", body[1:] not in (b"4", b"4;", b"4;0", b"40"), b"\x1b[>4;0m", sequence
            )
        elif last in b"=>":
            self._note("keypad", last == b"=", b"\x1b>", sequence)
        elif last in b"pc":
            for what in _SOFT_RESET if last == b"p" else tuple(self._on):
                self._on.pop(what, None)
        elif body[:1] == b"=":
            flags = _flags(sequence)
            self._note("kitty", flags > 0, b"\x1b[=0u", b"\x1b[=%du" % flags)

    def _take_private(self, numbers: bytes, on: bool) -> None:
        for number in (int(word[:5]) for word in numbers.split(b";") if word):
            if number in _PRIVATE:
                usual = number in _USUALLY_ON
                usually, else_ = b"hl" if usual else b"lh"
                undo, redo = (b"\x1b[?%d%c" % (number, end) for end in (usually, else_))
                self._note(str(number), on is not usual, undo, redo)

    def _stack(self, sequence: bytes) -> None:
        """Take what changes the stack of kitty's keyboard protocol: `>` pushes flags, `<` pops."""
        if sequence[-1:] == b"c":
            self._kitty = []
        elif sequence[2:3] == b">":
            pushed = b"\x1b[>%du" % _flags(sequence)
            self._kitty = [*self._kitty[1 - _KITTY_DEPTH :], pushed]
        elif sequence[2:3] == b"<":
            self._kitty = self._kitty[: max(0, len(self._kitty) - max(1, _flags(sequence)))]

    def _keep_title(self, sequence: bytes) -> None:
        if sequence.endswith(b";1t"):
            return  # of the icon's title
        change = 1 if sequence.startswith(b"\x1b[22") else -1
        self._titles = min(max(0, self._titles + change), _TITLE_DEPTH)

    def _note(self, what: str, unusual: bool, undo: bytes, redo: bytes) -> None:
        self._on.pop(what, None)
        if unusual:
            self._on[what] = undo, redo

    @property
    def undo(self) -> bytes:
        """The bytes that switch all off, the last one first; empty when nothing was drawn."""
        undo = [undo for undo, _redo in reversed(self._on.values())]
        kitty = b"\x1b[<u" * len(self._kitty)
        return kitty + b"".join(undo) + self.title_undo + _CALM if self._draws else b""

    @property
    def title_undo(self) -> bytes:
        """The bytes that give the terminal the title that was kept first; it is part of `undo`."""
        return b"\x1b[23;2t" * self._titles

    @property
    def redo(self) -> bytes:
        """The bytes that switch all on, also again after `undo`; what was drawn is not among them.

        They are what another process needs to know: `see` takes them.
        """
        return b"".join([*(redo for _undo, redo in self._on.values()), *self._kitty])

    @property
    def kitty_flags(self) -> int:
        """The flags of kitty's keyboard protocol that are in force; 0: it is off."""
        return _flags(self._kitty[-1] if self._kitty else self._on.get("kitty", (b"", b""))[1])

    def is_on(self, mode: int) -> bool | None:
        """Return whether a private mode is on; None for one that is not tracked."""
        if mode not in _PRIVATE:
            return None
        return (mode in _USUALLY_ON) is not (str(mode) in self._on)

    def has(self, mode: int | str) -> bool:
        """Return whether a private mode is not as usual, or the `keypad` is for applications."""
        return str(mode) in self._on


def _flags(sequence: bytes) -> int:
    """Return the number in a sequence of kitty's keyboard protocol; 0 without one."""
    return int(sequence[3:-1].partition(b";")[0] or 0)

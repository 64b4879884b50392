"""The modes that a program switched on in this terminal, and the bytes that undo them.

A program that is killed leaves the mouse, the alternate screen or a keyboard protocol behind, with
which no shell can be used. Only what is still on is undone: the rest may be the user's own.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Modes"]

# Source: XTerm Control Sequences, DECSET; 2031 and 2048: Contour's and kitty's reports.
_MOUSE: Final = (9, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016)
_SCREEN: Final = (5, 6, 7, 25, 47, 1047, 1049, 2026, 2048)
_PRIVATE: Final = frozenset((1, *_SCREEN, *_MOUSE, 2004, 2031))
_USUALLY_ON: Final = frozenset((7, 25))  # lines wrap, the cursor is shown

_SEQUENCE: Final = re.compile(
    rb"\x1b(?:"
    rb"\[\?(?P<private>[0-9;]{1,40})(?P<end>[hl])"
    rb"|\[>4;?(?P<keys>[0-9]?)m"  # xterm's modifyOtherKeys
    rb"|\[(?P<kitty>[<>=])[0-9;]{0,10}u"  # kitty's keyboard protocol
    rb"|(?P<keypad>[=>])"
    rb")"
)
_LONGEST: Final = 48  # of these sequences; the end of a chunk may cut one
_CALM: Final = b"\x1b[0m\x1b(B"  # no colours, letters are letters


class Modes:
    """Notes in output which modes it switches on and off."""

    def __init__(self) -> None:
        self._rest = b""
        self._draws = False
        # What undoes it, and what does it again, in the order in which they were switched on.
        self._on: dict[str, tuple[bytes, bytes]] = {}

    def see(self, data: bytes | memoryview) -> None:
        """Take output that was shown."""
        text = b"".join((self._rest, data))
        self._rest = text[-_LONGEST:]
        if b"\x1b" not in text:
            return
        self._draws = True
        # What the rest showed before is taken again, in order, which changes nothing.
        for found in _SEQUENCE.finditer(text):
            if found["private"]:
                self._see_private(found["private"], found["end"] == b"h")
            elif found["kitty"]:
                undo = b"\x1b[<u" if found["kitty"] == b">" else b"\x1b[=0u"
                self._note("kitty", found["kitty"] != b"<", undo, found[0])
            elif found["keypad"]:
                self._note("keypad", found["keypad"] == b"=", b"\x1b>", found[0])
            else:
                is_on = found["keys"] not in (b"", b"0")
                self._note("keys", is_on, b"\x1b[>4;0m", found[0])

    def _see_private(self, numbers: bytes, on: bool) -> None:
        for number in (int(word[:5]) for word in numbers.split(b";") if word):
            if number in _PRIVATE:
                usual = number in _USUALLY_ON
                usually, else_ = b"hl" if usual else b"lh"
                undo, redo = (b"\x1b[?%d%c" % (number, end) for end in (usually, else_))
                self._note(str(number), on is not usual, undo, redo)

    def _note(self, what: str, unusual: bool, undo: bytes, redo: bytes) -> None:
        if not unusual:
            self._on.pop(what, None)
        else:
            self._on.setdefault(what, (undo, redo))

    @property
    def undo(self) -> bytes:
        """The bytes that switch all off, the last one first; empty when nothing was drawn."""
        undo = [undo for undo, _redo in reversed(self._on.values())]
        return b"".join(undo) + _CALM if self._draws else b""

    @property
    def redo(self) -> bytes:
        """The bytes that switch all on again after `undo`; what was drawn is not among them."""
        return b"".join(redo for _undo, redo in self._on.values())

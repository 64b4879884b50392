"""What a program asks its terminal, and what an xterm answers.

Programs ask what the terminal is and can do, and some wait for the answer. While no terminal is
there that could answer, the same answers are given each time. Only what is tracked is true of the
moment: modes and the size. The cursor is always at home, as there is no screen.
"""

from __future__ import annotations

import re
from typing import Final

from ptymux.core.model import WindowSize
from ptymux.core.terminal_modes import TerminalModes

__all__ = ["answers", "unfinished"]

# Source: XTerm Control Sequences: DA, DSR, DECRQM, XTVERSION, window operations, OSC 4 and 10-12.
_QUERY: Final = re.compile(
    rb"\x1b(?:\[(?P<da>[>=]?)0?c"
    rb"|\[(?P<dsr>\??[56])n"
    rb"|\[\?(?P<mode>[0-9]{1,5})\$p"
    rb"|\[(?P<version>>0?)q"
    rb"|\[(?P<size>18)t"
    rb"|\](?P<color>4;[0-9]{1,3}|1[0-2]);\?(?P<end>\x07|\x1b\\))"
)
_UNFINISHED: Final = re.compile(rb"\x1b(?:\[[0-9?>=$]{0,8}|\][0-9;?]{0,8}\x1b?)?\Z")
_DEVICE: Final = {b"": b"\x1b[?62;22c", b">": b"\x1b[>41;390;0c", b"=": b"\x1bP!|00000000\x1b\\"}
_STATUS: Final = {b"5": b"\x1b[0n", b"?5": b"\x1b[0n", b"6": b"\x1b[1;1R", b"?6": b"\x1b[?1;1R"}
_TEXT, _BACKGROUND = "e5e5/e5e5/e5e5", "0000/0000/0000"
_COLORS: Final = {b"10": _TEXT, b"11": _BACKGROUND, b"12": _TEXT}
_PALETTE: Final = (  # the first 16 of an xterm
    *("000000", "cd0000", "00cd00", "cdcd00", "0000ee", "cd00cd", "00cdcd", "e5e5e5"),
    *("7f7f7f", "ff0000", "00ff00", "ffff00", "5c5cff", "ff00ff", "00ffff", "ffffff"),
)
_SET, _RESET, _UNKNOWN = 1, 2, 0


def answers(data: bytes, modes: TerminalModes, size: WindowSize) -> bytes:
    """Return what an xterm of that size, in these modes, sends for the queries in output."""
    if b"\x1b" not in data:
        return b""
    return b"".join(_answer(found, modes, size) for found in _QUERY.finditer(data))


def unfinished(data: bytes) -> int:
    """Return how many of the last bytes may be the beginning of a query."""
    at = max(data.rfind(b"\x1b["), data.rfind(b"\x1b]"), len(data) - 1)
    found = _UNFINISHED.search(data, max(0, min(at, len(data) - 16)))
    return 0 if found is None else len(data) - found.start()


def _answer(found: re.Match[bytes], modes: TerminalModes, size: WindowSize) -> bytes:
    if found["da"] is not None:
        return _DEVICE[found["da"]]
    if found["dsr"]:
        return _STATUS[found["dsr"]]
    if found["mode"]:
        return b"\x1b[?%s;%d$y" % (found["mode"], _state(int(found["mode"]), modes))
    if found["version"]:
        return b"\x1bP>|XTerm(390)\x1b\\"
    if found["size"]:
        return b"\x1b[8;%d;%dt" % (size.rows, size.cols)
    color = _color(found["color"])
    return b"\x1b]%s;rgb:%s%s" % (found["color"], color.encode(), found["end"]) if color else b""


def _state(mode: int, modes: TerminalModes) -> int:
    is_on = modes.is_on(mode)
    return _UNKNOWN if is_on is None else _SET if is_on else _RESET


def _color(which: bytes) -> str | None:
    if which in _COLORS:
        return _COLORS[which]
    number = int(which[2:])
    if number >= len(_PALETTE):
        return None
    red, green, blue = (_PALETTE[number][at : at + 2] * 2 for at in (0, 2, 4))
    return f"{red}/{green}/{blue}"

"""Turns lines into the bytes that show them on a terminal: only for rows that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from rich.color import ColorSystem
from rich.segment import Segment

from ptymux.tui.widgets import Line, width_of

__all__ = ["ENTER", "LEAVE", "Painter", "color_system", "to_text"]

# The alternate screen, no cursor, no wrapping; pasted text comes marked as such.
ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[0m\x1b[2J"
LEAVE: Final = "\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"
# A terminal that knows this shows all of a frame at once, the others skip it.
_BEGIN: Final = "\x1b[?2026h"
_END: Final = "\x1b[?2026l"


def color_system(env: Mapping[str, str]) -> ColorSystem | None:
    """Return the colours of the terminal that `env` describes; None: none are wanted."""
    term = env.get("TERM", "")
    if env.get("NO_COLOR") or term in ("", "dumb", "unknown"):
        return None
    if env.get("COLORTERM", "") in ("truecolor", "24bit") or "256color" in term:
        return ColorSystem.EIGHT_BIT
    return ColorSystem.STANDARD


def to_text(line: Iterable[Segment], colors: ColorSystem | None, *, styled: bool = True) -> str:
    """Return a line with escape codes for its styles; without colours bold, dim and reverse stay.

    Not `styled`, it is text without escape codes and without blanks at its end.
    """
    if not styled:
        return "".join(piece.text for piece in line).rstrip()
    system = colors or ColorSystem.STANDARD
    parts = []
    for text, style, _control in line:
        if style and colors is None:
            style = style.without_color
        parts.append(style.render(text, color_system=system) if style else text)
    return "".join(parts)


class Painter:
    """Remembers what is on the screen, so that only changes are sent."""

    def __init__(self, colors: ColorSystem | None, encode: Callable[[str], bytes]) -> None:
        self._colors = colors
        self._encode = encode
        self._shown: list[str] = []
        self._size = (0, 0)
        self.rows_written = 0  # of all frames

    def forget(self) -> None:
        """Forget what is on the screen: the next picture is sent whole."""
        self._size = (0, 0)

    def paint(self, lines: Sequence[Line], size: tuple[int, int]) -> bytes:
        """Return the bytes that show these lines on a screen of `size`; none if nothing changed."""
        rows = [self._row(line, size[0]) for line in lines[: size[1]]]
        parts = []
        if size != self._size:
            parts.append("\x1b[0m\x1b[2J")
            self._shown, self._size = [], size
        for index, row in enumerate(rows):
            if index >= len(self._shown) or self._shown[index] != row:
                parts.append(f"\x1b[{index + 1};1H{row}")
                self.rows_written += 1
        self._shown = rows
        return self._encode(f"{_BEGIN}{''.join(parts)}{_END}") if parts else b""

    def _row(self, line: Line, width: int) -> str:
        size = width_of(line)
        if size > width:
            line = Segment.adjust_line_length(line, width)
        # Behind the last column there is nothing to clear, and some terminals would clear it.
        return to_text(line, self._colors) + ("\x1b[K" if size < width else "")

"""The pieces that lines of the dashboard are made of: texts of a given width, bars, sparklines.

A piece is a rich Segment, a line a list of them. Nothing here lets a text move the cursor: what
comes from outside has gone through `printable`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

__all__ = [
    "ASCII",
    "BLOCKS",
    "Glyphs",
    "Line",
    "bar",
    "fit",
    "plain",
    "sparkline",
    "spread",
    "width_of",
]

Line: TypeAlias = list[Segment]

NONE: Final = Style.null()
DIM: Final = Style(dim=True)
BOLD: Final = Style(bold=True)
GREEN: Final = Style(color="green")
CYAN: Final = Style(color="cyan")
WARN: Final = Style(color="magenta")  # yellow is not to be read on a light background
ALARM: Final = Style(color="red", bold=True)
PICKED: Final = Style(bold=True, reverse=True)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that bars, sparklines and marks are drawn with."""

    full: str
    half: str
    rest: str
    mark: str  # where it alarms, beyond what is full
    passed: str  # the same, within what is full
    levels: str  # of a sparkline, nothing first
    cut: str
    rule: str
    pointer: str
    down: str
    up: str


BLOCKS: Final = Glyphs("━", "╸", "─", "┃", "╋", " ▁▂▃▄▅▆▇█", "…", "─", "▶", "▼", "▲")
ASCII: Final = Glyphs("=", "=", "-", "|", "+", " .,:-=+*#", "~", "-", ">", "v", "^")


def fit(text: str, width: int, style: Style = NONE, *, right: bool = False, cut: str = "…") -> Line:
    """Return a text in exactly `width` cells; one that is too long ends in `cut`."""
    if width <= 0:
        return []
    size = cell_len(text)
    if size > width:
        text, size = set_cell_size(text, width - 1) + cut, width
    padding = " " * (width - size)
    if not padding:
        return [Segment(text, style)]
    pad = Segment(padding, NONE)
    return [pad, Segment(text, style)] if right else [Segment(text, style), pad]


def width_of(line: Iterable[Segment]) -> int:
    """Return how many cells of a terminal a line takes."""
    return sum(cell_len(piece.text) for piece in line)


def plain(line: Iterable[Segment]) -> str:
    """Return a line without its styles."""
    return "".join(piece.text for piece in line)


def spread(left: Line, right: Line, width: int) -> Line:
    """Return two lines in one of `width` cells; the right one is left out if there is no room."""
    gap = width - width_of(left) - width_of(right)
    if gap < 1:
        return Segment.adjust_line_length(left, width)
    return [*left, Segment(" " * gap, NONE), *right]


def bar(
    share: float,
    width: int,
    mark: float | None = None,
    style: Style = GREEN,
    glyphs: Glyphs = BLOCKS,
) -> Line:
    """Return a bar of `width` cells, full at a `share` of 1, with a mark at the share `mark`.

    It is exact to half a cell; any share above 0 shows something, any below 1 leaves room.
    """
    share = max(0.0, min(1.0, share))
    halves = round(share * 2 * width)
    if 0 < share < 1 and width > 0:
        halves = max(1, min(2 * width - 1, halves))
    full, half = divmod(halves, 2)
    cells = [(glyphs.full, style)] * full + [(glyphs.half, style)] * half
    cells = (cells + [(glyphs.rest, DIM)] * (width - len(cells)))[:width]
    if mark is not None and cells:
        at = min(width - 1, int(mark * width))
        cells[at] = (glyphs.passed if at < full else glyphs.mark, WARN)
    return list(Segment.simplify(Segment(text, look) for text, look in cells))


def sparkline(
    rates: Sequence[float], width: int, style: Style = CYAN, glyphs: Glyphs = BLOCKS
) -> Line:
    """Return the last rates as bars of one cell, the newest at the right.

    Each level is ten times the one below: the lowest up to 100 B/s, the highest from 100 MB/s.
    """
    text = "".join(glyphs.levels[_level(rate)] for rate in rates[-width:] if width)
    return fit(text, width, style, right=True)


def _level(rate: float) -> int:
    return 0 if rate <= 0 else max(1, min(8, int(math.log10(max(1.0, rate)))))

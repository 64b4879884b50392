"""The table of PTYs in the dashboard: its columns, how wide each is, and its lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from ptymux.core.units import format_age, format_size
from ptymux.tui.choice import Sort
from ptymux.tui.pty_samples import SampleRow
from ptymux.tui.widgets import (
    ALARM,
    BLOCKS,
    BOLD,
    CYAN,
    DIM,
    GREEN,
    NONE,
    PICKED,
    YELLOW,
    Glyphs,
    Line,
    bar,
    fit,
    sparkline,
)

__all__ = ["Column", "Layout", "draw_heading", "draw_row", "lay_out"]

_PERCENT: Final = 5  # cells behind a bar


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `least` and `most` are the cells of the terminal that it may have."""

    title: str
    least: int
    most: int
    draw: Callable[[SampleRow, int, float, Glyphs], Line]
    right: bool = False
    sort: Sort | None = None  # the order that its heading shows


Layout = list[tuple[Column, int]]


def _number(row: SampleRow, width: int, _now: float, _glyphs: Glyphs) -> Line:
    return fit(str(row.pty.number), width, DIM, right=True)


def _name(row: SampleRow, width: int, _now: float, glyphs: Glyphs) -> Line:
    style = BOLD if row.pty.is_named and row.pty.is_live else NONE
    return fit(row.pty.name, width, style if row.pty.is_live else DIM, cut=glyphs.cut)


def _state(row: SampleRow, width: int, _now: float, glyphs: Glyphs) -> Line:
    word = row.state
    if cell_len(word) > width:
        word = word.removesuffix(" to start").replace("(", "").replace(")", "")
    return fit(word, width, _state_style(row), cut=glyphs.cut)


def _state_style(row: SampleRow) -> Style:
    if row.pty.is_alarming:
        return ALARM
    if row.pty.is_suspended or row.pty.is_held:
        return YELLOW
    return NONE if row.pty.is_live and row.state != "quiet" else DIM


def _rate(row: SampleRow, width: int, _now: float, _glyphs: Glyphs) -> Line:
    text = format_size(round(row.rate)) if row.rate and row.rate >= 0.5 else "-"
    return fit(text, width, NONE if text != "-" else DIM, right=True)


def _dropped(row: SampleRow, width: int, _now: float, _glyphs: Glyphs) -> Line:
    pty = row.pty
    if not pty.dropped:
        return fit("-", width, DIM, right=True)
    # The sign says it where there are no colours.
    sign = "!" if pty.dropped_attended else ""
    return fit(sign + format_size(pty.dropped), width, ALARM if sign else NONE, right=True)


def _bar(row: SampleRow, width: int, _now: float, glyphs: Glyphs) -> Line:
    pty = row.pty
    if not pty.is_live or not pty.capacity:
        return fit("", width)
    gauge = width - _PERCENT
    if not pty.attended:
        percent, style, look = DIM, CYAN, bar(pty.utilization, gauge, None, CYAN, glyphs)
    else:
        style = YELLOW if pty.backpressure or pty.utilization > pty.threshold else GREEN
        percent = style
        look = bar(pty.utilization, gauge, pty.threshold, style, glyphs)
    return [*look, *fit(f"{pty.utilization:.0%}", _PERCENT, percent, right=True)]


def _sparkline(row: SampleRow, width: int, _now: float, glyphs: Glyphs) -> Line:
    return sparkline(row.rates, width, CYAN, glyphs)


def _backlog(row: SampleRow, width: int, _now: float, _glyphs: Glyphs) -> Line:
    if not row.pty.waiting:
        return fit("-", width, DIM, right=True)
    style = NONE if row.pty.attended else DIM
    return fit(format_size(row.pty.waiting), width, style, right=True)


def _lane(row: SampleRow, width: int, _now: float, glyphs: Glyphs) -> Line:
    return fit(row.pty.lane, width, NONE if row.pty.is_live else DIM, cut=glyphs.cut)


def _age(row: SampleRow, width: int, now: float, _glyphs: Glyphs) -> Line:
    end = now if row.pty.is_live else row.pty.updated_at
    return fit(format_age(end - row.pty.created_at), width, DIM, right=True)


def _pid(row: SampleRow, width: int, _now: float, _glyphs: Glyphs) -> Line:
    return fit(str(row.pty.pid or "-"), width, DIM, right=True)


def _pressure(row: SampleRow, width: int, _now: float, _glyphs: Glyphs) -> Line:
    if row.pty.backpressure:
        return fit("on", width, YELLOW)
    times = row.pty.backpressure_events
    return fit(f"{times}x" if times else "-", width, DIM)


def _clients(row: SampleRow, width: int, _now: float, _glyphs: Glyphs) -> Line:
    clients = row.pty.clients
    return fit(str(clients) if clients else "-", width, NONE if clients else DIM, right=True)


def _command(row: SampleRow, width: int, _now: float, glyphs: Glyphs) -> Line:
    return fit(row.pty.command, width, DIM, cut=glyphs.cut)


_NAME: Final = "NAME"
_LANE: Final = "LANE"
# From left to right.
_COLUMNS: Final = (
    Column("#", 2, 6, _number, right=True),
    Column(_NAME, 6, 24, _name, sort=Sort.NAME),
    Column(_LANE, 7, 14, _lane),
    Column("STATE", 9, 16, _state, sort=Sort.TROUBLE),
    Column("PID", 7, 7, _pid, right=True),
    Column("BUFFER", 11, 30, _bar),
    Column("BACKLOG", 8, 8, _backlog, right=True),
    Column("RATE/s", 8, 8, _rate, right=True, sort=Sort.RATE),
    Column("TREND", 6, 24, _sparkline),
    Column("DROPPED", 9, 9, _dropped, right=True, sort=Sort.DROPS),
    Column("BP", 3, 4, _pressure),
    Column("AGE", 6, 6, _age, right=True, sort=Sort.AGE),
    Column("CLI", 3, 3, _clients, right=True),
    Column("COMMAND", 12, 400, _command),
)
# What there is room for is taken in this order.
_RANKS: Final = ("#", _NAME, "STATE", "RATE/s", "DROPPED", "BUFFER", "TREND", "BACKLOG", _LANE)
_RANKS_LATER: Final = ("AGE", "BP", "CLI", "PID", "COMMAND")
# What is left is given away in this order, up to so many cells; 0: to the column's most.
_SHARES: Final = (
    (_NAME, 8),
    ("STATE", 0),
    (_NAME, 0),
    (_LANE, 0),
    ("BUFFER", 21),
    ("TREND", 21),
    ("COMMAND", 0),
)


def lay_out(rows: Sequence[SampleRow], width: int) -> Layout:
    """Return the columns that fit into `width` cells, each with its width.

    All rows count, also those that are not on the screen, so that scrolling moves no column.
    """
    wanted = _wanted(rows)
    ranks = [*_RANKS, *_RANKS_LATER]
    if len({row.pty.lane for row in rows}) < 2:  # it says nothing then
        ranks.remove(_LANE)
        ranks.insert(-1, _LANE)
    columns = {column.title: column for column in _COLUMNS}
    chosen: dict[str, int] = {}
    left = width - 1  # for the pointer
    for title in ranks:
        least = min(columns[title].least, wanted.get(title, columns[title].least))
        if left < least + bool(chosen):
            break
        left -= least + bool(chosen)
        chosen[title] = least
    for title, most in _SHARES:
        if title in chosen:
            goal = min(most or columns[title].most, wanted.get(title, columns[title].most))
            if title in ("BUFFER", "TREND") and "COMMAND" not in chosen:
                goal = min(goal, chosen[title] + (left + 1) // 2)
            more = max(0, min(left, goal - chosen[title]))
            chosen[title] += more
            left -= more
    return [(column, chosen[column.title]) for column in _COLUMNS if column.title in chosen]


def _wanted(rows: Sequence[SampleRow]) -> dict[str, int]:
    """Return the cells that texts of any width need."""
    longest: dict[str, int] = {"#": 1, _NAME: 4, _LANE: 4, "STATE": 7}
    texts: Mapping[str, Callable[[SampleRow], str]] = {
        "#": lambda row: str(row.pty.number),
        _NAME: lambda row: row.pty.name,
        _LANE: lambda row: row.pty.lane,
        "STATE": lambda row: row.state,
    }
    for title, text in texts.items():
        longest[title] = max(longest[title], *(cell_len(text(row)) for row in rows), 0)
    return longest


def draw_heading(
    layout: Layout, sort: Sort, *, is_reversed: bool = False, glyphs: Glyphs = BLOCKS
) -> Line:
    """Return the line with the headings; the one that the rows are ordered by is marked."""
    line: Line = [Segment(" ", NONE)]
    for index, (column, width) in enumerate(layout):
        if index:
            line.append(Segment(" ", NONE))
        is_sorted = column.sort == sort
        arrow = (glyphs.up if is_reversed else glyphs.down) if is_sorted else ""
        title = column.title
        if cell_len(title) + len(arrow) > width:
            title = title[: width - len(arrow)]
        line += fit(title + arrow, width, BOLD if is_sorted else DIM, right=column.right)
    return line


def draw_row(
    row: SampleRow,
    layout: Layout,
    now: float,
    *,
    is_selected: bool = False,
    glyphs: Glyphs = BLOCKS,
) -> Line:
    """Return the line of a PTY whose age is that at `now`, in seconds since the epoch."""
    line: Line = [Segment(glyphs.pointer, BOLD) if is_selected else Segment(" ", NONE)]
    for index, (column, width) in enumerate(layout):
        if index:
            line.append(Segment(" ", NONE))
        cell = column.draw(row, width, now, glyphs)
        if is_selected and column.title == _NAME:
            cell = [Segment(piece.text, PICKED) for piece in cell]
        line += cell
    return line

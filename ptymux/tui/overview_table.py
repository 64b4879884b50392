"""The table of PTYs in the dashboard: its columns, how wide each is, and its lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from ptymux.core.command_line import shorten_all, telling_words
from ptymux.core.units import command_words, format_age, format_size
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
    WARN,
    Glyphs,
    Line,
    bar,
    fit,
    sparkline,
)

__all__ = ["Column", "Layout", "draw_heading", "draw_rows", "lay_out"]

_PERCENT: Final = 5  # cells behind a bar


@dataclass(frozen=True, slots=True)
class _Context:
    """What a cell needs besides its row."""

    now: float  # in seconds since the epoch
    glyphs: Glyphs
    name: str  # of the PTY, and what tells its command, in the cells that there are
    command: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `least` and `most` are the cells of the terminal that it may have."""

    title: str
    least: int
    most: int
    draw: Callable[[SampleRow, int, _Context], Line]
    right: bool = False
    sort: Sort | None = None  # the order that its heading shows


Layout = list[tuple[Column, int]]


def _number(row: SampleRow, width: int, _context: _Context) -> Line:
    return fit(str(row.pty.number), width, DIM, right=True)


def _name(row: SampleRow, width: int, context: _Context) -> Line:
    if row.pty.is_unseen:
        style = ALARM
    elif row.pty.is_live:
        style = BOLD if row.pty.is_named else NONE
    else:
        style = DIM
    return fit(context.name, width, style, cut=context.glyphs.cut)


def _state(row: SampleRow, width: int, context: _Context) -> Line:
    word = row.state
    if cell_len(word) > width:
        word = word.removesuffix(" to start").replace("(", "").replace(")", "")
    return fit(word, width, _state_style(row), cut=context.glyphs.cut)


def _state_style(row: SampleRow) -> Style:
    if row.pty.is_unseen:
        return ALARM
    if row.pty.is_suspended or row.pty.is_held:
        return WARN
    return NONE if row.pty.is_live and row.state != "quiet" else DIM


def _rate(row: SampleRow, width: int, _context: _Context) -> Line:
    text = format_size(round(row.rate)) if row.rate and row.rate >= 0.5 else "-"
    return fit(text, width, NONE if text != "-" else DIM, right=True)


def _dropped(row: SampleRow, width: int, _context: _Context) -> Line:
    pty = row.pty
    if not pty.dropped:
        return fit("-", width, DIM, right=True)
    if not pty.dropped_attended:  # what nobody wanted to read is no loss
        return fit(format_size(pty.dropped), width, DIM, right=True)
    # The sign says it where there are no colours.
    return fit(f"!{format_size(pty.dropped_attended)}", width, ALARM, right=True)


def _bar(row: SampleRow, width: int, context: _Context) -> Line:
    pty, glyphs = row.pty, context.glyphs
    if not pty.is_live:
        return fit(f"{format_age(context.now - pty.updated_at)} ago", width, DIM)
    if not pty.capacity:
        return fit("", width)
    gauge = width - _PERCENT
    if not pty.attended:
        percent, look = DIM, bar(pty.utilization, gauge, None, DIM, glyphs)
    else:
        style = WARN if pty.backpressure or pty.utilization > pty.threshold else GREEN
        percent = style
        look = bar(pty.utilization, gauge, pty.threshold, style, glyphs)
    return [*look, *fit(f"{pty.utilization:.0%}", _PERCENT, percent, right=True)]


def _sparkline(row: SampleRow, width: int, context: _Context) -> Line:
    return sparkline(row.rates, width, CYAN, context.glyphs)


def _backlog(row: SampleRow, width: int, _context: _Context) -> Line:
    if not row.pty.waiting:
        return fit("-", width, DIM, right=True)
    style = NONE if row.pty.attended else DIM
    return fit(format_size(row.pty.waiting), width, style, right=True)


def _lane(row: SampleRow, width: int, context: _Context) -> Line:
    return fit(row.pty.lane, width, NONE if row.pty.is_live else DIM, cut=context.glyphs.cut)


def _age(row: SampleRow, width: int, context: _Context) -> Line:
    end = context.now if row.pty.is_live else row.pty.updated_at
    return fit(format_age(end - row.pty.created_at), width, DIM, right=True)


def _pid(row: SampleRow, width: int, _context: _Context) -> Line:
    return fit(str(row.pty.pid or "-"), width, DIM, right=True)


def _pressure(row: SampleRow, width: int, _context: _Context) -> Line:
    if row.pty.backpressure:
        return fit("now", width, WARN)
    times = row.pty.backpressure_events
    return fit(f"{times}x" if times else "-", width, DIM)


def _clients(row: SampleRow, width: int, _context: _Context) -> Line:
    clients = row.pty.clients
    return fit(str(clients) if clients else "-", width, NONE if clients else DIM, right=True)


def _command(row: SampleRow, width: int, context: _Context) -> Line:
    return fit(context.command, width, DIM, cut=context.glyphs.cut)


_NAME: Final = "NAME"
_LANE: Final[str] = "LANE"
_COMMAND: Final = "COMMAND"
# From left to right.
_COLUMNS: Final = (
    Column("#", 1, 20, _number, right=True),
    Column(_NAME, 8, 40, _name, sort=Sort.NAME),
    Column(_LANE, 7, 14, _lane),
    Column("STATE", 9, 16, _state, sort=Sort.TROUBLE),
    Column("PID", 7, 7, _pid, right=True),
    Column("BUFFER", 11, 30, _bar),
    Column("BACKLOG", 8, 8, _backlog, right=True),
    Column("RATE/s", 8, 8, _rate, right=True, sort=Sort.RATE),
    Column("TREND", 6, 120, _sparkline),
    Column("DROPPED", 9, 9, _dropped, right=True, sort=Sort.DROPS),
    Column("BEHIND", 6, 6, _pressure),
    Column("AGE", 6, 6, _age, right=True, sort=Sort.AGE),
    Column("CLIENTS", 7, 7, _clients, right=True),
    Column(_COMMAND, 12, 400, _command),
)
# What the room goes to, in this order: the first mention of a column is the least that it needs,
# a later one what it may have as far as its texts are that long; 0 is its least or its most.
_SHARES: Final[tuple[tuple[str, int], ...]] = (
    ("#", 0),
    (_NAME, 0),
    ("STATE", 0),
    ("RATE/s", 0),
    ("DROPPED", 0),
    ("BUFFER", 0),
    ("TREND", 0),
    (_COMMAND, 0),
    (_NAME, 12),
    ("STATE", 0),
    (_COMMAND, 24),
    (_LANE, 0),
    ("AGE", 0),
    (_NAME, 16),
    ("BACKLOG", 0),
    (_COMMAND, 32),
    (_NAME, 24),
    (_LANE, 0),
    ("CLIENTS", 0),
    ("BUFFER", 16),
    ("BEHIND", 0),
    ("PID", 0),
    (_COMMAND, 48),
    ("TREND", 16),
    (_COMMAND, 0),
    (_NAME, 0),
    ("BUFFER", 0),
    ("TREND", 0),
)


def lay_out(rows: Sequence[SampleRow], width: int) -> Layout:
    """Return the columns that fit into `width` cells, each with its width.

    All rows count, also those that are not on the screen, so that scrolling moves no column.
    """
    wanted = _wanted(rows)
    chosen = _share_out(_shares(rows), wanted, width)
    if _COMMAND not in chosen:  # then names tell more, where there are none
        wanted[_NAME] = max(wanted[_NAME], *(cell_len(_full_name(row)) for row in rows), 0)
        chosen = _share_out(_shares(rows), wanted, width)
    return [(column, chosen[column.title]) for column in _COLUMNS if column.title in chosen]


def _shares(rows: Sequence[SampleRow]) -> Sequence[tuple[str, int]]:
    if len({row.pty.lane for row in rows}) > 1:
        return _SHARES
    # The lane says nothing then.
    return [*(share for share in _SHARES if share[0] != _LANE), (_LANE, 0), (_LANE, 0)]


def _share_out(
    shares: Sequence[tuple[str, int]], wanted: Mapping[str, int], width: int
) -> dict[str, int]:
    """Return the width of each column that there is room for."""
    columns = {column.title: column for column in _COLUMNS}
    chosen: dict[str, int] = {}
    left = width - 1  # for the pointer
    is_full = False
    for title, cells in shares:
        column = columns[title]
        if title in chosen:
            goal = min(cells or column.most, wanted.get(title, column.most))
            more = max(0, min(left, goal - chosen[title]))
            chosen[title] += more
            left -= more
        elif not is_full:
            # Half of a number is another number.
            least = wanted[title] if title == "#" else column.least
            least = min(least, wanted.get(title, least))
            is_full = left < least + bool(chosen)  # so that a wider screen never has fewer columns
            if not is_full:
                chosen[title] = least
                left -= least + bool(len(chosen) > 1)
    return chosen


def _wanted(rows: Sequence[SampleRow]) -> dict[str, int]:
    """Return the cells that texts of any width need."""
    longest: dict[str, int] = {"#": 1, _NAME: 4, _LANE: 4, "STATE": 7, "PID": 3}
    texts: Mapping[str, Callable[[SampleRow], str]] = {
        "#": lambda row: str(row.pty.number),
        _NAME: lambda row: row.pty.name,
        _LANE: lambda row: row.pty.lane,
        "STATE": lambda row: row.state,
        "PID": lambda row: str(row.pty.pid or "-"),
    }
    for title, text in texts.items():
        longest[title] = max(longest[title], *(cell_len(text(row)) for row in rows), 0)
    longest[_COMMAND] = max(7, *(_command_width(row.pty.command) for row in rows), 0)
    return longest


@lru_cache(1024)  # it is asked of all PTYs for each picture
def _command_width(command: tuple[str, ...]) -> int:
    return cell_len(command_words(command))


def _full_name(row: SampleRow) -> str:
    """Return the name of a PTY; of one without, what tells its command."""
    return row.pty.name if row.pty.is_named else telling_words(row.pty.command) or row.pty.name


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


def draw_rows(
    rows: Sequence[SampleRow],
    layout: Layout,
    now: float,
    *,
    selected: str | None = None,
    glyphs: Glyphs = BLOCKS,
) -> list[Line]:
    """Return the lines of PTYs whose age is that at `now`, in seconds since the epoch."""
    widths = {column.title: width for column, width in layout}
    commands = [row.pty.command for row in rows]
    names = [row.pty.name for row in rows]
    if _COMMAND not in widths:
        unnamed = [() if row.pty.is_named else row.pty.command for row in rows]
        instead = shorten_all(unnamed, widths.get(_NAME, 0), glyphs.cut)
        names = [each or name for each, name in zip(instead, names, strict=True)]
    shortened = shorten_all(commands, widths.get(_COMMAND, 0), glyphs.cut)
    lines = []
    for row, name, command in zip(rows, names, shortened, strict=True):
        context = _Context(now, glyphs, name, command)
        lines.append(_draw_row(row, layout, context, row.pty.pty_id == selected))
    return lines


def _draw_row(row: SampleRow, layout: Layout, context: _Context, is_selected: bool) -> Line:
    line: Line = [Segment(context.glyphs.pointer, BOLD) if is_selected else Segment(" ", NONE)]
    for index, (column, width) in enumerate(layout):
        if index:
            line.append(Segment(" ", NONE))
        cell = column.draw(row, width, context)
        if is_selected and column.title == _NAME:
            cell = [Segment(piece.text, PICKED) for piece in cell]
        line += cell
    return line

"""The picture that the dashboard shows, as lines: totals, the PTYs, the last events, the keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.segment import Segment
from rich.style import Style

from ptymux.core.units import format_size
from ptymux.tui.choice import SIGNALS, Choice
from ptymux.tui.overview_table import draw_heading, draw_row, lay_out
from ptymux.tui.pty_samples import Model, SampleRow, Totals
from ptymux.tui.recent_events import News, draw_news
from ptymux.tui.widgets import (
    ALARM,
    BLOCKS,
    BOLD,
    DIM,
    NONE,
    YELLOW,
    Glyphs,
    Line,
    fit,
    spread,
    width_of,
)

__all__ = ["Overview", "draw_frame", "draw_list"]

_MOST_NEWS: Final = 10
_WIDE: Final = 100  # columns in which there is room for more than facts
_KEYS: Final = (
    ("q", "quit"),
    ("?", "help"),
    ("jk", "select"),
    ("s", "sort"),
    ("x", "kill"),
    ("T", "signal"),
    ("d", "remove"),
    ("l", "lane"),
    ("e", "ended"),
    ("r", "reverse"),
)
_HELP: Final = (
    ("up down j k", "select a row; PgUp PgDn Home End too, Esc none"),
    ("s / r", "sort by rate, drops, trouble, name, age / reverse"),
    ("l / e", "next lane or all / show or hide those that ended"),
    ("x / d", "kill the selected / remove it once ended; both ask"),
    ("T", "send it a signal: " + " ".join(SIGNALS.values())),
    ("q ^C ^Z ^L", "quit, interrupt, suspend, draw again"),
    ("", ""),
    ("BUFFER", "how far the slowest reader is behind, and where"),
    ("", "backpressure begins; no mark while nobody reads"),
    ("TREND", "a bar a second; each level is ten times the rate"),
    ("DROPPED", "red with ! when somebody attached did not get it"),
    ("held", "waits, as --on-full block says, until it is read"),
    ("BP, CLI", "backpressure (now, or how often), clients"),
)


@dataclass(slots=True)
class Overview:
    """All that the picture of the dashboard is made of."""

    model: Model = field(default_factory=Model)
    choice: Choice = field(default_factory=Choice)
    news: News = field(default_factory=News)
    trouble: str = ""  # with the server; the rest of the picture is older then
    hint: str = ""  # what to do when there are no rows
    message: str = ""  # how an action ended


def draw_frame(
    overview: Overview, size: tuple[int, int], now: float, glyphs: Glyphs = BLOCKS
) -> list[Line]:
    """Return the picture for a screen of `size` columns and rows, with a line for each row."""
    width, height = size
    choice = overview.choice
    lines: list[Line] = []
    if choice.shows_help:
        body = [_draw_help(key, text, width) for key, text in _HELP]
        lines += body[: height - 2]
    else:
        news = _news_room(height)
        room = max(0, height - 3 - news)
        lines += _draw_rows(overview, width, room, now, glyphs)
        lines += [[]] * (height - 2 - news - len(lines))
        if news > 1:
            lines.append(_draw_rule(overview, width, glyphs))
            news -= 1
        lines += draw_news(overview.news, overview.model.names, width, news, glyphs)
    # The totals come last: they say which rows the others drew.
    lines = [_draw_totals(overview, width), *lines, *[[]] * (height - 2 - len(lines))]
    lines = lines[: height - 1]
    lines.append(_draw_bottom(overview, width, glyphs))
    return lines[:height]


def draw_list(
    overview: Overview, width: int, now: float, glyphs: Glyphs = BLOCKS, *, news: int = 5
) -> list[Line]:
    """Return the picture with all PTYs, however many, for a file or a pipe."""
    choice = overview.choice
    table = _draw_rows(overview, width, len(choice.rows), now, glyphs)
    lines = [_draw_totals(overview, width), *table]
    if not choice.rows and overview.hint:
        lines.append(fit(overview.hint, width, cut=glyphs.cut))
    count = min(news, len(overview.news.items))
    if count:
        lines.append([])
        lines += draw_news(overview.news, overview.model.names, width, count, glyphs)
    return lines


def _news_room(height: int) -> int:
    """Return the lines for events, the rule above them included."""
    if height < 9:
        return 0
    return 1 if height < 14 else min(_MOST_NEWS, height // 5) + 1


def _draw_rows(
    overview: Overview, width: int, room: int, now: float, glyphs: Glyphs
) -> Sequence[Line]:
    choice = overview.choice
    layout = lay_out(overview.model.rows, width)
    heading = draw_heading(layout, choice.sort, is_reversed=choice.is_reversed, glyphs=glyphs)
    lines = [heading]
    for row in choice.scroll(room):
        is_selected = row.pty.pty_id == choice.selected
        lines.append(draw_row(row, layout, now, is_selected=is_selected, glyphs=glyphs))
    if overview.trouble:
        lines = [[Segment(piece.text, DIM) for piece in line] for line in lines]
    if not choice.rows and room:
        lines.append(fit(f"  {_empty(overview)}", width, cut=glyphs.cut))
    return lines


def _empty(overview: Overview) -> str:
    choice = overview.choice
    if overview.model.rows:
        where = f" in lane {choice.lane}" if choice.lane is not None else " live"
        return f"none{where}; l and e show others"
    return overview.hint


def _draw_totals(overview: Overview, width: int) -> Line:
    totals, choice = overview.model.totals, overview.choice
    parts = [("ptymux", BOLD)] if width >= _WIDE else []
    if overview.trouble:
        parts.append((overview.trouble, YELLOW))
    parts += _count(totals)
    left: Line = []
    for text, style in parts:
        gap = "  " if left else " "
        if width_of(left) + len(gap) + len(text) <= width:
            left += [Segment(gap, NONE), Segment(text, style)]
    return spread(left, _draw_choice(choice), width)


def _count(totals: Totals) -> list[tuple[str, Style]]:
    ended = f", {totals.ended} ended" if totals.ended else ""
    parts = [(f"{totals.live} live{ended}", NONE)]
    for count, word, style in (
        (totals.losing, "losing", ALARM),
        (totals.held, "held", YELLOW),
        (totals.suspended, "suspended", YELLOW),
    ):
        if count:
            parts.append((f"{count} {word}", style))
    parts.append((f"{format_size(round(totals.rate))}/s", BOLD if totals.rate >= 1 else DIM))
    if totals.dropped:
        parts.append((f"{format_size(totals.dropped)} dropped", NONE))
    if totals.dropped_attended:
        parts.append((f"!{format_size(totals.dropped_attended)} missed by clients", ALARM))
    return parts


def _draw_choice(choice: Choice) -> Line:
    words = []
    if choice.lane is not None:
        words.append(f"lane {choice.lane}")
    if not choice.shows_ended:
        words.append("ended hidden")
    first, last = choice.top + 1, choice.top + choice.page
    if len(choice.rows) > choice.page:
        words.append(f"{first}-{min(last, len(choice.rows))} of {len(choice.rows)}")
    return [Segment(f"{', '.join(words)} ", DIM)] if words else []


def _draw_rule(overview: Overview, width: int, glyphs: Glyphs) -> Line:
    """Return the line above the events, with what the selected row has no room for."""
    row = overview.choice.selected_row
    title = "events" if row is None else f"{row.pty.number} {_detail(row)}"
    text = fit(title, min(width - 4, len(title)), NONE if row else DIM, cut=glyphs.cut)
    rest = max(0, width - 4 - width_of(text))
    return [Segment(glyphs.rule * 2 + " ", DIM), *text, Segment(" " + glyphs.rule * rest, DIM)]


def _detail(row: SampleRow) -> str:
    pty = row.pty
    return f"{pty.command} (lane {pty.lane}, pid {pty.pid or '-'}, {row.state})"


def _draw_help(key: str, text: str, width: int) -> Line:
    keys = 12 if width >= 60 else 9
    return [
        Segment(" ", NONE),
        *fit(key, keys, BOLD),
        *fit(" " + text, width - keys - 1),
    ]


def _draw_bottom(overview: Overview, width: int, glyphs: Glyphs) -> Line:
    choice = overview.choice
    if choice.question is not None:
        return fit(f" {choice.question}", width, Style(bold=True, color="yellow"), cut=glyphs.cut)
    message = choice.message or overview.message
    if message:
        return fit(f" {message}", width, BOLD, cut=glyphs.cut)
    if choice.shows_help:
        return fit(" any key goes back", width, DIM)
    line: Line = []
    for key, word in _KEYS:
        if width_of(line) + len(key) + len(word) + 3 > width:
            break
        line += [Segment("  " if line else " ", NONE), Segment(key, BOLD), Segment(f" {word}", DIM)]
    return line

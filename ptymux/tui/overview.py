"""The picture that the dashboard shows, as lines: totals, the PTYs, the last events, the keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.segment import Segment
from rich.style import Style

from ptymux.core.units import command_words, format_duration, format_size
from ptymux.tui.choice import SIGNALS, Choice, View
from ptymux.tui.overview_table import draw_heading, draw_rows, lay_out
from ptymux.tui.pty_samples import Model, SampleRow, Totals
from ptymux.tui.recent_events import News, draw_news
from ptymux.tui.widgets import (
    ALARM,
    BLOCKS,
    BOLD,
    DIM,
    NONE,
    PICKED,
    WARN,
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
    ("Enter", "open"),
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
    ("Enter", "type into the selected one, or see the output of an ended one"),
    ("s / r", "sort by rate, drops, trouble, name, age / reverse"),
    ("l / e", "next lane or all / show or hide those that ended"),
    ("x / d", "kill the selected / remove it once ended; both ask"),
    ("T", "send it a signal: " + " ".join(SIGNALS.values())),
    ("q ^C ^Z ^L", "quit, interrupt, suspend, draw again"),
    ("", ""),
    ("red, on top", "failed, and nobody has looked at it; Enter does, d removes it"),
    ("BUFFER", "what waits to be read; a mark where a reader counts as behind,"),
    ("", "grey while nobody reads, which is no fault"),
    ("BACKLOG", "the same in bytes: of the slowest reader, or all that is unread"),
    ("TREND", "a bar a second; each level is ten times the rate"),
    ("DROPPED", "red with !: what somebody attached did not get; grey: what nobody read"),
    ("BEHIND", "whether a reader is behind by most of the buffer, or how often"),
    ("CLIENTS", "how many are attached or follow it"),
    ("held", "waits, as --on-full block says, until it is read"),
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
        page, _pages = _help_page(choice, height)
        room = max(1, height - 2)
        part = _HELP[page * room : (page + 1) * room]
        lines += [_draw_help(key, text, width) for key, text in part]
    else:
        lines += _draw_body(overview, width, height - 2, now, glyphs)
    # The totals come last: they say which rows the others drew.
    lines = [_draw_totals(overview, width), *lines, *[[]] * (height - 2 - len(lines))]
    lines = lines[: height - 1]
    lines.append(_draw_bottom(overview, (width, height), glyphs))
    return lines[:height]


def _draw_body(
    overview: Overview, width: int, height: int, now: float, glyphs: Glyphs
) -> list[Line]:
    """Return what is between totals and keys: the table, and below it the events."""
    news = _news_room(height + 2)
    lines = [*_draw_rows(overview, width, max(0, height - 1 - news), now, glyphs)]
    spare = height - len(lines) - news
    if news > 1:  # what the table leaves is theirs
        news += max(0, min(spare, len(overview.news.items) + 1 - news))
    details = _draw_details(overview, width, now, glyphs)
    if spare < 2 * len(details):
        details = []  # the line above the events has the most important
    news = min(news, height - len(lines) - len(details))
    lines += [[]] * (height - len(lines) - len(details) - news)
    lines += details
    if news > 1:
        lines.append(_draw_rule(overview, width, glyphs, is_short=bool(details)))
        news -= 1
    return lines + draw_news(overview.news, overview.model.names, width, news, now, glyphs)


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
        lines += draw_news(overview.news, overview.model.names, width, count, now, glyphs)
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
    view = choice.scroll(room)
    rows = draw_rows(view.rows, layout, now, selected=choice.selected, glyphs=glyphs)
    lines = [heading, *rows]
    if room and (view.above or view.below):
        lines.append(_draw_more(view, width, glyphs))
    if overview.trouble:
        lines = [[Segment(piece.text, DIM) for piece in line] for line in lines]
    if not choice.rows and room:
        lines.append(fit(f"  {_empty(overview)}", width, cut=glyphs.cut))
    return lines


def _draw_more(view: View, width: int, glyphs: Glyphs) -> Line:
    """Return the line that says how many rows there was no room for."""
    words = [f"{view.above} above"] if view.above else []
    words += [f"{view.below} more"] if view.below else []
    line = [Segment(f"  {', '.join(words)}", DIM)]
    if view.failed:
        line.append(Segment(f", {view.failed} of them failed", ALARM))
    return Segment.adjust_line_length(line, min(width, width_of(line)))


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
        parts.append((overview.trouble, WARN))
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
        (totals.failed, "failed", ALARM),
        (totals.losing, "losing", ALARM),
        (totals.held, "held", WARN),
        (totals.suspended, "suspended", WARN),
    ):
        if count:
            parts.append((f"{count} {word}", style))
    parts.append((f"{format_size(round(totals.rate))}/s", BOLD if totals.rate >= 1 else DIM))
    if totals.dropped:
        parts.append((f"{format_size(totals.dropped)} dropped", DIM))
    if totals.dropped_attended:
        parts.append((f"!{format_size(totals.dropped_attended)} missed by clients", ALARM))
    return parts


def _draw_choice(choice: Choice) -> Line:
    words = []
    if choice.lane is not None:
        words.append(f"lane {choice.lane}")
    if not choice.shows_ended:
        words.append("ended hidden")
    return [Segment(f"{', '.join(words)} ", DIM)] if words else []


def _draw_rule(overview: Overview, width: int, glyphs: Glyphs, *, is_short: bool) -> Line:
    """Return the line above the events, with what the selected row has no room for."""
    row = overview.choice.selected_row
    if row is None or is_short:
        return _rule("events", width, glyphs, DIM)
    return _rule(f"{row.pty.number} {_detail(row)}", width, glyphs)


def _rule(title: str, width: int, glyphs: Glyphs, style: Style = NONE) -> Line:
    text = fit(title, min(width - 4, len(title)), style, cut=glyphs.cut)
    rest = max(0, width - 4 - width_of(text))
    return [Segment(glyphs.rule * 2 + " ", DIM), *text, Segment(" " + glyphs.rule * rest, DIM)]


def _detail(row: SampleRow) -> str:
    pty = row.pty
    where = f"(lane {pty.lane}, pid {pty.pid or '-'}, {row.state})"
    return f"{command_words(pty.command)} {where}"


def _draw_details(overview: Overview, width: int, now: float, glyphs: Glyphs) -> list[Line]:
    """Return the lines on the selected row, where there is room for more than its row."""
    row = overview.choice.selected_row
    if row is None:
        return []
    pty, more = row.pty, row.pty.details
    if pty.is_live:
        when = f"for {format_duration(now - pty.created_at)}"
    else:
        lived, ago = pty.updated_at - pty.created_at, now - pty.updated_at
        when = f"after {format_duration(lived)}, {format_duration(ago)} ago"
    reason = f": {more.reason}" if more.reason else ""
    full = "then the command waits" if more.on_full == "block" else "then the oldest go"
    amounts = (("written", pty.written), ("read", more.read), ("unread", more.unread))
    output = ", ".join(f"{format_size(size)} {word}" for word, size in amounts)
    kept = f"{format_size(more.retained)} of at most {format_size(pty.capacity)}; {full}"
    facts = (
        ("command", command_words(pty.command)),
        ("state", f"{row.state}{reason}, {when}"),
        ("where", f"{more.cwd}, lane {pty.lane}, session {more.session}, {more.size}"),
        ("output", f"{output}, {format_size(pty.dropped)} dropped"),
        ("kept", kept),
    )
    rule = _rule(f"{pty.number} {pty.name}", width, glyphs)
    return [rule, *(_draw_help(label, text, width) for label, text in facts)]


def _draw_help(key: str, text: str, width: int) -> Line:
    keys = 12 if width >= 60 else 9
    return [
        Segment(" ", NONE),
        *fit(key, keys, BOLD),
        *fit(" " + text, width - keys - 1),
    ]


def _help_page(choice: Choice, height: int) -> tuple[int, int]:
    """Return the page of the help that is shown, from 0, and how many there are."""
    pages = math.ceil(len(_HELP) / max(1, height - 2))
    return choice.help_page % pages, pages


def _draw_bottom(overview: Overview, size: tuple[int, int], glyphs: Glyphs) -> Line:
    choice, (width, height) = overview.choice, size
    if choice.question is not None:
        return fit(f" {choice.question}", width, PICKED, cut=glyphs.cut)
    message = choice.message or overview.message
    if message:
        return fit(f" {message}", width, BOLD, cut=glyphs.cut)
    if choice.shows_help:
        page, pages = _help_page(choice, height)
        if pages == 1:
            return fit(" any key goes back", width, DIM)
        return fit(f" {page + 1} of {pages}: space for more, any other key goes back", width, DIM)
    line: Line = []
    for key, word in _KEYS:
        if width_of(line) + len(key) + len(word) + 3 > width:
            break
        line += [Segment("  " if line else " ", NONE), Segment(key, BOLD), Segment(f" {word}", DIM)]
    return line

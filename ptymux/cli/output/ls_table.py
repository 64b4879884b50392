"""The table that `ptymux ls` prints: which columns there is room for, how wide each is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ptymux.cli.output.clock import format_moment
from ptymux.cli.output.printing import paint
from ptymux.core.cells import cells, cut, cut_amid
from ptymux.core.command_line import shorten_all
from ptymux.core.lifecycle import State, is_alarming
from ptymux.core.model import DEFAULT_LANE, ENDED_STATES
from ptymux.core.units import command_words, format_age, format_size, printable

__all__ = ["draw_table", "held_words", "state_style"]

_GAP: Final = 2  # cells between columns
_NOTHING: Final = "-"

Pty = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    text: Callable[[Pty, float], str]  # of a PTY at a time
    right: bool = False
    least: int = 0  # cells it can be cut to; 0 for never
    style: Callable[[Pty], str] = lambda _pty: ""


def held_words(pty: Pty) -> str:
    """Return `held 3m00s` for a PTY whose command waits as nobody reads; nothing for others."""
    waits = pty["buffer"]["unread"] >= pty["buffer"]["capacity"]
    if pty["on_full"] != "block" or pty["attended"] or pty["state"] in ENDED_STATES or not waits:
        return ""
    return f"held {format_age(pty['held_ms'] / 1000)}"


def state_style(pty: Pty) -> str:
    """Return the colour of a PTY's state: red for a failure that nobody has looked at."""
    ran = pty["pid"] is not None
    # An older server does not say; then those are red that nobody expects.
    if pty.get("unseen", is_alarming(State(pty["state"]), signal=pty["signal"], ran=ran)):
        return "red"
    if held_words(pty):
        return "magenta"
    return "dim" if pty["state"] in ENDED_STATES else ""


def _state(pty: Pty, _now: float) -> str:
    return held_words(pty) or str(pty["shown"])


def _age(pty: Pty, now: float) -> str:
    end = pty["updated_at"] if pty["state"] in ENDED_STATES else now
    return format_age(end - pty["created_at"])


def _used(pty: Pty, _now: float) -> str:
    if pty["state"] in ENDED_STATES:
        return _NOTHING
    return f"{pty['buffer']['utilization']:.0%}"


def _dropped(pty: Pty, _now: float) -> str:
    dropped = pty["buffer"]["total_dropped"]
    return format_size(dropped) if dropped else "0"


def _dropped_style(pty: Pty) -> str:
    # That a buffer is full which nobody reads is no fault of anybody.
    return "red" if pty["buffer"]["dropped_attended"] else "dim"


def _ended(pty: Pty, now: float) -> str:
    ago = _ago(pty, now)
    return ago if ago == _NOTHING else f"{ago}, {format_moment(pty['updated_at'], now)}"


def _ago(pty: Pty, now: float) -> str:
    if pty["state"] not in ENDED_STATES:
        return _NOTHING
    return f"{format_age(now - pty['updated_at'])} ago"


def _memory(pty: Pty) -> str:
    return _NOTHING if pty["memory"] is None else format_size(pty["memory"])


_COLUMNS: Final = (
    _Column("#", lambda pty, _now: str(pty["number"]), right=True),
    _Column("NAME", lambda pty, _now: printable(pty["name"] or _NOTHING), least=8),
    _Column("LANE", lambda pty, _now: printable(pty["lane_id"]), least=7),
    _Column("COMMAND", lambda pty, _now: command_words(pty["command"]), least=10),
    _Column("STATE", _state, style=state_style),
    _Column("PID", lambda pty, _now: str(pty["pid"] or _NOTHING), right=True),
    _Column("AGE", _age, right=True),
    _Column("USED", _used, right=True),
    _Column("DROPPED", _dropped, right=True, style=_dropped_style),
    _Column("ENDED", _ended, least=10, style=lambda _pty: "dim"),
    _Column("CLIENTS", lambda pty, _now: str(pty["clients"]), right=True),
)
# What `--wide` adds.
_WIDE: Final = (
    _Column("CPU", lambda pty, _now: _NOTHING if pty["cpu"] is None else f"{pty['cpu']:.0%}", True),
    _Column("MEMORY", lambda pty, _now: _memory(pty), right=True),
    _Column("TITLE", lambda pty, _now: printable(pty["title"]) or _NOTHING, least=8),
    _Column("CWD", lambda pty, _now: printable(pty["cwd"]), least=8),
)
# What gives way on a narrow terminal, first to last.
_DISPENSABLE: Final = (
    *("TITLE", "CLIENTS", "PID", "LANE", "ENDED", "AGE", "USED", "DROPPED", "CWD", "MEMORY", "CPU"),
)
# Who gets what room there is, up to how many cells; by its name a PTY is called.
_WISHES: Final = (
    ("NAME", 16),
    ("COMMAND", 24),
    ("LANE", 12),
    ("ENDED", 40),
    ("CWD", 32),
    ("NAME", 64),
    ("LANE", 64),
    ("TITLE", 64),
    ("CWD", 10_000),
    ("COMMAND", 10_000),
)


def draw_table(
    ptys: Sequence[Pty],
    *,
    now: float,
    width: int | None,
    colour: bool = False,
    wide: bool = False,
) -> list[str]:
    """Return the lines of the table, its header first, at most `width` cells wide; None: no limit.

    Where there is little room the lanes go if all are the default one, texts are cut, columns are
    left out; a terminal below some 40 cells gets longer lines. `wide` adds columns; the PTYs must
    have `cpu` and `memory` then, which are measured here and not by a server.
    """
    columns = (*_COLUMNS, *_WIDE) if wide else _COLUMNS
    texts = {c.title: [c.text(pty, now) for pty in ptys] for c in columns}
    for title in ("ENDED", "TITLE"):
        if all(text == _NOTHING for text in texts.get(title, ())):
            texts.pop(title, None)
    natural = {title: max(cells(title), *map(cells, column), 0) for title, column in texts.items()}
    if width is None:
        widths = natural
    else:
        plain = all(lane == DEFAULT_LANE for lane in texts["LANE"])
        kept = {t: size for t, size in natural.items() if t != "LANE" or not plain}
        widths = _fit([column for column in columns if column.title in kept], kept, width)
    if widths.get("ENDED", 0) < natural.get("ENDED", 0):
        texts["ENDED"] = [_ago(pty, now) for pty in ptys]
    texts["COMMAND"] = shorten_all([pty["command"] for pty in ptys], widths["COMMAND"])
    if "CWD" in widths:  # its end tells more than its beginning
        texts["CWD"] = [cut_amid(text, widths["CWD"]) for text in texts["CWD"]]
    shown = [column for column in columns if column.title in widths]
    lines = [paint(_line(shown, widths, {c.title: c.title for c in shown}), "bold", colour=colour)]
    for index, pty in enumerate(ptys):
        row = {column.title: texts[column.title][index] for column in shown}
        styles = {column.title: column.style(pty) for column in shown} if colour else {}
        lines.append(_line(shown, widths, row, styles))
    return lines


def _fit(columns: Sequence[_Column], natural: Mapping[str, int], width: int) -> dict[str, int]:
    """Return the widths of the columns that there is room for."""
    least = {
        column.title: min(natural[column.title], column.least or natural[column.title])
        for column in columns
    }
    for title in _DISPENSABLE:
        if _total(least.values()) <= width:
            break
        least.pop(title, None)
    spare = width - _total(least.values())
    for title, wanted in _WISHES:
        if title in least and spare > 0:
            more = max(0, min(spare, min(natural[title], wanted) - least[title]))
            least[title] += more
            spare -= more
    return least


def _total(widths: Collection[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _line(
    columns: Sequence[_Column],
    widths: Mapping[str, int],
    row: Mapping[str, str],
    styles: Mapping[str, str] | None = None,
) -> str:
    parts = []
    for column in columns:
        text = cut(row[column.title], widths[column.title])
        padding = " " * (widths[column.title] - cells(text))
        style = (styles or {}).get(column.title, "")
        painted = paint(text, style, colour=bool(style))
        parts.append(padding + painted if column.right else painted + padding)
    return (" " * _GAP).join(parts).rstrip()

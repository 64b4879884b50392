"""The report that `ptymux stats` prints on one PTY: where every byte of its output went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ptymux.cli.output.clock import format_moment
from ptymux.cli.output.ls_table import held_words, state_style
from ptymux.cli.output.printing import count_of, paint, times, wrap
from ptymux.core.model import ENDED_STATES
from ptymux.core.units import (
    command_words,
    format_capacity,
    format_duration,
    format_size,
    printable,
)

__all__ = ["draw_bar", "draw_report"]

_LABEL: Final = 12  # cells, with the blanks behind
_LONGEST_BAR: Final = 40
_LEAST_BAR: Final = 8

Pty = Mapping[str, Any]
Row = tuple[str, str, str]  # label, text, style


def draw_report(
    pty: Pty, *, now: float, width: int | None, colour: bool = False, blocks: bool = True
) -> list[str]:
    """Return the lines of the report on the answer to `stats`, wrapped to `width` cells."""
    room = None if width is None else max(width - _LABEL, 1)
    bar = max(_LEAST_BAR, min(_LONGEST_BAR, (room or _LONGEST_BAR) - 5))
    lines: list[str] = []
    sections = (
        _who(pty, now),
        _where_bytes_went(pty),
        _buffer(pty, bar, blocks),
        _what_was(pty, now),
    )
    for section in sections:
        rows = list(section)
        lines += [""] if lines and rows else []
        for label, text, style in rows:
            for piece in [text] if room is None else wrap(text, room):
                head = paint(label.ljust(_LABEL), "dim", colour=colour)
                lines.append((head + paint(piece, style, colour=colour)).rstrip())
                label = ""
    return lines


def draw_bar(share: float, threshold: float, width: int, *, blocks: bool) -> str:
    """Return a bar of `width` cells, filled to `share`, with a mark at the threshold."""
    full, empty, mark = ("█", "░", "│") if blocks else ("#", "-", "|")
    filled = min(width, round(share * width))
    if share > 0:
        filled = max(filled, 1)
    at = min(width - 1, int(threshold * width))
    cells = [full if index < filled else empty for index in range(width)]
    cells[at] = mark
    return "".join(cells)


def _who(pty: Pty, now: float) -> Iterator[Row]:
    name = f"{printable(pty['name'])}, number {pty['number']}" if pty["name"] else pty["number"]
    yield "PTY", str(name), "bold"
    yield "id", pty["pty_id"], ""
    yield "command", command_words(pty["command"]), ""
    yield "directory", printable(pty["cwd"]), ""
    yield "lane", printable(f"{pty['lane_id']}, session {pty['session_id']}"), ""
    yield "state", _state(pty, now), state_style(pty)
    if pty.get("reason"):
        yield "", printable(pty["reason"]), ""
    if limits := _limits(pty):
        yield "time", limits, ""
    yield "terminal", f"{pty['cols']}x{pty['rows']}, {_clients(pty)}", ""


def _limits(pty: Pty) -> str:
    """Return how long it may run and how long it stays afterwards; nothing without limits."""
    words = []
    if pty.get("timeout_seconds") is not None:
        words.append(f"ended after {format_duration(pty['timeout_seconds'])}")
    ttl = pty.get("ttl_seconds")
    if ttl is not None:
        words.append(
            f"forgotten {format_duration(ttl)} after its end" if ttl else "forgotten at its end"
        )
    return ", ".join(words)


def _state(pty: Pty, now: float) -> str:
    words = [str(pty["shown"])]
    if pty["pid"] is not None:
        words.append(f"pid {pty['pid']}")
    if pty["state"] in ENDED_STATES:
        words.append(f"after {format_duration(pty['updated_at'] - pty['created_at'])}")
        words.append(f"{format_duration(now - pty['updated_at'])} ago")
    else:
        words.append(f"for {format_duration(now - pty['created_at'])}")
    if pty["spawn_ms"] is not None:
        words.append(f"started within {format_duration(pty['spawn_ms'] / 1000)}")
    return ", ".join(words)


def _clients(pty: Pty) -> str:
    return count_of(pty["clients"], "client") if pty["clients"] else "nobody attached"


def _where_bytes_went(pty: Pty) -> Iterator[Row]:
    buffer = pty["buffer"]
    yield "written", _amount(buffer["total_written"]), ""
    yield "read", f"{_amount(buffer['total_consumed'])}, each byte counted once", ""
    yield "unread", f"{_amount(buffer['unread'])}, kept until somebody comes", ""
    lost = buffer["total_dropped"]
    if not lost:
        yield "dropped", "nothing", ""
    else:
        yield "dropped", f"{_amount(lost)} that nobody read:", ""
        attended, unattended = buffer["dropped_attended"], buffer["dropped_unattended"]
        yield "", f"{_amount(attended)} while somebody was attached", "red" if attended else ""
        if attended and pty["on_full"] == "block":
            yield "", "the command waits for pipes and `logs -f`, not for terminals and --lossy", ""
        yield "", f"{_amount(unattended)} while nobody was", ""
    yield "trimmed", f"{_amount(buffer['trimmed'])}, read before they went", ""
    if buffer.get("pending"):  # an older server has no such number
        text = f"{_amount(buffer['pending'])}, until clients say whether they got them"
        yield "pending", text, "magenta"
    if pty.get("uncertain"):
        text = f"{times(pty['uncertain'])} a killed keeper was reading; a byte each may be missing"
        yield "uncertain", text, "magenta"
    if buffer["merged"]:
        yield "merged", f"{_amount(buffer['merged'])}, read but counted as unread", ""


def _buffer(pty: Pty, width: int, blocks: bool) -> Iterator[Row]:
    buffer = pty["buffer"]
    capacity, used, threshold = buffer["capacity"], buffer["utilization"], pty["threshold"]
    size = f"{capacity:,} bytes ({format_capacity(capacity)})"
    yield "kept", f"{buffer['retained']:,} of at most {size}", ""
    if capacity:
        on = buffer["backpressure"]
        bar = draw_bar(used, threshold, width, blocks=blocks)
        yield "waiting", f"{bar} {used:4.0%}", "magenta" if on else ""
        yield "", f"at most {_amount(buffer['high_water'])} so far", ""
        state = "on" if on else "off"
        so_far = times(buffer["backpressure_events"])
        yield "pressure", f"{state}; it goes on above {threshold:.0%}, {so_far} so far", ""
    overflows = buffer["overflow_events"]
    if overflows:
        yield "overflow", f"{times(overflows)} told", ""
    yield "when full", _when_full(pty), "magenta" if held_words(pty) else ""


def _when_full(pty: Pty) -> str:
    if pty["on_full"] == "drop":
        return "the oldest bytes are dropped"
    if held_words(pty):
        return f"{held_words(pty)}: nobody is reading"
    waited = pty["held_ms"] / 1000
    return f"the command waits; so far for {format_duration(waited)}"


def _what_was(pty: Pty, now: float) -> Iterator[Row]:
    label = "history"
    for step in pty.get("history", ()):
        when = format_moment(step["at"], now)
        yield label, f"{when}  {step['from']} -> {step['to']} ({step['event']})", ""
        label = ""
    label = "signals"
    for sent in pty.get("signals", ()):
        why = f": {printable(sent['error'])}" if sent["error"] else ""
        when = format_moment(sent["at"], now)
        text = f"{when}  {sent['signal']} to {sent['pid']} {sent['outcome']}{why}"
        yield label, text, ""
        label = ""


def _amount(size: int) -> str:
    """Return a size for people, and the exact one where that says more."""
    return f"{size:,} bytes" if size < 1000 else f"{format_size(size)} ({size:,})"

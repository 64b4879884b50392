"""The last events as lines of the dashboard; one that repeats is a line that counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.segment import Segment
from rich.style import Style

from ptymux.core.escalation import signal_name
from ptymux.core.event_log import Topic
from ptymux.core.units import format_date, format_size, printable
from ptymux.tui.widgets import ALARM, BLOCKS, BOLD, DIM, NONE, WARN, Glyphs, Line, fit

__all__ = ["News", "TOPICS", "draw_news"]

# What people want to know; another event says it, too, when a state changes.
TOPICS: Final = tuple(
    topic.value for topic in Topic if topic not in (Topic.OUTPUT, Topic.STATE_CHANGED, Topic.TITLE)
)
_KEPT: Final = 100
_REPEATED: Final = frozenset(
    {
        Topic.BUFFER_OVERFLOW,
        Topic.READER_SKIPPED,
        Topic.BACKPRESSURE_ON,
        Topic.BACKPRESSURE_OFF,
        Topic.RESIZED,
        Topic.SIGNAL_DELIVERED,
        Topic.BELL,
    }
)


@dataclass(frozen=True, slots=True)
class Item:
    """One line: an event, or several of a kind."""

    at: float  # of the last one, in seconds since the epoch
    pty_id: str | None
    topic: str
    text: str
    style: Style
    count: int = 1


class News:
    """Keeps the last events, the newest first."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.last_seq = 0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event as a server sends it; one that cannot be understood is skipped."""
        seq = event.get("seq")
        self.last_seq = max(self.last_seq, seq if isinstance(seq, int) else 0)
        try:
            item = _item(event)
        except (KeyError, TypeError, ValueError):
            return
        if item is not None:
            self._add(item)

    def take_missed(self, count: int) -> None:
        """Note that `count` events were not sent, as we were too slow."""
        self._add(Item(time.time(), None, "missed", f"{count} events missed", DIM))

    def forget(self) -> None:
        """Forget all events: another server counts anew."""
        self.items, self.last_seq = [], 0

    def _add(self, item: Item) -> None:
        if item.topic in _REPEATED:
            for old in self.items:
                if (old.pty_id, old.topic) == (item.pty_id, item.topic):
                    item = replace(item, count=old.count + 1)
                    self.items.remove(old)
                    break
        self.items.insert(0, item)
        del self.items[_KEPT:]


def _item(event: Mapping[str, Any]) -> Item | None:
    topic = Topic(event["topic"])
    words = _WORDS.get(topic)
    if words is None:
        return None
    said = words(event["payload"])
    if said is None:
        return None
    text, style = said
    return Item(float(event["timestamp"]), event["pty_id"], topic.value, printable(text), style)


_Words = tuple[str, Style]


def _stopped(payload: Mapping[str, Any]) -> _Words:
    if payload["signal"] is not None:
        how = f"killed ({signal_name(payload['signal'])})"
    elif payload["exit_code"] is None:
        how = "ended"
    else:
        how = f"exited ({payload['exit_code']})" if payload["exit_code"] else "exited"
    dropped = payload["total_dropped"]
    return (
        f"{how}, {format_size(payload['total_written'])} written, {format_size(dropped)} dropped",
        NONE,
    )


def _error(payload: Mapping[str, Any]) -> _Words | None:
    if payload["exit_code"] is not None:
        return None  # `stopped` says it, too
    return f"error: {payload['error']}", ALARM


def _overflow(payload: Mapping[str, Any]) -> _Words:
    lost = f"{format_size(payload['total_dropped'])} in all"
    if payload["attended"]:
        return f"lost {lost}, with a client attached", ALARM
    return f"dropped {lost}, nobody reads it", DIM


def _delivered(payload: Mapping[str, Any]) -> _Words:
    failed = payload["outcome"] == "failed"
    reason = f": {payload['error']}" if failed else ""
    outcome = "" if payload["outcome"] == "delivered" else f" {payload['outcome']}"
    return f"signal {_signal(payload['signal'])}{outcome}{reason}", WARN if failed else NONE


def _attached(payload: Mapping[str, Any]) -> _Words | None:
    return (f"a terminal attached{_by(payload['pid'])}", NONE) if payload["terminal"] else None


def _detached(payload: Mapping[str, Any]) -> _Words | None:
    if not payload["terminal"] or payload["reason"] == "pty-ended":
        return None  # `stopped` says it, too
    if payload["reason"] == "sent-away":
        return f"a terminal was detached{_by(payload['by'])}", NONE
    if payload["reason"] == "client-ended":
        return f"a terminal is gone{_by(payload['pid'])}", WARN
    return f"a terminal detached{_by(payload['pid'])}", NONE


def _by(pid: object) -> str:
    return "" if pid is None else f", pid {pid}"


def _signal(signal: object) -> str:
    return signal_name(signal) if isinstance(signal, int) else str(signal)


def _reconciled(payload: Mapping[str, Any]) -> _Words:
    counts = (f"{payload[name]} {name}" for name in ("found", "reattached", "terminated"))
    return f"server took over: {', '.join(counts)}", WARN


_WORDS: Final[Mapping[Topic, Callable[[Mapping[str, Any]], _Words | None]]] = {
    Topic.SPAWNED: lambda payload: (f"started, pid {payload['pid']}", NONE),
    Topic.STOPPED: _stopped,
    Topic.ERROR: _error,
    Topic.RESIZED: lambda payload: (
        f"resized to {payload['new']['cols']}x{payload['new']['rows']}",
        DIM,
    ),
    Topic.SIGNAL_DELIVERED: _delivered,
    Topic.TERMINATING: lambda _payload: ("is being ended", NONE),
    Topic.FORCE_KILLED: lambda _payload: ("did not end in time, killed", WARN),
    Topic.IDLE_TIMEOUT: lambda _payload: ("is quiet", DIM),
    Topic.BACKPRESSURE_ON: lambda payload: (
        f"backpressure on at {payload['utilization']:.0%}",
        WARN,
    ),
    Topic.BACKPRESSURE_OFF: lambda payload: (
        f"backpressure off at {payload['utilization']:.0%}",
        NONE,
    ),
    Topic.BUFFER_OVERFLOW: _overflow,
    Topic.READER_SKIPPED: lambda payload: (
        f"a client missed {format_size(payload['total_skipped'])}",
        WARN,
    ),
    Topic.RECONCILED: _reconciled,
    Topic.ATTACHED: _attached,
    Topic.DETACHED: _detached,
    Topic.BELL: lambda payload: (f"rang the bell ({payload['count']})", DIM),
    Topic.RENAMED: lambda payload: (f"renamed to {payload['new']}", NONE),
}


def draw_news(
    news: News,
    names: Mapping[str, str],
    width: int,
    count: int,
    now: float,
    glyphs: Glyphs = BLOCKS,
) -> list[Line]:
    """Return exactly `count` lines of the last events, the newest first."""
    lines = [_draw(item, names, width, now, glyphs) for item in news.items[:count]]
    return lines + [[] for _ in range(count - len(lines))]


def _draw(item: Item, names: Mapping[str, str], width: int, now: float, glyphs: Glyphs) -> Line:
    then = time.localtime(item.at)
    clock = time.strftime("%H:%M:%S" if width >= 60 else "%H:%M", then)
    date = format_date(then, time.localtime(now))
    if date:  # the day says more then
        clock = f"{date if width >= 60 else f'{then.tm_mon:02}-{then.tm_mday:02}':<{len(clock)}}"
    clock = f" {clock} "
    who = names.get(item.pty_id or "", (item.pty_id or "server")[-8:])
    often = f" (x{item.count})" if item.count > 1 else ""
    room = max(0, width - len(clock))
    name = fit(who, min(room, 16 if width >= 60 else 8), BOLD, cut=glyphs.cut)
    rest = room - sum(piece.cell_length for piece in name) - 1
    text = fit(item.text + often, rest, item.style, cut=glyphs.cut)
    return [Segment(clock, DIM), *name, Segment(" ", NONE), *text]

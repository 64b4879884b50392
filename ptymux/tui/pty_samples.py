"""Samples of the PTYs, taken again and again, and the rates that follow from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ptymux.core.command_line import telling_name
from ptymux.core.lifecycle import State, is_alarming
from ptymux.core.model import ENDED_STATES
from ptymux.core.units import printable
from ptymux.errors import ProtocolError

__all__ = ["Details", "Model", "PtySample", "SampleRow", "Totals"]

_WINDOW_SECONDS: Final = 1.0  # over which a rate is taken
_STEP_SECONDS: Final = 0.95  # between two bars of a sparkline; a little late is as good as late
_BARS: Final = 120
_LOSING_SECONDS: Final = 5.0  # for which a loss is news


@dataclass(frozen=True, slots=True)
class Details:
    """What is shown of the selected PTY only; its texts are safe to show."""

    cwd: str
    size: str
    session: str
    reason: str
    on_full: str
    read: int
    unread: int
    retained: int

    @classmethod
    def from_json(cls, pty: Mapping[str, Any]) -> Details:
        """Return the details that are in the JSON of a PTY."""
        buffer = pty["buffer"]
        return cls(
            cwd=printable(pty["cwd"]),
            size=f"{pty['cols']}x{pty['rows']}",
            session=printable(pty["session_id"]),
            reason=printable(pty["reason"] or ""),
            on_full=str(pty["on_full"]),
            read=buffer["total_consumed"],
            unread=buffer["unread"],
            retained=buffer["retained"],
        )


@dataclass(frozen=True, slots=True)
class PtySample:
    """What a server says of one PTY at one moment; its texts are safe to show."""

    pty_id: str
    number: int
    name: str  # its own, else that of what its command runs
    is_named: bool
    command: tuple[str, ...]
    lane: str
    shown: str
    is_live: bool
    is_unseen: bool  # it failed, and nobody has looked at it since
    is_suspended: bool
    is_held: bool
    pid: int | None
    clients: int
    attended: bool
    created_at: float
    updated_at: float
    threshold: float
    utilization: float
    capacity: int
    waiting: int  # bytes: the backlog, or while nobody is attached what is unread
    written: int
    dropped: int
    dropped_attended: int
    backpressure: bool
    backpressure_events: int
    details: Details

    @classmethod
    def from_json(cls, pty: Mapping[str, Any]) -> PtySample:
        """Return the sample that is in the JSON of a PTY.

        Raises:
            ProtocolError: the server left something out, or sent something else.
        """
        try:
            return cls._from_json(pty)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"a PTY without its {error}") from error

    @classmethod
    def _from_json(cls, pty: Mapping[str, Any]) -> PtySample:
        buffer = pty["buffer"]
        is_live = pty["state"] not in ENDED_STATES
        attended = bool(pty["attended"])
        full = buffer["capacity"] and buffer["utilization"] >= 1
        return cls(
            pty_id=pty["pty_id"],
            number=pty["number"],
            name=printable(pty["name"] or telling_name(pty["command"])) or "?",
            is_named=bool(pty["name"]),
            command=tuple(pty["command"]),
            lane=printable(pty["lane_id"]),
            shown=printable(pty["shown"]),
            is_live=is_live,
            is_unseen=not is_live and _is_unseen(pty),
            is_suspended=is_live and bool(pty["suspended"]),
            is_held=bool(is_live and pty["on_full"] == "block" and full),
            pid=pty["pid"],
            clients=pty["clients"],
            attended=attended,
            created_at=pty["created_at"],
            updated_at=pty["updated_at"],
            threshold=pty["threshold"],
            utilization=buffer["utilization"],
            capacity=buffer["capacity"],
            waiting=buffer["backlog"] if attended else buffer["unread"],
            written=buffer["total_written"],
            dropped=buffer["total_dropped"],
            dropped_attended=buffer["dropped_attended"],
            backpressure=bool(buffer["backpressure"]),
            backpressure_events=buffer["backpressure_events"],
            details=Details.from_json(pty),
        )


def _is_unseen(pty: Mapping[str, Any]) -> bool:
    """Whether a PTY that has ended is a failure that nobody has looked at."""
    if "unseen" in pty:
        return bool(pty["unseen"])
    # An older server: then those that nobody expects.
    return is_alarming(State(pty["state"]), signal=pty["signal"], ran=pty["pid"] is not None)


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One PTY with what follows from several samples: rates, fresh losses."""

    pty: PtySample
    rate: float | None  # bytes a second; None after the first sample
    rates: tuple[float, ...] = ()  # one a second, the newest last
    is_losing: bool = False  # somebody attached did not get something, just now

    @property
    def state(self) -> str:
        """The word for its state."""
        return "held" if self.pty.is_held and not self.pty.is_suspended else self.pty.shown

    @property
    def trouble(self) -> int:
        """How urgently somebody should look at it: 0 for not at all."""
        pty = self.pty
        signs = (
            pty.backpressure,
            pty.dropped_attended > 0,
            pty.is_suspended,
            pty.is_held,
            self.is_losing,
            pty.is_unseen,
        )
        return max((rank for rank, sign in enumerate(signs, 1) if sign), default=0)


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over all PTYs."""

    live: int = 0
    ended: int = 0
    failed: int = 0  # of these, failures that nobody has looked at
    rate: float = 0.0
    dropped: int = 0
    dropped_attended: int = 0
    losing: int = 0
    held: int = 0
    suspended: int = 0


class Model:
    """Keeps what is known of all PTYs: takes samples, has rows with rates."""

    def __init__(self, own: str | None = None) -> None:
        """Begin with nothing; `own` is the id of the PTY that the dashboard itself runs in.

        What it draws is output of that PTY. Counted, it would be drawn again and again.
        """
        self._own = own
        self._tracks: dict[str, _Track] = {}
        self.rows: list[SampleRow] = []
        self.totals = Totals()
        self.names: dict[str, str] = {}  # by id, also of PTYs that were removed meanwhile

    def take(self, ptys: Iterable[Mapping[str, Any]], at: float) -> None:
        """Take a sample of all PTYs, of the time `at` of a clock that only goes forward.

        Raises:
            ProtocolError: as `PtySample.from_json`; nothing was taken.
        """
        sample = [PtySample.from_json(pty) for pty in ptys]
        tracks = {pty.pty_id: self._tracks.get(pty.pty_id) or _Track() for pty in sample}
        self._tracks = tracks
        self.rows = [
            SampleRow(pty, None) if pty.pty_id == self._own else tracks[pty.pty_id].take(pty, at)
            for pty in sample
        ]
        self.names |= {pty.pty_id: pty.name for pty in sample}
        if len(self.names) > 4 * len(sample) + 1000:
            self.names = {pty.pty_id: pty.name for pty in sample}
        self.totals = _add_up(self.rows)

    def clear(self) -> None:
        """Forget all PTYs: there is no server that has them."""
        self._tracks, self.rows, self.totals = {}, [], Totals()


def _add_up(rows: list[SampleRow]) -> Totals:
    live = sum(row.pty.is_live for row in rows)
    return Totals(
        live=live,
        ended=len(rows) - live,
        failed=sum(row.pty.is_unseen for row in rows),
        rate=sum(row.rate or 0.0 for row in rows),
        dropped=sum(row.pty.dropped for row in rows),
        dropped_attended=sum(row.pty.dropped_attended for row in rows),
        losing=sum(row.is_losing for row in rows),
        held=sum(row.pty.is_held for row in rows),
        suspended=sum(row.pty.is_suspended for row in rows),
    )


class _Track:
    """The past of one PTY."""

    def __init__(self) -> None:
        self._window: deque[tuple[float, int]] = deque()  # when, written
        self._step: tuple[float, int] | None = None  # where the next bar of the sparkline begins
        self._rates: deque[float] = deque(maxlen=_BARS)
        self._lost = -1  # what was dropped attended by the last sample
        self._lost_at = float("-inf")

    def take(self, pty: PtySample, at: float) -> SampleRow:
        """Return the row after another sample."""
        window = self._window
        window.append((at, pty.written))
        while len(window) > 2 and window[1][0] <= at - _WINDOW_SECONDS:
            window.popleft()
        rate = _rate(window[0], window[-1])
        self._add_bar(at, pty, rate)
        if 0 <= self._lost < pty.dropped_attended:
            self._lost_at = at
        self._lost = pty.dropped_attended
        is_losing = at - self._lost_at < _LOSING_SECONDS
        return SampleRow(pty, rate, tuple(self._rates), is_losing)

    def _add_bar(self, at: float, pty: PtySample, rate: float | None) -> None:
        if self._step is None:
            self._step = (at, pty.written)
        elif at - self._step[0] >= _STEP_SECONDS or not self._rates:
            step = _rate(self._step, (at, pty.written))
            if step is not None:
                self._rates.append(step)
                self._step = (at, pty.written)


def _rate(before: tuple[float, int], after: tuple[float, int]) -> float | None:
    seconds = after[0] - before[0]
    return max(0, after[1] - before[1]) / seconds if seconds > 0 else None

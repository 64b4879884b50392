"""The figures of one scenario, which the runner measures, verdicts judge and reports show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ptymux.core.bus import MissedEvents
from ptymux.core.event_log import EventEnvelope, Topic
from ptymux.core.notifications import BufferStats
from ptymux.core.ring import Part
from ptymux.stress.child import ChildKind, first_difference
from ptymux.stress.plan import Scenario

__all__ = [
    "ContentCheck",
    "EventTally",
    "Lateness",
    "Measured",
    "Sample",
    "Samples",
    "EventSeen",
    "spacing_of",
]

_MOST_SAMPLES = 600  # of one scenario; then every second one goes


@dataclass(slots=True)
class ContentCheck:
    """Compares the output that a reader gets with what the child wrote.

    `start` is the offset at which it must begin. `wrong_at` is the offset of the first wrong byte,
    `gap_at` that of the first gap that was reported wrongly.
    """

    kind: ChildKind
    start: int
    end: int = 0
    size: int = 0  # bytes compared
    skipped: int = 0
    wrong_at: int | None = None
    gap_at: int | None = None

    def __post_init__(self) -> None:
        self.end = self.start

    def add(self, part: Part) -> None:
        """Compare the next part of the output."""
        if self.gap_at is None and part.offset - part.skipped != self.end:
            self.gap_at = self.end
        if self.wrong_at is None:
            self.wrong_at = first_difference(self.kind, part.offset, part.data)
        self.end = part.end
        self.size += len(part.data)
        self.skipped += part.skipped


@dataclass(frozen=True, slots=True)
class EventSeen:
    """One event about lost bytes: an overflow of the buffer, or what a reader skipped."""

    seconds: float  # since the scenario began
    amount: int
    total: int
    final: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of a scenario at one moment; bytes unless the name says otherwise."""

    seconds: float  # since the scenario began
    written: int
    consumed: int
    dropped: int
    utilization: float


class Samples:
    """Some hundred samples at most, evenly spaced, however long the scenario lasts."""

    def __init__(self, interval_seconds: float) -> None:
        self.kept: list[Sample] = []
        self._interval_seconds = interval_seconds

    def is_due(self, seconds: float) -> bool:
        """Whether the next sample should be taken."""
        return not self.kept or seconds >= self.kept[-1].seconds + self._interval_seconds

    def add(self, sample: Sample) -> None:
        """Keep a sample."""
        if len(self.kept) >= _MOST_SAMPLES:
            del self.kept[1::2]
            self._interval_seconds *= 2
        self.kept.append(sample)


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late a timer of 5 ms came, in seconds."""

    ticks: int
    p50: float
    p99: float
    worst: float

    @classmethod
    def of(cls, late: Sequence[float]) -> Lateness:
        """Return the figures of these ticks, of which there is at least one."""
        ordered = sorted(late)
        count = len(ordered)
        return cls(count, ordered[count // 2], ordered[count * 99 // 100], ordered[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All figures of one scenario; bytes unless the name says otherwise.

    `stats` are those at the end. `most_retained` is the most that was ever seen in the buffer,
    `overrun` the most that a child in block mode was ever seen to write beyond a full buffer.
    """

    scenario: Scenario
    seconds: float  # until the child's output was complete
    consumed_seconds: float  # until the consumer was done
    is_stuck: bool  # it did not end by itself
    exit_code: int | None
    stats: BufferStats
    start: int  # of the reader
    end: int  # of the output
    delivered: int
    skipped: int
    backlog: int
    consumed: ContentCheck
    tail: ContentCheck
    most_retained: int
    overrun: int
    memory_before: int  # resident here and in the keeper, the ring included
    memory_peak: int
    backpressure: tuple[bool, ...]  # the events in order, True for on
    overflows: tuple[EventSeen, ...]
    skips: tuple[EventSeen, ...]
    missed_events: int
    warnings: int
    lateness: Lateness
    samples: tuple[Sample, ...] = field(repr=False)

    @property
    def peak_utilization(self) -> float:
        """The largest share of the buffer that ever waited to be read, 0.0 to 1.0."""
        return self.stats.high_water / self.stats.capacity if self.stats.capacity else 0.0

    @property
    def write_rate(self) -> float:
        """Bytes a second that the child wrote."""
        return self.stats.total_written / self.seconds if self.seconds else 0.0

    @property
    def consume_rate(self) -> float:
        """Bytes a second that the consumer got."""
        return self.delivered / self.consumed_seconds if self.consumed_seconds else 0.0

    @property
    def spacing_seconds(self) -> tuple[float, ...]:
        """The times between overflow events that are not final."""
        return spacing_of(self.overflows)


def spacing_of(events: Iterable[EventSeen]) -> tuple[float, ...]:
    """Return the times between the events that are not final."""
    at = [each.seconds for each in events if not each.final]
    return tuple(b - a for a, b in pairwise(at))


@dataclass(slots=True)
class EventTally:
    """Collects the events of one PTY by kind."""

    started_at: float  # seconds since the epoch
    backpressure: list[bool] = field(default_factory=list)
    overflows: list[EventSeen] = field(default_factory=list)
    skips: list[EventSeen] = field(default_factory=list)
    missed: int = 0

    def add(self, event: EventEnvelope | MissedEvents) -> None:
        """Take the next event."""
        if isinstance(event, MissedEvents):
            self.missed += event.count
            return
        match event.topic:
            case Topic.BACKPRESSURE_ON | Topic.BACKPRESSURE_OFF:
                self.backpressure.append(event.topic is Topic.BACKPRESSURE_ON)
            case Topic.BUFFER_OVERFLOW:
                self.overflows.append(self._seen(event, "dropped"))
            case Topic.READER_SKIPPED:
                self.skips.append(self._seen(event, "skipped"))

    def _seen(self, event: EventEnvelope, what: str) -> EventSeen:
        amount, total = event.payload[f"{what}_since_last"], event.payload[f"total_{what}"]
        assert isinstance(amount, int)
        assert isinstance(total, int)
        seconds = event.timestamp - self.started_at
        return EventSeen(seconds, amount, total, bool(event.payload["final"]))

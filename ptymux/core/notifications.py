"""What an output buffer reports: its statistics, and notifications of overflow and backpressure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import Final

__all__ = [
    "BackpressureOff",
    "BackpressureOn",
    "BufferStats",
    "OffReason",
    "Overflow",
    "ReaderSkipped",
    "BufferNotification",
]


class OffReason(enum.Enum):
    """Why backpressure went off."""

    CAUGHT_UP = "caught up"
    UNATTENDED = "unattended"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferStats:
    """The statistics of one PTY's buffer; in bytes, unless the name says otherwise.

    This is the list of the statistics: tests hold `client/answers.py` and the JSON schema to it.

    `backlog` is that of the consumer that is furthest behind, of those that count for
    backpressure. `high_water` is the highest backlog ever seen, at most `capacity`. `pending` bytes
    were evicted while clients of a killed server were awaited, who may have got them: they are
    dropped or trimmed soon.
    `backpressure_events` counts how often backpressure went on.
    """

    capacity: int
    retained: int
    unread: int
    available: int  # the same as unread
    backlog: int
    utilization: float  # 0.0 to 1.0
    high_water: int
    total_written: int
    total_consumed: int
    total_dropped: int
    dropped_attended: int
    dropped_unattended: int
    trimmed: int
    pending: int = 0
    merged: int
    overflow_events: int
    backpressure: bool
    backpressure_events: int

    def as_json(self) -> dict[str, int | float | bool]:
        """Return the fields by name.

        `dataclasses.asdict` copies deeply and takes 18 times as long.
        """
        return {name: getattr(self, name) for name in _NUMBERS}


_NUMBERS: Final = tuple(each.name for each in fields(BufferStats))


@dataclass(frozen=True, slots=True)
class BackpressureOn:
    """Notification that a consumer is further behind than the threshold allows."""

    utilization: float
    stats: BufferStats


@dataclass(frozen=True, slots=True)
class BackpressureOff:
    """Notification that no consumer is far behind any more."""

    utilization: float
    stats: BufferStats
    reason: OffReason


@dataclass(frozen=True, slots=True)
class Overflow:
    """Notification that bytes were dropped: evicted before any consumer was handed them."""

    dropped_since_last: int
    total_dropped: int
    utilization: float
    attended: bool  # whether a consumer was attached when some of these bytes were dropped
    final: bool  # the burst of drops is over
    first: bool  # the first overflow of this PTY


@dataclass(frozen=True, slots=True)
class ReaderSkipped:
    """Notification that one reader missed bytes, whether or not others got them."""

    reader_id: int
    skipped_since_last: int
    total_skipped: int
    final: bool


BufferNotification = BackpressureOn | BackpressureOff | Overflow | ReaderSkipped

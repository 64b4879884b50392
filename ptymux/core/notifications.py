"""What an output buffer tells: its numbers, and what became worth telling."""

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
    """What one PTY's buffer did so far; bytes unless the name says otherwise.

    This is the list of the statistics: tests hold `client/answers.py` and the JSON schema to it.

    `backlog` is that of the furthest-behind consumer that counts, `high_water` the most that was
    ever waiting, at most `capacity`. `backpressure_events` counts how often it went on.
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
    merged: int
    overflow_events: int
    backpressure: bool
    backpressure_events: int

    def as_json(self) -> dict[str, int | float | bool]:
        """Return the fields; `dataclasses.asdict`, which copies deeply, takes 18 times as long."""
        return {name: getattr(self, name) for name in _NUMBERS}


_NUMBERS: Final = tuple(each.name for each in fields(BufferStats))


@dataclass(frozen=True, slots=True)
class BackpressureOn:
    """A consumer fell behind beyond the threshold."""

    utilization: float
    stats: BufferStats


@dataclass(frozen=True, slots=True)
class BackpressureOff:
    """No consumer is behind any more."""

    utilization: float
    stats: BufferStats
    reason: OffReason


@dataclass(frozen=True, slots=True)
class Overflow:
    """Bytes were evicted that no consumer had been handed."""

    dropped_since_last: int
    total_dropped: int
    utilization: float
    attended: bool  # whether somebody was there when some of it was lost
    final: bool  # the burst is over
    first: bool  # of this PTY


@dataclass(frozen=True, slots=True)
class ReaderSkipped:
    """One reader missed bytes, whatever the others got."""

    reader_id: int
    skipped_since_last: int
    total_skipped: int
    final: bool


BufferNotification = BackpressureOn | BackpressureOff | Overflow | ReaderSkipped

"""One PTY's output: its ring, its readers, its account; backpressure, overflow and credit.

Pure: it is told the time, moves no byte by itself and returns what is to be told as values. Every
operation first brings the account up to the ring's `total`. As only these operations move a
reader, a backlog between two of them only grows, so that no crossing of a mark can be missed,
however late anybody looks.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ptymux.core.account import Account
from ptymux.core.model import Limits, OnFull
from ptymux.core.ring import NO_LIMIT, Cursor, Part, RingBuffer
from ptymux.errors import InvalidValueError, LimitReachedError

__all__ = [
    "HYSTERESIS",
    "REPORT_SECONDS",
    "BackpressureOff",
    "BackpressureOn",
    "BufferStats",
    "Burst",
    "OffReason",
    "OutputBuffer",
    "Overflow",
    "Reader",
    "ReaderKind",
    "ReaderSkipped",
    "Telling",
]

HYSTERESIS: Final = 0.10  # backpressure goes off this far below its threshold
REPORT_SECONDS: Final = 1.0  # between two reports of the same loss


class ReaderKind(enum.Enum):
    """What a reader's reading means to the PTY."""

    OBSERVER = "observer"  # looks; counts for nothing
    CONSUMER = "consumer"  # its reading counts
    ONE_SHOT = "one-shot"  # a consumer that never raises an alarm, such as `logs`
    LOSSLESS = "lossless"  # a consumer that may hold the child in `block` mode


class OffReason(enum.Enum):
    """Why backpressure went off."""

    CAUGHT_UP = "caught up"
    UNATTENDED = "unattended"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferStats:
    """What one PTY's buffer did so far; bytes unless the name says otherwise.

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
    attended: bool
    final: bool  # the burst is over
    first: bool  # of this PTY


@dataclass(frozen=True, slots=True)
class ReaderSkipped:
    """One reader missed bytes, whatever the others got."""

    reader_id: int
    skipped_since_last: int
    total_skipped: int
    final: bool


Telling = BackpressureOn | BackpressureOff | Overflow | ReaderSkipped


class Burst:
    """Reports a loss at once, then at most once a second, then that it is over.

    `add` and `due` return `(amount, final)` pairs; their amounts add up to what was added once the
    burst was closed.
    """

    __slots__ = ("_pending", "_reported_at", "total")

    def __init__(self) -> None:
        self.total = 0
        self._pending = 0
        self._reported_at: float | None = None  # None between bursts

    @property
    def deadline(self) -> float | None:
        """When `due` will have something to say; None between bursts."""
        return None if self._reported_at is None else self._reported_at + REPORT_SECONDS

    def add(self, amount: int, now: float) -> Iterator[tuple[int, bool]]:
        """Note a loss of `amount`; yield the report that this makes due, if any."""
        self.total += amount
        self._pending += amount
        if amount and self._reported_at is None:
            yield self._report(now), False
        else:
            yield from self.due(now)

    def due(self, now: float) -> Iterator[tuple[int, bool]]:
        """Yield the report that is due by now: more loss, or the end after a second without."""
        if self._reported_at is not None and now >= self._reported_at + REPORT_SECONDS:
            if self._pending:
                yield self._report(now), False
            else:
                yield from self.close()

    def close(self) -> Iterator[tuple[int, bool]]:
        """Yield the closing report of a burst that is open."""
        if self._reported_at is not None:
            amount, self._pending, self._reported_at = self._pending, 0, None
            yield amount, True

    def _report(self, now: float) -> int:
        amount, self._pending, self._reported_at = self._pending, 0, now
        return amount


class Reader:
    """One reader of a PTY; made by `OutputBuffer.attach`."""

    __slots__ = ("burst", "counts", "cursor", "kind", "reader_id")

    def __init__(self, reader_id: int, kind: ReaderKind, cursor: Cursor) -> None:
        self.reader_id = reader_id
        self.kind = kind
        self.cursor = cursor
        self.burst = Burst()
        self.counts = False  # raises backpressure; from the first time it had caught up

    @property
    def is_consumer(self) -> bool:
        """Whether its reading counts."""
        return self.kind is not ReaderKind.OBSERVER


class OutputBuffer:
    """The readers and the account of one ring, and what they owe to the world.

    Raises:
        InvalidValueError: the threshold is not above 0.10 and below 1.0, or `block` is asked of a
            ring without capacity.
    """

    def __init__(
        self, ring: RingBuffer, threshold: float = 0.75, on_full: OnFull = OnFull.DROP
    ) -> None:
        if not HYSTERESIS < threshold < 1.0:
            raise InvalidValueError("threshold", threshold, "above 0.10 and below 1.0")
        self.ring = ring
        self.threshold = threshold
        self.account = Account()
        self.readers: dict[int, Reader] = {}
        self.on_full = OnFull.DROP
        self.high_water = 0
        self.overflow_events = 0
        self.backpressure = False
        self.backpressure_events = 0
        self.event_seq = 0  # of the last event that told of this account
        self._overflow = Burst()
        self._attached_at = 0  # the highest offset a consumer attached at
        self._next_id = 1
        # In whole bytes; the rounding keeps a mark such as 0.55 - 0.10 where people expect it.
        self._on_above = math.floor(threshold * ring.capacity + 1e-6)
        off_mark = (threshold - HYSTERESIS) * ring.capacity
        self._off_below = max(1, math.ceil(off_mark - 1e-6))
        self._counts_from = math.floor(off_mark + 1e-6)
        self.set_on_full(on_full)

    # Facts -----------------------------------------------------------------------------------

    @property
    def attended(self) -> bool:
        """Whether at least one consumer is attached."""
        return any(reader.is_consumer for reader in self.readers.values())

    @property
    def backlog(self) -> int:
        """Bytes that the furthest-behind consumer that counts has before it."""
        return max((r.cursor.backlog for r in self.readers.values() if r.counts), default=0)

    @property
    def utilization(self) -> float:
        """How much of the ring is waiting, 0.0 to 1.0: the backlog, or unread if unattended."""
        return self._share(self._waiting())

    def stats(self) -> BufferStats:
        """Return the numbers as of the last operation."""
        ring, account, written = self.ring, self.account, self.ring.total
        unread = account.unread(written)
        return BufferStats(
            capacity=ring.capacity,
            retained=written - account.accounted,
            unread=unread,
            available=unread,
            backlog=min(self.backlog, ring.capacity),
            utilization=self.utilization,
            high_water=self.high_water,
            total_written=written,
            total_consumed=account.consumed(written),
            total_dropped=account.dropped,
            dropped_attended=account.dropped_attended,
            dropped_unattended=account.dropped_unattended,
            trimmed=account.trimmed,
            merged=account.merged,
            overflow_events=self.overflow_events,
            backpressure=self.backpressure,
            backpressure_events=self.backpressure_events,
        )

    @property
    def wake_at(self) -> int:
        """The total at which the next thing happens that must be told without delay."""
        offsets = []
        if not self.backpressure and self.ring.capacity:
            offsets += [r.cursor.offset + self._on_above for r in self.readers.values() if r.counts]
        if self._overflow.deadline is None:
            offsets.append(self.account.first_unread + self.ring.capacity)
        return min(offsets, default=NO_LIMIT - 1) + 1

    @property
    def deadline(self) -> float | None:
        """When `advance` has to be called even if nothing is written; None for never."""
        bursts = [self._overflow, *(reader.burst for reader in self.readers.values())]
        return min((b.deadline for b in bursts if b.deadline is not None), default=None)

    # Operations ------------------------------------------------------------------------------

    def advance(self, now: float) -> list[Telling]:
        """Bring the account up to what was written; return what became worth telling."""
        told: list[Telling] = []
        self._settle(now, told)
        self._judge(OffReason.CAUGHT_UP, told)
        for reader in self.readers.values():
            self._tell_skipped(reader, reader.burst.due(now), told)
        self._publish()
        return told

    def attach(
        self, kind: ReaderKind, now: float, offset: int | None = None
    ) -> tuple[Reader, list[Telling]]:
        """Return a new reader at `offset`, or at the oldest byte held.

        Raises:
            InvalidValueError: the offset lies beyond what was written.
            LimitReachedError: the PTY has as many readers as it may.
        """
        if len(self.readers) >= Limits.READERS:
            raise LimitReachedError("readers of a PTY", Limits.READERS, "detach one first")
        if offset is not None and not 0 <= offset <= self.ring.total:
            raise InvalidValueError("offset", offset, f"0 to {self.ring.total}")
        told: list[Telling] = []
        self._settle(now, told)
        reader = Reader(self._next_id, kind, Cursor(self.ring, offset))
        self._next_id += 1
        self.readers[reader.reader_id] = reader
        if reader.is_consumer:
            self._attached_at = max(self._attached_at, reader.cursor.offset)
        self._judge(OffReason.CAUGHT_UP, told)
        self._publish()
        return reader, told

    def detach(self, reader: Reader, now: float) -> list[Telling]:
        """Forget `reader`; once nobody is attached, backpressure is no alarm any more."""
        told: list[Telling] = []
        self._settle(now, told)
        if self.readers.pop(reader.reader_id, None) is None:
            return told
        self._tell_skipped(reader, reader.burst.close(), told)
        self._judge(OffReason.CAUGHT_UP if self.attended else OffReason.UNATTENDED, told)
        self._publish()
        return told

    def hand(
        self, reader: Reader, part: Part, now: float, size: int | None = None
    ) -> list[Telling]:
        """Note that `reader` was handed `part`, or its first `size` bytes, and move it behind."""
        told: list[Telling] = []
        size = len(part.data) if size is None else size
        if reader.is_consumer:
            # Before the eviction that happened meanwhile is judged: these bytes did get out.
            self.account.hand(part.offset, part.offset + size)
        self._settle(now, told)
        # The backlog stood highest just before the reader moved.
        self._judge(OffReason.CAUGHT_UP, told)
        reader.cursor.advance(part, size)
        self._tell_skipped(reader, reader.burst.add(part.skipped, now), told)
        self._judge(OffReason.CAUGHT_UP, told)
        self._publish()
        return told

    def clear(self, now: float) -> list[Telling]:
        """Throw away what is retained: unread counts as dropped, the rest as trimmed."""
        told: list[Telling] = []
        self._settle(now, told)
        self.ring.clear()
        self._lose(self.account.evict(self.ring.total, attended=self.attended), now, told)
        for reader in self.readers.values():
            gap = Part(self.ring.total, reader.cursor.backlog, b"")
            reader.cursor.advance(gap)
            self._tell_skipped(reader, reader.burst.add(gap.skipped, now), told)
        self._judge(OffReason.CLEARED, told)
        self._publish()
        return told

    def set_on_full(self, on_full: OnFull) -> int:
        """Change what happens when the ring is full; return the offset from which it holds.

        Raises:
            InvalidValueError: `block` is asked of a ring without capacity.
        """
        if on_full is OnFull.BLOCK and not self.ring.capacity:
            raise InvalidValueError("on-full", "block", "drop for a buffer of size 0")
        if on_full is not self.on_full:
            self.on_full = on_full
            self._attached_at = max(self._attached_at, self.account.accounted)
        self._publish()
        return self.ring.total

    def finish(self, now: float) -> list[Telling]:
        """Bring the account to its end once nothing will be written; close the open burst."""
        told = self.advance(now)
        self._tell_overflow(self._overflow.close(), told)
        self._publish()
        return told

    # Rules -----------------------------------------------------------------------------------

    def _waiting(self) -> int:
        if any(reader.counts for reader in self.readers.values()):
            return self.backlog
        return self.account.unread(self.ring.total)

    def _share(self, waiting: int) -> float:
        return min(1.0, waiting / self.ring.capacity) if self.ring.capacity else 0.0

    def _settle(self, now: float, told: list[Telling]) -> None:
        """Class what was evicted since the last time."""
        oldest = self.ring.total - self.ring.capacity
        lost = 0
        if oldest > self.account.accounted:
            lost = self.account.evict(oldest, attended=self.attended)
        self._lose(lost, now, told)
        waiting = min(self._waiting(), self.ring.capacity)
        self.high_water = max(self.high_water, waiting)

    def _lose(self, lost: int, now: float, told: list[Telling]) -> None:
        self._tell_overflow(self._overflow.add(lost, now), told)

    def _tell_overflow(self, reports: Iterator[tuple[int, bool]], told: list[Telling]) -> None:
        for amount, final in reports:
            first = self.overflow_events == 0
            self.overflow_events += 1
            told.append(
                Overflow(
                    dropped_since_last=amount,
                    total_dropped=self.account.dropped,
                    utilization=self.utilization,
                    attended=self.attended,
                    final=final,
                    first=first,
                )
            )

    def _tell_skipped(
        self, reader: Reader, reports: Iterator[tuple[int, bool]], told: list[Telling]
    ) -> None:
        for amount, final in reports:
            told.append(ReaderSkipped(reader.reader_id, amount, reader.cursor.skipped, final))

    def _judge(self, reason: OffReason, told: list[Telling]) -> None:
        """Switch backpressure by where the consumers are now."""
        if not self.ring.capacity:
            return
        backlog = 0
        counting = False
        for reader in self.readers.values():
            behind = reader.cursor.backlog
            if not reader.counts:
                # Coming from far back is no alarm; falling back later is.
                can_count = reader.kind in (ReaderKind.CONSUMER, ReaderKind.LOSSLESS)
                reader.counts = can_count and behind <= self._counts_from
            if reader.counts:
                counting = True
                backlog = max(backlog, behind)
        if not self.backpressure and backlog > self._on_above:
            self.backpressure = True
            self.backpressure_events += 1
            told.append(BackpressureOn(self.utilization, self.stats()))
        elif self.backpressure and backlog < self._off_below:
            self.backpressure = False
            told.append(BackpressureOff(self.utilization, self.stats(), reason))
        assert counting or not self.backpressure

    def _publish(self) -> None:
        """Put the account, then the credit that follows from it, where the engine looks."""
        self.ring.store_account(self.account.words(self._overflow.total, self.event_seq))
        limit = self._credit()
        if limit != self.ring.limit:
            self.ring.limit = limit

    def _credit(self) -> int:
        if self.on_full is OnFull.DROP:
            return NO_LIMIT
        consumers = [reader for reader in self.readers.values() if reader.is_consumer]
        lossless = [r.cursor.offset for r in consumers if r.kind is ReaderKind.LOSSLESS]
        if lossless:
            return min(lossless) + self.ring.capacity
        if consumers:
            return NO_LIMIT
        return max(self.account.handed, self._attached_at) + self.ring.capacity

"""One PTY's output: its ring, its readers, its account; backpressure, overflow and credit.

Pure: it is told the time, moves no byte by itself and returns what is to be told as values. Every
operation that is told the time first looks at the ring's `total`, once, as the engine may write at
any moment, and brings the account up to it; every number is as of that look. As only these
operations move a reader, a backlog between two of them only grows, so that no crossing of a mark
can be missed, however late anybody looks.

The account is kept in the ring's header, which outlives this process. Who sets `notifies_first`
announces what an operation returns, and calls `publish` then; so the header never has a loss that
was not announced.

Attachments outlive the server that had their readers: `expect` says how many are to come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ptymux.core.account import Account
from ptymux.core.model import Limits, OnFull
from ptymux.core.notifications import (
    BackpressureOff,
    BackpressureOn,
    BufferNotification,
    BufferStats,
    OffReason,
    Overflow,
    ReaderSkipped,
)
from ptymux.core.rate_limit import RateLimitedLoss
from ptymux.core.reader import Reader, ReaderKind
from ptymux.core.ring import NO_LIMIT, Cursor, Part, RingBuffer
from ptymux.core.thresholds import marks
from ptymux.errors import InvalidValueError, LimitReachedError

__all__ = ["OutputBuffer"]

_BACKPRESSURE: Final = 1  # flags among the notes of the account
_OVERFLOWS: Final = 2


class OutputBuffer:
    """The readers and the account of one ring, and what they owe to the world.

    Raises:
        InvalidValueError: the threshold is not above 0.10 and below 1.0, or `block` is asked of a
            ring without capacity.
    """

    def __init__(
        self,
        ring: RingBuffer,
        threshold: float = 0.75,
        on_full: OnFull = OnFull.DROP,
        *,
        resumes: bool = False,
    ) -> None:
        """Begin, or with `resumes` go on with the account that a predecessor kept in the ring."""
        self.ring = ring
        self.threshold = threshold
        self.account = Account()
        self.readers: dict[int, Reader] = {}
        self.attended = False  # whether at least one consumer is attached
        self.on_full = OnFull.DROP
        self.high_water = 0
        self.overflow_events = 0
        self.backpressure = False
        self.backpressure_events = 0
        self.notifies_first = False
        self.expected = 0  # consumers that are attached, their readers not back yet
        self._expected_lossless = 0
        self.is_waiting = False  # with judging evictions, until those are back or gone
        self._total = 0  # of the ring, at the last look
        self._behind: int | None = None  # the furthest-behind consumer that counts, if any does
        self._overflow = RateLimitedLoss()
        self._published_attended = 0  # how much of `dropped_attended` events have told
        self._reached = 0  # the highest offset a consumer left at, never below where it attached
        self._stored: list[int] = []  # the account as it stands in the ring
        self._next_id = 1
        self._on_above, self._off_below, self._counts_from = marks(threshold, ring.capacity)
        if resumes:
            self.on_full = on_full
            self._resume()
        else:
            self.set_on_full(on_full)

    def _resume(self) -> None:
        """Take the account from the ring, which stays as it is: we could be killed at any moment.

        So does the limit: for whom it was set may come back.
        """
        words = self.ring.load_account()
        if words is not None:
            self.account, notes = Account.from_words(words)
            reported, self.high_water, self.overflow_events = notes[:3]
            self.backpressure_events, flags, self._reached = notes[3:]
            self.backpressure = bool(flags & _BACKPRESSURE)
            is_open = bool(flags & _OVERFLOWS)
            self._overflow.resume(self.account.dropped, reported, is_open=is_open)
            self._published_attended = self.account.dropped_attended
        self.is_waiting = True  # until `expect` says whether somebody is to come back
        self._total = self.ring.total
        self._measure()

    def expect(
        self, consumers: int, lossless: int, now: float, *, wait: bool
    ) -> list[BufferNotification]:
        """Count so many consumers as attached, of which some lossless, whose readers will come.

        With `wait`, what was evicted is judged only once it is called without: a reader that comes
        back may have been handed more than the account says.
        """
        told: list[BufferNotification] = []
        self._settle(now, told)
        self.expected, self._expected_lossless, self.is_waiting = consumers, lossless, wait
        self._see_who_attends()
        self._settle(now, told)
        self._judge(OffReason.CAUGHT_UP if self.attended else OffReason.UNATTENDED, told)
        self._finish(told)
        return told

    def note_overflow_published(self, dropped: int, *, final: bool) -> None:
        """Note that a predecessor told of this total, before a kill kept it from accounting it."""
        self._overflow.resume(self.account.dropped, dropped, is_open=not final)
        self.overflow_events += 1

    def note_backpressure_published(self, is_on: bool) -> None:
        """Note that a predecessor told that backpressure went on or off, and was killed then."""
        self.backpressure_events += is_on and not self.backpressure
        self.backpressure = is_on

    # Facts -----------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Bytes that the furthest-behind consumer that counts has before it."""
        return self._behind or 0

    @property
    def utilization(self) -> float:
        """How much of the ring is waiting, 0.0 to 1.0: the backlog, or unread if unattended."""
        return self._share(self._waiting())

    def stats(self) -> BufferStats:
        """Return the numbers as of the last operation; `advance` first for those of now."""
        ring, account, written = self.ring, self.account, self._total
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
        wake_at = NO_LIMIT
        if self._behind is not None and not self.backpressure and self.ring.capacity:
            wake_at = self._total - self._behind + self._on_above + 1
        if self._overflow.deadline is None:
            wake_at = min(wake_at, self.account.first_unread + self.ring.capacity + 1)
        return wake_at

    @property
    def deadline(self) -> float | None:
        """When `advance` has to be called even if nothing is written; None for never."""
        deadline = self._overflow.deadline
        for reader in self.readers.values():
            due = reader.burst.deadline
            if due is not None and (deadline is None or due < deadline):
                deadline = due
        return deadline

    # Operations ------------------------------------------------------------------------------

    def advance(self, now: float) -> list[BufferNotification]:
        """Bring the account up to what was written; return what became worth telling."""
        told: list[BufferNotification] = []
        self._settle(now, told)
        for reader in self.readers.values():
            if reader.burst.deadline is not None:
                self._notify_skipped(reader, reader.burst.due(now), told)
        self._finish(told)
        return told

    def attach(
        self, kind: ReaderKind, now: float, offset: int | None = None
    ) -> tuple[Reader, list[BufferNotification]]:
        """Return a new reader at `offset`, or at the oldest byte held.

        Raises:
            InvalidValueError: the offset lies beyond what was written.
            LimitReachedError: the PTY has as many readers as it may.
        """
        if len(self.readers) >= Limits.READERS:
            raise LimitReachedError("readers of a PTY", Limits.READERS, "detach one first")
        if offset is not None and not 0 <= offset <= self.ring.total:
            raise InvalidValueError("offset", offset, f"0 to {self.ring.total}")
        told: list[BufferNotification] = []
        self._settle(now, told)
        if offset is None:
            offset = min(self.ring.edge, self._total)
        reader = Reader(self._next_id, kind, Cursor(self.ring, offset))
        self._next_id += 1
        self.readers[reader.reader_id] = reader
        self._see_who_attends()
        self._consider(reader)
        self._measure()
        self._finish(told)
        return reader, told

    def detach(self, reader: Reader, now: float) -> list[BufferNotification]:
        """Forget `reader`; once nobody is attached, backpressure is no alarm any more."""
        told: list[BufferNotification] = []
        self._settle(now, told)
        if self.readers.pop(reader.reader_id, None) is not None:
            if reader.is_consumer:
                self._see_who_attends()
                self._reached = max(self._reached, reader.cursor.offset)
            self._notify_skipped(reader, reader.burst.close(), told)
            self._measure()
            self._judge(OffReason.CAUGHT_UP if self.attended else OffReason.UNATTENDED, told)
        self._finish(told)
        return told

    def hand(
        self, reader: Reader, part: Part, now: float, size: int | None = None
    ) -> list[BufferNotification]:
        """Note that `reader` was handed `part`, or its first `size` bytes, and move it behind."""
        told: list[BufferNotification] = []
        size = len(part.data) if size is None else size
        if reader.is_consumer:
            # Before the eviction that happened meanwhile is judged: these bytes did get out.
            self.account.hand(part.offset, part.offset + size)
        # The backlog stood highest just before the reader moved.
        self._settle(now, told)
        self._move(reader, part, size, now, told)
        self._measure()
        self._judge(OffReason.CAUGHT_UP, told)
        self._finish(told)
        return told

    def note_received(self, reader: Reader, start: int, now: float) -> list[BufferNotification]:
        """Note that `reader` was handed everything from `start` on, by a predecessor of this."""
        if reader.is_consumer:
            self.account.hand(start, reader.cursor.offset)
        return self.advance(now)

    def clear(self, now: float) -> list[BufferNotification]:
        """Throw away what is retained: unread counts as dropped, the rest as trimmed."""
        told: list[BufferNotification] = []
        self._settle(now, told)
        self.ring.clear()
        # The engine goes on meanwhile: what it wrote since is kept, here as in the ring.
        self._total = end = self.ring.edge
        lost = self.account.evict(end, attended=self.attended)
        for reader in self.readers.values():
            self._move(reader, Part(end, 0, b""), 0, now, told)
        self._measure()
        self._notify_overflow(self._overflow.add(lost, now), told)
        self._judge(OffReason.CLEARED, told)
        self._finish(told)
        return told

    def set_on_full(self, on_full: OnFull) -> int:
        """Change what happens when the ring is full; return the offset from which it holds.

        Raises:
            InvalidValueError: `block` is asked of a ring without capacity.
        """
        if on_full is OnFull.BLOCK and not self.ring.capacity:
            raise InvalidValueError("on-full", "block", "drop for a buffer of size 0")
        self.on_full = on_full
        self.publish()
        return self.ring.total

    def finish(self, now: float) -> list[BufferNotification]:
        """Bring the account to its end once nothing will be written; close the open burst."""
        self.is_waiting = False
        told = self.advance(now)
        self._notify_overflow(self._overflow.close(), told)
        self._finish(told)
        return told

    # Rules -----------------------------------------------------------------------------------

    def _waiting(self) -> int:
        return self.account.unread(self._total) if self._behind is None else self._behind

    def _share(self, waiting: int) -> float:
        return min(1.0, waiting / self.ring.capacity) if self.ring.capacity else 0.0

    def _settle(self, now: float, told: list[BufferNotification]) -> None:
        """Look at the ring: class what was evicted, notice who fell behind since the last time."""
        capacity = self.ring.capacity
        self._total = total = self.ring.total
        lost = 0
        if total - capacity > self.account.accounted and not self.is_waiting:
            lost = self.account.evict(total - capacity, attended=self.attended)
        self._measure()
        if lost or self._overflow.deadline is not None:
            self._notify_overflow(self._overflow.add(lost, now), told)
        self._judge(OffReason.CAUGHT_UP, told)

    def _measure(self) -> None:
        """Note how far the furthest-behind consumer that counts is behind."""
        offsets = [r.cursor.offset for r in self.readers.values() if r.counts]
        self._behind = self._total - min(offsets) if offsets else None
        waiting = self._waiting()
        if waiting > self.high_water:
            self.high_water = min(waiting, self.ring.capacity)

    def _move(
        self, reader: Reader, part: Part, size: int, now: float, told: list[BufferNotification]
    ) -> None:
        missed = reader.cursor.skipped
        reader.cursor.advance(part, size)
        missed = reader.cursor.skipped - missed
        if missed:
            self._notify_skipped(reader, reader.burst.add(missed, now), told)
        if not reader.counts:
            self._consider(reader)

    def _consider(self, reader: Reader) -> None:
        """Let `reader` count once it caught up; coming from far back is no alarm."""
        if reader.kind in (ReaderKind.CONSUMER, ReaderKind.LOSSLESS):
            reader.counts = self._total - reader.cursor.offset <= self._counts_from

    def _notify_overflow(
        self, reports: Iterator[tuple[int, bool]], told: list[BufferNotification]
    ) -> None:
        for amount, final in reports:
            first = self.overflow_events == 0
            self.overflow_events += 1
            # Of when the bytes were lost, which may be a second ago.
            attended = self.account.dropped_attended > self._published_attended
            self._published_attended = self.account.dropped_attended
            told.append(
                Overflow(
                    dropped_since_last=amount,
                    total_dropped=self.account.dropped,
                    utilization=self.utilization,
                    attended=attended if amount else self.attended,
                    final=final,
                    first=first,
                )
            )

    def _notify_skipped(
        self, reader: Reader, reports: Iterator[tuple[int, bool]], told: list[BufferNotification]
    ) -> None:
        for amount, final in reports:
            told.append(ReaderSkipped(reader.reader_id, amount, reader.cursor.skipped, final))

    def _judge(self, reason: OffReason, told: list[BufferNotification]) -> None:
        """Switch backpressure by where the consumers are now."""
        behind = self._behind or 0
        if not self.backpressure:
            if behind > self._on_above and self.ring.capacity:
                self.backpressure = True
                self.backpressure_events += 1
                told.append(BackpressureOn(self.utilization, self.stats()))
        elif behind < self._off_below:
            self.backpressure = False
            told.append(BackpressureOff(self.utilization, self.stats(), reason))

    def _see_who_attends(self) -> None:
        here = any(reader.is_consumer for reader in self.readers.values())
        self.attended = here or self.expected > 0

    def _finish(self, told: list[BufferNotification]) -> None:
        if not (told and self.notifies_first):
            self.publish()

    def publish(self) -> None:
        """Put the account, then the credit that follows from it, where the engine looks."""
        notes = (
            self._overflow.reported,
            self.high_water,
            self.overflow_events,
            self.backpressure_events,
            _BACKPRESSURE * self.backpressure | _OVERFLOWS * self._overflow.is_open,
            self._reached,
        )
        words = self.account.words(notes)
        if words != self._stored:
            self.ring.store_account(words)
            self._stored = words
        limit = self._credit()
        if limit != self.ring.limit:
            self.ring.limit = limit

    def _credit(self) -> int:
        if self.on_full is OnFull.DROP:
            return NO_LIMIT
        readers = self.readers.values()
        lossless = [r.cursor.offset for r in readers if r.kind is ReaderKind.LOSSLESS]
        if self._expected_lossless:
            return self.ring.limit  # where the one that is to come back left it
        if lossless:
            return min(lossless) + self.ring.capacity
        if self.attended:
            return NO_LIMIT
        # What is gone already, by a clear or before `block`, keeps no child waiting.
        reached = max(self._reached, self.account.handed, self.account.accounted)
        return reached + self.ring.capacity

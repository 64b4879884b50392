"""One PTY's output: its ring, readers and account; backpressure, overflow and credit.

Theory of operation. This is pure code: the caller passes the time, and gets back what happened as
notifications. The engine may write to the ring at any moment. So each operation that takes the
time first reads the ring's `total`, once, and brings the account up to it; all numbers are as of
that moment. Only these operations move a reader. Between two of them a backlog can only grow, so
no crossing of a mark is missed, however late the next operation comes.

The account is stored in the ring's header, which outlives this process. A caller that sets
`notifies_first` publishes the notifications of an operation first and calls `store` afterwards.
So the header never contains a loss that no event has reported.

Attachments outlive the server that had their readers. `expect` says how many will come back. Each
of them may have got one part more than the account says: the one that was on its way when the
server died. So that much of what is evicted meanwhile is pending, until they are back or
`await_until` is past, which is not put off by further kills. All other losses are accounted and
reported at once. For backpressure an awaited consumer stands where the slowest one stood.
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

_ON_ITS_WAY: Final = Limits.CHUNK  # bytes that a consumer may have got and nobody recorded
_BACKPRESSURE: Final = 1  # flags in the notes that are stored with the account
_OVERFLOWS: Final = 2


class OutputBuffer:
    """The readers and the account of one ring, with backpressure, overflow and credit.

    Raises:
        InvalidValueError: the threshold is not above 0.10 and below 1.0; or `on_full` is `block`
            and the ring has no capacity.
    """

    def __init__(
        self,
        ring: RingBuffer,
        threshold: float = 0.75,
        on_full: OnFull = OnFull.DROP,
        *,
        resumes: bool = False,
    ) -> None:
        """Begin a new account; with `resumes` continue the one that is stored in the ring."""
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
        self.expected = 0  # attached consumers whose readers have not come back yet
        self._expected_lossless = 0
        # Until when expected consumers may prove what they got, on the clock of `now`; None: no
        # such consumer, or too late.
        self.await_until: float | None = None
        self._is_resuming = False  # until `expect` says whether readers will come back
        self._doubt_end = 0  # the offset from which on no server before this one handed anything
        self._slowest: int | None = None  # where the slowest awaited consumer that counted stood
        self._total = 0  # the ring's total at the last look
        self._behind: int | None = None  # backlog of the furthest-behind consumer that counts
        self._overflow = RateLimitedLoss()
        self._published_attended = 0  # how much of `dropped_attended` events have reported
        self._reached = 0  # the highest offset at which a consumer detached
        self._stored: list[int] = []  # the account as it is stored in the ring
        self._stored_doubts: list[int] = []
        self._next_id = 1
        self._on_above, self._off_below, self._counts_from = marks(threshold, ring.capacity)
        if resumes:
            self.on_full = on_full
            self._resume()
        else:
            self.set_on_full(on_full)

    def _resume(self) -> None:
        """Load the account from the ring.

        The ring stays as it is, because this process could be killed at any moment. The limit
        stays too: the reader that it was set for may come back.
        """
        words, doubts = self.ring.load_account(), self.ring.load_doubts()
        if words is not None and doubts is not None:
            self.account, notes = Account.from_words(words)
            until_ms, report_ms, slowest = self.account.take_doubts(doubts)
            self.await_until = until_ms / 1000 if until_ms else None
            self._slowest = slowest - 1 if slowest else None
            reported, self.high_water, self.overflow_events = notes[:3]
            self.backpressure_events, flags, self._reached = notes[3:]
            self.backpressure = bool(flags & _BACKPRESSURE)
            is_open = bool(flags & _OVERFLOWS)
            self._overflow.resume(
                self.account.dropped,
                reported,
                is_open=is_open,
                deadline=report_ms / 1000 if report_ms else None,
            )
            self._published_attended = self.account.dropped_attended
        self._is_resuming = True
        self._total = self._doubt_end = self.ring.total
        self._update_backlog()

    def expect(
        self, consumers: int, lossless: int, now: float, until: float | None = None
    ) -> list[BufferNotification]:
        """Count `consumers`, `lossless` of them lossless, as attached until their readers are back.

        With `until` they are those of a server that died. What they may have got is pending until
        then, or until the time that was set after a kill before, if that is not past.
        """
        notifications: list[BufferNotification] = []
        lost = 0
        if not self._is_resuming:
            self._catch_up(now, notifications)
        elif self.await_until is not None and now >= self.await_until:
            self.await_until = None
            lost = self.account.settle(0, attended=True)
        self._is_resuming = False
        self.expected, self._expected_lossless = consumers, lossless
        if not consumers:
            self._slowest = None
        self._update_attended()
        if until is not None and self.await_until is None:
            self.await_until = until
        self._catch_up(now, notifications, lost)
        self._store_unless_reported(notifications)
        return notifications

    def note_overflow_published(self, dropped: int, *, final: bool) -> None:
        """Record that an event reported this total of drops before a kill kept it unstored."""
        self._overflow.resume(self.account.dropped, dropped, is_open=not final)
        self.overflow_events += 1

    def note_backpressure_published(self, is_on: bool) -> None:
        """Record that an event reported backpressure on or off before a kill kept it unstored."""
        self.backpressure_events += is_on and not self.backpressure
        self.backpressure = is_on

    # Facts -----------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """The backlog in bytes of the furthest-behind consumer that counts; 0 if none counts."""
        return self._behind or 0

    @property
    def utilization(self) -> float:
        """How full the ring is, 0.0 to 1.0: the backlog, or the unread bytes if nobody counts."""
        return self._share(self._waiting())

    def stats(self) -> BufferStats:
        """Return the statistics as of the last operation; call `advance` first for those of now."""
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
            pending=account.pending,
            merged=account.merged,
            overflow_events=self.overflow_events,
            backpressure=self.backpressure,
            backpressure_events=self.backpressure_events,
        )

    @property
    def wake_at(self) -> int:
        """The ring's total at which `advance` must be called: backpressure or overflow begins."""
        wake_at = NO_LIMIT
        if self._behind is not None and not self.backpressure and self.ring.capacity:
            wake_at = self._total - self._behind + self._on_above + 1
        if self._overflow.deadline is None:
            wake_at = min(wake_at, self.account.first_unread + self.ring.capacity + 1)
        return wake_at

    @property
    def deadline(self) -> float | None:
        """The time at which `advance` must be called even if nothing is written; None: never."""
        deadline = self._overflow.deadline
        if self.await_until is not None and (deadline is None or self.await_until < deadline):
            deadline = self.await_until
        for reader in self.readers.values():
            due = reader.burst.deadline
            if due is not None and (deadline is None or due < deadline):
                deadline = due
        return deadline

    # Operations ------------------------------------------------------------------------------

    def advance(self, now: float) -> list[BufferNotification]:
        """Bring the account up to what was written; return the notifications that are due."""
        notifications: list[BufferNotification] = []
        self._catch_up(now, notifications)
        for reader in self.readers.values():
            if reader.burst.deadline is not None:
                self._notify_skipped(reader, reader.burst.due(now), notifications)
        self._store_unless_reported(notifications)
        return notifications

    def attach(
        self, kind: ReaderKind, now: float, offset: int | None = None
    ) -> tuple[Reader, list[BufferNotification]]:
        """Return a new reader at `offset`, or at the oldest byte, and the notifications due.

        Raises:
            InvalidValueError: the offset lies beyond what was written.
            LimitReachedError: the PTY has `Limits.READERS` readers already.
        """
        if len(self.readers) >= Limits.READERS:
            raise LimitReachedError("readers of a PTY", Limits.READERS, "detach one first")
        if offset is not None and not 0 <= offset <= self.ring.total:
            raise InvalidValueError("offset", offset, f"0 to {self.ring.total}")
        notifications: list[BufferNotification] = []
        self._catch_up(now, notifications)
        if offset is None:
            offset = min(self.ring.edge, self._total)
        reader = Reader(self._next_id, kind, Cursor(self.ring, offset))
        self._next_id += 1
        self.readers[reader.reader_id] = reader
        self._update_attended()
        self._count_once_caught_up(reader)
        self._update_backlog()
        self._store_unless_reported(notifications)
        return reader, notifications

    def detach(self, reader: Reader, now: float) -> list[BufferNotification]:
        """Remove `reader`; if it was the last consumer, backpressure goes off."""
        notifications: list[BufferNotification] = []
        self._catch_up(now, notifications)
        if self.readers.pop(reader.reader_id, None) is not None:
            if reader.is_consumer:
                self._update_attended()
                self._reached = max(self._reached, reader.cursor.offset)
            self._notify_skipped(reader, reader.burst.close(), notifications)
            self._update_backlog()
            self._switch_backpressure(notifications)
        self._store_unless_reported(notifications)
        return notifications

    def hand(
        self, reader: Reader, part: Part, now: float, size: int | None = None
    ) -> list[BufferNotification]:
        """Record that `reader` was handed `part`, or `size` bytes of it, and move it there."""
        notifications: list[BufferNotification] = []
        size = len(part.data) if size is None else size
        if reader.is_consumer:
            # Before evictions are accounted: these bytes did reach the consumer.
            self.account.hand(part.offset, part.offset + size)
        # Before the reader moves: now its backlog is at its highest.
        self._catch_up(now, notifications)
        self._move(reader, part, size, now, notifications)
        self._update_backlog()
        self._switch_backpressure(notifications)
        self._store_unless_reported(notifications)
        return notifications

    def note_received(self, reader: Reader, start: int, now: float) -> list[BufferNotification]:
        """Record that an earlier server handed `reader` the bytes from `start` to its offset."""
        if reader.is_consumer:
            self.account.prove(start, reader.cursor.offset)
            self.account.hand(start, reader.cursor.offset)
            if self._slowest is not None and reader.cursor.offset >= self._slowest:
                reader.counts = reader.kind is not ReaderKind.ONE_SHOT  # as it did before
        return self.advance(now)

    def clear(self, now: float) -> list[BufferNotification]:
        """Discard all output that is kept: unread bytes count as dropped, the rest as trimmed."""
        notifications: list[BufferNotification] = []
        self._catch_up(now, notifications)
        self.ring.clear()
        # The engine may have written since the look: those bytes are kept, here as in the ring.
        self._total = end = self.ring.edge
        lost = self._evict(end)
        for reader in self.readers.values():
            self._move(reader, Part(end, 0, b""), 0, now, notifications)
        self._update_backlog()
        self._notify_overflow(self._overflow.add(lost, now), notifications)
        self._switch_backpressure(notifications, OffReason.CLEARED)
        self._store_unless_reported(notifications)
        return notifications

    def set_on_full(self, on_full: OnFull) -> int:
        """Change what happens when the ring is full; return the offset from which that is valid.

        Raises:
            InvalidValueError: `block` for a ring without capacity.
        """
        if on_full is OnFull.BLOCK and not self.ring.capacity:
            raise InvalidValueError("on-full", "block", "drop for a buffer of size 0")
        self.on_full = on_full
        self.store()
        return self.ring.total

    def finish(self, now: float) -> list[BufferNotification]:
        """Complete the account when nothing more will be written; return the last notifications."""
        self._is_resuming = False
        if self.await_until is not None:
            self.await_until = now
        notifications = self.advance(now)
        self._notify_overflow(self._overflow.close(), notifications)
        self._store_unless_reported(notifications)
        return notifications

    # Rules -----------------------------------------------------------------------------------

    def _waiting(self) -> int:
        return self.account.unread(self._total) if self._behind is None else self._behind

    def _share(self, waiting: int) -> float:
        return min(1.0, waiting / self.ring.capacity) if self.ring.capacity else 0.0

    def _catch_up(self, now: float, notifications: list[BufferNotification], lost: int = 0) -> None:
        """Read the ring's total; account what was evicted, and check who has fallen behind."""
        capacity = self.ring.capacity
        self._total = total = self.ring.total
        if not self._is_resuming:
            lost += self._judge_pending(now)
            if total - capacity > self.account.accounted:
                lost += self._evict(total - capacity)
        self._update_backlog()
        if lost or self._overflow.deadline is not None:
            self._notify_overflow(self._overflow.add(lost, now), notifications)
        self._switch_backpressure(notifications)

    def _evict(self, oldest: int) -> int:
        """Account what lies below `oldest`, the oldest byte kept; return how much was lost."""
        if self.await_until is None:
            return self.account.evict(oldest, attended=self.attended)
        return self.account.evict(
            oldest,
            attended=self.attended,
            pending=self._most_pending,
            doubt_end=self._doubt_end,
            known=self._overflow.ahead,
        )

    @property
    def _most_pending(self) -> int:
        return self.expected * _ON_ITS_WAY

    def _judge_pending(self, now: float) -> int:
        """Drop what is pending and cannot be proved any more; return how much that is."""
        if self.await_until is None:
            return 0
        if now >= self.await_until or not self.expected:
            self.await_until = None
        most = 0 if self.await_until is None else self._most_pending
        return self.account.settle(most, attended=True)

    def _slowest_offset(self) -> int | None:
        """Return where the furthest-behind consumer that counts stands, or stood when last seen."""
        offsets = [r.cursor.offset for r in self.readers.values() if r.counts]
        if self._slowest is not None and self.expected:
            offsets.append(self._slowest)
        return min(offsets) if offsets else None

    def _update_backlog(self) -> None:
        """Recompute the backlog of the furthest-behind consumer that counts."""
        slowest = self._slowest_offset()
        self._behind = None if slowest is None else self._total - slowest
        waiting = self._waiting()
        if waiting > self.high_water:
            self.high_water = min(waiting, self.ring.capacity)

    def _move(
        self,
        reader: Reader,
        part: Part,
        size: int,
        now: float,
        notifications: list[BufferNotification],
    ) -> None:
        missed = reader.cursor.skipped
        reader.cursor.advance(part, size)
        missed = reader.cursor.skipped - missed
        if missed:
            self._notify_skipped(reader, reader.burst.add(missed, now), notifications)
        if not reader.counts:
            self._count_once_caught_up(reader)

    def _count_once_caught_up(self, reader: Reader) -> None:
        """Count `reader` for backpressure if it has caught up; a late start is no alarm."""
        if reader.kind in (ReaderKind.CONSUMER, ReaderKind.LOSSLESS):
            reader.counts = self._total - reader.cursor.offset <= self._counts_from

    def _notify_overflow(
        self, reports: Iterator[tuple[int, bool]], notifications: list[BufferNotification]
    ) -> None:
        for amount, final in reports:
            first = self.overflow_events == 0
            self.overflow_events += 1
            # True if a consumer was there when the bytes were lost, up to a second ago.
            attended = self.account.dropped_attended > self._published_attended
            self._published_attended = self.account.dropped_attended
            notifications.append(
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
        self,
        reader: Reader,
        reports: Iterator[tuple[int, bool]],
        notifications: list[BufferNotification],
    ) -> None:
        for amount, final in reports:
            notifications.append(
                ReaderSkipped(reader.reader_id, amount, reader.cursor.skipped, final)
            )

    def _switch_backpressure(
        self, notifications: list[BufferNotification], reason: OffReason | None = None
    ) -> None:
        """Switch backpressure on or off if the backlog has crossed a mark."""
        behind = self._behind or 0
        if not self.backpressure:
            if behind > self._on_above and self.ring.capacity:
                self.backpressure = True
                self.backpressure_events += 1
                notifications.append(BackpressureOn(self.utilization, self.stats()))
        elif behind < self._off_below:
            self.backpressure = False
            reason = reason or (OffReason.CAUGHT_UP if self.attended else OffReason.UNATTENDED)
            notifications.append(BackpressureOff(self.utilization, self.stats(), reason))

    def _update_attended(self) -> None:
        here = any(reader.is_consumer for reader in self.readers.values())
        self.attended = here or self.expected > 0

    def _store_unless_reported(self, notifications: list[BufferNotification]) -> None:
        if not (notifications and self.notifies_first):
            self.store()

    def store(self) -> None:
        """Store the account in the ring, then the engine's read limit that follows from it."""
        notes = (
            self._overflow.reported,
            self.high_water,
            self.overflow_events,
            self.backpressure_events,
            _BACKPRESSURE * self.backpressure | _OVERFLOWS * self._overflow.is_open,
            self._reached,
        )
        words = self.account.words(notes)
        times_ms = [round(1000 * (at or 0)) for at in (self.await_until, self._overflow.deadline)]
        slowest = 0 if self._behind is None else self._total - self._behind + 1
        doubts = self.account.doubt_words([*times_ms, slowest])
        if words != self._stored or doubts != self._stored_doubts:
            self.ring.store_account(words, doubts)
            self._stored, self._stored_doubts = words, doubts
        limit = self._credit()
        if limit != self.ring.limit:
            self.ring.limit = limit

    def _credit(self) -> int:
        if self.on_full is OnFull.DROP:
            return NO_LIMIT
        readers = self.readers.values()
        lossless = [r.cursor.offset for r in readers if r.kind is ReaderKind.LOSSLESS]
        if self._expected_lossless:
            return self.ring.limit  # as it was for the reader that will come back
        if lossless:
            return min(lossless) + self.ring.capacity
        if self.attended:
            return NO_LIMIT
        # Bytes that are gone already, by `clear` or from before `block`, hold nobody up.
        reached = max(self._reached, self.account.handed, self.account.accounted)
        return reached + self.ring.capacity

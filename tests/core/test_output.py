from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from ptymux.core.model import MIB, Limits, OnFull
from ptymux.core.notifications import (
    BackpressureOff,
    BackpressureOn,
    BufferNotification,
    BufferStats,
    Overflow,
    ReaderSkipped,
)
from ptymux.core.output import OutputBuffer
from ptymux.core.rate_limit import REPORT_SECONDS, RateLimitedLoss
from ptymux.core.reader import Reader, ReaderKind
from ptymux.core.ring import NO_LIMIT, Part, RingBuffer
from ptymux.core.thresholds import HYSTERESIS
from ptymux.errors import InvalidValueError, LimitReachedError

CONSUMER = ReaderKind.CONSUMER
LOSSLESS = ReaderKind.LOSSLESS
OBSERVER = ReaderKind.OBSERVER
ONE_SHOT = ReaderKind.ONE_SHOT

T = TypeVar("T")


def produce(out: OutputBuffer, size: int) -> None:
    """Let the child write `size` bytes; nobody is told."""
    out.ring.write(bytes(size))


def read(
    out: OutputBuffer, reader: Reader, size: int = Limits.CHUNK, now: float = 0
) -> list[BufferNotification]:
    return out.hand(reader, reader.cursor.peek(size), now)


def read_all(out: OutputBuffer, reader: Reader, now: float = 0) -> list[BufferNotification]:
    told: list[BufferNotification] = []
    while reader.cursor.backlog:
        told += read(out, reader, now=now)
    return told


def attached(
    capacity: int = 1000, threshold: float = 0.75, kind: ReaderKind = CONSUMER
) -> tuple[OutputBuffer, Reader]:
    """Return the output of a new PTY and one reader of it, attached from the start."""
    out = OutputBuffer(RingBuffer(capacity), threshold)
    return out, out.attach(kind, 0)[0]


def of(kind: type[T], told: Sequence[BufferNotification]) -> list[T]:
    return [telling for telling in told if isinstance(telling, kind)]


def alarms(told: Sequence[BufferNotification]) -> list[str]:
    """Return the backpressure among `told`, as `on` and the reasons of `off`."""
    words = []
    for telling in told:
        if isinstance(telling, BackpressureOn):
            words.append("on")
        elif isinstance(telling, BackpressureOff):
            words.append(telling.reason.value)
    return words


def laws_hold(stats: BufferStats) -> bool:
    return (
        stats.total_written
        == stats.retained + stats.pending + stats.trimmed + stats.total_dropped
        == stats.total_consumed + stats.pending + stats.total_dropped + stats.unread
        and stats.total_dropped == stats.dropped_attended + stats.dropped_unattended
        and stats.available == stats.unread <= stats.retained <= stats.capacity
        and 0 <= stats.backlog <= stats.high_water <= stats.capacity
        and 0.0 <= stats.utilization <= 1.0
        and min(stats.total_consumed, stats.trimmed, stats.dropped_attended, stats.pending) >= 0
    )


# Backpressure ----------------------------------------------------------------------------------

THRESHOLDS = ["0.75", "0.55", "0.3", "0.101", "0.999", "0.15", "0.5"]
MARKS = [(t, c) for t in THRESHOLDS for c in (1, 7, 1000, 4096, MIB)]
# Where the product of the floats lies on the other side of a whole number of bytes.
MARKS += [("0.29", 100), ("0.57", 100), ("0.35", 1000), ("0.15", 100), ("0.67", 1000)]
MARKS += [("0.1000001", 1), ("0.1000001", 7)]


def highest_quiet_backlog(threshold: str, capacity: int) -> int:
    """Return the largest backlog that is not above the threshold, in exact arithmetic."""
    return int(Fraction(threshold) * capacity)


def lowest_loud_backlog(threshold: str, capacity: int) -> int:
    """Return the smallest backlog that is not below the off mark, in exact arithmetic."""
    mark = (Fraction(threshold) - Fraction("0.10")) * capacity
    return -int(-mark // 1)


@pytest.mark.requirement("BACKPRESSURE")
@pytest.mark.parametrize(("threshold", "capacity"), MARKS)
def test_on_exactly_above_the_threshold(threshold: str, capacity: int) -> None:
    out, _ = attached(capacity, float(threshold))
    quiet = highest_quiet_backlog(threshold, capacity)

    produce(out, quiet)
    at_the_mark = out.advance(0)
    produce(out, 1)
    above_it = out.advance(0)

    assert alarms(at_the_mark) == []
    assert alarms(above_it) == ["on"]


@pytest.mark.requirement("BACKPRESSURE")
@pytest.mark.parametrize(("threshold", "capacity"), MARKS)
def test_off_exactly_below_the_off_mark(threshold: str, capacity: int) -> None:
    out, reader = attached(capacity, float(threshold))
    loud = lowest_loud_backlog(threshold, capacity)
    produce(out, capacity)
    told = out.advance(0)

    told += read_all_but(out, reader, loud)
    at_the_mark = alarms(told)
    told += read_all_but(out, reader, loud - 1)

    assert at_the_mark == ["on"]
    assert alarms(told) == ["on", "caught up"]


@pytest.mark.requirement("BACKPRESSURE")
@pytest.mark.parametrize(("threshold", "capacity"), MARKS)
def test_a_consumer_counts_exactly_from_the_off_mark_on(threshold: str, capacity: int) -> None:
    out = OutputBuffer(RingBuffer(capacity), float(threshold))
    produce(out, capacity)
    mark = int((Fraction(threshold) - Fraction("0.10")) * capacity)

    above, _ = out.attach(CONSUMER, 0, offset=capacity - mark - 1)
    at_it, _ = out.attach(CONSUMER, 0, offset=capacity - mark)

    assert (above.counts, at_it.counts) == (False, True)


@pytest.mark.requirement("BACKPRESSURE")
@pytest.mark.parametrize(("threshold", "capacity"), MARKS)
def test_wake_at_is_where_backpressure_goes_on(threshold: str, capacity: int) -> None:
    out, reader = attached(capacity, float(threshold))
    produce(out, 1)
    read(out, reader)

    wake_at = out.wake_at

    assert wake_at == 1 + highest_quiet_backlog(threshold, capacity) + 1


def read_all_but(out: OutputBuffer, reader: Reader, left: int) -> list[BufferNotification]:
    told: list[BufferNotification] = []
    while reader.cursor.backlog > left:
        told += read(out, reader, min(Limits.CHUNK, reader.cursor.backlog - left))
    return told


@pytest.mark.requirement("BACKPRESSURE")
def test_on_and_off_are_told_once_each_however_often_it_is_looked_at() -> None:
    out, reader = attached()
    told = []

    for _ in range(5):
        produce(out, 200)
        told += out.advance(0)
    for _ in range(5):
        told += out.advance(0)
    for _ in range(12):
        told += read(out, reader, 100)

    assert alarms(told) == ["on", "caught up"]
    assert out.backpressure_events == 1


@pytest.mark.requirement("BACKPRESSURE")
def test_no_flapping_inside_the_band() -> None:
    out, reader = attached()
    produce(out, 751)
    told = out.advance(0)

    for _ in range(50):  # between 650 and 751
        told += read(out, reader, 101)
        produce(out, 101)
        told += out.advance(0)

    assert alarms(told) == ["on"]


@pytest.mark.requirement("BACKPRESSURE")
def test_every_full_swing_is_told() -> None:
    out, reader = attached()
    told = []

    for _ in range(3):
        produce(out, 751)
        told += out.advance(0)
        told += read(out, reader)

    assert alarms(told) == ["on", "caught up"] * 3
    assert out.backpressure_events == 3


@pytest.mark.requirement("BACKPRESSURE")
def test_a_crossing_that_was_over_between_two_advances_is_told() -> None:
    out, reader = attached()
    out.advance(0)

    produce(out, 751)
    told = read(out, reader)

    assert alarms(told) == ["on", "caught up"]
    assert of(BackpressureOn, told)[0].utilization == 0.751
    assert of(BackpressureOff, told)[0].utilization == 0.0


@pytest.mark.requirement("BACKPRESSURE")
def test_a_crossing_just_before_a_detach_is_told() -> None:
    out, reader = attached()

    produce(out, 751)
    told = out.detach(reader, 0)

    assert alarms(told) == ["on", "unattended"]


@pytest.mark.requirement("BACKPRESSURE")
def test_a_crossing_just_before_a_clear_is_told() -> None:
    out, _ = attached()

    produce(out, 751)
    told = out.clear(0)

    assert alarms(told) == ["on", "cleared"]


@pytest.mark.requirement("BACKPRESSURE")
def test_a_crossing_just_before_another_attaches_is_told() -> None:
    out, _ = attached()

    produce(out, 751)
    _, told = out.attach(CONSUMER, 0)

    assert alarms(told) == ["on"]


@pytest.mark.requirement("BACKPRESSURE")
def test_clear_while_on_emits_off() -> None:
    out, _ = attached()
    produce(out, 800)
    out.advance(0)

    told = out.clear(0)

    assert alarms(told) == ["cleared"]
    assert alarms(out.clear(0)) == []
    assert (out.backpressure, out.utilization) == (False, 0.0)


@pytest.mark.requirement("BACKPRESSURE")
def test_detach_of_the_last_consumer_while_on_emits_off_once() -> None:
    out, reader = attached()
    produce(out, 800)
    out.advance(0)

    told = out.detach(reader, 0)
    again = [*out.detach(reader, 0), *out.advance(0)]

    assert alarms(told) == ["unattended"]
    assert alarms(again) == []
    assert of(BackpressureOff, told)[0].utilization == 0.8  # unread: shown, no alarm


@pytest.mark.requirement("BACKPRESSURE")
def test_detach_of_the_slow_consumer_lets_the_others_be_judged() -> None:
    out, slow = attached()
    fast, _ = out.attach(CONSUMER, 0)
    produce(out, 800)
    read(out, fast)

    told = out.detach(slow, 0)

    assert alarms(told) == ["caught up"]


@pytest.mark.requirement("BACKPRESSURE")
def test_the_furthest_behind_consumer_decides() -> None:
    out, fast = attached()
    slow, _ = out.attach(CONSUMER, 0)
    produce(out, 700)
    out.advance(0)
    read(out, fast)
    read(out, slow, 100)

    stats = out.stats()

    assert (stats.backlog, stats.utilization) == (600, 0.6)


@pytest.mark.requirement("BACKPRESSURE")
def test_utilization_is_at_most_one() -> None:
    out, _ = attached()

    produce(out, 5000)
    told = out.advance(0)

    assert of(BackpressureOn, told)[0].utilization == 1.0
    assert (out.stats().backlog, out.stats().utilization) == (1000, 1.0)


@pytest.mark.requirement("BACKPRESSURE")
def test_unattended_output_is_shown_and_no_alarm() -> None:
    out = OutputBuffer(RingBuffer(1000))

    produce(out, 900)
    told = out.advance(0)

    assert told == []
    assert (out.utilization, out.stats().utilization, out.stats().backlog) == (0.9, 0.9, 0)


@pytest.mark.requirement("BACKPRESSURE")
@pytest.mark.parametrize("kind", [CONSUMER, LOSSLESS])
def test_a_consumer_from_far_back_raises_no_alarm_until_it_had_caught_up(kind: ReaderKind) -> None:
    out = OutputBuffer(RingBuffer(1000))
    produce(out, 1000)
    reader, told = out.attach(kind, 0, offset=0)

    told += read(out, reader, 349)  # 651 behind: above the off mark
    produce(out, 200)
    told += out.advance(0)
    before = alarms(told)
    told += read(out, reader, 201)  # 650 behind: at the off mark
    produce(out, 101)
    told += out.advance(0)

    assert before == []
    assert alarms(told) == ["on"]


@pytest.mark.requirement("BACKPRESSURE")
@pytest.mark.parametrize("kind", [ONE_SHOT, OBSERVER])
def test_who_never_counts_never_raises_an_alarm(kind: ReaderKind) -> None:
    out, reader = attached(kind=kind)

    produce(out, 5000)
    told = [*out.advance(0), *read_all(out, reader), *out.advance(5)]
    produce(out, 900)
    told += out.advance(6)

    assert alarms(told) == []


@pytest.mark.requirement("BACKPRESSURE")
def test_backpressure_does_not_apply_without_capacity() -> None:
    out, reader = attached(capacity=0)

    produce(out, 100)
    told = [*out.advance(0), *read(out, reader), *out.clear(0)]

    assert alarms(told) == []
    assert out.utilization == 0.0


@pytest.mark.requirement("BACKPRESSURE", "STATS")
def test_alarms_carry_utilization_and_statistics() -> None:
    out, reader = attached()
    produce(out, 800)

    (on,) = of(BackpressureOn, out.advance(0))
    (off,) = of(BackpressureOff, read(out, reader))

    assert (on.utilization, on.stats.utilization, on.stats.unread) == (0.8, 0.8, 800)
    assert (on.stats.backpressure, on.stats.backpressure_events) == (True, 1)
    assert (off.utilization, off.stats.total_consumed) == (0.0, 800)
    assert (off.stats.backpressure, off.stats.high_water) == (False, 800)
    assert laws_hold(on.stats)
    assert laws_hold(off.stats)


@pytest.mark.requirement("BACKPRESSURE")
@pytest.mark.parametrize("threshold", [0.0, 0.10, HYSTERESIS, 1.0, 1.5, -1.0, float("nan")])
def test_an_impossible_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidValueError) as refused:
        OutputBuffer(RingBuffer(10), threshold)

    assert refused.value.name == "threshold"


# Overflow --------------------------------------------------------------------------------------


@pytest.mark.requirement("OVERFLOW")
def test_the_first_loss_is_told_at_once() -> None:
    out, _ = attached(capacity=100)

    produce(out, 130)
    (event,) = of(Overflow, out.advance(5.0))

    assert event == Overflow(
        dropped_since_last=30,
        total_dropped=30,
        utilization=1.0,
        attended=True,
        final=False,
        first=True,
    )


@pytest.mark.requirement("OVERFLOW")
def test_sustained_overflow_is_told_once_a_second() -> None:
    out, _ = attached(capacity=100)
    events = []

    for tenth in range(50):
        produce(out, 200)
        events += [(tenth, e) for e in of(Overflow, out.advance(tenth / 10))]

    assert [tenth for tenth, _ in events] == [0, 10, 20, 30, 40]
    assert [e.dropped_since_last for _, e in events] == [100, 2000, 2000, 2000, 2000]
    assert not any(e.final for _, e in events)


@pytest.mark.requirement("OVERFLOW")
def test_a_burst_ends_with_a_closing_event_after_a_second_without_loss() -> None:
    out, _ = attached(capacity=100)
    produce(out, 150)
    out.advance(0)

    told = [out.advance(now) for now in (0.5, 0.999, 1.0, 1.5, 9.0)]

    closing = told[2][0]
    assert [len(t) for t in told] == [0, 0, 1, 0, 0]
    assert isinstance(closing, Overflow)
    assert (closing.final, closing.dropped_since_last, closing.total_dropped) == (True, 0, 50)
    assert closing.attended  # somebody is there now


@pytest.mark.requirement("OVERFLOW")
def test_what_was_lost_since_the_last_report_is_in_the_next() -> None:
    out, _ = attached(capacity=100)
    produce(out, 150)
    told = out.advance(0)
    produce(out, 7)
    told += out.advance(0.3)

    told += [*out.advance(1.0), *out.advance(2.0)]

    events = of(Overflow, told)
    assert [(e.dropped_since_last, e.final) for e in events] == [(50, False), (7, False), (0, True)]


@pytest.mark.requirement("OVERFLOW")
def test_a_new_burst_is_told_at_once_and_is_not_the_first() -> None:
    out, _ = attached(capacity=100)
    produce(out, 150)
    told = [*out.advance(0), *out.advance(1)]

    produce(out, 10)
    told += out.advance(1.1)

    assert [e.first for e in of(Overflow, told)] == [True, False, False]
    assert out.overflow_events == 3


@pytest.mark.requirement("OVERFLOW")
@pytest.mark.parametrize("seed", range(5))
def test_events_are_a_second_apart_and_add_up_to_the_total(seed: int) -> None:
    dice = random.Random(seed)
    out, reader = attached(capacity=100)
    now, told, times = 0.0, [], []

    for _ in range(400):
        now += dice.choice([0, 1 / 64, 1 / 4, 63 / 64, 1, 2.5])  # exact: no rounding
        produce(out, dice.choice([0, 1, 50, 99, 300]))
        new = read(out, reader, now=now) if dice.random() < 0.4 else out.advance(now)
        times += [now for e in of(Overflow, new) if not e.final]
        told += new
    told += out.finish(now)

    events = of(Overflow, told)
    assert all(b - a >= REPORT_SECONDS for a, b in pairwise(times))
    assert sum(e.dropped_since_last for e in events) == out.stats().total_dropped
    assert events[-1].final
    assert events[-1].total_dropped == out.stats().total_dropped
    assert [e.first for e in events].count(True) == 1
    assert events[0].first


@pytest.mark.requirement("OVERFLOW", "STATS")
def test_finish_during_overflow_tells_the_rest_and_leaves_final_statistics() -> None:
    out, _ = attached(capacity=100)
    produce(out, 150)
    out.advance(0)
    produce(out, 60)

    told = out.finish(0.2)

    (event,) = of(Overflow, told)
    assert (event.dropped_since_last, event.total_dropped, event.final) == (60, 110, True)
    assert out.deadline is None
    assert (out.stats().total_dropped, out.stats().retained) == (110, 100)
    assert out.finish(0.3) == []


@pytest.mark.requirement("OVERFLOW")
def test_finish_tells_an_overflow_that_nobody_had_noticed_yet() -> None:
    out, _ = attached(capacity=100)
    produce(out, 150)

    events = of(Overflow, out.finish(0))

    assert [(e.dropped_since_last, e.final) for e in events] == [(50, False), (0, True)]


@pytest.mark.requirement("OVERFLOW")
def test_trimmed_bytes_are_no_overflow() -> None:
    out, reader = attached(capacity=100)

    told = []
    for _ in range(20):
        produce(out, 90)
        told += read(out, reader)

    assert of(Overflow, told) == []
    assert (out.stats().trimmed, out.stats().total_dropped) == (1700, 0)


@pytest.mark.requirement("OVERFLOW")
def test_unattended_loss_is_told_as_unattended() -> None:
    out = OutputBuffer(RingBuffer(100))

    produce(out, 150)
    (event,) = of(Overflow, out.advance(0))

    assert not event.attended
    assert (out.stats().dropped_attended, out.stats().dropped_unattended) == (0, 50)


@pytest.mark.requirement("OVERFLOW")
def test_observers_do_not_attend() -> None:
    out, observer = attached(capacity=100, kind=OBSERVER)

    produce(out, 150)
    told = [*out.advance(0), *read(out, observer)]

    assert not of(Overflow, told)[0].attended
    assert out.stats().dropped_unattended == 50
    assert out.stats().total_consumed == 0


@pytest.mark.requirement("OVERFLOW")
def test_what_was_lost_before_an_attach_was_lost_unattended() -> None:
    out = OutputBuffer(RingBuffer(100))
    produce(out, 150)

    _, told = out.attach(CONSUMER, 0)
    produce(out, 7)
    out.advance(0.1)

    assert [e.attended for e in of(Overflow, told)] == [False]
    assert (out.stats().dropped_attended, out.stats().dropped_unattended) == (7, 50)


@pytest.mark.requirement("OVERFLOW")
def test_what_was_lost_before_a_detach_was_lost_attended() -> None:
    out, reader = attached(capacity=100)
    produce(out, 150)

    told = out.detach(reader, 0)
    produce(out, 7)
    out.advance(0.1)

    assert [e.attended for e in of(Overflow, told)] == [True]
    assert (out.stats().dropped_attended, out.stats().dropped_unattended) == (50, 7)


@pytest.mark.requirement("OVERFLOW")
def test_a_report_is_of_the_time_of_the_loss_not_of_the_report() -> None:
    out = OutputBuffer(RingBuffer(100))
    produce(out, 150)
    out.advance(0)
    produce(out, 20)
    reader, _ = out.attach(CONSUMER, 0.5)

    lost_before_the_attach = of(Overflow, out.advance(1.0))
    produce(out, 200)
    out.detach(reader, 1.5)
    lost_before_the_detach = of(Overflow, out.advance(2.0))

    assert [(e.dropped_since_last, e.attended) for e in lost_before_the_attach] == [(20, False)]
    assert [(e.dropped_since_last, e.attended) for e in lost_before_the_detach] == [(200, True)]


@pytest.mark.requirement("OVERFLOW")
def test_cleared_unread_bytes_are_told_as_dropped() -> None:
    out, reader = attached(capacity=100)
    produce(out, 60)
    read(out, reader, 20)

    told = out.clear(0)

    assert [e.dropped_since_last for e in of(Overflow, told)] == [40]
    assert (out.stats().trimmed, out.stats().total_dropped, out.stats().retained) == (20, 40, 0)


@pytest.mark.requirement("OVERFLOW")
def test_every_byte_of_a_ring_without_capacity_is_lost() -> None:
    out, reader = attached(capacity=0)

    produce(out, 70)
    told = read(out, reader)

    assert [e.dropped_since_last for e in of(Overflow, told)] == [70]
    assert [e.skipped_since_last for e in of(ReaderSkipped, told)] == [70]
    assert laws_hold(out.stats())


@pytest.mark.requirement("OVERFLOW")
def test_a_burst_that_loses_nothing_says_nothing() -> None:
    burst = RateLimitedLoss()

    told = [*burst.add(0, 0.0), *burst.due(9.0), *burst.close()]

    assert told == []
    assert burst.deadline is None


# One reader's own loss -------------------------------------------------------------------------


@pytest.mark.requirement("OVERFLOW", "LAW-READER")
def test_a_slow_readers_own_loss_is_told_though_another_got_it_all() -> None:
    out, fast = attached(capacity=100)
    slow, _ = out.attach(CONSUMER, 0)
    told = []
    for _ in range(3):
        produce(out, 80)
        told += read(out, fast)

    told += read(out, slow)

    assert of(Overflow, told) == []
    assert of(ReaderSkipped, told) == [ReaderSkipped(slow.reader_id, 140, 140, final=False)]


@pytest.mark.requirement("OVERFLOW")
def test_a_readers_loss_is_debounced_and_closed_like_overflow() -> None:
    out, reader = attached(capacity=100)
    told = []

    for tenth in range(25):
        produce(out, 110)
        told += [(tenth, e) for e in of(ReaderSkipped, read(out, reader, now=tenth / 10))]
    for second in (3, 4, 5, 6):
        told += [(10 * second, e) for e in of(ReaderSkipped, out.advance(second))]

    facts = [(tenth, e.skipped_since_last, e.final) for tenth, e in told]
    assert facts == [
        (0, 10, False),
        (10, 100, False),
        (20, 100, False),
        (30, 40, False),
        (40, 0, True),
    ]
    assert told[-1][1].total_skipped == reader.cursor.skipped == 250


@pytest.mark.requirement("OVERFLOW")
def test_detach_closes_the_readers_burst() -> None:
    out, reader = attached(capacity=100)
    produce(out, 110)
    told = read(out, reader)
    produce(out, 130)
    told += read(out, reader, now=0.1)

    told += out.detach(reader, 0.2)

    facts = [(e.skipped_since_last, e.total_skipped, e.final) for e in of(ReaderSkipped, told)]
    assert facts == [(10, 10, False), (30, 40, True)]


@pytest.mark.requirement("OVERFLOW", "LAW-READER")
def test_a_clear_is_a_gap_to_every_reader() -> None:
    out, reader = attached(capacity=100)
    observer, _ = out.attach(OBSERVER, 0)
    produce(out, 60)
    read(out, reader, 20)

    told = out.clear(0)

    skipped = {e.reader_id: e.skipped_since_last for e in of(ReaderSkipped, told)}
    assert skipped == {reader.reader_id: 40, observer.reader_id: 60}
    assert (reader.cursor.offset, observer.cursor.offset) == (60, 60)


@pytest.mark.requirement("LAW-READER", "LAW-PTY")
def test_a_part_still_on_its_way_when_all_was_cleared_moves_nobody_back() -> None:
    out, reader = attached(capacity=100)
    produce(out, 60)
    part = reader.cursor.peek(40)
    told = out.clear(0)

    told += out.hand(reader, part, 0)

    cursor = reader.cursor
    assert cursor.offset == 60
    assert cursor.delivered + cursor.skipped + cursor.backlog == 60
    assert [e.skipped_since_last for e in of(ReaderSkipped, told)] == [60]
    assert laws_hold(out.stats())


@pytest.mark.requirement("LAW-PTY")
def test_bytes_that_got_out_are_not_dropped_though_evicted_meanwhile() -> None:
    out, reader = attached(capacity=100)
    produce(out, 100)
    part = reader.cursor.peek(100)
    produce(out, 100)

    out.hand(reader, part, 0)

    assert (out.stats().trimmed, out.stats().total_dropped) == (100, 0)


@pytest.mark.requirement("LAW-PTY")
def test_only_the_bytes_taken_of_a_part_are_handed() -> None:
    out, reader = attached(capacity=100)
    produce(out, 100)

    out.hand(reader, reader.cursor.peek(), 0, size=30)

    assert (reader.cursor.offset, out.stats().total_consumed, out.stats().unread) == (30, 30, 70)


# When to call ----------------------------------------------------------------------------------


def run_against_eager(seed: int, capacity: int, lazy: bool) -> tuple[list[str], list[float], int]:
    """Let a child write byte by byte; call `advance` at every byte, or only when asked to be.

    The consumers' reads come at the same moments either way.
    """
    dice = random.Random(seed)
    out = OutputBuffer(RingBuffer(capacity), 0.55)
    readers = [out.attach(kind, 0)[0] for kind in (CONSUMER, ONE_SHOT)]
    log: list[str] = []
    at: list[float] = []

    def note(now: float, told: Sequence[BufferNotification]) -> None:
        log.extend(f"{now:.2f} {telling!r}" for telling in told)
        at.extend(now for _ in told)

    for step in range(1200):
        now = step / 100
        if not lazy or (out.deadline is not None and now >= out.deadline):
            note(now, out.advance(now))
        for _ in range(dice.choice([0, 0, 1, 3, 8]) if step % 500 < 300 else 0):
            produce(out, 1)
            if not lazy or out.ring.total >= out.wake_at:
                note(now, out.advance(now))
        if dice.random() < 0.05:
            note(now, read(out, dice.choice(readers), dice.choice([1, 20, 100]), now))
    out.advance(12)
    return log, at, out.stats().total_dropped


@pytest.mark.requirement("OVERFLOW", "BACKPRESSURE")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("capacity", [0, 1, 20, 100])
def test_who_only_calls_when_asked_tells_everything_on_time(seed: int, capacity: int) -> None:
    eager_log, eager_at, eager_dropped = run_against_eager(seed, capacity, lazy=False)

    lazy_log, lazy_at, lazy_dropped = run_against_eager(seed, capacity, lazy=True)

    assert lazy_log == eager_log
    assert lazy_at == eager_at
    assert lazy_dropped == eager_dropped
    assert eager_log


@pytest.mark.requirement("OVERFLOW")
def test_nothing_to_wait_for_means_no_wake_and_no_deadline() -> None:
    out, reader = attached()
    produce(out, 800)
    out.advance(0)
    produce(out, 900)
    out.advance(0)

    wake_at, deadline = out.wake_at, out.deadline

    assert wake_at == NO_LIMIT  # backpressure is on, a burst is open: only the deadline counts
    assert deadline == REPORT_SECONDS
    read_all(out, reader, now=0.5)
    assert out.deadline == REPORT_SECONDS


@pytest.mark.requirement("OVERFLOW")
def test_wake_at_is_where_the_first_unread_byte_goes() -> None:
    out, reader = attached(kind=ONE_SHOT)
    produce(out, 500)
    read(out, reader, 200)
    later, _ = out.attach(ONE_SHOT, 0, offset=300)
    read(out, later, 100)

    wake_at = out.wake_at

    assert wake_at == 1201  # the hole at 200 goes when byte 1200 comes


# Block -----------------------------------------------------------------------------------------


def blocking(capacity: int = 100) -> OutputBuffer:
    return OutputBuffer(RingBuffer(capacity), on_full=OnFull.BLOCK)


@pytest.mark.requirement("BLOCK")
def test_drop_has_no_limit() -> None:
    out, reader = attached(kind=LOSSLESS)

    produce(out, 5000)
    read(out, reader)

    assert out.ring.limit == NO_LIMIT


@pytest.mark.requirement("BLOCK")
def test_credit_is_the_slowest_lossless_consumer_and_the_capacity() -> None:
    out = blocking()
    fast, _ = out.attach(LOSSLESS, 0)
    slow, _ = out.attach(LOSSLESS, 0)
    out.attach(CONSUMER, 0)
    produce(out, 100)
    read(out, fast)

    limits = [out.ring.limit]
    read(out, slow, 30)
    limits.append(out.ring.limit)
    out.detach(slow, 0)
    limits.append(out.ring.limit)

    assert limits == [100, 130, 200]


@pytest.mark.requirement("BLOCK")
@pytest.mark.parametrize("kind", [CONSUMER, ONE_SHOT])
def test_consumers_none_of_them_lossless_hold_nothing(kind: ReaderKind) -> None:
    out = blocking()

    out.attach(kind, 0)

    assert out.ring.limit == NO_LIMIT


@pytest.mark.requirement("BLOCK")
def test_nobody_attached_holds_at_what_was_handed_and_the_capacity() -> None:
    out = blocking()
    limits = [out.ring.limit]
    out.attach(OBSERVER, 0)
    limits.append(out.ring.limit)
    reader, _ = out.attach(LOSSLESS, 0)
    produce(out, 60)
    read(out, reader, 40)

    out.detach(reader, 0)
    limits.append(out.ring.limit)

    assert limits == [100, 100, 140]


@pytest.mark.requirement("BLOCK")
def test_nobody_attached_holds_at_least_where_a_consumer_attached() -> None:
    out = blocking()
    terminal, _ = out.attach(CONSUMER, 0)
    produce(out, 500)
    later, _ = out.attach(LOSSLESS, 0)
    out.detach(terminal, 0)

    out.detach(later, 0)

    assert later.cursor.start == 400
    assert out.ring.limit == 500


@pytest.mark.requirement("BLOCK")
def test_credit_is_not_taken_back_when_the_last_consumer_leaves_after_a_clear() -> None:
    out = blocking()
    reader, _ = out.attach(LOSSLESS, 0)
    produce(out, 100)
    out.clear(0)
    promised = out.ring.limit

    out.detach(reader, 0)

    assert promised == out.ring.limit == 200


@pytest.mark.requirement("BLOCK")
def test_credit_is_not_taken_back_when_the_last_consumer_leaves_after_a_gap() -> None:
    out = OutputBuffer(RingBuffer(100))
    reader, _ = out.attach(LOSSLESS, 0)
    produce(out, 300)
    out.set_on_full(OnFull.BLOCK)
    out.hand(reader, Part(206, 206, b""), 0)  # overtaken at the edge, so told to go on behind it
    promised = out.ring.limit

    out.detach(reader, 0)

    assert promised == out.ring.limit == 306


@pytest.mark.requirement("BLOCK")
def test_what_got_out_after_its_reader_left_raises_the_credit() -> None:
    out = blocking()
    reader, _ = out.attach(LOSSLESS, 0)
    produce(out, 100)
    part = reader.cursor.peek(30)
    out.detach(reader, 0)

    out.hand(reader, part, 0)

    assert out.ring.limit == 130


@pytest.mark.requirement("BLOCK")
def test_clearing_lets_a_child_go_on_that_was_held_with_nobody_attached() -> None:
    out = blocking()
    produce(out, 100)
    out.advance(0)

    out.clear(0)

    assert out.ring.limit == 200


@pytest.mark.requirement("BLOCK")
def test_nothing_is_lost_to_a_lossless_consumer() -> None:
    out = blocking()
    reader, _ = out.attach(LOSSLESS, 0)
    out.attach(CONSUMER, 0)  # never reads
    told = []

    for size in [1, 50, 99, 100, 1000, 3, 250] * 20:
        produce(out, min(size, out.ring.limit - out.ring.total))
        told += [*out.advance(0), *read(out, reader, size // 2 + 1)]

    assert reader.cursor.skipped == 0
    assert out.stats().total_dropped == 0
    assert of(Overflow, told) == []


@pytest.mark.requirement("BLOCK")
def test_switching_a_live_pty_to_block_says_from_where_it_holds() -> None:
    out = OutputBuffer(RingBuffer(100))
    produce(out, 1000)

    offset = out.set_on_full(OnFull.BLOCK)
    out.advance(0)

    assert offset == 1000
    assert out.ring.limit == 1000  # full, and nobody reads: held at once
    reader, _ = out.attach(LOSSLESS, 0)
    assert reader.cursor.offset == 900
    read(out, reader)
    assert out.ring.limit == 1100


@pytest.mark.requirement("BLOCK")
def test_switching_a_live_pty_to_drop_lets_it_go() -> None:
    out = blocking()
    produce(out, 100)

    offset = out.set_on_full(OnFull.DROP)

    assert (offset, out.ring.limit, out.on_full) == (100, NO_LIMIT, OnFull.DROP)


@pytest.mark.requirement("BLOCK")
def test_block_without_capacity_is_refused_and_changes_nothing() -> None:
    out = OutputBuffer(RingBuffer(0))

    with pytest.raises(InvalidValueError) as refused:
        out.set_on_full(OnFull.BLOCK)
    with pytest.raises(InvalidValueError):
        OutputBuffer(RingBuffer(0), on_full=OnFull.BLOCK)

    assert refused.value.name == "on-full"
    assert (out.on_full, out.ring.limit) == (OnFull.DROP, NO_LIMIT)


class RecordingRing(RingBuffer):
    """A ring that notes in which order the manager's words were stored."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.stored: list[tuple[str, int]] = []

    def store_account(self, words: Sequence[int], doubts: Sequence[int] = ()) -> None:
        super().store_account(words, doubts)
        self.stored.append(("handed", words[1]))

    @property
    def limit(self) -> int:
        return super().limit

    @limit.setter
    def limit(self, offset: int) -> None:
        self._words[512] = offset
        self.stored.append(("limit", offset))


@pytest.mark.requirement("BLOCK")
def test_the_limit_is_raised_only_after_the_hand_was_committed() -> None:
    ring = RecordingRing(100)
    out = OutputBuffer(ring, on_full=OnFull.BLOCK)
    reader, _ = out.attach(LOSSLESS, 0)
    produce(out, 80)
    ring.stored.clear()

    read(out, reader, 30)

    assert ring.stored == [("handed", 30), ("limit", 130)]


# Attaching -------------------------------------------------------------------------------------


@pytest.mark.requirement("LAW-READER")
def test_a_new_reader_begins_at_the_oldest_byte_held() -> None:
    out = OutputBuffer(RingBuffer(100))
    produce(out, 250)

    reader, _ = out.attach(CONSUMER, 0)

    assert reader.cursor.start == 150
    assert reader.cursor.peek().skipped == 0


@pytest.mark.requirement("LAW-READER")
def test_a_reader_that_resumes_below_the_edge_is_told_the_gap() -> None:
    out = OutputBuffer(RingBuffer(100))
    produce(out, 250)

    reader, _ = out.attach(CONSUMER, 0, offset=20)

    assert reader.cursor.peek().skipped == 130


@pytest.mark.requirement("FR-005")
@pytest.mark.parametrize("offset", [-1, 51])
def test_attaching_where_nothing_was_written_is_refused(offset: int) -> None:
    out = OutputBuffer(RingBuffer(100))
    produce(out, 50)

    with pytest.raises(InvalidValueError):
        out.attach(CONSUMER, 0, offset=offset)

    assert not out.attended


@pytest.mark.requirement("FR-005")
def test_more_readers_than_the_limit_are_refused() -> None:
    out = OutputBuffer(RingBuffer(100))
    for _ in range(Limits.READERS):
        out.attach(CONSUMER, 0)

    with pytest.raises(LimitReachedError):
        out.attach(CONSUMER, 0)

    assert len(out.readers) == Limits.READERS


# Statistics ------------------------------------------------------------------------------------


@pytest.mark.requirement("STATS")
def test_statistics_are_those_of_the_last_operation() -> None:
    out, _ = attached(capacity=100)
    produce(out, 50)
    out.advance(0)
    before = out.stats()

    produce(out, 400)
    unlooked = out.stats()
    out.advance(0)

    assert unlooked == before
    assert (before.total_written, out.stats().total_written) == (50, 450)


@pytest.mark.requirement("STATS")
def test_high_water_stays_and_never_exceeds_the_capacity() -> None:
    out, reader = attached(capacity=100)
    produce(out, 70)
    read(out, reader)
    first = out.stats().high_water

    produce(out, 500)
    out.advance(0)

    assert (first, out.stats().high_water) == (70, 100)


@pytest.mark.requirement("STATS", "OVERFLOW")
def test_the_stored_account_says_how_much_of_the_loss_was_told() -> None:
    out, _ = attached(capacity=100)
    stored = []

    for size, now in ((150, 0.0), (30, 0.5), (0, 1.0)):
        produce(out, size)
        out.advance(now)
        words = out.ring.load_account()
        assert words is not None
        stored.append(words[6])

    assert stored == [50, 50, 80]


@pytest.mark.requirement("OVERFLOW")
@pytest.mark.parametrize("pending", [0, 30])
def test_a_successor_ends_a_burst_that_was_told_of(pending: int) -> None:
    out, _ = attached(capacity=100)
    produce(out, 150)
    out.advance(10.0)
    produce(out, pending)
    out.advance(10.1)

    again = OutputBuffer(out.ring, resumes=True)
    told = [(now, again.advance(now)) for now in (10.2, 10.9, 11.2, 11.3, 12.2, 12.3, 19.0)]

    events = [(now, e.dropped_since_last, e.final) for now, es in told for e in of(Overflow, es)]
    wanted = [(11.2, 0, True)] if not pending else [(11.2, 30, False), (12.2, 0, True)]
    assert events == wanted
    assert OutputBuffer(again.ring, resumes=True).advance(99.0) == []


@pytest.mark.requirement("OVERFLOW")
@pytest.mark.parametrize("final", [False, True])
def test_a_successor_goes_on_from_the_event_that_was_not_accounted(final: bool) -> None:
    out, _ = attached(capacity=100)
    produce(out, 150)
    out.advance(10.0)
    events = out.stats().overflow_events

    again = OutputBuffer(out.ring, resumes=True)
    again.note_overflow_published(50, final=final)
    again.advance(10.1)
    told = of(Overflow, again.advance(15.0))

    assert [(e.dropped_since_last, e.final) for e in told] == ([] if final else [(0, True)])
    assert again.stats().overflow_events == events + (1 if final else 2)


@pytest.mark.requirement("STATS")
def test_a_successor_that_is_killed_at_once_leaves_the_account_as_it_was() -> None:
    out, reader = attached(capacity=100)
    produce(out, 150)
    read(out, reader)
    out.advance(0)
    before = out.ring.load_account()

    for _ in range(3):
        again = OutputBuffer(out.ring, resumes=True)

    assert out.ring.load_account() == before
    assert again.stats().total_dropped == out.stats().total_dropped == 50
    assert again.stats().total_consumed == out.stats().total_consumed == 100


@pytest.mark.requirement("STATS")
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_successor_judges_loss_only_once_it_knows_who_was_attached(comes_back: bool) -> None:
    out, reader = attached(capacity=100)
    produce(out, 80)
    read(out, reader)
    out.ring.write(bytes(120))  # by nobody seen; the server is dead

    again = OutputBuffer(out.ring, resumes=True)
    again.expect(int(comes_back), 0, 0, until=10)
    before = again.stats()
    if comes_back:
        again.attach(CONSUMER, 0, offset=80)
        again.expect(0, 0, 0)

    stats = again.stats()
    lost = (stats.dropped_attended, stats.dropped_unattended)
    assert lost == ((20, 0) if comes_back else (0, 20))
    assert (before.total_dropped, before.pending) == ((0, 20) if comes_back else (20, 0))


@pytest.mark.requirement("STATS", "HOLES")
def test_consumed_goes_back_only_by_what_merged_grew() -> None:
    out = OutputBuffer(RingBuffer(10_000))
    out.attach(CONSUMER, 0)
    produce(out, 1000)
    before = [out.stats()]

    for n in range(60):  # two bytes in every ten: 60 holes
        reader, _ = out.attach(ONE_SHOT, 0, offset=0)
        out.hand(reader, Part(10 * n + 8, 10 * n + 8, b"xy"), 0)
        out.detach(reader, 0)
        before.append(out.stats())

    for older, newer in pairwise(before):
        assert laws_hold(newer)
        merged = newer.merged - older.merged
        assert newer.total_consumed == older.total_consumed + 2 - merged
    assert before[-1].merged == 2 * (60 - Limits.HOLES)


class BusyRing(RingBuffer):
    """A ring whose engine writes at any moment, as another process would."""

    def __init__(self, capacity: int, most: int) -> None:
        super().__init__(capacity)
        self.most = most
        self.dice = random.Random(most)

    def go_on(self) -> None:
        if self.most and self.dice.random() < 0.6:
            size = self.dice.randint(0, self.most)
            self.prepare(size)
            self.commit(size)

    @property
    def total(self) -> int:
        self.go_on()
        return super().total

    @property
    def edge(self) -> int:
        self.go_on()
        return super().edge

    def clear(self) -> int:
        self.go_on()
        return super().clear()


@pytest.mark.requirement("STATS", "LAW-PTY", "LAW-READER")
@pytest.mark.parametrize("most", [1, 30, 100, 300, 5000])
def test_the_laws_hold_while_the_engine_writes_between_any_two_looks(most: int) -> None:
    ring = BusyRing(100, most)
    out = OutputBuffer(ring)
    reader, told = out.attach(CONSUMER, 0)
    observer, more = out.attach(OBSERVER, 0)
    told += more

    for second in range(30):
        told += out.advance(second)
        assert laws_hold(out.stats())
        told += read(out, reader, 20, now=second)
        assert laws_hold(out.stats())
        told += read(out, observer, 20, now=second)
        if second % 7 == 3:
            told += out.clear(second)
            assert laws_hold(out.stats())
        if second % 5 == 2:
            told += out.detach(reader, second)
            reader, more = out.attach(CONSUMER, second)
            told += more
            assert laws_hold(out.stats())
    ring.most = 0
    told += out.finish(31)

    for cursor in (reader.cursor, observer.cursor):
        assert ring.total - cursor.start == cursor.delivered + cursor.skipped + cursor.backlog
    lost = sum(e.dropped_since_last for e in of(Overflow, told))
    assert lost == out.stats().total_dropped
    for telling in told:
        if isinstance(telling, BackpressureOn | BackpressureOff):
            assert laws_hold(telling.stats)


MONOTONIC = [
    "high_water",
    "total_written",
    "total_dropped",
    "dropped_attended",
    "dropped_unattended",
    "trimmed",
    "merged",
    "overflow_events",
    "backpressure_events",
]


class AnyLife(RuleBasedStateMachine):
    """One PTY's output through any life, held against a count byte by byte."""

    readers: Bundle[Reader] = Bundle("readers")
    parts: Bundle[tuple[Reader, Part]] = Bundle("parts")

    @initialize(
        capacity=st.sampled_from([0, 1, 7, 40, 100]),
        threshold=st.sampled_from([0.75, 0.3, 0.101, 0.999]),
    )
    def begin(self, capacity: int, threshold: float) -> None:
        self.out = OutputBuffer(RingBuffer(capacity), threshold)
        self.now = 0.0
        self.handed: list[bool] = []  # of each byte: in time
        self.accounted = 0
        self.lost = {True: 0, False: 0}  # by whether somebody was there
        self.attended = False
        self.alarms: list[str] = []
        self.told = 0
        self.told_at = -REPORT_SECONDS
        self.skips: dict[int, int] = {}
        self.before = self.out.stats()
        self.exempt: set[int] = set()  # lossless readers that were promised less than everything
        self.limit = self.out.ring.limit
        self.promise: tuple[OnFull, set[int], bool] | None = None  # what the limit follows from

    # What the model knows of any operation

    def look(self) -> None:
        """Class in the model what was evicted by now."""
        total, capacity = self.out.ring.total, self.out.ring.capacity
        self.handed += [False] * (total - len(self.handed))
        self.evict(max(self.accounted, total - capacity))

    def evict(self, oldest: int) -> None:
        self.lost[self.attended] += self.handed[self.accounted : oldest].count(False)
        self.accounted = oldest

    def hear(self, told: list[BufferNotification]) -> None:
        self.alarms += alarms(told)
        for telling in told:
            if isinstance(telling, Overflow):
                self.told += telling.dropped_since_last
                if not telling.final:
                    assert self.now - self.told_at >= REPORT_SECONDS
                    self.told_at = self.now
            elif isinstance(telling, ReaderSkipped):
                self.skips[telling.reader_id] = (
                    self.skips.get(telling.reader_id, 0) + telling.skipped_since_last
                )
                assert self.skips[telling.reader_id] == telling.total_skipped
            else:
                assert laws_hold(telling.stats)

    def attend(self) -> None:
        kinds = [reader.kind for reader in self.out.readers.values()]
        self.attended = any(kind is not OBSERVER for kind in kinds)

    # What may happen

    @rule(size=st.integers(0, 250))
    def write(self, size: int) -> None:
        ring = self.out.ring
        produce(self.out, max(0, min(size, ring.limit - ring.total)))

    @rule(seconds=st.sampled_from([1 / 64, 0.5, 1.0, 3.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def advance(self) -> None:
        self.look()
        self.hear(self.out.advance(self.now))

    @rule(target=readers, kind=st.sampled_from(ReaderKind), back=st.none() | st.integers(0, 300))
    def attach(self, kind: ReaderKind, back: int | None) -> Reader:
        self.look()
        total = self.out.ring.total
        offset = None if back is None else max(0, total - back)
        reader, told = self.out.attach(kind, self.now, offset)
        self.hear(told)
        self.attend()
        if reader.cursor.offset < self.accounted or self.out.on_full is OnFull.DROP:
            self.exempt.add(reader.reader_id)
        return reader

    @precondition(lambda self: self.out.readers)
    @rule(reader=consumes(readers))
    def detach(self, reader: Reader) -> None:
        self.look()
        self.hear(self.out.detach(reader, self.now))
        self.attend()
        assert self.skips.get(reader.reader_id, 0) == reader.cursor.skipped

    @rule(target=parts, reader=readers, size=st.integers(0, 120))
    def send(self, reader: Reader, size: int) -> tuple[Reader, Part]:
        return reader, reader.cursor.peek(size)

    @rule(part=consumes(parts), share=st.sampled_from([1.0, 1.0, 0.5, 0.0]))
    def taken(self, part: tuple[Reader, Part], share: float) -> None:
        self.hand(*part, share)

    @rule(reader=readers, size=st.integers(0, 120))
    def read(self, reader: Reader, size: int) -> None:
        self.hand(reader, reader.cursor.peek(size), 1.0)

    def hand(self, reader: Reader, part: Part, share: float) -> None:
        if reader.reader_id not in self.out.readers:
            return
        size = round(len(part.data) * share)
        self.handed += [False] * (self.out.ring.total - len(self.handed))
        if reader.kind is not OBSERVER:
            begin = max(part.offset, self.accounted)
            for offset in range(begin, part.offset + size):
                self.handed[offset] = True
        self.look()
        self.hear(self.out.hand(reader, part, self.now, size))

    @rule()
    def clear(self) -> None:
        self.look()
        self.evict(len(self.handed))
        self.hear(self.out.clear(self.now))
        self.exempt |= set(self.out.readers)

    @rule(on_full=st.sampled_from(OnFull))
    def set_on_full(self, on_full: OnFull) -> None:
        if not self.out.ring.capacity:
            return
        assert self.out.set_on_full(on_full) == self.out.ring.total
        self.exempt |= set(self.out.readers)

    # What always holds

    @invariant()
    def account_is_exact(self) -> None:
        stats = self.out.stats()
        assert laws_hold(stats)
        assert stats.merged == 0
        assert stats.dropped_attended == self.lost[True]
        assert stats.dropped_unattended == self.lost[False]
        assert stats.trimmed == self.accounted - sum(self.lost.values())
        window = self.handed[self.accounted : stats.total_written]
        assert stats.unread == window.count(False)

    @invariant()
    def no_number_goes_backwards(self) -> None:
        stats = self.out.stats()
        for name in MONOTONIC:
            assert getattr(stats, name) >= getattr(self.before, name), name
        # Joining two holes takes the bytes between them back to unread: only then, and by no more.
        merged = stats.merged - self.before.merged
        assert stats.total_consumed >= self.before.total_consumed - merged
        self.before = stats

    @invariant()
    def every_reader_keeps_its_law(self) -> None:
        for reader in self.out.readers.values():
            cursor = reader.cursor
            passed = self.out.ring.total - cursor.start
            assert passed == cursor.delivered + cursor.skipped + cursor.backlog
            assert cursor.backlog >= 0
            assert self.skips.get(reader.reader_id, 0) <= cursor.skipped

    @invariant()
    def alarms_alternate(self) -> None:
        assert self.alarms[::2] == ["on"] * len(self.alarms[::2])
        assert "on" not in self.alarms[1::2]
        assert self.out.backpressure == bool(len(self.alarms) % 2)
        assert self.out.backpressure_events == self.alarms.count("on")
        assert not self.out.backpressure or self.attended

    @invariant()
    def events_tell_the_loss(self) -> None:
        dropped = self.out.stats().total_dropped
        assert self.told <= dropped
        assert self.told == dropped or self.out.deadline is not None

    @invariant()
    def nothing_is_lost_to_who_was_promised_everything(self) -> None:
        for reader in self.out.readers.values():
            if reader.kind is LOSSLESS and reader.reader_id not in self.exempt:
                assert reader.cursor.skipped == reader.cursor.peek().skipped == 0

    @invariant()
    def credit_is_never_taken_back_unless_somebody_comes(self) -> None:
        lossless = {r.reader_id for r in self.out.readers.values() if r.kind is LOSSLESS}
        now = (self.out.on_full, lossless, self.attended and not lossless)
        on_full, lossless_before, unlimited_before = self.promise or now
        if on_full is now[0] and lossless_before >= lossless and not unlimited_before:
            assert self.out.ring.limit >= self.limit
        self.promise, self.limit = now, self.out.ring.limit

    def teardown(self) -> None:
        if not hasattr(self, "out"):
            return
        self.look()
        self.hear(self.out.finish(self.now))
        stats = self.out.stats()
        assert self.told == stats.total_dropped
        words = self.out.ring.load_account()
        assert words is not None
        assert words[6] == stats.total_dropped
        self.account_is_exact()


TestAnyLife = pytest.mark.requirement(
    "STATS", "LAW-PTY", "LAW-READER", "BACKPRESSURE", "OVERFLOW", "BLOCK"
)(AnyLife.TestCase)
TestAnyLife.settings = settings(max_examples=150, stateful_step_count=40)

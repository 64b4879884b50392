from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ptymux.core.model import MIB
from ptymux.core.ring import Part
from ptymux.stress.child import ChildKind, text
from ptymux.stress.measurements import ContentCheck, EventSeen, Lateness, Measured, Sample, Samples
from ptymux.stress.plan import make_plan
from ptymux.stress.verdict import Result, VerdictOutcome, judge, judge_run
from tests.stress.doctored import BYTES, perfect, scenario, with_overflows, with_stats

Doctor = Callable[[Measured], Measured]


def outcome_of(result: Result, name: str) -> VerdictOutcome:
    return next(verdict.outcome for verdict in result.verdicts if verdict.name == name)


def reasons_of(result: Result, name: str) -> str:
    return "; ".join(next(v.reasons for v in result.verdicts if v.name == name))


@pytest.mark.parametrize("name", ["never reads", "slow", "fast", "block", "no buffer", "paced"])
def test_faultless_run_passes(name: str) -> None:
    result = judge(perfect(scenario(name)))

    assert result.has_passed, result.verdicts
    names = [verdict.name for verdict in result.verdicts]
    assert names == ["correctness", *(["block"] if name == "block" else []), "timing"]


def test_faultless_run_of_what_fits_passes() -> None:
    assert judge(perfect(scenario("never reads", 2 * BYTES))).has_passed


def one_more(**names: int) -> Doctor:
    def doctor(m: Measured) -> Measured:
        return with_stats(m, **{name: getattr(m.stats, name) + by for name, by in names.items()})

    return doctor


def wrong_tail(m: Measured) -> Measured:
    return replace(m, tail=replace(m.tail, wrong_at=m.tail.start + 5))


def short_tail(m: Measured) -> Measured:
    return replace(m, tail=replace(m.tail, size=m.tail.size - 1))


def late_tail(m: Measured) -> Measured:
    return replace(m, tail=replace(m.tail, start=m.tail.start + 1, size=m.tail.size - 1))


@pytest.mark.requirement("OVERFLOW", "LAW-PTY", "NFR-004")
@pytest.mark.parametrize(
    ("doctor", "told"),
    [
        (one_more(total_written=-1), "written is"),
        (one_more(retained=-1, trimmed=1), "retained is"),
        (one_more(total_dropped=-1, dropped_attended=-1, trimmed=1), "dropped is"),
        (one_more(total_dropped=1, dropped_attended=1), "does not hold"),
        (one_more(dropped_attended=-1), "attended + unattended does not hold"),
        (one_more(dropped_attended=-1, dropped_unattended=1), "while nobody was attached"),
        (one_more(unread=1), "consumed + pending + dropped + unread does not hold"),
        (one_more(available=1), "consumed + pending + dropped + available does not hold"),
        (one_more(total_consumed=1, unread=-1, available=-1), "consumed is 1"),
        (one_more(merged=1), "merged is 1"),
        (one_more(high_water=1), "above the capacity"),
        (one_more(capacity=1), "capacity is"),
        (lambda m: replace(m, most_retained=m.scenario.capacity + 1), "above the capacity"),
        (lambda m: replace(m, memory_peak=m.memory_before + 18 * MIB), "memory grew"),
        (lambda m: replace(m, start=1), "the reader's start is 1"),
        (lambda m: replace(m, end=m.end - 1), "does not hold"),
        (lambda m: replace(m, backlog=m.backlog - 1), "skipped + backlog does not hold"),
        (wrong_tail, "the retained byte at 8951429 is wrong"),
        (short_tail, "the tail's size"),
        (late_tail, "the tail's start"),
        (lambda m: replace(m, is_stuck=True), "did not end by itself"),
        (lambda m: replace(m, exit_code=1), "the child ended with 1"),
        (lambda m: replace(m, exit_code=None), "the child ended with None"),
    ],
)  # fmt: skip
def test_wrong_number_of_a_consumer_that_never_reads_fails(doctor: Doctor, told: str) -> None:
    result = judge(doctor(perfect(scenario("never reads"))))

    assert outcome_of(result, "correctness") is VerdictOutcome.FAILED
    assert told in reasons_of(result, "correctness")
    assert not result.has_passed


@pytest.mark.requirement("LAW-READER")
@pytest.mark.parametrize(
    ("doctor", "told"),
    [
        (lambda m: replace(m, consumed=replace(m.consumed, wrong_at=77)), "consumed byte at 77"),
        (lambda m: replace(m, consumed=replace(m.consumed, gap_at=80)), "the gap at 80"),
        (lambda m: replace(m, consumed=replace(m.consumed, size=m.consumed.size - 1)), "checked"),
        (lambda m: replace(m, consumed=replace(m.consumed, skipped=0)), "gaps is 0"),
        (lambda m: replace(m, delivered=m.delivered - 1, backlog=1), "backlog is 1"),
        (lambda m: replace(m, delivered=m.delivered - 1, skipped=m.skipped + 1), "only reader"),
        (one_more(unread=1, available=1, total_consumed=-1), "unread is 1"),
        (lambda m: replace(m, skips=()), "the sum over skipped events"),
    ],
)
def test_wrong_number_of_a_slow_consumer_fails(doctor: Doctor, told: str) -> None:
    result = judge(doctor(perfect(scenario("slow"))))

    assert outcome_of(result, "correctness") is VerdictOutcome.FAILED
    assert told in reasons_of(result, "correctness")


def test_slow_consumer_that_read_more_than_it_should_fails() -> None:
    slow = scenario("slow")
    doctored = one_more(total_dropped=-BYTES // 4, dropped_attended=-BYTES // 4)(perfect(slow))

    assert "it must be 6451424 to 8951424" in reasons_of(judge(doctored), "correctness")


@pytest.mark.parametrize("name", ["fast", "block"])
def test_one_byte_dropped_where_none_may_be_fails(name: str) -> None:
    doctored = one_more(total_dropped=1, dropped_attended=1, trimmed=-1, total_consumed=-1)(
        perfect(scenario(name))
    )

    assert "dropped is 1, it must be 0" in reasons_of(judge(doctored), "correctness")


def at(*seconds: float) -> Doctor:
    """Move the overflow events to other times, the amounts kept."""

    def doctor(m: Measured) -> Measured:
        moved = [replace(told, seconds=s) for told, s in zip(m.overflows, seconds, strict=True)]
        return with_overflows(m, tuple(moved))

    return doctor


def without_final(m: Measured) -> Measured:
    last = replace(m.overflows[-1], final=False, seconds=9.9)
    return with_overflows(m, (*m.overflows[:-1], last))


def one_more_told(m: Measured) -> Measured:
    last = replace(m.overflows[-1], amount=m.overflows[-1].amount + 1)
    return with_overflows(m, (*m.overflows[:-1], last))


def wrong_total(m: Measured) -> Measured:
    return with_overflows(m, (replace(m.overflows[0], total=1), *m.overflows[1:]))


@pytest.mark.requirement("OVERFLOW")
@pytest.mark.parametrize(
    ("doctor", "told"),
    [
        (at(0.1, 1.05, 2.1, 2.5), "overflow events 0.950 s apart, 1 s at least"),
        (at(0.1, 1.1, 1.5, 2.5), "overflow events 0.400 s apart"),
        (without_final, "the last overflow event is not final"),
        (one_more_told, "the sum over overflow events"),
        (wrong_total, "the total in the overflow event at 0.100 s is 1"),
        (lambda m: with_overflows(m, m.overflows[1:]), "the sum over overflow events"),
        (lambda m: replace(m, overflows=()), "the sum over overflow events is 0"),
        (one_more(overflow_events=1), "overflow events counted"),
        (lambda m: replace(m, warnings=0), "warnings logged is 0, it must be 1"),
        (lambda m: replace(m, warnings=2), "warnings logged is 2, it must be 1"),
        (lambda m: replace(m, missed_events=1), "events missed"),
    ],
)
def test_wrong_overflow_events_fail(doctor: Doctor, told: str) -> None:
    result = judge(doctor(perfect(scenario("paced"))))

    assert outcome_of(result, "correctness") is VerdictOutcome.FAILED
    assert told in reasons_of(result, "correctness")


def test_events_of_a_process_that_was_kept_off_its_processor_may_be_published_late() -> None:
    late_by_90_ms = at(0.19, 1.1, 2.1, 2.5)(perfect(scenario("paced")))

    assert not judge(late_by_90_ms, timing=False).has_passed
    kept_off = replace(late_by_90_ms, lateness=Lateness.of([0.001, 0.09]))
    assert judge(kept_off, timing=False).has_passed


def test_final_event_may_come_early() -> None:
    assert judge(at(0.1, 1.1, 2.1, 2.11)(perfect(scenario("paced")))).has_passed


def pressed(*told: bool, count: int | None = None) -> Doctor:
    return lambda m: with_stats(
        replace(m, backpressure=told), backpressure_events=sum(told) if count is None else count
    )


@pytest.mark.requirement("BACKPRESSURE")
@pytest.mark.parametrize(
    ("doctor", "told"),
    [
        (pressed(True, True, False), "do not alternate"),
        (pressed(False, True, False), "do not alternate"),
        (pressed(True), "backpressure.off was not told"),
        (pressed(True, False, count=2), "backpressure.on events is 1, it must be 2"),
        (lambda m: with_stats(m, backpressure=True), "backpressure is on at the end"),
    ],
)
def test_wrong_backpressure_events_fail(doctor: Doctor, told: str) -> None:
    result = judge(doctor(perfect(scenario("never reads"))))

    assert outcome_of(result, "correctness") is VerdictOutcome.FAILED
    assert told in reasons_of(result, "correctness")


def test_backpressure_without_a_buffer_fails() -> None:
    result = judge(pressed(True, False)(perfect(scenario("no buffer"))))

    assert "backpressure events without a buffer" in reasons_of(result, "correctness")


def test_backpressure_that_never_went_on_is_not_exercised() -> None:
    result = judge(pressed()(perfect(scenario("never reads"))))

    assert outcome_of(result, "correctness") is VerdictOutcome.NOT_EXERCISED
    assert reasons_of(result, "correctness") == "backpressure never went on"
    assert not result.has_passed


def test_spacing_between_too_few_events_is_not_exercised() -> None:
    m = perfect(scenario("paced"))
    total = m.stats.total_dropped
    few = (EventSeen(0.1, 100, 100, False), EventSeen(2.5, total - 100, total, True))

    result = judge(with_overflows(m, few))

    assert outcome_of(result, "correctness") is VerdictOutcome.NOT_EXERCISED
    assert "1 overflow events before the final one, 2 at least" in reasons_of(result, "correctness")


def test_nothing_measured_at_all_fails() -> None:
    m = perfect(scenario("never reads"))
    zeros = dict.fromkeys(("retained", "unread", "available", "high_water", "total_written",
                           "total_dropped", "dropped_attended", "trimmed",
                           "backpressure_events"), 0)  # fmt: skip
    nothing = with_overflows(with_stats(m, **zeros), ())

    result = judge(replace(nothing, end=0, backlog=0, tail=ContentCheck(ChildKind.COUNTER, 0)))

    assert outcome_of(result, "correctness") is VerdictOutcome.FAILED


@pytest.mark.requirement("BLOCK")
@pytest.mark.parametrize(
    ("doctor", "outcome", "told"),
    [
        (lambda m: replace(m, overrun=1), VerdictOutcome.FAILED, "overrun of the credit is 1"),
        (lambda m: replace(m, delivered=m.delivered - 1), VerdictOutcome.FAILED, "delivered is"),
        (one_more(total_dropped=1), VerdictOutcome.FAILED, "dropped is 1"),
        (one_more(high_water=-1), VerdictOutcome.NOT_EXERCISED, "the child was never held"),
    ],
)
def test_block_that_is_not_exact_fails(doctor: Doctor, outcome: VerdictOutcome, told: str) -> None:
    result = judge(doctor(perfect(scenario("block"))))

    assert outcome_of(result, "block") is outcome
    assert told in reasons_of(result, "block")
    assert not result.has_passed


def late(seconds: float) -> Measured:
    return replace(perfect(scenario("fast")), lateness=Lateness.of([0.001, seconds]))


def test_timer_50_ms_late_fails_timing_alone() -> None:
    result = judge(late(0.050))

    assert outcome_of(result, "timing") is VerdictOutcome.FAILED
    assert outcome_of(result, "correctness") is VerdictOutcome.OK
    assert "50.0 ms late" in reasons_of(result, "timing")
    assert judge(late(0.0499)).has_passed


def test_timing_that_is_not_asked_for_is_skipped() -> None:
    result = judge(late(3.0), timing=False)

    assert outcome_of(result, "timing") is VerdictOutcome.SKIPPED
    assert result.has_passed


def test_only_the_default_run_has_a_limit_on_its_time() -> None:
    (ok,) = judge_run(make_plan(), 59.9)
    (failed,) = judge_run(make_plan(), 60.0)
    (skipped,) = judge_run(make_plan(), 90.0, timing=False)

    assert [v.outcome for v in (ok, failed, skipped)] == [
        VerdictOutcome.OK,
        VerdictOutcome.FAILED,
        VerdictOutcome.SKIPPED,
    ]
    assert judge_run(make_plan([MIB]), 90.0) == ()


# What is measured ------------------------------------------------------------------------------


def test_check_accepts_exact_parts_and_told_gaps() -> None:
    check = ContentCheck(ChildKind.COUNTER, 0)

    check.add(Part(0, 0, text(ChildKind.COUNTER, 0, 100)))
    check.add(Part(500, 400, text(ChildKind.COUNTER, 500, 50)))

    assert (check.end, check.size, check.skipped) == (550, 150, 400)
    assert check.wrong_at is None
    assert check.gap_at is None


@pytest.mark.parametrize(
    ("part", "wrong_at", "gap_at"),
    [
        (Part(0, 0, text(ChildKind.COUNTER, 1, 99)), 9, None),  # a byte lost at the start
        (Part(1, 0, text(ChildKind.COUNTER, 1, 99)), None, 0),  # a gap that was not told
        (Part(10, 9, text(ChildKind.COUNTER, 10, 9)), None, 0),  # a gap that was told too short
        (Part(0, 0, text(ChildKind.COUNTER, 0, 50)[:-1] + b"\0"), 49, None),  # a byte changed
    ],
)
def test_check_finds_the_first_fault(part: Part, wrong_at: int | None, gap_at: int | None) -> None:
    check = ContentCheck(ChildKind.COUNTER, 0)

    check.add(part)

    assert (check.wrong_at, check.gap_at) == (wrong_at, gap_at)


def test_samples_stay_bounded_and_keep_both_ends() -> None:
    samples = Samples(0.01)

    for tick in range(100_000):
        seconds = tick * 0.01
        if samples.is_due(seconds):
            samples.add(Sample(seconds, tick, 0, 0, 0.0))

    assert 250 < len(samples.kept) <= 600
    assert samples.kept[0].seconds == 0
    assert samples.kept[-1].seconds > 980


def test_lateness_of_one_tick_is_that_tick() -> None:
    assert Lateness.of([0.25]) == Lateness(1, 0.25, 0.25, 0.25)
    assert Lateness.of([i / 100 for i in range(100)]) == Lateness(100, 0.5, 0.99, 0.99)

"""Verdicts on the figures of a scenario; what was not put to the test does not pass."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ptymux.core.model import MIB, Limits
from ptymux.core.notifications import BufferStats
from ptymux.core.rate_limit import REPORT_SECONDS
from ptymux.core.units import format_size
from ptymux.stress.measurements import ContentCheck, EventSeen, Measured, spacing_of
from ptymux.stress.plan import LATENESS_SECONDS, Conduct, Plan

__all__ = [
    "RUN_SECONDS",
    "VerdictOutcome",
    "Result",
    "Verdict",
    "content_faults",
    "equal",
    "has_passed",
    "judge",
    "judge_run",
    "law_faults",
    "unless",
    "verdict_of",
]

RUN_SECONDS: Final = 60.0  # for the default run
# Events carry the time at which they were published, a moment after the one they were due at: as
# long as the process was kept off its processor just then, at the worst.
_CLOCK_SECONDS: Final = 0.010
# What may come on top of the ring: the interpreter, checks, samples. A buffer that grew with the
# output would go beyond.
_MEMORY_EXTRA: Final = 16 * MIB


class VerdictOutcome(enum.Enum):
    """The word of a verdict."""

    OK = "ok"
    FAILED = "failed"
    NOT_EXERCISED = "not exercised"  # nothing was wrong, and nothing was proven
    SKIPPED = "skipped"  # was not asked for


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one question about a run; the reasons say what was wrong or missing."""

    name: str
    outcome: VerdictOutcome
    reasons: tuple[str, ...] = ()

    @property
    def has_passed(self) -> bool:
        """Whether the run may pass."""
        return self.outcome in (VerdictOutcome.OK, VerdictOutcome.SKIPPED)


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario with its verdicts."""

    measured: Measured
    verdicts: tuple[Verdict, ...]

    @property
    def has_passed(self) -> bool:
        """Whether the scenario passed."""
        return has_passed(self.verdicts)


def has_passed(verdicts: Iterable[Verdict]) -> bool:
    """Whether none of the verdicts keeps a run from passing."""
    return all(verdict.has_passed for verdict in verdicts)


def judge(measured: Measured, *, timing: bool = True) -> Result:
    """Return a scenario with its verdicts: correctness, block if that is its mode, timing."""
    verdicts = [verdict_of("correctness", _faults(measured), _missing(measured))]
    if measured.scenario.conduct is Conduct.BLOCK:
        verdicts.append(verdict_of("block", _block_faults(measured), _block_missing(measured)))
    verdicts.append(
        verdict_of("timing", _timing_faults(measured))
        if timing
        else Verdict("timing", VerdictOutcome.SKIPPED)
    )
    return Result(measured, tuple(verdicts))


def judge_run(plan: Plan, seconds: float, *, timing: bool = True) -> tuple[Verdict, ...]:
    """Return the verdicts on the run as a whole: on its time, if nothing was chosen."""
    if not plan.is_default:
        return ()
    if not timing:
        return (Verdict("run time", VerdictOutcome.SKIPPED),)
    return (
        verdict_of(
            "run time",
            unless(seconds < RUN_SECONDS, f"took {seconds:.1f} s, {RUN_SECONDS:.0f} s at most"),
        ),
    )


def verdict_of(name: str, faults: Iterable[str], missing: Iterable[str] = ()) -> Verdict:
    """Return a verdict: failed with faults, else not exercised if something is missing, else ok."""
    if reasons := tuple(faults):
        return Verdict(name, VerdictOutcome.FAILED, reasons)
    if reasons := tuple(missing):
        return Verdict(name, VerdictOutcome.NOT_EXERCISED, reasons)
    return Verdict(name, VerdictOutcome.OK)


def unless(is_right: bool, reason: str) -> Iterator[str]:
    """Yield the reason, unless all is right."""
    if not is_right:
        yield reason


def equal(what: str, is_: int, must: int) -> Iterator[str]:
    """Yield in words that a number is not what it must be, unless it is."""
    yield from unless(is_ == must, f"{what} is {is_}, it must be {must}")


# Correctness -----------------------------------------------------------------------------------


def _faults(m: Measured) -> Iterator[str]:
    yield from unless(not m.is_stuck, "it did not end by itself")
    yield from unless(m.exit_code == 0, f"the child ended with {m.exit_code}")
    yield from _bound_faults(m)
    yield from law_faults(m.stats)
    yield from _reader_faults(m)
    yield from _drop_faults(m)
    yield from _consumed_faults(m)
    yield from _tail_faults(m)
    yield from _event_faults(m)


def _bound_faults(m: Measured) -> Iterator[str]:
    capacity = m.scenario.capacity
    yield from equal("capacity", m.stats.capacity, capacity)
    for what, most in (
        ("retained", max(m.most_retained, m.stats.retained)),
        ("high water", m.stats.high_water),
    ):
        yield from unless(most <= capacity, f"{what} was {most}, above the capacity {capacity}")
    grown, allowed = m.memory_peak - m.memory_before, capacity + Limits.SLACK + _MEMORY_EXTRA
    yield from unless(
        grown <= allowed,
        f"memory grew by {format_size(grown)}, {format_size(allowed)} at most",
    )


def law_faults(s: BufferStats) -> Iterator[str]:
    """Yield what is wrong with the account of one PTY."""
    for law, left, right in (
        ("written == retained + pending + trimmed + dropped", s.total_written,
         s.retained + s.pending + s.trimmed + s.total_dropped),
        ("dropped == attended + unattended", s.total_dropped,
         s.dropped_attended + s.dropped_unattended),
        ("written == consumed + pending + dropped + unread", s.total_written,
         s.total_consumed + s.pending + s.total_dropped + s.unread),
        ("written == consumed + pending + dropped + available", s.total_written,
         s.total_consumed + s.pending + s.total_dropped + s.available),
    ):  # fmt: skip
        yield from unless(left == right, f"{law} does not hold: {left} and {right}")


def _reader_faults(m: Measured) -> Iterator[str]:
    left, right = m.end - m.start, m.delivered + m.skipped + m.backlog
    law = "end - start == delivered + skipped + backlog"
    yield from unless(left == right, f"{law} does not hold: {left} and {right}")


def _drop_faults(m: Measured) -> Iterator[str]:
    s, scenario = m.stats, m.scenario
    yield from equal("written", s.total_written, scenario.total)
    yield from equal("retained", s.retained, min(scenario.capacity, scenario.total))
    yield from equal("dropped while nobody was attached", s.dropped_unattended, 0)
    yield from equal("merged", s.merged, 0)
    least, most = scenario.dropped
    yield from unless(
        least <= s.total_dropped <= most,
        f"dropped is {s.total_dropped}, it must be "
        + (f"{least}" if least == most else f"{least} to {most}"),
    )


def _consumed_faults(m: Measured) -> Iterator[str]:
    """Yield what is wrong with what the consumer got: bytes, gaps, something left at the end."""
    scenario, check = m.scenario, m.consumed
    yield from equal("the reader's start", m.start, 0)
    yield from equal("the output's end", m.end, scenario.total)
    yield from equal("consumed", m.stats.total_consumed, m.delivered)
    yield from equal("bytes checked", check.size, m.delivered)
    yield from equal("gaps", check.skipped, m.skipped)
    yield from content_faults("consumed", check)
    if scenario.conduct is Conduct.NEVER:
        yield from equal("delivered to who never reads", m.delivered, 0)
        yield from equal("backlog", m.backlog, scenario.total)
    else:
        yield from equal("backlog", m.backlog, 0)
        yield from equal("unread", m.stats.unread, 0)
        yield from equal("skipped by the only reader", m.skipped, m.stats.total_dropped)


def _tail_faults(m: Measured) -> Iterator[str]:
    kept = min(m.scenario.capacity, m.scenario.total)
    yield from equal("the tail's start", m.tail.start, m.scenario.total - kept)
    yield from equal("the tail's size", m.tail.size, kept)
    yield from content_faults("retained", m.tail)


def content_faults(what: str, check: ContentCheck) -> Iterator[str]:
    """Yield where output was not what the child wrote, or a gap was reported wrongly."""
    yield from unless(check.wrong_at is None, f"the {what} byte at {check.wrong_at} is wrong")
    yield from unless(check.gap_at is None, f"the gap at {check.gap_at} was not told as it was")


# Events ----------------------------------------------------------------------------------------


def _event_faults(m: Measured) -> Iterator[str]:
    yield from equal("events missed", m.missed_events, 0)
    least = REPORT_SECONDS - _CLOCK_SECONDS - m.lateness.worst
    yield from _report_faults("overflow", m.overflows, m.stats.total_dropped, least)
    yield from _report_faults("skipped", m.skips, m.skipped, least)
    yield from equal("overflow events counted", m.stats.overflow_events, len(m.overflows))
    yield from equal("warnings logged", m.warnings, 1 if m.stats.total_dropped else 0)
    changes = m.backpressure
    yield from unless(
        all(on is (index % 2 == 0) for index, on in enumerate(changes)),
        "backpressure on and off do not alternate",
    )
    yield from equal("backpressure.on events", sum(changes), m.stats.backpressure_events)
    yield from unless(not m.stats.backpressure, "backpressure is on at the end")
    yield from unless(not changes or not changes[-1], "backpressure.off was not told")
    if not m.scenario.capacity:
        yield from equal("backpressure events without a buffer", len(changes), 0)


def _report_faults(
    what: str, events: Sequence[EventSeen], total: int, least_seconds: float
) -> Iterator[str]:
    yield from equal(f"the sum over {what} events", sum(each.amount for each in events), total)
    so_far = 0
    for each in events:
        so_far += each.amount
        yield from equal(f"the total in the {what} event at {each.seconds:.3f} s",
                          each.total, so_far)  # fmt: skip
    for seconds in spacing_of(events):
        yield from unless(
            seconds >= least_seconds,
            f"{what} events {seconds:.3f} s apart, {REPORT_SECONDS:.0f} s at least",
        )
    yield from unless(not events or events[-1].final, f"the last {what} event is not final")


def _missing(m: Measured) -> Iterator[str]:
    """Yield what did not happen although the scenario proves nothing without it."""
    scenario = m.scenario
    if scenario.dropped[0]:
        yield from unless(m.stats.total_dropped > 0, "nothing was dropped")
        reports = sum(not each.final for each in m.overflows)
        yield from unless(
            reports >= scenario.reports,
            f"{reports} overflow events before the final one, {scenario.reports} at least",
        )
    if scenario.raises_backpressure:
        yield from unless(any(m.backpressure), "backpressure never went on")


# Block and timing ------------------------------------------------------------------------------


def _block_faults(m: Measured) -> Iterator[str]:
    yield from equal("overrun of the credit", m.overrun, 0)
    yield from equal("delivered", m.delivered, m.scenario.total)
    yield from equal("dropped", m.stats.total_dropped, 0)


def _block_missing(m: Measured) -> Iterator[str]:
    if m.scenario.total > m.scenario.capacity:
        yield from unless(
            m.stats.high_water == m.scenario.capacity, "the child was never held by a full buffer"
        )


def _timing_faults(m: Measured) -> Iterator[str]:
    worst = m.lateness.worst
    yield from unless(
        worst < LATENESS_SECONDS,
        f"a timer was {1000 * worst:.1f} ms late, {1000 * LATENESS_SECONDS:.0f} ms at most",
    )

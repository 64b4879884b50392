"""The report of `ptymux stress`: rows for people, JSON for machines.

JSON, schema 1. Numbers are raw: bytes, seconds, bytes a second, shares of 1.

    schema, ptymux, python, kernel, cpus
    child, bytes, sizes[], timing          what was asked for
    passed, seconds, verdicts[]            of the run as a whole
    scenarios[]:
      name, conduct, capacity, threshold, on_full, child, bytes, pace
      passed, verdicts[{name, outcome, reasons[]}]
      seconds, consumed_seconds, write_rate, consume_rate
      written, consumed, dropped, trimmed, retained, unread, skipped, overrun
      peak_utilization, memory_before, memory_peak
      backpressure_on, backpressure_off
      overflow_events[{seconds, dropped_since_last, total_dropped, final}], overflow_spacing[]
      lateness{ticks, p50, p99, max}
      samples[[seconds, written, consumed, dropped, utilization]]

An outcome is "ok", "failed", "not exercised" or "skipped"; `seconds` of an event or a sample
count from the scenario's beginning; a `pace` of 0 is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Final

from ptymux.core.notifications import BufferStats
from ptymux.core.units import format_capacity, format_duration, format_size
from ptymux.stress.measurements import Measured
from ptymux.stress.plan import THRESHOLD, Plan
from ptymux.stress.verdict import Result, Verdict, VerdictOutcome, has_passed

__all__ = [
    "SCHEMA",
    "ReportColumn",
    "StressReport",
    "as_json",
    "columns",
    "complaints",
    "complaints_of",
    "counts_as_json",
    "summary",
    "verdicts_as_json",
    "word",
]

SCHEMA: Final = 1

# Member of a report, and the counter of the PTY that it has.
_COUNTERS: Final[Mapping[str, str]] = {
    "written": "total_written",
    "consumed": "total_consumed",
    "dropped": "total_dropped",
    "trimmed": "trimmed",
    "retained": "retained",
    "unread": "unread",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StressReport:
    """A whole run with its verdicts."""

    plan: Plan
    timing: bool
    seconds: float
    results: tuple[Result, ...]
    verdicts: tuple[Verdict, ...]  # of the run as a whole

    @property
    def has_passed(self) -> bool:
        """Whether the run passed."""
        return has_passed(self.verdicts) and all(result.has_passed for result in self.results)


# For machines ----------------------------------------------------------------------------------


def as_json(report: StressReport, machine: Mapping[str, object]) -> dict[str, object]:
    """Return the report as JSON values, as listed above; `machine` says where it ran."""
    plan = report.plan
    return {
        "schema": SCHEMA,
        **machine,
        "child": plan.child.value,
        "bytes": plan.child_bytes,
        "sizes": list(plan.sizes),
        "timing": report.timing,
        "passed": report.has_passed,
        "seconds": report.seconds,
        "verdicts": verdicts_as_json(report.verdicts),
        "scenarios": [_scenario_json(result) for result in report.results],
    }


def verdicts_as_json(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """Return verdicts as JSON values."""
    return [
        {"name": v.name, "outcome": v.outcome.value, "reasons": list(v.reasons)} for v in verdicts
    ]


def counts_as_json(stats: BufferStats | None) -> dict[str, int | None]:
    """Return where the bytes of a PTY went; all are None when nobody knows."""
    return {
        name: None if stats is None else getattr(stats, counter)
        for name, counter in _COUNTERS.items()
    }


def _scenario_json(result: Result) -> dict[str, object]:
    m, scenario, stats = result.measured, result.measured.scenario, result.measured.stats
    late = m.lateness
    return {
        "name": scenario.name,
        "conduct": scenario.conduct.value,
        "capacity": scenario.capacity,
        "threshold": THRESHOLD,
        "on_full": scenario.on_full.value,
        "child": scenario.child.value,
        "bytes": scenario.child_bytes,
        "pace": scenario.pace,
        "passed": result.has_passed,
        "verdicts": verdicts_as_json(result.verdicts),
        "seconds": m.seconds,
        "consumed_seconds": m.consumed_seconds,
        "write_rate": m.write_rate,
        "consume_rate": m.consume_rate,
        **counts_as_json(stats),
        "skipped": m.skipped,
        "overrun": m.overrun,
        "peak_utilization": m.peak_utilization,
        "memory_before": m.memory_before,
        "memory_peak": m.memory_peak,
        "backpressure_on": sum(m.backpressure),
        "backpressure_off": len(m.backpressure) - sum(m.backpressure),
        "overflow_events": [
            {
                "seconds": event.seconds,
                "dropped_since_last": event.amount,
                "total_dropped": event.total,
                "final": event.final,
            }
            for event in m.overflows
        ],
        "overflow_spacing": list(m.spacing_seconds),
        "lateness": {"ticks": late.ticks, "p50": late.p50, "p99": late.p99, "max": late.worst},
        "samples": [list(astuple(sample)) for sample in m.samples],
    }


# For people ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """One column of the table: its heading, and a cell for each scenario.

    Columns with the same `group` can stand on top of each other where there is little room.
    """

    group: int
    heading: str
    cells: tuple[str, ...]
    is_number: bool = True


def columns(results: Sequence[Result]) -> list[ReportColumn]:
    """Return the table of a run, column by column."""
    rows = [tuple(_cells(result.measured)) for result in results]
    by_column = list(zip(*rows, strict=True)) or [()] * len(_HEADINGS)
    return [
        ReportColumn(group, heading, cells, is_number=heading not in _TEXTS)
        for (group, heading), cells in zip(_HEADINGS, by_column, strict=True)
    ]


_TEXTS: Final = ("Scenario", "Buffer")
_HEADINGS: Final = (
    (0, "Scenario"),
    (0, "Buffer"),
    (1, "Written"),
    (1, "Consumed"),
    (2, "Dropped"),
    (2, "Peak"),
    (3, "MB/s in"),
    (3, "out"),
    (4, "Memory"),
    (4, "On/off"),
    (5, "Overflow"),
    (5, "spaced"),
    (6, "p50 ms"),
    (6, "p99 ms"),
    (7, "max ms"),
    (7, "timers"),
)


def _cells(m: Measured) -> Iterator[str]:
    s, late, spacing = m.stats, m.lateness, m.spacing_seconds
    on, final = sum(m.backpressure), sum(event.final for event in m.overflows)
    yield m.scenario.name
    yield format_capacity(m.scenario.capacity)
    yield format_size(s.total_written)
    yield format_size(s.total_consumed)
    yield format_size(s.total_dropped)
    yield f"{100 * m.peak_utilization:.0f} %"
    yield f"{m.write_rate / 1e6:.1f}"
    yield f"{m.consume_rate / 1e6:.1f}"
    yield format_size(m.memory_peak)
    yield f"{on}/{len(m.backpressure) - on}"
    yield f"{len(m.overflows) - final}+{final}"
    yield f"{min(spacing):.2f} s" if spacing else "-"
    for seconds in (late.p50, late.p99, late.worst):
        yield f"{1000 * seconds:.1f}"
    yield f"{late.ticks}"


def word(verdicts: Sequence[Verdict]) -> VerdictOutcome:
    """Return the worst outcome of some verdicts; skipped ones do not count."""
    outcomes = {verdict.outcome for verdict in verdicts}
    for outcome in (VerdictOutcome.FAILED, VerdictOutcome.NOT_EXERCISED):
        if outcome in outcomes:
            return outcome
    return VerdictOutcome.OK


def complaints(report: StressReport) -> Iterator[tuple[VerdictOutcome, str]]:
    """Yield a line for each reason why the run did not pass."""
    for result in report.results:
        yield from complaints_of(result.verdicts, f"{result.measured.scenario.title}: ")
    yield from complaints_of(report.verdicts, "all: ")


def complaints_of(
    verdicts: Iterable[Verdict], where: str = ""
) -> Iterator[tuple[VerdictOutcome, str]]:
    """Yield a line, after `where`, for each reason why one of the verdicts did not pass."""
    for verdict in verdicts:
        if not verdict.has_passed:
            for reason in verdict.reasons:
                yield verdict.outcome, f"{where}{verdict.name} {verdict.outcome.value}: {reason}"


def summary(report: StressReport) -> str:
    """Return the line that sums the run up."""
    stats = [result.measured.stats for result in report.results]
    bad = sum(not result.has_passed for result in report.results)
    took = format_duration(report.seconds)
    if bad:
        return f"{bad} of {len(stats)} scenarios did not pass, {took}"
    if not report.has_passed:
        return f"the run as a whole did not pass, {took}"
    written = format_size(sum(each.total_written for each in stats))
    dropped = format_size(sum(each.total_dropped for each in stats))
    not_timed = "" if report.timing else "; timing was not judged"
    return (
        f"all {len(stats)} scenarios passed, {took}: {written} written, {dropped} dropped, "
        f"every byte accounted for{not_timed}"
    )

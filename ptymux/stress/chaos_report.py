"""The report of `ptymux stress --chaos`: a table for people, JSON for machines.

JSON, schema 1. Numbers are raw: bytes, seconds, and milliseconds where the name says so.

    schema, ptymux, python, kernel, cpus
    chaos, bytes, capacity                 what was asked for: kills, bytes of each PTY, its buffer
    passed, seconds, verdicts[]            of the run as a whole
    kills, server_replaced, keeper_replaced, events_missed
    longest_silence_ms                     the longest that a reader waited for output
    readers[]:
      name, kind, on_full, passed, verdicts[], kills, seconds, failure
      delivered, skipped                   as the reader counted
      written, consumed, dropped, trimmed, retained, unread     as the server did; null: it cannot
      longest_silence_ms
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ptymux.core.units import format_capacity, format_duration, format_size
from ptymux.stress.chaos import ChaosJudged, ChaosPlan, ReaderMeasured
from ptymux.stress.report import SCHEMA, complaints_of, counts_as_json, verdicts_as_json
from ptymux.stress.result_table import PLAIN_WIDTH, STYLES, to_plain
from ptymux.stress.verdict import Verdict, VerdictOutcome

__all__ = ["chaos_as_json", "render_chaos", "render_chaos_plain"]

_HEADINGS: Final = (
    *("Reader", "Buffer", "Kills", "Delivered", "Skipped", "Dropped", "Silence", "Verdict"),
)


# For machines ----------------------------------------------------------------------------------


def chaos_as_json(judged: ChaosJudged, machine: Mapping[str, object]) -> dict[str, object]:
    """Return the report as JSON values, as listed above; `machine` says where it ran."""
    m = judged.measured
    return {
        "schema": SCHEMA,
        **machine,
        "chaos": m.plan.kills,
        "bytes": m.plan.child_bytes,
        "capacity": m.plan.capacity,
        "passed": judged.has_passed,
        "seconds": m.seconds,
        "verdicts": verdicts_as_json([judged.replaced]),
        "kills": m.kills,
        "server_replaced": m.server_replaced,
        "keeper_replaced": m.keeper_replaced,
        "events_missed": m.events_missed,
        "longest_silence_ms": 1000 * m.silence_seconds,
        "readers": [
            _reader_json(reader, verdict)
            for reader, verdict in zip(m.readers, judged.readers, strict=True)
        ],
    }


def _reader_json(r: ReaderMeasured, verdict: Verdict) -> dict[str, object]:
    return {
        "name": r.plan.name,
        "kind": r.plan.kind.value,
        "on_full": r.plan.on_full.value,
        "passed": verdict.has_passed,
        "verdicts": verdicts_as_json([verdict]),
        "kills": r.kills,
        "seconds": r.seconds,
        "failure": r.failure,
        "delivered": r.check.size,
        "skipped": r.check.skipped,
        **counts_as_json(r.stats),
        "longest_silence_ms": 1000 * r.silence_seconds,
    }


# For people ------------------------------------------------------------------------------------


def render_chaos(judged: ChaosJudged) -> RenderableType:
    """Return the report: a table of the readers, what was wrong, and a line that sums it up."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        is_text = heading in ("Reader", "Verdict")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    for reader, verdict in zip(judged.measured.readers, judged.readers, strict=True):
        outcome = Text(verdict.outcome.value, style=STYLES[verdict.outcome])
        table.add_row(*_cells(judged.measured.plan, reader), outcome)
    style = STYLES[VerdictOutcome.OK if judged.has_passed else VerdictOutcome.FAILED]
    return Group(
        table,
        *(Text(line, style=STYLES[outcome]) for outcome, line in complaints_of(judged.verdicts)),
        Text(_summary(judged), style=style),
    )


def render_chaos_plain(judged: ChaosJudged, width: int = PLAIN_WIDTH) -> str:
    """Return the same report as text without escape codes."""
    return to_plain(render_chaos(judged), width)


def _cells(plan: ChaosPlan, r: ReaderMeasured) -> Iterator[str]:
    yield r.plan.name
    yield format_capacity(plan.capacity)
    yield f"{r.kills}"
    yield format_size(r.check.size)
    yield format_size(r.check.skipped)
    yield "-" if r.stats is None else format_size(r.stats.total_dropped)
    yield f"{1000 * r.silence_seconds:.0f} ms"


def _summary(judged: ChaosJudged) -> str:
    m = judged.measured
    took = format_duration(m.seconds)
    if not judged.has_passed:
        return f"the run did not pass, {took}"
    delivered = format_size(sum(reader.check.size for reader in m.readers))
    skipped = sum(reader.check.skipped for reader in m.readers)
    gaps = f"{format_size(skipped)} in gaps that were told" if skipped else "no byte missed"
    times = "once" if m.kills == 1 else f"{m.kills} times"
    return (
        f"the server was killed {times}, {took}: {delivered} delivered, {gaps}, every byte "
        f"accounted for; the longest silence was {1000 * m.silence_seconds:.0f} ms"
    )

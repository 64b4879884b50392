"""The table at the end of `ptymux stress`, drawn in the room that the screen has."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ptymux.stress.report import ReportColumn, StressReport, columns, complaints, summary, word
from ptymux.stress.verdict import Result, VerdictOutcome

__all__ = ["PLAIN_WIDTH", "STYLES", "render", "render_plain", "to_plain"]

PLAIN_WIDTH: Final = 240  # where nothing is cut: in a pipe or a file
_VERDICT: Final = len("exercised")  # below "not", where there is little room
STYLES: Final = {
    VerdictOutcome.OK: "green",
    VerdictOutcome.FAILED: "bold red",
    VerdictOutcome.NOT_EXERCISED: "bold magenta",
    VerdictOutcome.SKIPPED: "dim",
}
_LEGEND: Final = (
    "MB/s in: what the child wrote, out: what was consumed. Peak: of the buffer. Memory: of this "
    "process and its keeper. On/off: backpressure events. Overflow: events + final ones, and the "
    "least time between them. p50, p99, max: how late the timers came."
)


def render(report: StressReport, width: int) -> RenderableType:
    """Return the whole report for a screen of `width` columns."""
    tables = (_table(report, stacked=stacked) for stacked in (False, True))
    table = next((each for each in tables if _width_of(each) <= width), None)
    lines: list[RenderableType] = [table or _cards(report)]
    if table is not None:
        lines.append(Text(_LEGEND + "\n", style="dim"))
    lines += [Text(line, style=STYLES[outcome]) for outcome, line in complaints(report)]
    style = STYLES[VerdictOutcome.OK if report.has_passed else VerdictOutcome.FAILED]
    lines.append(Text(summary(report), style=style))
    return Group(*lines)


def render_plain(report: StressReport, width: int = PLAIN_WIDTH) -> str:
    """Return the whole report as text without escape codes."""
    return to_plain(render(report, width), width)


def to_plain(drawn: RenderableType, width: int) -> str:
    """Return what is drawn as text without escape codes, in lines of at most `width` columns."""
    console = Console(color_system=None, width=width, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(drawn)
    return "".join(line.rstrip() + "\n" for line in capture.get().strip("\n").splitlines())


def _width_of(table: Table) -> int:
    """Return the columns that a table needs to show every cell whole."""
    console = Console(width=1000)
    return Measurement.get(console, console.options, table).maximum


def _table(report: StressReport, *, stacked: bool) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 0) if stacked else (0, 1),  # besides the blank that parts columns
        show_edge=False,
        pad_edge=False,
        header_style="bold",
    )
    groups = [list(group) for _, group in groupby(columns(report.results), lambda c: c.group)]
    if not stacked:
        groups = [[column] for group in groups for column in group]
    for group in groups:
        table.add_column(
            "\n".join(column.heading for column in group),
            justify="right" if group[0].is_number else "left",
            no_wrap=True,
        )
    for name in ("Verdict",) if stacked else ("Correct", "Block", "Timing"):
        table.add_column(name, width=_VERDICT if stacked else None)
    for row, result in enumerate(report.results):
        table.add_row(*(_cell(group, row) for group in groups), *_verdicts(result, stacked))
    return table


def _cell(group: list[ReportColumn], row: int) -> Text:
    first, *rest = (column.cells[row] for column in group)
    text = Text(first)
    for line in rest:
        text.append("\n" + line, style="dim")
    return text


def _verdicts(result: Result, stacked: bool) -> list[Text]:
    if stacked:
        return [_outcome(word(result.verdicts))]
    found = {verdict.name: verdict.outcome for verdict in result.verdicts}
    return [
        _outcome(found[name]) if name in found else Text("-", style="dim")
        for name in ("correctness", "block", "timing")
    ]


def _outcome(outcome: VerdictOutcome) -> Text:
    return Text(outcome.value, style=STYLES[outcome])


def _cards(report: StressReport) -> Group:
    """Return the scenarios one below the other, for a screen too narrow for a table."""
    by_heading = {column.heading: column.cells for column in columns(report.results)}
    lines = []
    for row, result in enumerate(report.results):
        cell = {heading: cells[row] for heading, cells in by_heading.items()}
        outcome = word(result.verdicts)
        lines.append(
            Text.assemble(
                (result.measured.scenario.title, "bold"), "  ", (outcome.value, STYLES[outcome])
            )
        )
        lines += [
            Text("  " + line)
            for line in (
                f"written  {cell['Written']} at {cell['MB/s in']} MB/s",
                f"consumed {cell['Consumed']} at {cell['out']} MB/s",
                f"dropped  {cell['Dropped']}, peak {cell['Peak']}",
                f"memory   {cell['Memory']}, pressure {cell['On/off']}",
                f"overflow {cell['Overflow']}, spaced {cell['spaced']}",
                f"late     {cell['p50 ms']}, {cell['p99 ms']}, {cell['max ms']} ms",
            )
        ]
    return Group(*lines)

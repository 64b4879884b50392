from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from ptymux.core.model import MIB
from ptymux.stress.live_display import bar, frame
from ptymux.stress.plan import make_plan
from ptymux.stress.plot import plot, round_up
from ptymux.stress.report import StressReport, as_json, columns, complaints, summary
from ptymux.stress.result_table import render, render_plain
from ptymux.stress.runner import Progress
from ptymux.stress.verdict import judge, judge_run
from tests.stress.doctored import perfect


def report(*, broken: bool = False) -> StressReport:
    plan = make_plan()
    measured = [perfect(scenario) for scenario in plan.scenarios]
    if broken:
        measured[3] = replace(measured[3], overrun=4096)
        measured[0] = replace(measured[0], backpressure=(), stats=replace(
            measured[0].stats, backpressure_events=0))  # fmt: skip
    results = tuple(judge(each) for each in measured)
    return StressReport(
        plan=plan, timing=True, seconds=12.3, results=results, verdicts=judge_run(plan, 12.3)
    )


def lines_of(renderable: RenderableType, width: int, height: int = 100) -> list[str]:
    console = Console(width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()


def test_json_has_the_documented_fields_with_raw_numbers() -> None:
    values = json.loads(json.dumps(as_json(report(), {"ptymux": "1", "cpus": 2}), allow_nan=False))

    assert (values["schema"], values["ptymux"], values["passed"]) == (1, "1", True)
    assert values["bytes"] == 50_000_000
    assert values["sizes"] == [MIB, 4 * MIB, 16 * MIB]
    never = values["scenarios"][0]
    assert never["dropped"] == 50_000_000 - MIB
    assert never["verdicts"][0] == {"name": "correctness", "outcome": "ok", "reasons": []}
    assert never["lateness"] == {"ticks": 3, "p50": 0.002, "p99": 0.003, "max": 0.003}
    assert (
        sum(event["dropped_since_last"] for event in never["overflow_events"]) == (never["dropped"])
    )
    assert len(values["scenarios"][-1]["overflow_spacing"]) == 2
    assert never["samples"][1] == [0.5, 50_000_000, 0, never["dropped"], 1.0]


def test_json_fields_are_those_of_the_docstring() -> None:
    from ptymux.stress import report as module

    documented = set(re.findall(r"[a-z_0-9]+", module.__doc__ or ""))
    values = as_json(report(), {})
    scenarios = values["scenarios"]
    assert isinstance(scenarios, list)

    assert set(values) <= documented
    assert set(scenarios[0]) <= documented


@pytest.mark.parametrize("width", [40, 78, 79, 80, 100, 139, 140, 160, 200])
@pytest.mark.parametrize("broken", [False, True])
def test_report_fits_its_width_and_shows_every_scenario_and_verdict(
    width: int, broken: bool
) -> None:
    lines = lines_of(render(report(broken=broken), width), width)
    shown = " ".join(lines)

    assert max(len(line) for line in lines) <= width
    assert "…" not in shown
    if width >= 200:
        assert len([line for line in lines if "50.0 MB" in line]) == 14
    for name in ("never reads", "slow", "fast", "block", "no buffer", "paced"):
        assert name in shown
    assert ("failed" in shown) is broken
    assert ("exercised" in shown) is broken
    assert shown.count("ok") >= 12
    assert "49.0 MB" in shown  # dropped
    assert "2.0" in shown  # the lateness


def test_plain_report_has_no_escape_and_one_line_for_a_scenario() -> None:
    text = render_plain(report(broken=True))

    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    (line,) = [line for line in text.splitlines() if line.startswith("paced ")]
    assert line.split()[:4] == ["paced", "1M", "50.0", "MB"]
    assert "block 1M: block failed: overrun of the credit is 4096, it must be 0" in text
    assert "never reads 1M: correctness not exercised: backpressure never went on" in text
    assert text.endswith("2 of 14 scenarios did not pass, 12 s\n")


def test_summary_says_what_was_proven() -> None:
    assert summary(report()).startswith("all 14 scenarios passed, 12 s: 700.0 MB written, ")
    assert summary(replace(report(), timing=False)).endswith("; timing was not judged")


def test_run_that_took_too_long_is_told_and_fails() -> None:
    slow = replace(report(), seconds=61.0, verdicts=judge_run(make_plan(), 61.0))

    assert not slow.has_passed
    assert summary(slow) == "the run as a whole did not pass, 1 m 1 s"
    assert [line for _, line in complaints(slow)] == [
        "all: run time failed: took 61.0 s, 60 s at most"
    ]


def test_every_column_has_a_cell_for_every_scenario() -> None:
    assert {len(column.cells) for column in columns(report().results)} == {14}
    assert len(columns([])) == len(columns(report().results))


def test_plot_is_an_svg_with_a_labelled_panel_for_each_scenario() -> None:
    full = report(broken=True)
    root = ET.fromstring(plot(full))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    losing = sum(result.measured.stats.total_dropped > 0 for result in full.results)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 14 + losing
    assert texts.count("nothing dropped") == 14 - losing
    for title in ("never reads 1M", "block 16M", "no buffer 0", "paced 1M"):
        assert title in texts
    assert sum(texts.count(f"time, {unit}") for unit in ("s", "ms")) == 14
    assert texts.count("utilization") == 14 + 1
    assert texts.count("dropped, MB") == losing
    assert texts.count("failed") == 1
    assert "threshold" in texts


def test_plot_of_few_scenarios_has_room_for_its_heading() -> None:
    full = report()
    root = ET.fromstring(plot(replace(full, results=full.results[:1])))

    assert int(root.attrib["width"]) >= 600


def test_no_curve_of_a_plot_hides_another() -> None:
    root = ET.fromstring(plot(report(broken=True)))
    curves = list(root.iter("{http://www.w3.org/2000/svg}polyline"))

    widths = {"stroke-dasharray" in curve.attrib: curve.attrib["stroke-width"] for curve in curves}

    # What is dropped comes on top, dashed and thinner.
    assert float(widths[True]) < float(widths[False])


@pytest.mark.parametrize(("seconds", "unit", "marks"), [
    (0.048, "ms", ["0", "10", "20", "30", "40", "50"]),
    (2.9, "s", ["0", "1", "2", "3"]),
])  # fmt: skip
def test_the_axes_of_a_plot_are_marked(seconds: float, unit: str, marks: list[str]) -> None:
    full = report()
    result = full.results[0]
    last = replace(result.measured.samples[-1], seconds=seconds)
    measured = replace(result.measured, samples=(last,))
    one = replace(full, results=(replace(result, measured=measured),))

    root = ET.fromstring(plot(one))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    at = texts.index(f"time, {unit}")
    assert texts[at - len(marks) : at] == marks
    assert [t for t in texts if t and t.endswith("%")] == ["0%", "25%", "50%", "75%", "100%"]


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0, 1), (0.03, 0.03), (0.7, 0.8), (1, 1), (1.1, 1.5), (2.5, 3), (49.9, 50), (99, 100)],
)  # fmt: skip
def test_axis_ends_at_the_next_round_number(value: float, rounded: float) -> None:
    assert round_up(value) == pytest.approx(rounded)


@pytest.mark.parametrize("size", [(200, 50), (80, 24), (40, 10), (20, 6)])
def test_frame_stays_within_the_screen(size: tuple[int, int]) -> None:
    full = report()
    measured = full.results[9].measured
    progress = Progress(9, measured.scenario, measured.samples[-1], 0.003)

    for finished in (0, 9):
        shown = frame(full.plan, progress, list(full.results[:finished]), 5.0, size)
        lines = lines_of(shown, *size)

        assert len(lines) < size[1] + 1
        assert "slow 16M" in lines[0]
        if size[0] >= 40:
            assert max(len(line) for line in lines) < size[0]
            assert "100 %" in lines[3]
            assert lines[4].startswith("dropped")


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0, "───────┃──"), (0.5, "━━━━━──┃──"), (1.0, "━━━━━━━╋━━"), (7.0, "━━━━━━━╋━━")],
)
def test_gauge_shows_share_and_threshold(share: float, drawn: str) -> None:
    assert bar(share, 10, 0.7).plain == drawn


def test_gauge_is_red_beyond_the_threshold() -> None:
    def styles(share: float) -> set[str]:
        return {str(span.style) for span in bar(share, 10, 0.7).spans}

    assert "red" not in styles(0.7)
    assert "red" in styles(0.8)

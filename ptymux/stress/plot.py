"""The picture of `ptymux stress --plot`: utilization and drops over time, a panel a scenario."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from ptymux.stress.measurements import Sample
from ptymux.stress.plan import THRESHOLD
from ptymux.stress.report import StressReport, summary, word
from ptymux.stress.verdict import Result, VerdictOutcome

__all__ = ["plot", "round_up"]

_ACROSS: Final = 4  # panels in a row: a row is a size
_WIDTH, _HEIGHT = 320, 220  # of a panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 56, 34, 44  # of it around the curves
_HEAD: Final = 64
_MARGIN: Final = 12
# Where an axis may end, and into how many parts it is divided then.
_STEPS: Final = {1: 5, 1.5: 3, 2: 4, 3: 3, 4: 4, 5: 5, 6: 3, 8: 4, 10: 5, 15: 3}
_DASHES: Final = "5 3"  # of what is dropped, so that a curve below shows through
_BLUE, _RED, _GREY = "#1f5fa8", "#c0392b", "#6b7280"
_MARKS: Final = {
    VerdictOutcome.OK: "#1b7f3b",
    VerdictOutcome.FAILED: _RED,
    VerdictOutcome.NOT_EXERCISED: "#b7791f",
    VerdictOutcome.SKIPPED: _GREY,
}


def plot(report: StressReport) -> str:
    """Return a picture of the run as an SVG document."""
    across = min(_ACROSS, max(1, len(report.results)))
    down = math.ceil(len(report.results) / across)
    width = max(across * _WIDTH + 2 * _MARGIN, 660)
    height = _HEAD + down * _HEIGHT + _MARGIN
    panels = (
        f'<g transform="translate({_MARGIN + index % across * _WIDTH},'
        f'{_HEAD + index // across * _HEIGHT})">{"".join(_panel(result))}</g>'
        for index, result in enumerate(report.results)
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
            f'width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            _text(_MARGIN, 24, "ptymux stress", size=16, weight="bold"),
            _text(_MARGIN, 44, summary(report), fill=_GREY),
            *_legend(width - 300, 20),
            *panels,
            "</svg>\n",
        ]
    )


def round_up(value: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, ..., also below 1; of 0 it is 1."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _STEPS if step * power >= value * (1 - 1e-9))


def _marks(end: float) -> list[float]:
    """Return the marks of an axis that ends there, 0 and the end among them."""
    power = 10.0 ** math.floor(math.log10(end) + 1e-9)
    parts = next(parts for step, parts in _STEPS.items() if abs(step * power - end) < 1e-6 * end)
    return [end * index / parts for index in range(parts + 1)]


def _legend(x: float, y: float) -> Iterator[str]:
    for at, colour, dash, label in (
        (0, _BLUE, "", "utilization"),
        (100, _RED, _DASHES, "dropped"),
        (180, _GREY, "1 3", "threshold"),
    ):
        yield _line(x + at, y, x + at + 22, y, colour, dash=dash, width=2)
        yield _text(x + at + 27, y + 4, label)


def _panel(result: Result) -> Iterator[str]:
    m = result.measured
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    lasts = max(sample.seconds for sample in m.samples)
    unit, scale = ("ms", 1000.0) if lasts < 1 else ("s", 1.0)
    time, lost = round_up(lasts * scale), max(sample.dropped for sample in m.samples)
    dropped = round_up(lost / 1e6)

    def x(value: float) -> float:
        return _LEFT + (right - _LEFT) * value / time

    def y(share: float) -> float:
        return bottom - (bottom - _TOP) * share

    def at(sample: Sample) -> float:
        return x(sample.seconds * scale)

    yield _text(_LEFT, _TOP - 12, m.scenario.title, size=12, weight="bold")
    outcome = word(result.verdicts)
    yield _text(right, _TOP - 12, outcome.value, anchor="end", fill=_MARKS[outcome], weight="bold")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield _line(_LEFT, y(share), right, y(share), "#e5e7eb")
        yield _line(_LEFT - 4, y(share), _LEFT, y(share), _GREY)
        yield _text(_LEFT - 7, y(share) + 4, f"{share:.0%}", anchor="end", fill=_BLUE)
    for value in _marks(time):
        yield _line(x(value), bottom, x(value), bottom + 4, _GREY)
        yield _text(x(value), bottom + 16, f"{value:g}", anchor="middle")
    yield _text((_LEFT + right) / 2, bottom + 31, f"time, {unit}", anchor="middle", fill=_GREY)
    yield _upright(11, (_TOP + bottom) / 2, "utilization", _BLUE)
    if lost:
        for value in _marks(dropped):
            yield _line(right, y(value / dropped), right + 4, y(value / dropped), _GREY)
            yield _text(right + 7, y(value / dropped) + 4, f"{value:g}", fill=_RED)
        yield _upright(_WIDTH - 12, (_TOP + bottom) / 2, "dropped, MB", _RED)
    else:
        yield _upright(right + 14, (_TOP + bottom) / 2, "nothing dropped", _GREY)
    yield _line(_LEFT, y(THRESHOLD), right, y(THRESHOLD), _GREY, dash="1 3")
    for side in (_LEFT, right):
        yield _line(side, _TOP, side, bottom, _GREY)
    yield _line(_LEFT, bottom, right, bottom, _GREY)
    yield _curve(m.samples, at, lambda sample: y(sample.utilization), _BLUE, width=2.6)
    if lost:
        yield _curve(
            m.samples, at, lambda sample: y(sample.dropped / 1e6 / dropped), _RED, dash=_DASHES
        )


def _curve(
    samples: Sequence[Sample],
    x: Callable[[Sample], float],
    y: Callable[[Sample], float],
    colour: str,
    *,
    width: float = 1.6,
    dash: str = "",
) -> str:
    points = " ".join(f"{x(sample):.1f},{y(sample):.1f}" for sample in samples)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-linejoin="round"{dashed}/>'
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, dash: str = "", width: float = 1
) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str = "#111827",
    size: int = 11,
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def _upright(x: float, y: float, text: str, fill: str) -> str:
    return (
        f'<text transform="translate({x:.1f},{y:.1f}) rotate(-90)" text-anchor="middle" '
        f'fill="{fill}">{escape(text)}</text>'
    )

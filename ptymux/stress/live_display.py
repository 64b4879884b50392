"""The progress of `ptymux stress`: gauges on a terminal, else a line for each scenario."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Self

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ptymux.core.units import format_duration, format_size
from ptymux.stress.plan import THRESHOLD, Plan
from ptymux.stress.report import word
from ptymux.stress.result_table import STYLES
from ptymux.stress.runner import Progress
from ptymux.stress.verdict import Result, judge

__all__ = ["Display", "Stage", "bar", "frame"]


def bar(share: float, width: int, mark: float | None = None) -> Text:
    """Return a gauge of `width` cells, full at a `share` of 1 and red beyond the `mark`."""
    full = round(max(0.0, min(1.0, share)) * width)
    at = None if mark is None else min(width - 1, round(mark * width))
    style = "red" if mark is not None and share > mark else "green"
    text = Text()
    for cell in range(width):
        if cell == at:
            text.append("┃" if cell >= full else "╋", style="magenta")
        elif cell < full:
            text.append("━", style=style)
        else:
            text.append("─", style="dim")
    return text


def frame(
    plan: Plan, progress: Progress, finished: list[Result], seconds: float, size: tuple[int, int]
) -> Group:
    """Return the picture of a run that goes on, within `size` columns and rows."""
    width, height = size
    width = min(width - 3, 100)  # room for the "^C" that a terminal echoes
    scenario, sample = progress.scenario, progress.sample
    share = sample.written / scenario.total
    done = (len(finished) + (0 if progress.finished else min(1.0, share))) / len(plan.scenarios)
    rate = sample.written / sample.seconds / 1e6 if sample.seconds else 0.0
    lines = [
        _spread(
            Text.assemble(
                (f"{progress.index + 1}/{len(plan.scenarios)} ", "dim"), (scenario.title, "bold")
            ),
            Text(format_duration(seconds), style="dim"),
            width,
        ),
        _gauge("run", bar(done, _room(width)), f"{100 * done:.0f} %"),
        _gauge("written", bar(share, _room(width)), f"{rate:.0f} MB/s"),
        _gauge(
            "buffer",
            bar(sample.utilization, _room(width), THRESHOLD),
            f"{100 * sample.utilization:.0f} %",
        ),
        _spread(
            Text(f"dropped {format_size(sample.dropped)}"),
            Text(f"timers {1000 * progress.lateness:.1f} ms late"),
            width,
        ),
    ]
    room = max(0, min(height - len(lines) - 1, len(finished)))
    lines += [_finished(result, width) for result in finished[len(finished) - room :]]
    return Group(*lines)


def _room(width: int) -> int:
    return max(4, width - 18)


def _gauge(name: str, gauge: Text, value: str) -> Text:
    return Text.assemble(
        (f"{name:<8}", "dim"), gauge, f"{value:>10}", no_wrap=True, overflow="crop"
    )


def _spread(left: Text, right: Text, width: int) -> Text:
    gap = max(1, width - cell_len(left.plain) - cell_len(right.plain))
    return Text.assemble(left, " " * gap, right, no_wrap=True, overflow="crop")


def _finished(result: Result, width: int) -> Text:
    m, outcome = result.measured, word(result.verdicts)
    figures = f"{m.write_rate / 1e6:.0f} MB/s"
    if width >= 60:
        figures += f", {format_size(m.stats.total_dropped)} dropped"
    return _spread(
        Text.assemble((f"{outcome.value} ", STYLES[outcome]), m.scenario.title),
        Text(figures, style="dim"),
        width,
    )


class Stage:
    """The place on stderr where progress is drawn; a context manager that clears it at its end.

    Where stderr is no terminal, or no colours are wanted, nothing can be drawn: `size` is None, and
    lines of text are to be printed in its place.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        plain = "NO_COLOR" in os.environ or console.is_dumb_terminal
        self._live = None
        if console.is_terminal and not plain:
            self._live = Live(
                console=console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def size(self) -> tuple[int, int] | None:
        """The columns and rows for a picture, None where nothing can be drawn."""
        if self._live is None:
            return None
        size = self._live.console.size
        return size.width, size.height

    def draw(self, frame: Group) -> None:
        """Draw a picture over the last one."""
        assert self._live is not None
        self._live.update(frame, refresh=True)


class Display(Stage):
    """Shows the progress of scenarios: `update` is what `run` calls.

    Elsewhere than on a terminal `say` gets a line for each scenario that ended. `results` are
    those scenarios with their verdicts.
    """

    def __init__(self, plan: Plan, *, timing: bool, say: Callable[[str], None]) -> None:
        super().__init__()
        self._plan = plan
        self._timing = timing
        self._say = say
        self._started = time.monotonic()
        self.results: list[Result] = []

    def update(self, progress: Progress) -> None:
        """Take the next progress."""
        if progress.finished is not None:
            self.results.append(judge(progress.finished, timing=self._timing))
        if (size := self.size) is not None:
            seconds = time.monotonic() - self._started
            self.draw(frame(self._plan, progress, self.results, seconds, size))
        elif progress.finished is not None:
            count = len(self._plan.scenarios)
            outcome = word(self.results[-1].verdicts).value
            self._say(f"[{progress.index + 1}/{count}] {progress.scenario.title}: {outcome}")

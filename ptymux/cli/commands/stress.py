"""`ptymux stress`: floods real PTYs and prints whether every promise about output was kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ptymux.cli.options.param_types import SIZE, OneOf
from ptymux.cli.output.printing import columns
from ptymux.errors import InvalidValueError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ptymux.stress.plan import Plan
    from ptymux.stress.report import StressReport

__all__ = ["stress"]

_EXAMPLES = """\b
Examples:
  ptymux stress
  ptymux stress --size 64k --size 1M --bytes 10000000
  ptymux stress --child yes --no-timing
  ptymux stress --plot flood.svg
  ptymux stress --chaos 20
  ptymux stress --json | jq '.scenarios[] | [.name, .capacity, .dropped]'
"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--size",
    "sizes",
    type=SIZE,
    multiple=True,
    metavar="SIZE",
    help="Buffer size such as 64k or 4M; repeatable.  [default: 1M, 4M, 16M]",
)
@click.option(
    "--bytes",
    "child_bytes",
    type=SIZE,
    metavar="SIZE",
    help="What the child writes in each scenario.  [default: 50000000]",
)
@click.option(
    "--child",
    type=OneOf("child", ["counter", "yes"]),
    default="counter",
    show_default=True,
    help="Numbered lines of 80 bytes, or `yes | head -c BYTES`, which takes minutes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False),
    metavar="FILE.svg",
    help="Draw utilization and drops over time.",
)
@click.option("--no-timing", is_flag=True, help="Do not judge timing, on a machine that is busy.")
@click.option(
    "--chaos",
    "kills",
    type=int,
    is_flag=False,
    flag_value=10,
    metavar="[N]",
    help="Kill a server, not yours, N times while readers go on.  [default: 10]",
)
@click.pass_context
def stress(
    ctx: click.Context,
    sizes: tuple[int, ...],
    child_bytes: int | None,
    child: str,
    as_json: bool,
    plot: str | None,
    no_timing: bool,
    kills: int | None,
) -> None:
    """Flood real PTYs and prove that their bounded output keeps its promises.

    For each buffer size a child writes 50 MB to a consumer that never reads, a slow one, a fast
    one, and one that holds the child (block); then once without a buffer, and once paced to 20
    MB/s. Every byte is counted and checked. Exits with 1 when a verdict fails.

    With --chaos it starts a server of its own, and kills it again and again while one reader
    follows 50 MB, and another holds the command that writes as much (block).
    """
    if kills is not None:
        _check_goes_with_chaos(child=child, plot=plot)
        ctx.exit(0 if _stress_chaos(kills, child_bytes, sizes, as_json=as_json) else 1)
    from ptymux.stress.child import ChildKind
    from ptymux.stress.plan import DEFAULT_BYTES, DEFAULT_SIZES, make_plan

    plan = make_plan(
        sizes or DEFAULT_SIZES,
        DEFAULT_BYTES if child_bytes is None else child_bytes,
        ChildKind(child),
    )
    with _Picture(plot) as picture:
        report = _run(ctx, plan, timing=not no_timing)
        picture.draw(report)
    _print(report, as_json=as_json)
    ctx.exit(0 if report.has_passed else 1)


def _run(ctx: click.Context, plan: Plan, *, timing: bool) -> StressReport:
    """Run the plan; a TERM or HUP ends it in order, as ^C does."""
    import asyncio
    import signal
    import time

    from ptymux.stress.live_display import Display
    from ptymux.stress.report import StressReport
    from ptymux.stress.runner import run
    from ptymux.stress.verdict import judge_run

    ended_by = 0

    async def act() -> None:
        task = asyncio.current_task()
        assert task is not None

        def end(signum: int) -> None:
            nonlocal ended_by
            ended_by = signum
            task.cancel()

        for signum in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signum, end, signum)
        await run(plan, display.update)

    started = time.monotonic()
    with Display(plan, timing=timing, say=_say) as display:
        try:
            asyncio.run(act())
        except asyncio.CancelledError:
            ctx.exit(128 + ended_by)
    seconds = time.monotonic() - started
    return StressReport(
        plan=plan,
        timing=timing,
        seconds=seconds,
        results=tuple(display.results),
        verdicts=judge_run(plan, seconds, timing=timing),
    )


def _check_goes_with_chaos(*, child: str, plot: str | None) -> None:
    if child != "counter":
        raise click.UsageError("--chaos is with numbered lines only, not with --child.")
    if plot is not None:
        raise click.UsageError("--chaos has nothing to plot; leave out one of the two.")


def _stress_chaos(
    kills: int, child_bytes: int | None, sizes: tuple[int, ...], *, as_json: bool
) -> bool:
    """Run with kills of the server, and print the report; return whether the run passed."""
    from ptymux.stress.chaos import judge_chaos, make_chaos_plan
    from ptymux.stress.chaos_display import ChaosDisplay
    from ptymux.stress.chaos_report import chaos_as_json, render_chaos, render_chaos_plain
    from ptymux.stress.chaos_runner import run_chaos

    plan = make_chaos_plan(kills, child_bytes, sizes)
    with _ended_in_order(), ChaosDisplay(plan, _say) as display:
        judged = judge_chaos(run_chaos(plan, display.update))
    if as_json:
        import json

        click.echo(json.dumps(chaos_as_json(judged, _machine())))
    else:
        _show(render_chaos(judged), render_chaos_plain(judged, _plain_width()))
    return judged.has_passed


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Have a TERM or HUP end the block as ^C does, with its own exit code."""
    import signal

    def end(signum: int, _frame: object) -> None:
        raise click.exceptions.Exit(128 + signum)

    signums = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(signum, end) for signum in signums]
    try:
        yield
    finally:
        for signum, handler in zip(signums, before, strict=True):
            signal.signal(signum, handler)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _machine() -> dict[str, object]:
    """Return the versions and the machine, for a report."""
    import platform

    from ptymux import __version__

    return {
        "ptymux": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
    }


def _show(drawn: RenderableType, plain: str) -> None:
    """Print `drawn` in colours on a terminal, else `plain`."""
    from rich.console import Console

    console = Console()
    if console.is_terminal and "NO_COLOR" not in os.environ:
        console.print(drawn)
    else:
        click.echo(plain, nl=False)


def _print(report: StressReport, *, as_json: bool) -> None:
    if as_json:
        import json

        from ptymux.stress.report import as_json as to_json

        click.echo(json.dumps(to_json(report, _machine())))
        return

    from rich.console import Console

    from ptymux.stress.result_table import render, render_plain

    _show(render(report, Console().width), render_plain(report, _plain_width()))


def _plain_width() -> int:
    from ptymux.stress.result_table import PLAIN_WIDTH

    return columns(PLAIN_WIDTH)


class _Picture:
    """The file of `--plot`: tried before the run, and removed if it was made for nothing."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._is_new = path is not None and not os.path.lexists(path)
        self._is_drawn = False

    def __enter__(self) -> _Picture:
        if self._path is not None:
            try:
                with open(self._path, "ab"):
                    pass
            except OSError as error:
                raise self._refuse(error) from error
        return self

    def __exit__(self, *_error: object) -> None:
        if self._path is not None and self._is_new and not self._is_drawn:
            os.unlink(self._path)

    def draw(self, report: StressReport) -> None:
        """Write the picture of `report`, if one was asked for."""
        if self._path is None:
            return
        from ptymux.stress.plot import plot

        try:
            with open(self._path, "w", encoding="utf-8") as file:
                file.write(plot(report))
        except OSError as error:
            raise self._refuse(error) from error
        self._is_drawn = True

    def _refuse(self, error: OSError) -> InvalidValueError:
        reason = (error.strerror or str(error)).lower()
        return InvalidValueError("--plot", self._path, f"a file that can be written: {reason}")

"""The benchmark: each number beside its goal, on the machine at hand.

Absolute speeds drift by a fifth from one minute to the next, so what is compared runs in turn, in
many rounds, and a ratio is the median of the ratios within a round. The child is the same program
for all. Who drains a PTY in `bench_drain.py` is measured from before the first spawn until the last
output was read, by its own clock; a keeper with its server, and other multiplexers, by the clocks
of the child and of who is at the terminal.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench_crowd import measure_hostile, measure_idle, measure_overview
from bench_drain import measure_eight, measure_one
from bench_engine import (
    measure_account,
    measure_block,
    measure_memory,
    measure_ring,
    measure_spawn,
)
from bench_figures import QUICK, BenchError, Figure, NotMeasurableError, Plan
from bench_served import (
    measure_attached,
    measure_echo,
    measure_interrupt,
    measure_nobody,
    measure_start,
    measure_stats,
)

from ptymux.errors import PtymuxError

__all__ = ["main"]


@dataclass(frozen=True, slots=True)
class Chapter:
    """One part of the benchmark."""

    title: str
    measure: Callable[[Plan], list[Figure]]


# Memory comes first: what another part has freed would serve it for nothing.
CHAPTERS: Final = {
    "memory": Chapter("Memory", measure_memory),
    "one": Chapter("One PTY drained", measure_one),
    "eight": Chapter("Eight PTYs drained by one thread", measure_eight),
    "ring": Chapter("Ring of 4 MiB", measure_ring),
    "spawn": Chapter("Spawning", measure_spawn),
    "block": Chapter("block with a random lossless consumer", measure_block),
    "account": Chapter("OutputBuffer, per call", measure_account),
    "nobody": Chapter("Keeper and server, nobody attached", measure_nobody),
    "attached": Chapter("Somebody attached", measure_attached),
    "echo": Chapter("A typed byte comes back", measure_echo),
    "start": Chapter("From the request to the running child", measure_start),
    "stats": Chapter("A command that asks the server", measure_stats),
    "interrupt": Chapter("^C under a flood", measure_interrupt),
    "overview": Chapter("The dashboard, one of many PTYs floods", measure_overview),
    "idle": Chapter("Many PTYs in which nothing happens", measure_idle),
    "hostile": Chapter("Among clients that hurt", measure_hostile),
}


@contextmanager
def compiled(plan: Plan) -> Iterator[Plan]:
    """Yield the plan with its C program, or with the reason why it has none."""
    compiler = shutil.which("cc")
    if compiler is None:
        yield plan
        return
    with tempfile.TemporaryDirectory(prefix="ptymux-bench-") as folder:
        program = f"{folder}/bench"
        source = str(Path(__file__).with_suffix(".c"))
        done = subprocess.run(
            [compiler, "-O2", "-o", program, source, "-lutil"], capture_output=True, text=True
        )
        if done.returncode == 0:
            yield replace(plan, program=program)
        else:
            print(done.stderr, end="", file=sys.stderr)
            yield replace(plan, why_no_program="cc failed")


def run(plan: Plan, names: Sequence[str]) -> tuple[dict[str, list[Figure]], bool]:
    """Return the figures of each part, and whether all could be measured that were to be."""
    results, is_whole = {}, True
    with compiled(plan) as ready:
        for name in names:
            if sys.stderr.isatty():
                print(f"\r\x1b[K{CHAPTERS[name].title} …", end="", file=sys.stderr, flush=True)
            try:
                results[name] = CHAPTERS[name].measure(ready)
            except NotMeasurableError as reason:
                results[name] = [Figure("everything", "", None, note=str(reason))]
            except BenchError as error:  # the other parts are worth as much without this one
                results[name] = [Figure("everything", "", None, note=f"failed: {error}")]
                is_whole = False
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return results, is_whole


def describe(plan: Plan) -> dict[str, object]:
    return {
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "rounds": plan.rounds,
        "bytes": plan.size,
    }


def show_json(plan: Plan, results: Mapping[str, Sequence[Figure]]) -> None:
    figures = [each.as_json(name) for name, part in results.items() for each in part]
    print(json.dumps({"version": 1, **describe(plan), "figures": figures}, indent=1))


COLUMNS: Final = ("figure", "value", "min..max", "goal", "")


def show_plain(plan: Plan, results: Mapping[str, Sequence[Figure]]) -> None:
    print(", ".join(f"{key}: {value}" for key, value in describe(plan).items()))
    rows = {name: [each.as_cells() for each in part] for name, part in results.items()}
    lines = [COLUMNS, *(row for part in rows.values() for row in part)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, part in rows.items():
        print(f"\n{CHAPTERS[name].title}")
        for row in part:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print(f"  {'  '.join(cells)}".rstrip())


def show_rich(plan: Plan, results: Mapping[str, Sequence[Figure]]) -> None:
    from rich.console import Console
    from rich.table import Table

    caption = ", ".join(f"{key}: {value}" for key, value in describe(plan).items())
    table = Table(*COLUMNS, title="ptymux bench", caption=caption, title_justify="left")
    colours = {True: "green", False: "yellow", None: "dim"}
    for name, part in results.items():
        table.add_section()
        table.add_row(f"[bold]{CHAPTERS[name].title}")
        for figure in part:
            *cells, verdict = figure.as_cells()
            table.add_row(*cells, f"[{colours[figure.is_met]}]{verdict}")
    Console().print(table)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="""Measures ptymux against its goals, and beside tmux and dtach where these are
        installed. Everything takes some ten minutes; name parts to measure less.""",
        epilog="""A missed goal is no failure: exit 0 when it ran, 1 when it could not, 2 for wrong
        usage. A ratio is the median of the ratios within each round, min..max is over the rounds,
        percentiles are over all samples of all rounds. The C loop needs cc.""",
    )
    parts = ", ".join(CHAPTERS)
    parser.add_argument("parts", nargs="*", type=part, metavar="PART", help=f"of {parts}")
    parser.add_argument("--only", action="append", type=part, metavar="PART", help="the same")
    parser.add_argument("--quick", action="store_true", help="a few seconds: does it run at all?")
    parser.add_argument("--rounds", type=positive, metavar="N", help="rounds, 9 by default")
    parser.add_argument(
        "--bytes", type=positive, metavar="N", help="per drain, 50000000 by default"
    )
    parser.add_argument("--json", action="store_true", help="for machines, with every round")
    return parser.parse_args(arguments)


def part(text: str) -> str:
    """Return the name of a part."""
    if text not in CHAPTERS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(CHAPTERS)}")
    return text


def positive(text: str) -> int:
    """Return the number, at least 1, that `text` is; argparse tells of the ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    plan = QUICK if options.quick else Plan()
    plan = replace(plan, rounds=options.rounds or plan.rounds, size=options.bytes or plan.size)
    chosen = [*options.parts, *(options.only or [])]
    logging.getLogger("ptymux").setLevel(logging.ERROR)  # an overflow is what a flood is for
    try:
        results, is_whole = run(plan, [name for name in CHAPTERS if name in (chosen or CHAPTERS)])
    except (BenchError, PtymuxError, OSError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    show = show_json if options.json else show_rich if sys.stdout.isatty() else show_plain
    show(plan, results)
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())

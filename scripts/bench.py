"""The benchmark of the engine: each number beside its goal, on the machine at hand.

Absolute speeds drift by a fifth from one minute to the next, so what is compared runs in turn, in
many rounds, and a ratio is the median of the ratios within a round. Who drains a PTY is measured
from before the first spawn until the last output was read, by its own clock; what each one's
interpreter needs to start is no part of it. The child is the same program for all.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from ptymux.core.model import KIB, MIB, Limits, OnFull, PtyRecord, SpawnOptions
from ptymux.core.output import OutputBuffer, ReaderKind
from ptymux.core.ring import SLACK, Part, RingBuffer, ring_size
from ptymux.errors import PtymuxError
from ptymux.keeper.engine import Engine, Spawned
from ptymux.keeper.link import InProcessLink
from ptymux.keeper.reports import Closed, Exited, Report
from ptymux.manager import OutputReader, PtyManager
from ptymux.posix.memory import create_ring_memory, raise_open_files_limit

__all__ = ["main"]

TICK_SECONDS: Final = 0.002
NO_COMPILER: Final = "no C compiler"
CAPACITY: Final = 4 * MIB  # of the rings that are written, kept or only made

# What writes when nothing can be compiled; its start-up then counts, in every row alike.
PYTHON_WRITER: Final = """
import os, sys
left, line = int(sys.argv[1]), bytes(97 + i % 26 for i in range(79)) + b"\\n"
block = memoryview(819 * line)
while left > 0:
    left -= os.write(1, block[:left])
"""


class BenchError(Exception):
    """The benchmark could not run, or what it ran lost bytes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything to measure."""

    rounds: int = 9
    size: int = 50_000_000  # bytes through the PTYs in a round
    rings: int = 300
    spawns: int = 200
    transfers: int = 300  # of `block`
    samples: int = 20_000  # of an operation that takes microseconds
    program: str | None = None  # scripts/bench.c, compiled
    why_no_program: str = NO_COMPILER

    def share(self, count: int) -> int:
        """Return the bytes of each of `count` PTYs in a round."""
        return max(1, self.size // count)

    def writer(self, size: int) -> tuple[str, ...]:
        """Return a command that writes `size` bytes of text."""
        if self.program is not None:
            return (self.program, "write", str(size))
        return (sys.executable, "-ISc", PYTHON_WRITER, str(size))


QUICK: Final = Plan(rounds=3, size=400_000, rings=20, spawns=10, transfers=20, samples=1000)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a number should be: at least `bound` if `at_least`, else below it; 0 is 0."""

    bound: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '<' if self.bound else '='} {self.bound:g}"

    def is_met(self, value: float) -> bool:
        """Whether `value` reaches the goal."""
        if self.at_least:
            return value >= self.bound
        return value < self.bound or value == self.bound == 0


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, what it was in each round, and its goal if it has one."""

    name: str
    unit: str
    value: float | None  # None when it could not be measured; `note` says why
    rounds: Sequence[float] = ()
    goal: Goal | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal was reached; None without one."""
        if self.goal is None or self.value is None:
            return None
        return self.goal.is_met(self.value)

    def as_json(self, part: str) -> dict[str, object]:
        """Return it for machines, with the part it belongs to."""
        return {
            "part": part,
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "low": min(self.rounds, default=None),
            "high": max(self.rounds, default=None),
            "goal": str(self.goal) if self.goal else None,
            "met": self.is_met,
            "note": self.note,
            "rounds": list(self.rounds),
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return it for people: name, value, spread, goal, verdict."""
        if self.value is None:
            return (self.name, "-", "", str(self.goal or ""), self.note)
        spread = f"{min(self.rounds):.3g}..{max(self.rounds):.3g}" if len(self.rounds) > 1 else ""
        verdict = {None: self.note, True: "met", False: "not met"}[self.is_met]
        value = f"{self.value:.3g} {self.unit}".rstrip()
        return (self.name, value, spread, str(self.goal or ""), verdict)


def median_of(
    name: str, unit: str, rounds: Sequence[float], goal: Goal | None = None, note: str = ""
) -> Figure:
    """Return the median over the rounds."""
    return Figure(name, unit, statistics.median(rounds), rounds, goal, note)


def quantile_of(
    name: str, unit: str, rounds: Sequence[Sequence[float]], share: float, goal: Goal | None = None
) -> Figure:
    """Return the quantile of all samples of all rounds; its spread is that of the rounds' own."""
    pooled = [sample for samples in rounds for sample in samples]
    return Figure(name, unit, quantile(pooled, share), [quantile(r, share) for r in rounds], goal)


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the sample below or at which `share` of them lie; the largest for 1.0."""
    return sorted(samples)[max(0, math.ceil(share * len(samples)) - 1)]


# Draining: a C loop, the engine's own loop, the manager within asyncio ----------------------------


@dataclass(frozen=True, slots=True)
class Drain:
    """What one drain took."""

    size: int
    seconds: float
    cpu_seconds: float
    lateness_ms: Sequence[float] = ()  # of a timer meanwhile

    @property
    def rate(self) -> float:
        """Megabytes a second."""
        return self.size / self.seconds / 1e6


def cpu_seconds() -> float:
    """Return what this process, without its children, has used so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def drain_by_c(plan: Plan, count: int) -> Drain:
    assert plan.program is not None
    command = [plan.program, "drain", str(count), *plan.writer(plan.share(count))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={})
    size, seconds, cpu = done.stdout.split()
    return Drain(int(size), float(seconds), float(cpu))


def text_options(plan: Plan, count: int) -> SpawnOptions:
    return SpawnOptions(argv=plan.writer(plan.share(count)), plain_output=True)


def turn(engine: Engine) -> list[Report]:
    """Wait until the engine has something to do and have it done, as a keeper does."""
    due = engine.deadline
    return engine.run_once(1.0 if due is None else max(0.0, due - time.monotonic()))


def drain_by_engine(plan: Plan, count: int) -> Drain:
    engine, options = Engine(), text_options(plan, count)
    cpu, start = cpu_seconds(), time.perf_counter()
    rings = [engine.spawn(slot, options, {}).ring for slot in range(count)]
    unfinished = unclosed = count
    while unfinished:
        for report in turn(engine):
            unfinished -= isinstance(report, Exited)  # all of its output is in the ring
            unclosed -= isinstance(report, Closed)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    while unclosed:
        unclosed -= sum(isinstance(report, Closed) for report in turn(engine))
    size = sum(ring.total for ring in rings)
    for ring in rings:
        ring.release()
    engine.close()
    return Drain(size, seconds, cpu)


def drain_by_manager(plan: Plan, count: int) -> Drain:
    async def drain() -> Drain:
        options = text_options(plan, count)
        lateness: list[float] = []
        async with PtyManager() as manager:
            ticker = asyncio.create_task(tick(lateness))
            await asyncio.sleep(0)
            cpu, start = cpu_seconds(), time.perf_counter()
            ptys = [(await manager.spawn(options)).pty_id for _ in range(count)]
            await asyncio.gather(*(manager.wait_exited(pty_id) for pty_id in ptys))
            seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
            ticker.cancel()
            await asyncio.gather(*(manager.wait_gone(pty_id) for pty_id in ptys))
            size = sum(manager.get_buffer_stats(pty_id).total_written for pty_id in ptys)
            return Drain(size, seconds, cpu, lateness or [0.0])

    return asyncio.run(drain())


async def tick(lateness_ms: list[float]) -> None:
    """Note how late a timer comes, for ever."""
    now = asyncio.get_running_loop().time
    while True:
        due = now() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        lateness_ms.append(1000 * (now() - due))


def measure_drain(plan: Plan, count: int, goals: Mapping[str, float], late: float) -> list[Figure]:
    drainers = {"engine": drain_by_engine, "manager": drain_by_manager}
    if plan.program is not None:
        drainers = {"C": drain_by_c, **drainers}
    rounds: dict[str, list[Drain]] = {name: [] for name in drainers}
    warm_up = replace(plan, size=min(plan.size, 1_000_000))
    for number, each in enumerate([warm_up, *[plan] * plan.rounds]):
        for name, drainer in drainers.items():
            done = drainer(each, count)
            if done.size != each.share(count) * count:
                raise BenchError(f"{name} read {done.size} bytes, which are not all")
            if number:
                rounds[name].append(done)
    return [*drain_figures(rounds, goals, plan.why_no_program), *late_figures(rounds, late)]


def drain_figures(
    rounds: Mapping[str, Sequence[Drain]], goals: Mapping[str, float], why_no_c: str
) -> Iterator[Figure]:
    for name, bound in goals.items():
        title, goal = f"{name} to C", Goal(bound, at_least=True)
        if "C" in rounds:
            pairs = zip(rounds[name], rounds["C"], strict=True)
            yield median_of(title, "", [one.rate / c.rate for one, c in pairs], goal)
        else:
            yield Figure(title, "", None, goal=goal, note=why_no_c)
    for name, drains in rounds.items():
        yield median_of(f"{name}, speed", "MB/s", [drain.rate for drain in drains])
    for name, drains in rounds.items():
        yield median_of(f"{name}, reader's CPU", "s", [drain.cpu_seconds for drain in drains])


def late_figures(rounds: Mapping[str, Sequence[Drain]], late: float) -> Iterator[Figure]:
    lateness = [drain.lateness_ms for drain in rounds["manager"]]
    yield quantile_of("timer lateness p50", "ms", lateness, 0.50)
    yield quantile_of("timer lateness p99", "ms", lateness, 0.99, Goal(late))
    yield quantile_of("timer lateness worst", "ms", lateness, 1.00, Goal(20))


def measure_one(plan: Plan) -> list[Figure]:
    return measure_drain(plan, 1, {"engine": 0.95, "manager": 0.88}, late=2)


def measure_eight(plan: Plan) -> list[Figure]:
    return measure_drain(plan, 8, {"engine": 0.90, "manager": 0.85}, late=5)


# The ring and the account ------------------------------------------------------------------------


@contextmanager
def shared_ring() -> Iterator[RingBuffer]:
    """Yield a ring in memory of the kind that the engine gives it."""
    memfd, memory = create_ring_memory(ring_size(CAPACITY))
    ring = RingBuffer(CAPACITY, memory)
    try:
        yield ring
    finally:
        ring.release()
        memory.close()
        os.close(memfd)


def time_each(count: int, operation: Callable[[], object]) -> list[float]:
    """Return the microseconds of each of `count` calls, what the clock costs included."""
    clock, times = time.perf_counter_ns, []
    for _ in range(count):
        before = clock()
        operation()
        times.append((clock() - before) / 1000)
    return times


def measure_ring(plan: Plan) -> list[Figure]:
    small, large = os.urandom(4 * KIB), os.urandom(4 * MIB)
    first: list[float] = []
    smalls: list[list[float]] = []
    larges: list[list[float]] = []
    for _ in range(plan.rounds):
        with shared_ring() as ring:
            first += time_each(1, partial(ring.write, large))
            smalls.append(time_each(plan.samples, partial(ring.write, small)))
            larges.append(time_each(plan.samples // 100, partial(ring.write, large)))
    in_ms = [[microseconds / 1000 for microseconds in samples] for samples in larges]
    return [
        quantile_of("write of 4 KiB, p50", "µs", smalls, 0.50),
        quantile_of("write of 4 KiB, p95", "µs", smalls, 0.95, Goal(5)),
        quantile_of("write of 4 MiB, p50", "ms", in_ms, 0.50),
        quantile_of("write of 4 MiB, p95", "ms", in_ms, 0.95, Goal(1)),
        median_of("first write of 4 MiB, into fresh pages", "ms", [each / 1000 for each in first]),
    ]


def measure_account(plan: Plan) -> list[Figure]:
    figures = []
    for count in (1, 16):
        rounds = [statistics.median(time_hands(plan.samples, count)) for _ in range(plan.rounds)]
        figures.append(median_of(f"hand 4 KiB, {count} attached", "µs", rounds))
    for size, what in ((0, "nothing new"), (SLACK, "64 KiB new, all of it lost")):
        rounds = [statistics.median(time_advances(plan.samples, size)) for _ in range(plan.rounds)]
        figures.append(median_of(f"advance, {what}", "µs", rounds))
    return figures


def write_unseen(ring: RingBuffer, size: int) -> None:
    """Let the ring grow without the cost of copying anything."""
    ring.prepare(size)
    ring.commit(size)


def time_hands(count: int, readers: int) -> list[float]:
    with shared_ring() as ring:
        output, data = OutputBuffer(ring), bytes(4 * KIB)
        times: list[float] = []
        attached = [output.attach(ReaderKind.CONSUMER, 0.0)[0] for _ in range(readers)]
        while len(times) < count:
            offset = ring.total
            write_unseen(ring, len(data))
            part = Part(offset, 0, data)
            for reader in attached:
                times += time_each(1, partial(output.hand, reader, part, 0.0))
        return times


def time_advances(count: int, size: int) -> list[float]:
    with shared_ring() as ring:
        output = OutputBuffer(ring)
        times: list[float] = []
        for _ in range(1 + 2 * ring.capacity // SLACK):  # full, its loss told
            write_unseen(ring, SLACK)
            output.advance(0.0)
        while len(times) < count:
            write_unseen(ring, size)
            times += time_each(1, partial(output.advance, 0.0))
        return times


# Spawning, memory, block -------------------------------------------------------------------------


class RingLink(InProcessLink):
    """A link that keeps the rings of what was spawned, to look into them."""

    def __init__(self) -> None:
        super().__init__()
        self.rings: list[RingBuffer] = []

    async def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> Spawned:
        spawned = await super().spawn(slot, options, env)
        self.rings.append(spawned.ring)
        return spawned


def idle_options() -> SpawnOptions:
    program = shutil.which("sleep")
    if program is None:
        raise BenchError("sleep(1) is missing; it is the child of what is spawned here")
    return SpawnOptions(argv=(program, "10000"), buffer_size=CAPACITY)


async def spawn_quietly(manager: PtyManager, options: SpawnOptions, count: int) -> list[float]:
    """Return the milliseconds until each of `count` PTYs was active; they are gone afterwards."""
    times = []
    for _ in range(count):
        before = time.perf_counter()
        record = await manager.spawn(options)
        times.append(1000 * (time.perf_counter() - before))
        await manager.terminate(record.pty_id, grace_seconds=0)
        manager.remove(record.pty_id)
    return times


def measure_spawn(plan: Plan) -> list[Figure]:
    return asyncio.run(spawn_among_rings(plan))


async def spawn_among_rings(plan: Plan) -> list[Figure]:
    raise_open_files_limit()
    options, link = idle_options(), RingLink()
    async with PtyManager(limits=Limits(ptys=plan.rings + 1), link=link) as manager:
        alone = await spawn_quietly(manager, options, plan.spawns)
        link.rings.clear()
        before = own_memory()
        for _ in range(plan.rings):
            await manager.spawn(options)
        idle = own_memory() - before
        block = bytes(SLACK)
        for ring in link.rings:
            for _ in range(CAPACITY // SLACK):  # full, and nothing lost of it
                ring.write(block)
        resident = own_memory() - before
        per_round = max(1, plan.spawns // plan.rounds)
        rounds = [await spawn_quietly(manager, options, per_round) for _ in range(plan.rounds)]
    return [
        quantile_of("spawn to active alone, p95", "ms", [alone], 0.95),
        quantile_of(f"spawn to active beside {plan.rings}, p50", "ms", rounds, 0.50),
        quantile_of(f"spawn to active beside {plan.rings}, p95", "ms", rounds, 0.95, Goal(3)),
        Figure(f"memory of {plan.rings} idle PTYs, rings untouched", "MB", idle, [idle]),
        Figure(f"memory of {plan.rings} PTYs, rings written", "MB", resident, [resident]),
    ]


def own_memory() -> float:
    """Return this process's proportional share of memory in MB, mapped files left out.

    Those are the interpreter and libraries: our share of them depends on who else runs Python.
    """
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return sum(int(field[1]) for field in fields) * KIB / 1e6


def measure_memory(plan: Plan) -> list[Figure]:
    raise_open_files_limit()
    before = own_memory()
    with ExitStack() as rings:
        for _ in range(plan.rings):
            rings.enter_context(shared_ring())
        cost = own_memory() - before
    return [Figure(f"{plan.rings} rings of 4 MiB, untouched", "MB", cost, [cost], Goal(30))]


def measure_block(plan: Plan) -> list[Figure]:
    seed = random.randrange(1 << 32)
    started = time.perf_counter()
    overruns, sizes = zip(*asyncio.run(transfer_randomly(plan, random.Random(seed))), strict=True)
    seconds = time.perf_counter() - started
    name = f"read beyond the credit, worst of {plan.transfers}"
    return [
        Figure(name, "bytes", max(overruns), overruns, Goal(0)),
        Figure("taken through block", "MB", sum(sizes) / 1e6, note=f"seed {seed}, {seconds:.1f} s"),
    ]


async def transfer_randomly(plan: Plan, dice: random.Random) -> list[tuple[int, int]]:
    """Return by how much each transfer overran its credit, and how many bytes it was."""
    link, results = RingLink(), []
    async with PtyManager(link=link) as manager:
        for _ in range(plan.transfers):
            capacity = round(2 ** dice.uniform(0, 17))
            size = min(300_000, round(capacity * dice.uniform(0.5, 60)))
            options = SpawnOptions(
                argv=plan.writer(size),
                plain_output=True,
                buffer_size=capacity,
                on_full=OnFull.BLOCK,
            )
            record = await manager.spawn(options)
            with manager.reader(record.pty_id, ReaderKind.LOSSLESS, offset=0) as reader:
                overrun = await consume_randomly(reader, link.rings[-1], dice)
                if (reader.delivered, reader.skipped) != (size, 0):
                    raise BenchError(f"block delivered {reader.delivered} of {size} bytes")
            await remove_ended(manager, record)
            results.append((overrun, size))
    return results


async def consume_randomly(reader: OutputReader, ring: RingBuffer, dice: random.Random) -> int:
    """Return the most that the engine ever read beyond the credit it had.

    Between two raises the credit stands and the total only grows, so that a look before each raise
    misses nothing.
    """
    worst = 0
    while await reader.wait():
        if dice.random() < 0.2:
            await asyncio.sleep(dice.random() / 500)
        worst = max(worst, ring.total - ring.limit)
        reader.consume(round(2 ** dice.uniform(0, 17)))
    return worst


async def remove_ended(manager: PtyManager, record: PtyRecord) -> None:
    await manager.wait_gone(record.pty_id)
    manager.remove(record.pty_id)


# Running and showing -----------------------------------------------------------------------------


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


def run(plan: Plan, names: Sequence[str]) -> dict[str, list[Figure]]:
    results = {}
    with compiled(plan) as ready:
        for name in names:
            if sys.stderr.isatty():
                print(f"\r\x1b[K{CHAPTERS[name].title} …", end="", file=sys.stderr, flush=True)
            results[name] = CHAPTERS[name].measure(ready)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return results


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
        description="Measures the engine against its goals. The default takes about a minute.",
        epilog="""A missed goal is no failure: exit 0 when it ran, 1 when it could not, 2 for wrong
        usage. A ratio is the median of the ratios within each round, min..max is over the rounds,
        percentiles are over all samples of all rounds. The C loop needs cc.""",
    )
    parser.add_argument("--only", action="append", choices=[*CHAPTERS], help="a part; repeatable")
    parser.add_argument("--quick", action="store_true", help="a few seconds: does it run at all?")
    parser.add_argument("--rounds", type=positive, metavar="N", help="rounds, 9 by default")
    parser.add_argument(
        "--bytes", type=positive, metavar="N", help="per drain, 50000000 by default"
    )
    parser.add_argument("--json", action="store_true", help="for machines, with every round")
    return parser.parse_args(arguments)


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
    logging.getLogger("ptymux").setLevel(logging.ERROR)  # an overflow is what a flood is for
    try:
        results = run(plan, [name for name in CHAPTERS if name in (options.only or CHAPTERS)])
    except (BenchError, PtymuxError, OSError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    show = show_json if options.json else show_rich if sys.stdout.isatty() else show_plain
    show(plan, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

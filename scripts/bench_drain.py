"""Draining PTYs: a C loop, the engine's own loop, a manager with its keeper."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench_figures import BenchError, Figure, Goal, Plan, median_of, quantile_of

from ptymux.core.model import SpawnOptions
from ptymux.engine.engine import Engine
from ptymux.engine.reports import Closed, Exited, Report
from ptymux.link.private_link import PrivateLink
from ptymux.manager import PtyManager

__all__ = ["measure_eight", "measure_one"]

TICK_SECONDS: Final = 0.002


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


def cpu_seconds_of(pid: int) -> float:
    """Return what a process with one thread has used so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


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
        link = PrivateLink()
        async with PtyManager(link=link) as manager:
            await link.begin()
            ticker = asyncio.create_task(tick(lateness))
            await asyncio.sleep(0)
            cpu, start = cpu_seconds() + cpu_seconds_of(link.keeper_pid), time.perf_counter()
            ptys = [(await manager.spawn(options)).pty_id for _ in range(count)]
            await asyncio.gather(*(manager.wait_exited(pty_id) for pty_id in ptys))
            seconds = time.perf_counter() - start
            cpu = cpu_seconds() + cpu_seconds_of(link.keeper_pid) - cpu
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

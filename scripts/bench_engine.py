"""What surrounds the bytes: rings, accounts, spawning, memory, credit."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench_figures import BenchError, Figure, Goal, Plan, median_of, quantile_of

from ptymux.core.model import KIB, MIB, Limits, OnFull, PtyRecord, SpawnOptions
from ptymux.core.output import OutputBuffer
from ptymux.core.reader import ReaderKind
from ptymux.core.ring import SLACK, Cursor, Part, RingBuffer, ring_size
from ptymux.engine.engine import SpawnedPty
from ptymux.link.private_link import PrivateLink
from ptymux.manager import OutputReader, PtyManager
from ptymux.posix.caller import free_ourselves
from ptymux.posix.memory import create_ring_memory

__all__ = ["measure_account", "measure_block", "measure_memory", "measure_ring", "measure_spawn"]

CAPACITY: Final = 4 * MIB  # of the rings that are written, kept or only made


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
    reads: list[list[float]] = []
    for _ in range(plan.rounds):
        with shared_ring() as ring:
            first += time_each(1, partial(ring.write, large))
            smalls.append(time_each(plan.samples, partial(ring.write, small)))
            larges.append(time_each(plan.samples // 100, partial(ring.write, large)))
            reads.append(time_each(plan.samples // 100, partial(Cursor(ring).peek, SLACK)))
    in_ms = [[microseconds / 1000 for microseconds in samples] for samples in larges]
    return [
        quantile_of("write of 4 KiB, p50", "µs", smalls, 0.50),
        quantile_of("write of 4 KiB, p95", "µs", smalls, 0.95, Goal(5)),
        quantile_of("write of 4 MiB, p50", "ms", in_ms, 0.50),
        quantile_of("write of 4 MiB, p95", "ms", in_ms, 0.95, Goal(1)),
        quantile_of("read of 64 KiB, p95", "µs", reads, 0.95, Goal(1000)),
        median_of("first write of 4 MiB, into fresh pages", "ms", [each / 1000 for each in first]),
    ]


def measure_account(plan: Plan) -> list[Figure]:
    figures = []
    for count in (1, 16):
        rounds = [statistics.median(time_hands(plan.samples, count)) for _ in range(plan.rounds)]
        figures.append(median_of(f"hand 4 KiB, {count} attached", "µs", rounds, Goal(1000)))
    for size, what in ((0, "nothing new"), (SLACK, "64 KiB new, all of it lost")):
        rounds = [statistics.median(time_advances(plan.samples, size)) for _ in range(plan.rounds)]
        figures.append(median_of(f"advance, {what}", "µs", rounds, Goal(1000)))
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


class RingLink(PrivateLink):
    """A link that keeps the rings of what was spawned, to look into them."""

    def __init__(self) -> None:
        super().__init__()
        self.rings: list[RingBuffer] = []

    async def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> SpawnedPty:
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
    free_ourselves()
    options, link = idle_options(), RingLink()
    async with PtyManager(limits=Limits(ptys=plan.rings + 1), link=link) as manager:
        await link.begin()
        alone = await spawn_quietly(manager, options, plan.spawns)
        link.rings.clear()
        before = memory_of(link.keeper_pid)
        for _ in range(plan.rings):
            await manager.spawn(options)
        idle = memory_of(link.keeper_pid) - before
        block = bytes(SLACK)
        for ring in link.rings:
            for _ in range(CAPACITY // SLACK):  # full, and nothing lost of it
                ring.write(block)
        resident = memory_of(link.keeper_pid) - before
        per_round = max(1, plan.spawns // plan.rounds)
        rounds = [await spawn_quietly(manager, options, per_round) for _ in range(plan.rounds)]
    return [
        quantile_of("spawn to active alone, p95", "ms", [alone], 0.95),
        quantile_of(f"spawn to active beside {plan.rings}, p50", "ms", rounds, 0.50),
        quantile_of(f"spawn to active beside {plan.rings}, p95", "ms", rounds, 0.95, Goal(3)),
        Figure(f"memory of {plan.rings} idle PTYs, rings untouched", "MB", idle, [idle]),
        Figure(f"memory of {plan.rings} PTYs, rings written", "MB", resident, [resident]),
    ]


def memory_of(*others: int) -> float:
    """Return the proportional share of memory, ours and of `others`, in MB, mapped files left out.

    Those are the interpreter and libraries: our share of them depends on who else runs Python.
    """
    gc.collect()
    maps = [Path(f"/proc/{pid}/smaps_rollup") for pid in (os.getpid(), *others)]
    lines = [line for path in maps for line in path.read_text().splitlines()]
    fields = (line.split() for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return sum(int(field[1]) for field in fields) * KIB / 1e6


def measure_memory(plan: Plan) -> list[Figure]:
    free_ourselves()
    before = memory_of()
    with ExitStack() as rings:
        for _ in range(plan.rings):
            rings.enter_context(shared_ring())
        cost = memory_of() - before
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

"""50 MB from a real child to a consumer that never reads: bounded, counted, and told."""

from __future__ import annotations

import asyncio
import os

import pytest

from ptymux.core.model import MIB, SpawnOptions
from ptymux.core.notifications import BufferStats
from ptymux.core.reader import ReaderKind
from ptymux.manager import PtyManager
from ptymux.stress.child import ChildKind, first_difference
from ptymux.stress.plan import Plan, make_plan
from ptymux.stress.runner import run
from ptymux.stress.verdict import judge

BYTES = 50_000_000


@pytest.mark.stress
@pytest.mark.requirement("FR-005", "OVERFLOW", "BACKPRESSURE", "LAW-PTY", "LAW-READER", "NFR-004")
@pytest.mark.parametrize("size", [0, MIB, 4 * MIB, 16 * MIB])
@pytest.mark.parametrize("kind", list(ChildKind))
def test_flood_nobody_reads_is_bounded_and_exactly_accounted_for(
    kind: ChildKind, size: int
) -> None:
    whole = make_plan([size], BYTES, kind)
    name = "never reads" if size else "no buffer"
    flood = next(each for each in whole.scenarios if each.name == name)
    plan = Plan(sizes=(size,), child=kind, child_bytes=BYTES, scenarios=(flood,))

    (measured,) = asyncio.run(run(plan))

    total = 75_000_000 if kind is ChildKind.YES else BYTES
    stats = measured.stats
    assert (stats.total_written, stats.retained) == (total, size)
    assert (stats.total_dropped, stats.dropped_attended) == (total - size, total - size)
    assert sum(event.amount for event in measured.overflows) == total - size
    assert measured.backpressure == ((True, False) if size else ())
    assert measured.memory_peak - measured.memory_before < size + 20 * MIB
    result = judge(measured)
    assert result.has_passed, result.verdicts


@pytest.mark.stress
@pytest.mark.requirement("OVERFLOW", "LAW-PTY")
def test_literal_yes_through_the_public_api_keeps_its_last_four_mebibytes() -> None:
    async def flood() -> tuple[BufferStats, int, bytes]:
        async with PtyManager() as manager:
            options = SpawnOptions(
                argv=("sh", "-c", "yes | head -c 50000000"), env=dict(os.environ)
            )
            pty_id = (await manager.spawn(options)).pty_id
            with manager.reader(pty_id, ReaderKind.CONSUMER, offset=0):
                await manager.wait_gone(pty_id)
                part = manager.read(pty_id)
                return manager.get_buffer_stats(pty_id), part.offset, part.data

    stats, offset, data = asyncio.run(flood())

    assert stats.total_written == 75_000_000
    assert stats.total_dropped == stats.dropped_attended == 75_000_000 - 4 * MIB
    assert (offset, len(data)) == (75_000_000 - 4 * MIB, 4 * MIB)
    assert first_difference(ChildKind.YES, offset, data) is None

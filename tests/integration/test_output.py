"""The laws on the output of real children, checked by its content."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from ptymux.core.event_log import Topic
from ptymux.core.model import KIB, OnFull, SpawnOptions
from ptymux.core.notifications import BufferStats
from ptymux.core.reader import ReaderKind
from ptymux.core.ring import Part
from ptymux.manager import OutputReader
from ptymux.stress.child import LARGEST_BYTES, ChildKind, argv, first_difference
from tests.gate import Gate, gate
from tests.integration.conftest import (
    LONG,
    RingLink,
    asynchronous,
    command,
    in_time,
    managed,
    output_of,
    set_windows,
    shell,
)
from tests.timing import wait_until_async

__all__ = ["gate"]  # the fixture

_NUMBERS = 300_000
_COUNTER = b"".join(b"%d\n" % number for number in range(1, _NUMBERS + 1))  # 2 MB, what seq gives


@pytest.fixture(autouse=True)
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an ended PTY in `block` wait for its consumer as long as that takes."""
    set_windows(monkeypatch, paused_end=LONG)


def _seq(**options: Any) -> SpawnOptions:
    return shell(f"exec seq 1 {_NUMBERS}", plain_output=True, **options)


def _check_laws(stats: BufferStats) -> None:
    assert stats.total_written == stats.retained + stats.trimmed + stats.total_dropped
    assert stats.total_written == stats.total_consumed + stats.total_dropped + stats.unread
    assert stats.total_dropped == stats.dropped_attended + stats.dropped_unattended


def _check(reader: OutputReader, total: int) -> None:
    """Hold a reader to its law, at the end of a PTY or while the backlog is `total - offset`."""
    backlog = total - reader.offset
    assert total - reader.start == reader.delivered + reader.skipped + backlog


@pytest.mark.requirement("BLOCK", "LAW-READER", "LAW-PTY")
@asynchronous
async def test_slow_lossless_consumer_gets_every_byte() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(_seq(buffer_size=32 * KIB, on_full=OnFull.BLOCK))
        got = bytearray()
        with manager.reader(record.pty_id, ReaderKind.LOSSLESS) as reader:
            while await in_time(reader.wait()):
                assert reader.backlog <= 32 * KIB
                part = reader.consume(5000)
                assert not part.skipped
                got += part.data
                await asyncio.sleep(0)
        await manager.wait_gone(record.pty_id)

        assert bytes(got) == _COUNTER
        stats = manager.get_buffer_stats(record.pty_id)
        _check_laws(stats)
        assert (stats.total_dropped, stats.total_consumed) == (0, len(_COUNTER))
        assert not events.of(record, Topic.BUFFER_OVERFLOW)


@pytest.mark.requirement("BLOCK", "FR-012")
@asynchronous
async def test_unattended_child_in_block_mode_waits_for_whoever_comes() -> None:
    async with managed() as (manager, _events):
        record = await manager.spawn(_seq(buffer_size=16 * KIB, on_full=OnFull.BLOCK))
        await wait_until_async(lambda: manager.get_buffer_stats(record.pty_id).unread == 16 * KIB)

        got = bytearray()
        with manager.reader(record.pty_id, ReaderKind.LOSSLESS) as reader:
            async for part in reader.follow():
                got += part.data

        assert bytes(got) == _COUNTER
        assert (await manager.wait_gone(record.pty_id)).state == "stopped"


@pytest.mark.requirement("FR-005", "LAW-READER")
@asynchronous
async def test_follower_in_drop_mode_sees_everything_up_to_the_end_when_it_keeps_up() -> None:
    async with managed() as (manager, _events):
        record = await manager.spawn(_seq())
        parts: list[Part] = []
        with manager.reader(record.pty_id, offset=0) as reader:
            parts = [part async for part in reader.follow()]
            assert reader.at_end
            _check(reader, len(_COUNTER))

        assert not sum(part.skipped for part in parts)
        assert b"".join(part.data for part in parts) == _COUNTER
        stats = manager.get_buffer_stats(record.pty_id)
        _check_laws(stats)
        assert stats.total_consumed == len(_COUNTER)


@pytest.mark.requirement("LAW-PTY", "LAW-READER", "STATS", "OVERFLOW", "BACKPRESSURE")
@asynchronous
async def test_what_a_slow_consumer_missed_is_told_by_gaps_statistics_and_events(
    gate: Gate,
) -> None:
    async with managed() as (manager, events):
        writes = f"{gate.wait}; exec seq 1 {_NUMBERS}"
        record = await manager.spawn(shell(writes, plain_output=True, buffer_size=64 * KIB))
        gaps: list[tuple[int, int]] = []
        delivered = 0
        with manager.reader(record.pty_id, offset=0) as reader:
            gate.open()  # nothing is written, and so nothing lost, before somebody reads
            while await in_time(reader.wait()):
                part = reader.consume(8000)
                if part.skipped:
                    gaps.append((part.offset - part.skipped, part.offset))
                # Every byte is the one that the child wrote there.
                assert part.data == _COUNTER[part.offset : part.end]
                delivered += len(part.data)
                _check(reader, reader.offset + reader.backlog)  # it grows from look to look
                await wait_until_async(
                    lambda: (
                        reader.backlog > 64 * KIB or manager.get(record.pty_id).state == "stopped"
                    )
                )
            await manager.wait_gone(record.pty_id)
            _check(reader, len(_COUNTER))
            stats = manager.get_buffer_stats(record.pty_id)

        missed = sum(to - start for start, to in gaps)
        assert gaps
        assert missed + delivered == len(_COUNTER)
        assert missed == reader.skipped
        _check_laws(stats)
        assert stats.total_written == len(_COUNTER)
        # A reader that is overtaken goes on a little behind the oldest byte. What lies between is
        # dropped soon, unless it belongs to the very last output: then it stays, unread.
        assert stats.total_dropped + stats.unread == missed
        assert stats.dropped_attended == stats.total_dropped > 0
        assert stats.total_consumed == delivered
        overflows = events.of(record, Topic.BUFFER_OVERFLOW)
        assert sum(int(str(e.payload["dropped_since_last"])) for e in overflows) == (
            stats.total_dropped
        )
        assert overflows[-1].payload["final"] is True
        assert stats.overflow_events == len(overflows)
        skips = events.of(record, Topic.READER_SKIPPED)
        assert sum(int(str(e.payload["skipped_since_last"])) for e in skips) == missed
        on = events.of(record, Topic.BACKPRESSURE_ON)
        off = events.of(record, Topic.BACKPRESSURE_OFF)
        assert len(on) == len(off) == stats.backpressure_events >= 1


@pytest.mark.requirement("LAW-PTY", "FR-005")
@asynchronous
async def test_unattended_flood_keeps_the_exact_end_and_counts_the_rest() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(_seq(buffer_size=10_000))
        await in_time(manager.wait_gone(record.pty_id))

        part = manager.read(record.pty_id)
        assert part == Part(len(_COUNTER) - 10_000, 0, _COUNTER[-10_000:])
        stats = manager.get_buffer_stats(record.pty_id)
        _check_laws(stats)
        assert stats.dropped_unattended == len(_COUNTER) - 10_000
        overflows = events.of(record, Topic.BUFFER_OVERFLOW)
        assert sum(int(str(e.payload["dropped_since_last"])) for e in overflows) == (
            stats.total_dropped
        )
        assert not events.of(record, Topic.BACKPRESSURE_ON)


@pytest.mark.requirement("BLOCK")
@asynchronous
async def test_on_full_is_switched_while_the_child_writes() -> None:
    link = RingLink()
    async with managed(link=link) as (manager, _events):
        capacity = 16 * KIB
        flood = argv(ChildKind.COUNTER, LARGEST_BYTES, 0)
        record = await manager.spawn(command(*flood, plain_output=True, buffer_size=capacity))
        (ring,) = link.rings
        await wait_until_async(lambda: ring.total > capacity)

        offset = manager.set_on_full(record.pty_id, OnFull.BLOCK)
        await wait_until_async(lambda: ring.total == ring.limit)
        held_at = ring.total
        assert offset <= held_at <= offset + capacity

        with manager.reader(record.pty_id, ReaderKind.LOSSLESS, offset=offset) as reader:
            while reader.offset < held_at + capacity and await in_time(reader.wait()):
                part = reader.consume(1000)
                assert not part.skipped
                assert first_difference(ChildKind.COUNTER, part.offset, part.data) is None
            assert reader.offset >= held_at + capacity
            manager.set_on_full(record.pty_id, OnFull.DROP)
            last = reader.offset
            await wait_until_async(lambda: ring.total > last + 4 * capacity)
            await in_time(manager.terminate(record.pty_id))
        _check_laws(manager.get_buffer_stats(record.pty_id))


@pytest.mark.requirement("FR-005", "LAW-READER")
@asynchronous
async def test_any_number_of_readers_each_at_its_own_pace() -> None:
    async with managed() as (manager, _events):
        record = await manager.spawn(_seq(buffer_size=256 * KIB))

        async def follow(size: int, pause: float) -> tuple[int, int]:
            with manager.reader(record.pty_id, offset=0) as reader:
                async for part in reader.follow(size):
                    assert part.data == _COUNTER[part.offset : part.end]
                    await asyncio.sleep(pause)
                _check(reader, len(_COUNTER))
                return reader.delivered, reader.skipped

        paces = [(65536, 0.0), (10_000, 0.001), (3000, 0.003)]
        results = await asyncio.gather(*(follow(*pace) for pace in paces))

        assert [sum(result) for result in results] == [len(_COUNTER)] * 3
        stats = manager.get_buffer_stats(record.pty_id)
        _check_laws(stats)
        assert stats.total_consumed >= max(delivered for delivered, _ in results)


@pytest.mark.requirement("FR-005")
@asynchronous
async def test_output_that_comes_by_drips_wakes_its_reader_each_time() -> None:
    async with managed() as (manager, _events):
        record = await manager.spawn(
            shell("stty -echo; for i in 1 2 3 4 5 6 7 8; do echo $i; read go; done")
        )
        got = b""
        with manager.reader(record.pty_id) as reader:
            for number in range(1, 9):
                while not got.endswith(b"%d\r\n" % number):
                    assert await in_time(reader.wait())
                    got += reader.consume().data
                await manager.write_input(record.pty_id, b"\n")
            assert not await in_time(reader.wait())

        assert re.findall(rb"\d", got) == [b"%d" % n for n in range(1, 9)]


@pytest.mark.requirement("FR-005")
@asynchronous
async def test_an_echo_comes_while_others_flood() -> None:
    link = RingLink()
    async with managed(link=link) as (manager, _events):
        for _ in range(3):
            await manager.spawn(shell("exec yes", buffer_size=64 * KIB))
        floods = list(link.rings)
        record = await manager.spawn(shell("stty -echo; echo ready; exec cat"))
        await output_of(manager, record, b"ready")
        with manager.reader(record.pty_id) as reader:
            reader.consume()
            for number in range(20):
                before = [ring.total for ring in floods]
                await manager.write_input(record.pty_id, b"%d!\n" % number)
                got = b""
                while not got.endswith(b"%d!\r\n" % number):
                    assert await in_time(reader.wait())
                    got += reader.consume().data
                assert got == b"%d!\r\n" % number
                await wait_until_async(
                    lambda before=before: all(  # type: ignore[misc]
                        ring.total > total for ring, total in zip(floods, before, strict=True)
                    )
                )

"""Readers, credit, idleness, losses and what is told of them, with scripted children."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

from ptymux.core.event_log import EventEnvelope, Topic
from ptymux.core.model import Limits, OnFull, PtyRecord
from ptymux.core.reader import ReaderKind
from ptymux.core.ring import NO_LIMIT, Part
from ptymux.core.windows import Windows
from ptymux.errors import InvalidValueError, LimitReachedError
from ptymux.manager import OutputReader, PtyManager
from ptymux.manager.managed_pty import ManagedPty
from tests.integration.conftest import Events, asynchronous, command, in_time
from tests.manager.conftest import QUICK
from tests.manager.fake_engine import FakeEngine
from tests.timing import wait_until_async


async def _collect(reader: OutputReader) -> bytes:
    return b"".join([part.data async for part in reader.follow()])


# Reading -----------------------------------------------------------------------------------------


@pytest.mark.requirement("FR-005", "LAW-READER")
@asynchronous
async def test_follower_sees_everything_up_to_the_end(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat"))
        reader = manager.reader(record.pty_id)
        following = asyncio.create_task(_collect(reader))

        for number in range(200):
            engine.write(record.number, b"%d," % number)
            await asyncio.sleep(0)
        engine.exit(record.number, 0, tail=True)
        engine.write(record.number, b"tail")
        engine.close_terminal(record.number)

        expected = b"".join(b"%d," % number for number in range(200)) + b"tail"
        assert await in_time(following) == expected
        assert reader.at_end
        assert (reader.delivered, reader.skipped, reader.backlog) == (len(expected), 0, 0)
        assert await reader.wait() is False


@asynchronous
async def test_closing_a_reader_ends_who_follows_it(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat"))
        reader = manager.reader(record.pty_id)
        following = asyncio.create_task(_collect(reader))
        await asyncio.sleep(0)

        engine.write(record.number, b"seen")
        await wait_until_async(lambda: reader.delivered == 4)
        reader.close()
        reader.close()
        engine.write(record.number, b"unseen")

        assert await in_time(following) == b"seen"
        assert reader.consume() == reader.read() == Part(4, 0, b"")
        assert await reader.wait() is False
        reader.accept(Part(4, 0, b"unseen"))
        assert (reader.offset, reader.delivered, reader.backlog) == (4, 4, 0)


@asynchronous
async def test_wait_that_is_cancelled_leaves_nothing(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat"))
        with manager.reader(record.pty_id) as reader:
            waiting = asyncio.create_task(reader.wait())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

            engine.write(record.number, b"x")

            assert await in_time(reader.wait()) is True
            assert reader.consume().data == b"x"


@pytest.mark.requirement("LAW-READER")
@asynchronous
async def test_reader_of_a_removed_pty_keeps_its_output(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat"))
        reader = manager.reader(record.pty_id)
        engine.write(record.number, b"kept")
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)

        manager.remove(record.pty_id)

        assert reader.backlog == 4
        assert await in_time(_collect(reader)) == b"kept"
        reader.close()
        assert (reader.delivered, reader.backlog) == (4, 0)


@asynchronous
async def test_reader_of_a_closed_manager_keeps_what_is_retained(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat"))
        reader = manager.reader(record.pty_id)
        engine.write(record.number, b"kept")

    assert await in_time(_collect(reader)) == b"kept"
    reader.close()


@pytest.mark.requirement("FR-005", "STATS")
@asynchronous
async def test_read_looks_and_consume_takes(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat"))
        pty_id = record.pty_id
        engine.write(record.number, b"0123456789")

        assert manager.read(pty_id).data == b"0123456789"
        assert manager.read(pty_id, 4).data == b"0123"
        assert manager.read(pty_id, -1).data == b""
        assert manager.get_buffer_stats(pty_id).unread == 10
        assert manager.consume(pty_id, 4) == Part(0, 0, b"0123")
        assert manager.consume(pty_id, 0).data == manager.consume(pty_id, -1).data == b""
        assert manager.consume(pty_id) == Part(4, 0, b"456789")
        assert manager.get_buffer_stats(pty_id).total_consumed == 10
        manager.clear(pty_id)
        stats = manager.get_buffer_stats(pty_id)
        assert (stats.retained, stats.trimmed, stats.total_dropped) == (0, 10, 0)


@asynchronous
async def test_reader_beyond_the_output_is_refused(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat"))

        with pytest.raises(InvalidValueError):
            manager.reader(record.pty_id, offset=1)
        readers = [manager.reader(record.pty_id) for _ in range(Limits.READERS)]
        with pytest.raises(LimitReachedError):
            manager.reader(record.pty_id)
        readers[0].close()
        manager.reader(record.pty_id).close()


# Credit ------------------------------------------------------------------------------------------


@pytest.mark.requirement("BLOCK")
@asynchronous
async def test_lossless_consumer_holds_the_child_and_gets_every_byte(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        options = command("cat", buffer_size=100, on_full=OnFull.BLOCK)
        record = await manager.spawn(options)
        child = engine.children[record.number]
        data = bytes(range(256)) * 8
        with manager.reader(record.pty_id, ReaderKind.LOSSLESS) as reader:
            engine.write(record.number, data)
            assert (child.ring.total, len(child.waiting)) == (100, len(data) - 100)

            got = b""
            while len(got) < len(data):
                assert await in_time(reader.wait())
                part = reader.consume(7)
                assert not part.skipped
                got += part.data
                assert child.ring.total <= reader.offset + 100

            assert got == data
        assert manager.get_buffer_stats(record.pty_id).total_dropped == 0


@pytest.mark.requirement("BLOCK")
@asynchronous
async def test_on_full_is_switched_on_a_live_pty(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat", buffer_size=100))
        child = engine.children[record.number]
        engine.write(record.number, b"x" * 250)
        assert child.ring.total == 250

        assert manager.set_on_full(record.pty_id, OnFull.BLOCK) == 250
        engine.write(record.number, b"y" * 250)
        held_at = child.ring.total
        assert held_at <= 350
        assert manager.set_on_full(record.pty_id, OnFull.DROP) == held_at

        assert (child.ring.total, child.ring.limit) == (500, NO_LIMIT)
        none = await manager.spawn(command("cat", buffer_size=0))
        with pytest.raises(InvalidValueError):
            manager.set_on_full(none.pty_id, OnFull.BLOCK)


@pytest.mark.requirement("BLOCK")
@asynchronous
async def test_clearing_lets_a_held_child_go_on(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat", buffer_size=100, on_full=OnFull.BLOCK))
        child = engine.children[record.number]
        engine.write(record.number, b"x" * 150)
        assert child.ring.total == 100

        manager.clear(record.pty_id)

        assert child.ring.total == 150


@pytest.mark.requirement("BLOCK", "FR-007")
@asynchronous
async def test_terminate_waits_for_a_lossless_consumer_and_close_does_not(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[ManagedPty] = []
    awaits: property = vars(ManagedPty)["awaits_consumer"]

    def noted(pty: ManagedPty) -> object:
        looks.append(pty)
        return awaits.__get__(pty)

    monkeypatch.setattr(ManagedPty, "awaits_consumer", property(noted))
    async with PtyManager(link=engine, windows=Windows(close=0.01, paused_end=3600)) as manager:
        options = command("cat", buffer_size=100, on_full=OnFull.BLOCK)
        record = await manager.spawn(options)
        reader = manager.reader(record.pty_id, ReaderKind.LOSSLESS)

        ending = asyncio.create_task(manager.terminate(record.pty_id))
        await wait_until_async(lambda: len(looks) > 3)  # after the first one others are closed
        assert not ending.done()
        reader.close()
        assert (await in_time(ending)).state == "stopped"

        other = await manager.spawn(options)
        with manager.reader(other.pty_id, ReaderKind.LOSSLESS):
            await in_time(manager.close())


# Idleness ----------------------------------------------------------------------------------------


@pytest.mark.requirement("FR-009", "SC-004")
@asynchronous
async def test_silence_throttles_and_output_resumes(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(command("cat", idle_timeout_seconds=0.1))

        await wait_until_async(lambda: manager.get(record.pty_id).state == "throttled")
        told = events.one(record, Topic.IDLE_TIMEOUT)
        assert told.payload["idle_seconds"] >= 0.1  # type: ignore[operator]
        engine.write(record.number, b"x")
        await wait_until_async(lambda: len(events.of(record, Topic.IDLE_TIMEOUT)) == 2)
        assert await manager.write_input(record.pty_id, b"to a quiet one") == 14
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)

        assert events.steps(record) == [
            *("idle", "spawning", "active", "throttled", "active", "throttled", "stopped")
        ]


@pytest.mark.requirement("FR-009")
@asynchronous
async def test_idle_timeout_of_zero_means_never(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        never = await manager.spawn(command("cat", idle_timeout_seconds=0))
        other = await manager.spawn(command("cat", idle_timeout_seconds=0.05))

        await wait_until_async(lambda: events.of(other, Topic.IDLE_TIMEOUT))
        engine.write(other.number, b"x")
        await wait_until_async(lambda: len(events.of(other, Topic.IDLE_TIMEOUT)) == 2)

        assert manager.get(never.pty_id).state == "active"


@pytest.mark.requirement("FR-009")
@asynchronous
async def test_ended_pty_is_not_idle(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)

        async def exited() -> PtyRecord:
            record = await manager.spawn(command("cat", idle_timeout_seconds=0.05))
            engine.exit(record.number, 0, tail=True)
            return await manager.wait_exited(record.pty_id)

        record = await exited()
        while events.of(record, Topic.IDLE_TIMEOUT):  # we were stopped before it ended
            engine.close_terminal(record.number)
            record = await exited()
        other = await manager.spawn(command("cat", idle_timeout_seconds=0.05))

        await wait_until_async(lambda: events.of(other, Topic.IDLE_TIMEOUT))

        assert not events.of(record, Topic.IDLE_TIMEOUT)
        engine.close_terminal(record.number)


# Losses ------------------------------------------------------------------------------------------


@pytest.mark.requirement("OVERFLOW", "LAW-PTY", "STATS")
@asynchronous
async def test_overflow_is_told_with_its_sum_and_logged_once(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptymux.core.rate_limit.REPORT_SECONDS", 3600.0)
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(command("cat", buffer_size=1000))

        for _ in range(20):
            engine.write(record.number, b"x" * 700)
            await asyncio.sleep(0)
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)

        told = events.of(record, Topic.BUFFER_OVERFLOW)
        stats = manager.get_buffer_stats(record.pty_id)
        assert stats.total_dropped == 20 * 700 - 1000 == stats.dropped_unattended
        assert sum(int(str(e.payload["dropped_since_last"])) for e in told) == stats.total_dropped
        assert [event.payload["final"] for event in told] == [False, True]
        assert told[-1].payload["total_dropped"] == stats.total_dropped
        warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert record.pty_id in warnings[0].getMessage()
        stopped = events.one(record, Topic.STOPPED)
        assert stopped.payload["total_dropped"] == stats.total_dropped
        assert events.topics(record)[-1] is Topic.STOPPED


@pytest.mark.requirement("STATS", "LAW-PTY")
@asynchronous
async def test_final_statistics_stay_until_the_pty_is_removed(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat", buffer_size=1000))
        engine.write(record.number, b"x" * 800)
        manager.consume(record.pty_id, 500)
        engine.write(record.number, b"y" * 700)
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)

        stats = manager.get_buffer_stats(record.pty_id)

        assert stats.total_written == stats.retained + stats.trimmed + stats.total_dropped == 1500
        assert stats.total_written == stats.total_consumed + stats.total_dropped + stats.unread
        assert (stats.retained, stats.trimmed, stats.unread) == (1000, 500, 1000)
        manager.consume(record.pty_id)
        assert manager.get_buffer_stats(record.pty_id).total_consumed == 1500


@pytest.mark.requirement("BACKPRESSURE")
@asynchronous
async def test_backpressure_is_told_by_the_byte_that_crosses_the_mark(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(command("cat", buffer_size=1000))
        with manager.reader(record.pty_id) as reader:
            engine.write(record.number, b"x" * 750)
            for _ in range(3):  # in the first turn of which it would have been published
                await asyncio.sleep(0)
            assert not events.of(record, Topic.BACKPRESSURE_ON)
            engine.write(record.number, b"x")
            await wait_until_async(lambda: events.of(record, Topic.BACKPRESSURE_ON))

            reader.consume()

            assert events.one(record, Topic.BACKPRESSURE_OFF).payload["reason"] == "caught up"


@pytest.mark.requirement("FR-005")
@asynchronous
async def test_reader_that_falls_behind_is_told_and_its_skips_are_announced(
    engine: FakeEngine,
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(command("cat", buffer_size=100))
        with manager.reader(record.pty_id) as reader:
            engine.write(record.number, bytes(range(250)))

            assert reader.consume() == Part(150, 150, bytes(range(150, 250)))

            assert (reader.start, reader.delivered, reader.skipped) == (0, 100, 150)
            told = events.one(record, Topic.READER_SKIPPED).payload
            assert (told["skipped_since_last"], told["final"]) == (150, False)
        final = events.of(record, Topic.READER_SKIPPED)[-1].payload
        assert (final["total_skipped"], final["final"]) == (150, True)


@asynchronous
async def test_ring_without_capacity_drops_and_tells_everything(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat", buffer_size=0))
        with manager.reader(record.pty_id) as reader:
            following = asyncio.create_task(_collect(reader))
            for _ in range(5):
                engine.write(record.number, b"x" * 100)
                await asyncio.sleep(0)
            engine.exit(record.number, 0)

            assert await in_time(following) == b""
            assert reader.skipped == 500


# pty.output --------------------------------------------------------------------------------------


@pytest.mark.requirement("EVENTS")
@asynchronous
async def test_output_is_announced_in_ranges(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat"))
        engine.write(record.number, b"before anybody asked")
        await asyncio.sleep(0)
        start = engine.children[record.number].ring.total
        events = Events(manager, Topic.OUTPUT)

        def write() -> bool:
            engine.write(record.number, b"x" * 10)
            return len(events.of(record)) > 2

        await wait_until_async(write)
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)

        told = events.of(record)
        ranges = [(event.payload["from"], event.payload["to"]) for event in told]
        assert ranges[0][0] in (0, start)
        assert ranges[-1][1] == manager.get_buffer_stats(record.pty_id).total_written
        assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
        assert {event.seq for event in told} == {None}


@pytest.mark.requirement("EVENTS")
@asynchronous
async def test_first_output_after_subscribing_is_announced_at_once(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat"))
        other = await manager.spawn(command("cat"))
        stream = manager.subscribe([Topic.OUTPUT], pty_id=record.pty_id)

        engine.write(record.number, b"x")
        engine.write(other.number, b"x")
        event = await in_time(anext(aiter(stream)))

        assert isinstance(event, EventEnvelope)
        assert (event.pty_id, event.payload) == (record.pty_id, {"from": 0, "to": 1})
        assert stream.take() == []


@pytest.mark.requirement("EVENTS")
@asynchronous
async def test_no_output_is_announced_while_nobody_subscribed(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)  # of every kept topic
        record = await manager.spawn(command("cat"))

        engine.write(record.number, b"x")
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)

        assert not events.of(record, Topic.OUTPUT)

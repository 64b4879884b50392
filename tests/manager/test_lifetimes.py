"""Timeouts and times to live, with scripted children and a clock that the test moves."""

from __future__ import annotations

import pytest

from ptymux.core.event_log import Topic
from ptymux.core.model import PtyRecord
from ptymux.manager import PtyManager
from tests.integration.conftest import Events, asynchronous, command, in_time
from tests.manager.conftest import QUICK
from tests.manager.fake_engine import FakeEngine
from tests.timing import wait_until_async

pytestmark = pytest.mark.requirement("FR-007", "FR-012")


class Clock:
    """A manager's clock of lifetimes, which stands still until it is moved."""

    def __init__(self, manager: PtyManager) -> None:
        self._manager = manager
        self.now = 1000.0
        manager._spawner.host.clock = lambda: self.now

    def move(self, seconds: float) -> None:
        self.now += seconds
        self._manager._lifetimes._look()


def is_ending(manager: PtyManager, record: PtyRecord) -> bool:
    pty = manager._roster.get(record.pty_id)
    return manager._terminations.of(pty) is not None or pty.end.is_terminating


@asynchronous
async def test_what_has_run_for_its_timeout_is_ended_and_says_so(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        clock, events = Clock(manager), Events(manager)
        other = await manager.spawn(command("cat"))
        record = await manager.spawn(command("cat", timeout_seconds=10.0))

        clock.move(9.9)
        assert not is_ending(manager, record)
        clock.move(0.2)
        await wait_until_async(lambda: bool(manager.get(record.pty_id).timed_out))
        engine.exit(record.number, 0)  # it has cleaned up; the end is bad all the same
        record = await in_time(manager.wait_gone(record.pty_id))

        assert (record.state, record.exit_code, record.timed_out) == ("errored", 0, True)
        assert events.one(record, Topic.TERMINATING).payload["timed_out"] is True
        assert events.one(record, Topic.STOPPED).payload["timed_out"] is True
        assert events.one(record, Topic.ERROR).payload["error"] == "timed out"
        assert manager.get(other.pty_id).state == "active"


@asynchronous
async def test_who_ended_or_is_being_ended_does_not_time_out(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        clock = Clock(manager)
        ended = await manager.spawn(command("cat", timeout_seconds=10.0))
        asked = await manager.spawn(command("cat", timeout_seconds=10.0))
        engine.exit(ended.number, 3)
        await manager.wait_gone(ended.pty_id)
        pty = manager._roster.get(asked.pty_id)
        manager._terminations.begin(pty, 5.0, pty.cause)

        clock.move(11.0)
        engine.exit(asked.number, 0)
        await in_time(manager.wait_gone(asked.pty_id))

        for record in (ended, asked):
            assert not manager.get(record.pty_id).timed_out
        assert manager.get(asked.pty_id).state == "stopped"


@asynchronous
async def test_an_ended_pty_is_removed_when_its_time_to_live_is_over(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        clock = Clock(manager)
        record = await manager.spawn(command("cat", ttl_seconds=60.0))
        other = await manager.spawn(command("cat"))
        clock.move(1000.0)
        for each in (record, other):
            engine.exit(each.number, 0)
            await manager.wait_gone(each.pty_id)

        clock.move(59.0)
        assert {each.pty_id for each in manager.list()} == {record.pty_id, other.pty_id}
        clock.move(2.0)

        assert [each.pty_id for each in manager.list()] == [other.pty_id]


@asynchronous
async def test_a_time_to_live_of_zero_removes_it_at_its_end(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(command("cat", ttl_seconds=0))

        engine.exit(record.number, 0)
        await in_time(manager.wait_gone(record.pty_id))

        await wait_until_async(lambda: not manager.list())


@asynchronous
async def test_it_stays_while_a_client_is_about_to_attach(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        clock = Clock(manager)
        record = await manager.spawn(command("cat", ttl_seconds=1.0))
        pty = manager._roster.get(record.pty_id)
        pty.is_watched = True
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)

        clock.move(5.0)
        assert manager.list()
        pty.is_watched = False
        clock.move(0.0)

        assert not manager.list()


@asynchronous
async def test_a_closed_manager_has_no_timer_left(engine: FakeEngine) -> None:
    manager = PtyManager(link=engine, windows=QUICK)
    for _ in range(2):
        record = await manager.spawn(command("cat", timeout_seconds=10.0, ttl_seconds=10.0))
    engine.exit(record.number, 0)
    await manager.wait_gone(record.pty_id)
    lifetimes = manager._lifetimes
    timers = [lifetimes._timer]

    await manager.close()

    timers.append(lifetimes._timer)
    assert [timer is not None for timer in timers] == [True, False]
    assert len(manager.list()) == 2

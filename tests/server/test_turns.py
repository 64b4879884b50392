"""Clients that ask without end, beside others that ask little."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ptymux.server import turns
from ptymux.server.turns import TimeBudget, Turns
from tests.timing import deadline_seconds

pytestmark = pytest.mark.requirement("SC-002")


class Clock:
    """A clock that the work of a connection moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns, "time", clock)
    return clock


class Rounds:
    """Counts the rounds of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._count()

    def _count(self) -> None:
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._count)

    def stop(self) -> None:
        self._handle.cancel()


def run(test: Callable[[Turns, Rounds], object]) -> None:
    async def whole() -> None:
        rounds = Rounds()
        async with asyncio.timeout(deadline_seconds()):
            await test(Turns(), rounds)  # type: ignore[misc]
        rounds.stop()

    asyncio.run(whole())


async def work(budget: TimeBudget, clock: Clock, times: int, seconds: float = 0.001) -> None:
    """Work so often for so long, with a pause behind each."""
    for _ in range(times):
        clock.now += seconds
        await budget.pause()


def test_short_work_is_not_interrupted(clock: Clock) -> None:
    async def test(turns: Turns, rounds: Rounds) -> None:
        budget = TimeBudget(turns)
        before = rounds.count

        await work(budget, clock, 9, 0.0001)

        assert rounds.count == before

    run(test)


def test_long_work_lets_others_go_first_again_and_again(clock: Clock) -> None:
    async def test(turns: Turns, rounds: Rounds) -> None:
        budget = TimeBudget(turns)
        before = rounds.count

        await work(budget, clock, 50)

        assert rounds.count >= before + 49

    run(test)


def test_of_many_that_have_used_their_time_one_works_in_each_round(clock: Clock) -> None:
    async def test(turns: Turns, rounds: Rounds) -> None:
        budgets = [TimeBudget(turns) for _ in range(16)]
        await asyncio.gather(*(work(budget, clock, 10) for budget in budgets))
        before = rounds.count

        await asyncio.gather(*(work(budget, clock, 10) for budget in budgets))

        assert rounds.count >= before + 140

    run(test)


def test_who_has_used_the_least_is_next(clock: Clock) -> None:
    async def test(turns: Turns, rounds: Rounds) -> None:
        greedy = [TimeBudget(turns) for _ in range(16)]
        tasks = [asyncio.ensure_future(work(budget, clock, 1000)) for budget in greedy]
        await asyncio.sleep(0)
        while min(budget.used for budget in greedy) < 0.05:
            await asyncio.sleep(0)
        modest = TimeBudget(turns)
        before = rounds.count

        await work(modest, clock, 20)

        assert rounds.count <= before + 3 * 20  # a turn takes three rounds at most
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(test)


def test_what_was_used_is_forgotten_as_time_passes(clock: Clock) -> None:
    async def test(turns: Turns, _rounds: Rounds) -> None:
        budget = TimeBudget(turns)
        await work(budget, clock, 100)
        used = budget.used

        clock.now += 20.0
        budget.begin()
        await work(budget, clock, 1)

        assert used > 0.05
        assert budget.used < 0.005

    run(test)


def test_waiting_for_others_is_counted_as_little_work(clock: Clock) -> None:
    async def test(turns: Turns, _rounds: Rounds) -> None:
        budget = TimeBudget(turns)

        await work(budget, clock, 1, seconds=3600.0)

        assert budget.used <= 0.05

    run(test)


def test_who_leaves_while_it_waits_takes_no_turn(clock: Clock) -> None:
    async def test(turns: Turns, _rounds: Rounds) -> None:
        budgets = [TimeBudget(turns) for _ in range(3)]
        tasks = [asyncio.ensure_future(work(budget, clock, 20)) for budget in budgets]
        await asyncio.sleep(0)
        tasks[0].cancel()

        await asyncio.gather(*tasks[1:])

        assert tasks[0].cancelled()

    run(test)

"""Output is passed on from within a refresh, no wake-up is lost, and silence is noticed in time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.event_log import Topic
from ptymux.core.model import SpawnOptions
from ptymux.core.notifications import BufferNotification
from ptymux.core.reader import Reader, ReaderKind
from ptymux.core.ring import RingBuffer
from ptymux.manager import flow as flow_module
from ptymux.manager.flow import Flow
from tests.manager.fake_engine import FakeEngine
from tests.timing import deadline_seconds


class Silent:
    """A listener whom nothing concerns."""

    wants_ranges = False

    def on_notifications(self, notifications: list[BufferNotification]) -> None: ...

    def on_accounted(self) -> None: ...

    def on_output(self) -> None: ...

    def on_silence(self, seconds: float) -> None: ...

    answers_queries = False

    def on_queries(self, output: bytes) -> int:
        return 0

    def on_modes(self) -> None: ...

    wants_titles = False

    def on_title(self, topic: Topic, payload: object) -> None: ...

    def on_range(self, start: int, end: int) -> None: ...


class Taker:
    """A consumer that takes one byte at a time, while it may."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.taken = b""
        self.may = True
        self.reader: Reader
        self.reader, _told = flow.buffer.attach(ReaderKind.CONSUMER, 0.0)

    def take(self) -> bool:
        if self.may:
            part = self.reader.cursor.peek(1)
            self.taken += part.data
            self.flow.hand(self.reader, part)
        return self.may


def run(test: Callable[[Flow, RingBuffer], Awaitable[None]]) -> None:
    async def whole() -> None:
        ring = RingBuffer(4096)
        flow = Flow(FakeEngine(), 1, Silent())
        flow.begin(ring, SpawnOptions(argv=("true",), env={}))
        async with asyncio.timeout(deadline_seconds()):
            await test(flow, ring)
        flow.end()

    asyncio.run(whole())


async def settled(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_output_is_taken_within_the_refresh_and_the_rest_without_another_report() -> None:
    async def test(flow: Flow, ring: RingBuffer) -> None:
        taker = Taker(flow)
        waiting = asyncio.create_task(flow.woken(taker.reader.cursor, taker.take))
        await asyncio.sleep(0)

        ring.write(b"abc")
        flow.refresh()

        assert taker.taken == b"a"
        await settled(lambda: taker.taken == b"abc")
        assert ring.wake_at == 4
        assert not waiting.done()
        assert flow.buffer.stats().total_consumed == 3
        flow.wake()
        await waiting

    run(test)


def test_output_that_comes_while_another_is_taken_is_not_left_waiting() -> None:
    async def test(flow: Flow, ring: RingBuffer) -> None:
        taker = Taker(flow)

        def take() -> bool:
            if ring.total == 1:
                ring.write(b"b")  # the engine tells nothing: it was told of the first already
            return taker.take()

        waiting = asyncio.create_task(flow.woken(taker.reader.cursor, take))
        await asyncio.sleep(0)
        ring.write(b"a")
        flow.refresh()

        await settled(lambda: taker.taken == b"ab")
        flow.wake()
        await waiting

    run(test)


def test_who_cannot_take_now_is_woken() -> None:
    async def test(flow: Flow, ring: RingBuffer) -> None:
        taker = Taker(flow)
        taker.may = False
        waiting = asyncio.create_task(flow.woken(taker.reader.cursor, taker.take))
        await asyncio.sleep(0)

        ring.write(b"a")
        flow.refresh()

        await waiting
        assert taker.taken == b""

    run(test)


def test_what_taking_raises_is_raised_to_who_waits_and_to_nobody_else() -> None:
    async def test(flow: Flow, ring: RingBuffer) -> None:
        def fail() -> bool:
            raise ConnectionResetError

        failing, taker = Taker(flow), Taker(flow)
        doomed = asyncio.create_task(flow.woken(failing.reader.cursor, fail))
        waiting = asyncio.create_task(flow.woken(taker.reader.cursor, taker.take))
        await asyncio.sleep(0)

        ring.write(b"a")
        flow.refresh()

        with pytest.raises(ConnectionResetError):
            await doomed
        assert taker.taken == b"a"
        flow.wake()
        await waiting

    run(test)


# Time --------------------------------------------------------------------------------------------


_LATE_SECONDS: Final = 1e-6  # a timer always is


class Clock:
    """The time of a flow and its timers, which go on when the test says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = 1000.0
        self.call_soon = loop.call_soon
        self._loop = loop
        self._timers: list[asyncio.TimerHandle] = []

    def monotonic(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self._timers.append(asyncio.TimerHandle(when, callback, (), self._loop))
        return self._timers[-1]

    def skip(self, seconds: float) -> None:
        """Let time pass, and call what is due meanwhile, each at its time."""
        end = self.now + seconds
        while due := sorted(timer for timer in self._timers if timer.when() <= end):
            self._timers.remove(due[0])
            self.now = max(self.now, due[0].when() + _LATE_SECONDS)
            if not due[0].cancelled():
                due[0]._run()
        self.now = max(self.now, end)


class Noted(Silent):
    """A listener that notes what it is notified of, and when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.silences: list[float] = []
        self.ranges: list[tuple[int, int]] = []
        self.ranges_at: list[float] = []

    def on_silence(self, seconds: float) -> None:
        self.silences.append(seconds)

    def on_range(self, start: int, end: int) -> None:
        self.ranges.append((start, end))
        self.ranges_at.append(self.clock.now)


class Timed:
    """A flow whose child writes, and whose time passes, when the test says so."""

    def __init__(self, idle_seconds: float) -> None:
        self.clock = Clock(asyncio.get_running_loop())
        self.noted = Noted(self.clock)
        self.ring = RingBuffer(4096)
        self.flow = Flow(FakeEngine(), 1, self.noted)
        self.flow._loop = self.clock  # type: ignore[assignment]
        self._options = SpawnOptions(argv=("x",), env={}, idle_timeout_seconds=idle_seconds)

    def begin(self) -> None:
        self.flow.begin(self.ring, self._options)
        self.flow.refresh()

    def write(self) -> None:
        """Write, and report that as an engine does: when the flow has asked for it."""
        self.ring.write(b"x")
        if self.ring.total >= self.ring.wake_at:
            self.flow.refresh()


def run_timed(test: Callable[[Timed], None], idle_seconds: float = 10.0) -> None:
    async def whole() -> None:
        with pytest.MonkeyPatch.context() as patch:
            timed = Timed(idle_seconds)
            patch.setattr(flow_module, "time", timed.clock)
            timed.begin()
            test(timed)
            timed.flow.end()

    asyncio.run(whole())


@pytest.mark.requirement("FR-009")
def test_silence_is_noticed_once_until_there_is_output_again() -> None:
    def test(timed: Timed) -> None:
        timed.clock.skip(9.9)
        assert timed.noted.silences == []
        timed.clock.skip(0.2)
        assert timed.noted.silences == [pytest.approx(10.0)]
        timed.clock.skip(1000)
        assert len(timed.noted.silences) == 1

        timed.write()
        timed.clock.skip(9.9)
        assert len(timed.noted.silences) == 1
        timed.clock.skip(1000)

        assert len(timed.noted.silences) == 2
        assert 10.0 <= timed.noted.silences[1] < 11.0  # a look comes a little later

    run_timed(test)


@pytest.mark.requirement("FR-009")
@given(st.lists(st.floats(0, 9.3), max_size=40))
def test_a_busy_pty_is_never_silent(pauses: list[float]) -> None:
    def test(timed: Timed) -> None:
        for pause in pauses:
            timed.clock.skip(pause)
            timed.write()
        assert timed.noted.silences == []
        timed.clock.skip(1000)
        assert len(timed.noted.silences) == 1

    run_timed(test)


@pytest.mark.requirement("FR-009")
def test_a_pty_without_a_timeout_or_without_a_child_is_never_silent() -> None:
    def never(timed: Timed) -> None:
        timed.write()
        timed.clock.skip(1000)
        assert timed.noted.silences == []

    def ended(timed: Timed) -> None:
        timed.write()
        timed.flow.end_idle()
        timed.clock.skip(1000)
        assert timed.noted.silences == []

    run_timed(never, idle_seconds=0)
    run_timed(ended)


@pytest.mark.requirement("EVENTS")
@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=60))
def test_ranges_are_published_four_a_second_at_most_and_miss_nothing(pauses: list[float]) -> None:
    def test(timed: Timed) -> None:
        timed.noted.wants_ranges = True
        timed.flow.refresh()
        for pause in pauses:
            timed.clock.skip(pause)
            timed.write()
        timed.flow.end()

        noted = timed.noted
        assert noted.ranges[0][0] == 0
        assert noted.ranges[-1][1] == len(pauses)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(noted.ranges))
        assert noted.ranges_at[0] == 1000.0 + pauses[0]  # the first output at once
        times = noted.ranges_at
        assert all(last - first > 0.99 for first, last in zip(times, times[4:], strict=False))

    run_timed(test)

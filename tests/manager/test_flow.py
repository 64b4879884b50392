"""Output is passed on from within a refresh to who says how, and no wake-up is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ptymux.core.model import SpawnOptions
from ptymux.core.notifications import BufferNotification
from ptymux.core.reader import Reader, ReaderKind
from ptymux.core.ring import RingBuffer
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

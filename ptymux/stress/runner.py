"""Runs the scenarios of `ptymux stress`, one after the other, and measures them.

It works as any program that uses the library: a keeper process has the PTYs. This process has one
event loop with the reader and with a ticker, which notices how late timers come. The child begins
once both are there. Memory is that of both processes, with the ring counted once. The time that
measuring and drawing take is not counted as lateness.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from ptymux.core.event_log import Topic
from ptymux.core.model import Limits, SpawnOptions
from ptymux.core.reader import ReaderKind
from ptymux.link.private_link import PrivateLink
from ptymux.manager import EventStream, OutputReader, PtyManager
from ptymux.posix.memory import resident_memory
from ptymux.stress.child import ChildKind, argv
from ptymux.stress.measurements import ContentCheck, EventTally, Lateness, Measured, Sample, Samples
from ptymux.stress.plan import SLOWNESS, THRESHOLD, Conduct, Plan, Scenario

__all__ = ["Progress", "run"]

_TICK_SECONDS: Final = 0.005
_SAMPLE_SECONDS: Final = 0.002  # so that a run of 100 ms has a curve
_PROGRESS_SECONDS: Final = 0.15  # some six frames a second
_GRACE_SECONDS: Final = 0.5  # for the children, when the run is interrupted
_TOPICS: Final = (
    Topic.BACKPRESSURE_ON,
    Topic.BACKPRESSURE_OFF,
    Topic.BUFFER_OVERFLOW,
    Topic.READER_SKIPPED,
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: which scenario, its last sample, and its figures if it just ended."""

    index: int  # of the scenario in the plan, from 0
    scenario: Scenario
    sample: Sample
    lateness: float  # the worst so far, in seconds
    finished: Measured | None = None


OnProgress = Callable[[Progress], None]


async def run(plan: Plan, on_progress: OnProgress = lambda _progress: None) -> list[Measured]:
    """Run all scenarios and return their figures; a cancelled run leaves nothing behind.

    Raises:
        PtymuxError: a child could not be started.
    """
    done = []
    link = PrivateLink()
    async with PtyManager(link=link) as manager:
        await link.begin()
        for index, scenario in enumerate(plan.scenarios):
            memory = partial(_memory, link)
            done.append(await _Run(manager, memory, index, scenario, on_progress).measure())
    return done


class _Run:
    """One scenario."""

    def __init__(
        self,
        manager: PtyManager,
        memory: Callable[[], int],
        index: int,
        scenario: Scenario,
        on_progress: OnProgress,
    ) -> None:
        self._manager = manager
        self._memory = memory
        self._index = index
        self._scenario = scenario
        self._on_progress = on_progress
        self._consumed = ContentCheck(scenario.child, 0)
        self._late: list[float] = []
        self._samples = Samples(_SAMPLE_SECONDS)
        self._memory_before = self._memory_peak = memory()
        self._most_retained = 0
        self._overrun = 0
        self._is_ended = False  # nothing more will be written

    async def measure(self) -> Measured:
        """Run the scenario and return its figures; its PTY is gone then."""
        manager, scenario = self._manager, self._scenario
        kind = ReaderKind.LOSSLESS if scenario.conduct is Conduct.BLOCK else ReaderKind.CONSUMER
        with _warnings() as warnings, _Gate() as gate:
            self._events = EventTally(time.time())
            self._started = time.monotonic()
            pty_id = self._pty_id = (await manager.spawn(self._options(gate))).pty_id
            with (
                manager.subscribe(_TOPICS, pty_id=pty_id) as stream,
                manager.reader(pty_id, kind, offset=0) as reader,
            ):
                gate.open()
                is_stuck = not await self._run(stream, reader)
                end, backlog = reader.offset + reader.backlog, reader.backlog
                reader.close()
                self._take(stream)
        stats = manager.get_buffer_stats(pty_id)
        tail = await self._check_tail()
        record = manager.remove(pty_id)
        measured = Measured(
            scenario=scenario,
            seconds=self._seconds,
            consumed_seconds=self._consumed_seconds,
            is_stuck=is_stuck,
            exit_code=record.exit_code,
            stats=stats,
            start=reader.start,
            end=end,
            delivered=reader.delivered,
            skipped=reader.skipped,
            backlog=backlog,
            consumed=self._consumed,
            tail=tail,
            most_retained=self._most_retained,
            overrun=self._overrun,
            memory_before=self._memory_before,
            memory_peak=self._memory_peak,
            backpressure=tuple(self._events.backpressure),
            overflows=tuple(self._events.overflows),
            skips=tuple(self._events.skips),
            missed_events=self._events.missed,
            warnings=sum(pty_id in warning for warning in warnings),
            lateness=Lateness.of(self._late),
            samples=tuple(self._samples.kept),
        )
        self._on_progress(
            Progress(
                self._index, scenario, self._samples.kept[-1], measured.lateness.worst, measured
            )
        )
        return measured

    def _options(self, gate: _Gate) -> SpawnOptions:
        scenario = self._scenario
        return SpawnOptions(
            argv=argv(scenario.child, scenario.child_bytes, scenario.pace, waits=True),
            stdin_fd=gate.fd,
            env=dict(os.environ),
            buffer_size=scenario.capacity,
            threshold=THRESHOLD,
            on_full=scenario.on_full,
            plain_output=scenario.child is ChildKind.COUNTER,
            grace_seconds=_GRACE_SECONDS,
        )

    async def _run(self, stream: EventStream, reader: OutputReader) -> bool:
        """Let the child write and the consumer read; return whether both came to their end."""
        manager, pty_id = self._manager, self._pty_id
        ticker = asyncio.create_task(self._tick(stream, reader))
        consumer = asyncio.create_task(self._consume(reader))
        self._consumed_seconds = 0.0
        in_time = True
        try:
            async with asyncio.timeout(self._scenario.deadline_seconds):
                await manager.wait_exited(pty_id)
                self._seconds = self._elapsed()
                await manager.wait_gone(pty_id)
                self._is_ended = True
                await consumer
        except TimeoutError:
            in_time = False
            self._seconds = self._elapsed()
            await manager.terminate(pty_id, grace_seconds=0)
        finally:
            consumer.cancel()
            ticker.cancel()
            ended = await asyncio.gather(consumer, ticker, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):  # else it was cancelled
                raise error
        self._late.append(max(0.0, time.monotonic() - self._due))  # of the tick that was cut
        self._look(reader)
        self._sample()
        return in_time

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    # The consumer ----------------------------------------------------------------------------

    async def _consume(self, reader: OutputReader) -> None:
        match self._scenario.conduct:
            case Conduct.NEVER:
                return
            case Conduct.SLOW:
                await self._consume_slowly(reader)
            case Conduct.FAST:
                while await reader.wait():
                    if not self._take_unless_kept(reader, Limits.CHUNK):
                        await asyncio.sleep(_TICK_SECONDS / 2)
            case Conduct.BLOCK:
                await self._consume_in_bouts(reader)
        self._consumed_seconds = self._elapsed()

    async def _consume_slowly(self, reader: OutputReader) -> None:
        """Read one of SLOWNESS bytes while the child writes, the rest once it is gone."""
        size = max(1, min(Limits.CHUNK, self._scenario.capacity // 16))
        while await reader.wait():
            written = reader.offset + reader.backlog
            is_due = self._is_ended or (reader.delivered + size) * SLOWNESS <= written
            if is_due and self._take_unless_kept(reader, size):
                await asyncio.sleep(0)  # the manager learns of output between two parts
            else:
                await asyncio.sleep(_TICK_SECONDS / 2)

    def _take_unless_kept(self, reader: OutputReader, size: int) -> bool:
        """Take the next part, unless it skips some of what will be kept; return whether it did.

        A reader that is overtaken goes on a little beyond the oldest byte. Of the very last output
        that little would be neither dropped nor read; so it is read once the child is gone.
        """
        part = reader.read(size)
        kept_from = self._scenario.total - self._scenario.capacity
        if part.skipped and part.offset > kept_from and not self._is_ended:
            return False
        reader.accept(part)
        self._consumed.add(part)
        return True

    async def _consume_in_bouts(self, reader: OutputReader) -> None:
        """Stop until the child is held, read half of the buffer, and again."""
        capacity = self._scenario.capacity
        size = max(1, min(Limits.CHUNK, capacity // 4))
        while await reader.wait():
            while reader.backlog < capacity and not self._is_ended:
                await asyncio.sleep(_TICK_SECONDS / 5)
            while reader.backlog > capacity // 2 or (self._is_ended and reader.backlog):
                self._look(reader)
                self._take_part(reader, size)
                await asyncio.sleep(0)

    def _take_part(self, reader: OutputReader, size: int) -> None:
        self._consumed.add(reader.consume(size))
        self._sample_if_due(self._elapsed())

    # Measuring -------------------------------------------------------------------------------

    async def _tick(self, stream: EventStream, reader: OutputReader) -> None:
        next_progress = 0.0
        while True:
            self._due = time.monotonic() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._late.append(max(0.0, time.monotonic() - self._due))
            self._take(stream)
            self._look(reader)
            elapsed = self._elapsed()
            self._sample_if_due(elapsed)
            if elapsed >= next_progress:
                next_progress = elapsed + _PROGRESS_SECONDS
                self._on_progress(
                    Progress(self._index, self._scenario, self._samples.kept[-1], max(self._late))
                )

    def _take(self, stream: EventStream) -> None:
        for event in stream.take():
            self._events.add(event)

    def _look(self, reader: OutputReader) -> None:
        """Note how far the child is beyond a full buffer, where it must wait."""
        if self._scenario.conduct is Conduct.BLOCK:
            self._overrun = max(self._overrun, reader.backlog - self._scenario.capacity)

    def _sample_if_due(self, elapsed: float) -> None:
        if self._samples.is_due(elapsed):
            self._sample()

    def _sample(self) -> None:
        stats = self._manager.get_buffer_stats(self._pty_id)
        self._most_retained = max(self._most_retained, stats.retained)
        self._memory_peak = max(self._memory_peak, self._memory())
        self._samples.add(
            Sample(
                self._elapsed(),
                stats.total_written,
                stats.total_consumed,
                stats.total_dropped,
                stats.utilization,
            )
        )

    async def _check_tail(self) -> ContentCheck:
        """Compare what the ended PTY still has."""
        with self._manager.reader(self._pty_id, ReaderKind.OBSERVER) as reader:
            check = ContentCheck(self._scenario.child, reader.start)
            while reader.backlog:
                check.add(reader.consume())
                await asyncio.sleep(0)
        return check


def _memory(link: PrivateLink) -> int:
    """Return the bytes resident here and in the keeper, which has all of what they share."""
    return resident_memory(shared=False) + resident_memory(link.keeper_pid)


class _Gate:
    """A stdin that has not ended, which keeps a child from writing before its reader is there."""

    def __init__(self) -> None:
        self.fd, self._other_end = os.pipe2(os.O_CLOEXEC)

    def open(self) -> None:
        """Let the child begin; again is no error."""
        if self._other_end >= 0:
            os.close(self._other_end)
            self._other_end = -1

    def __enter__(self) -> _Gate:
        return self

    def __exit__(self, *_error: object) -> None:
        self.open()
        os.close(self.fd)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the warnings that ptymux logs meanwhile, in place of showing them."""
    logger = logging.getLogger("ptymux")
    heard: list[str] = []
    handler = _Collector(heard)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.propagate = before
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self._heard.append(record.getMessage())

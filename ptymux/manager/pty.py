"""One managed PTY: its lifecycle, its output, its readers' wake-ups, and what it tells.

The engine reports, time passes, readers read: each of these ends in `refresh`, which compares what
the ring says with what was known, tells the difference, wakes who waits, and arms the next look.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Final, Unpack

from ptymux.core.escalation import EnvelopeLog, SignalEnvelope
from ptymux.core.events import Topic
from ptymux.core.lifecycle import LIVE, Event, Lifecycle, State, exit_event
from ptymux.core.model import CorrelationId, PtyId, PtyRecord, SpawnOptions
from ptymux.core.output import OutputBuffer, Reader, Telling
from ptymux.core.registry import Changes, Registry
from ptymux.core.ring import Part, RingBuffer
from ptymux.keeper.link import Link
from ptymux.keeper.reports import Closed, Exited, Output, Report, Suspended
from ptymux.manager.announcer import Announcer, Json

__all__ = ["ManagedPty"]

_NO_RING: Final = RingBuffer(0)  # of PTYs without output, before and after
_TYPED: Final = frozenset((signal.SIGINT, signal.SIGQUIT))
_OUTPUT_EVENT_SECONDS: Final = 0.25  # between two `pty.output` events of one PTY
_IDLE_LOOKS: Final = 16  # looks at a busy PTY within one idle timeout
_IDLE_LOOK_SECONDS: Final = 0.01  # at least, between two of them


class ManagedPty:
    """A PTY from its spawn to its removal."""

    def __init__(
        self,
        record: PtyRecord,
        options: SpawnOptions,
        correlation_id: CorrelationId,
        *,
        registry: Registry,
        link: Link,
        announcer: Announcer,
        on_gone: Callable[[ManagedPty], None],
    ) -> None:
        self.pty_id: Final[PtyId] = record.pty_id
        self.slot: Final = record.number
        self.options: Final = options
        self.lifecycle = Lifecycle(record.pty_id)
        self.envelopes = EnvelopeLog()
        self.ring = _NO_RING  # until the engine gives one
        self.output = OutputBuffer(self.ring)
        self.settled = asyncio.Event()  # the spawn succeeded or failed
        self.exited = asyncio.Event()  # the child is gone, its own output complete
        self.gone = asyncio.Event()  # the terminal is closed, the statistics are final
        self.asked_signals: set[int] = set()
        self.terminating = False
        self.typed = False  # somebody could type into it
        self.cause = correlation_id  # of the request that what happens next goes back to
        self.escaped: tuple[int, ...] = ()  # processes that left the session before its end
        self.input_lock = asyncio.Lock()  # one writer at a time, first come first served
        self._record = record
        self._is_removed = False
        self._registry = registry
        self._link = link
        self._announcer = announcer
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._seen = 0  # total at the last refresh
        self._seen_at = 0.0  # when it had grown last
        self._is_quiet = False  # it had not grown at the last refresh
        self._announced = 0  # up to where `pty.output` told
        self._announce_at = 0.0

    # Facts -----------------------------------------------------------------------------------

    @property
    def record(self) -> PtyRecord:
        """What the registry knows, or knew last once it was removed."""
        if not self._is_removed:
            self._record = self._registry.get(self.pty_id)
        return self._record

    @property
    def retained(self) -> int:
        """Bytes of output that are kept."""
        return self.ring.total - self.ring.edge

    @property
    def state(self) -> State:
        """The state of the lifecycle."""
        return self.lifecycle.state

    @property
    def is_live(self) -> bool:
        """The child has not ended."""
        return self.lifecycle.state in LIVE

    # Telling ---------------------------------------------------------------------------------

    def tell(self, topic: Topic, payload: dict[str, Json]) -> None:
        """Publish an event of this PTY, caused by what last asked something of it."""
        self._announcer.tell(self.record, topic, self.cause, payload)

    def note(self, envelope: SignalEnvelope) -> None:
        """Keep and publish the delivery of a signal."""
        self.envelopes.append(envelope)
        self.tell(Topic.SIGNAL_DELIVERED, dict(envelope.as_json()))

    def update(self, **changes: Unpack[Changes]) -> PtyRecord:
        """Change the record."""
        return self._registry.update(self.pty_id, at=time.time(), **changes)

    def step(self, event: Event, **changes: Unpack[Changes]) -> None:
        """Take a step of the lifecycle, change the record with it, and tell."""
        taken = self.lifecycle.apply(event, time.time())
        changes["state"] = taken.to_state.value
        self.update(**changes)
        self.tell(Topic.STATE_CHANGED, dict(taken.as_json()))

    # The spawn -------------------------------------------------------------------------------

    def begin(self, pid: int, ring: RingBuffer, spawn_ms: float) -> None:
        """The child runs."""
        self.ring = ring
        self.output = OutputBuffer(ring, self.options.threshold, self.options.on_full)
        self._seen_at = time.monotonic()
        self.step(Event.SPAWNED, pid=pid, spawn_ms=spawn_ms)
        self.tell(Topic.SPAWNED, {"pid": pid, "spawn_ms": spawn_ms})
        self.settled.set()
        self.refresh()

    def fail(self, reason: str, code: str) -> None:
        """The child could not be started."""
        self.step(Event.SPAWN_FAILED, reason=reason)
        self._end(error={"error": reason, "code": code})
        self.settled.set()
        self.exited.set()

    def cancel(self) -> None:
        """The caller went before the engine answered."""
        self.step(Event.TERMINATED_EARLY)
        self._end(error=None)
        self.settled.set()
        self.exited.set()

    # Reports of the engine -------------------------------------------------------------------

    def handle(self, report: Report) -> None:
        """Take what the engine reports."""
        match report:
            case Output():
                self.refresh()
            case Suspended(_, suspended):
                if self.is_live and suspended != self.record.suspended:
                    self.update(suspended=suspended)
            case Exited():
                self._exit(report)
            case Closed():
                self._close()

    def _exit(self, report: Exited) -> None:
        self.refresh()
        status = report.status
        if self.is_live:
            asked = self.terminating or (
                status.signal is not None
                and (
                    status.signal in self.asked_signals or (self.typed and status.signal in _TYPED)
                )
            )
            self.step(
                exit_event(status.exit_code, status.signal, asked),
                exit_code=status.exit_code,
                signal=status.signal,
                suspended=False,
                tail_pending=report.tail_pending,
            )
        self.exited.set()
        if self.gone.is_set():
            self._link.forget(self.slot)  # closed by force before it died

    def _close(self) -> None:
        self.refresh()
        forced = self.is_live
        if forced:
            self.step(Event.ENDED_WELL, reason="closed by force")
        self._tell_output(self.output.finish(time.monotonic()))
        self.update(tail_pending=False)
        record = self.record
        error: dict[str, Json] | None = None
        if self.state is State.ERRORED:
            error = {"exit_code": record.exit_code, "signal": record.signal}
        self._end(error=error, forced=forced)
        if self.exited.is_set():
            self._link.forget(self.slot)

    def _end(self, error: dict[str, Json] | None, *, forced: bool = False) -> None:
        if error is not None:
            self.tell(Topic.ERROR, error)
        record = self.record
        stats = self.output.stats()
        self.tell(
            Topic.STOPPED,
            {
                "final_state": self.state.value,
                "exit_code": record.exit_code,
                "signal": record.signal,
                "forced": forced,
                "escaped": list(self.escaped),
                "total_written": stats.total_written,
                "total_dropped": stats.total_dropped,
            },
        )
        self.gone.set()
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_gone(self)

    def remove(self) -> PtyRecord:
        """Leave the registry and let go of the ring; return the last record."""
        record = self.record
        self._registry.remove(self.pty_id)
        self._is_removed = True
        self.release()
        return record

    def release(self) -> None:
        """Let go of the ring's memory; readers find nothing any more."""
        ring = self.ring
        self.ring = _NO_RING
        self.output = OutputBuffer(self.ring)
        if ring is not _NO_RING:
            ring.release()

    # Output ----------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Compare the ring with what was known: tell, wake, arm."""
        now = time.monotonic()
        grew = self.ring.total != self._seen
        self._seen = self.ring.total
        self._tell_output(self.output.advance(now))
        if grew:
            self._seen_at = now
            if self.state is State.THROTTLED:
                self.step(Event.OUTPUT_RESUMED)
            self._wake()
        self._is_quiet = not grew
        self._judge_idle(now)
        self._announce_output(now)
        self._arm(now)

    def hand(self, reader: Reader, part: Part, size: int | None = None) -> None:
        """Note that a reader was handed `part`, or its first `size` bytes."""
        limit = self.ring.limit
        self._tell_output(self.output.hand(reader, part, time.monotonic(), size))
        self._after(limit)

    def change(self, operation: Callable[[float], list[Telling]]) -> None:
        """Run an operation of the output buffer, tell what it found, keep the engine informed."""
        limit = self.ring.limit
        self._tell_output(operation(time.monotonic()))
        self._after(limit)

    async def wait_output(self, offset: int) -> None:
        """Return once there is output beyond `offset` or never will be."""
        while self.ring.total <= offset and not self.gone.is_set():
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.add(future)
            self._arm(time.monotonic())
            try:
                await future
            finally:
                self._waiting.discard(future)

    def _after(self, limit: int) -> None:
        if self.ring.limit > limit and not self.gone.is_set():
            self._link.credit_raised(self.slot)
        if not self.gone.is_set():
            self._arm(time.monotonic())

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _tell_output(self, tellings: list[Telling]) -> None:
        if tellings:
            self._announcer.tell_output(self.record, self.cause, tellings)

    def _judge_idle(self, now: float) -> None:
        timeout = self.options.idle_timeout_seconds
        if timeout and self.state is State.ACTIVE and self._is_quiet:
            silent = now - self._seen_at
            if silent >= timeout:
                self.step(Event.IDLE_TIMEOUT)
                self.tell(Topic.IDLE_TIMEOUT, {"idle_seconds": silent})

    def _announce_output(self, now: float) -> None:
        if not self._announcer.bus.has_subscribers(Topic.OUTPUT):
            self._announced = self._seen
        elif self._seen > self._announced and now >= self._announce_at:
            self.tell(Topic.OUTPUT, {"from": self._announced, "to": self._seen})
            self._announced = self._seen
            self._announce_at = now + _OUTPUT_EVENT_SECONDS

    def _arm(self, now: float) -> None:
        """See to it that the next `refresh` comes when it is needed."""
        if self.gone.is_set():
            return
        wake_at = self.output.wake_at
        if self._waiting or self._is_quiet or self._wants_output_event():
            wake_at = min(wake_at, self.ring.total + 1)
        if wake_at != self.ring.wake_at:
            self.ring.wake_at = wake_at
        if self.ring.total >= wake_at:  # it came while we armed: the engine may not tell again
            self._loop.call_soon(self.refresh)
        self._arm_timer(now)

    def _wants_output_event(self) -> bool:
        """Whether the next byte is to be told; until the next event is due, the timer tells."""
        return self._announced == self._seen and self._announcer.bus.has_subscribers(Topic.OUTPUT)

    def _arm_timer(self, now: float) -> None:
        deadlines = [self.output.deadline, self._idle_deadline(now)]
        if self._seen > self._announced:
            deadlines.append(self._announce_at)
        deadline = min((each for each in deadlines if each is not None), default=None)
        if deadline is None or (self._timer is not None and self._timer.when() <= deadline):
            return  # a look too early only arms the next one
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.refresh()

    def _idle_deadline(self, now: float) -> float | None:
        timeout = self.options.idle_timeout_seconds
        if not timeout or self.state is not State.ACTIVE:
            return None
        if self._is_quiet:
            return self._seen_at + timeout
        # Output flows: a look now and then will do, until one finds that it stopped.
        return now + max(timeout / _IDLE_LOOKS, _IDLE_LOOK_SECONDS)

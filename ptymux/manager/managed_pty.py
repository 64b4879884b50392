"""One managed PTY: its lifecycle, its record, and what it tells of itself."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Unpack

from ptymux.core.escalation import EnvelopeLog, Outcome, SignalEnvelope
from ptymux.core.event_log import Topic
from ptymux.core.lifecycle import LIVE, Lifecycle, LifecycleEvent, State, exit_event, shown
from ptymux.core.model import CorrelationId, OnFull, PtyId, PtyRecord, SpawnOptions, WindowSize
from ptymux.core.notifications import BufferNotification
from ptymux.core.output import OutputBuffer
from ptymux.core.reader import ReaderKind
from ptymux.core.registry import Changes, Registry
from ptymux.core.ring import RingBuffer
from ptymux.engine.engine import SpawnedPty
from ptymux.engine.reports import Closed, Exited, LifelineEnded, Output, Report, Suspended
from ptymux.link.interface import Link
from ptymux.manager.attachments import LifelineAttachment, absent
from ptymux.manager.flow import Flow
from ptymux.manager.publisher import Json, Publisher
from ptymux.posix.process import SessionMember

__all__ = ["ManagedPty"]

_TYPED: Final = frozenset((signal.SIGINT, signal.SIGQUIT))


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
        publisher: Publisher,
        on_gone: Callable[[ManagedPty], None],
        on_change: Callable[[ManagedPty], None] = lambda _pty: None,
        on_orphaned: Callable[[ManagedPty], None] = lambda _pty: None,
    ) -> None:
        self.pty_id: Final[PtyId] = record.pty_id
        self.slot: Final = record.number
        self.options: Final = options
        self.cause: Final = correlation_id  # of the spawn: of what the child does by itself
        self.end_cause: CorrelationId | None = None  # of the request that ended it
        self.lifecycle = Lifecycle(record.pty_id)
        self.envelopes = EnvelopeLog()
        self.flow = Flow(link, self.slot, self)
        self.settled = asyncio.Event()  # the spawn succeeded or failed
        self.exited = asyncio.Event()  # the child is gone, its own output complete
        self.gone = asyncio.Event()  # the terminal is closed, the statistics are final
        self.asked_signals: dict[int, CorrelationId] = {}  # sent on request, and by which
        self.terminating = False
        self.typed = False  # somebody could type into it
        self.escaped: tuple[int, ...] = ()  # processes that left the session before its end
        self.input_lock = asyncio.Lock()  # one writer at a time, first come first served
        self.is_removed = False
        self._record = record
        self._registry = registry
        self._link = link
        self._publisher = publisher
        self._on_gone = on_gone
        self._on_change = on_change
        self._on_orphaned = on_orphaned
        self.attached: dict[int, LifelineAttachment] = {}  # by the number of the lifeline
        self.owner: int | None = None  # the lifeline whose end hangs it up; 0: one to come
        self.is_owner_notified = True  # the client has that lifeline
        self.is_removed_at_end = False
        self.has_run = False  # it has a ring
        self.has_published_error = self.has_published_end = (
            False  # by a predecessor that was killed then
        )
        self.leader_start: int | None = None  # clock ticks since boot
        self._early: list[Report] = []  # that came before the answer to the spawn

    # Facts -----------------------------------------------------------------------------------

    @property
    def record(self) -> PtyRecord:
        """What the registry knows, or knew last once it was removed."""
        if not self.is_removed:
            self._record = self._registry.get(self.pty_id)
        return self._record

    @property
    def ring(self) -> RingBuffer:
        """Its output."""
        return self.flow.ring

    @property
    def output(self) -> OutputBuffer:
        """The readers of its output, and its account."""
        return self.flow.buffer

    @property
    def state(self) -> State:
        """The state of the lifecycle."""
        return self.lifecycle.state

    @property
    def is_live(self) -> bool:
        """The child has not ended."""
        return self.lifecycle.state in LIVE

    @property
    def awaits_consumer(self) -> bool:
        """Whether its end may have to wait until a consumer that must lose nothing has read."""
        readers = self.output.readers.values()
        lossless = any(reader.kind is ReaderKind.LOSSLESS for reader in readers)
        return lossless and self.output.on_full is OnFull.BLOCK

    def own(self, members: Sequence[SessionMember]) -> Sequence[SessionMember]:
        """Return the members of a scan for its leader's group or session, if they are its own.

        A pid is not given out again while a group or session is named after it; so these are
        strangers only if the pid leads a new one.
        Limit: a new one whose leader has ended in turn is not told apart.
        """
        leader = self.record.pid
        for member in members:
            if member.pid == leader and self.leader_start not in (None, member.start_time):
                return ()
        return members

    # Telling ---------------------------------------------------------------------------------

    def publish(
        self, topic: Topic, payload: Mapping[str, Json], cause: CorrelationId | None = None
    ) -> None:
        """Publish an event of this PTY, by default one that goes back to its spawn."""
        self._publisher.publish(self.record, topic, cause or self.cause, payload)

    def note(self, envelope: SignalEnvelope, cause: CorrelationId | None) -> None:
        """Keep and publish the delivery of a signal."""
        self.envelopes.append(envelope)
        self.publish(Topic.SIGNAL_DELIVERED, dict(envelope.as_json()), cause)
        self._on_change(self)

    def publish_error(self, error: str, **more: Json) -> None:
        """Publish what went wrong, with how the child ended and the last failed signal."""
        if self.has_published_error:
            self.has_published_error = False
            return
        record = self.record
        failed = [each for each in self.envelopes if each.outcome is Outcome.FAILED]
        payload: dict[str, Json] = {
            "error": error,
            "exit_code": record.exit_code,
            "signal": record.signal,
            "envelope": failed[-1].as_json() if failed else None,
        }
        self.publish(Topic.ERROR, payload | more, self.end_cause)

    def update(self, **changes: Unpack[Changes]) -> PtyRecord:
        """Change the record."""
        return self._registry.update(self.pty_id, at=time.time(), **changes)

    def step(self, event: LifecycleEvent, **changes: Unpack[Changes]) -> None:
        """Take a step of the lifecycle, change the record with it, and tell."""
        taken = self.lifecycle.apply(event, time.time())
        changes["state"] = taken.to_state.value
        self.update(**changes)
        cause = None if self.is_live else self.end_cause
        self.publish(Topic.STATE_CHANGED, dict(taken.as_json()), cause)
        self._on_change(self)

    def note_change(self) -> None:
        """Have it kept that something about this PTY is another now."""
        self._on_change(self)

    def resized(self, old: WindowSize, new: WindowSize, cause: CorrelationId) -> PtyRecord:
        """Note that its terminal has another size, and tell."""
        record = self.update(size=new)
        sizes = (("old", old), ("new", new))
        payload = {name: {"cols": size.cols, "rows": size.rows} for name, size in sizes}
        self.publish(Topic.RESIZED, payload, cause)
        self._on_change(self)
        return record

    # The spawn -------------------------------------------------------------------------------

    def begin(self, spawned: SpawnedPty, spawn_ms: float) -> None:
        """The child runs."""
        self.has_run = True
        self.flow.begin(spawned.ring, self.options)
        self.leader_start = spawned.start_time
        self.step(LifecycleEvent.SPAWNED, pid=spawned.pid, spawn_ms=spawn_ms)
        self.publish(Topic.SPAWNED, {"pid": spawned.pid, "spawn_ms": spawn_ms})
        self.settled.set()
        self.flow.refresh()
        early, self._early = self._early, []
        for report in early:
            self.handle(report)

    def resume(self, ring: RingBuffer | None, *, exited: bool, gone: bool) -> None:
        """Go on where a predecessor of this manager left it, whose account is in the ring."""
        if ring is not None:
            self.has_run = True
            self.flow.begin(ring, self.options, resumed=True)
        self.settled.set()
        if exited or gone or ring is None:
            self.flow.end_idle()
            self.exited.set()
        if gone or ring is None:
            self.flow.is_over = True
            self.gone.set()
            self._on_gone(self)

    # Attachments -----------------------------------------------------------------------------

    def attach_line(self, number: int, attached: LifelineAttachment, *, hangs_up: bool) -> None:
        """Note that somebody is attached for as long as a lifeline is open."""
        self.attached[number] = attached
        if hangs_up:
            self.owner, self.is_owner_notified = number, False
        self._on_change(self)

    def detach_line(self, number: int) -> None:
        """Note that somebody took leave."""
        self.attached.pop(number, None)
        if self.owner == number:
            self.owner = None
        self.expect()
        self._on_change(self)

    def expect(self, *, wait: bool = False) -> None:
        """Count who is attached and has no reader now; `wait` as `OutputBuffer.expect` has it."""
        if not self.has_run or self.flow.is_over:
            return
        consumers, lossless = absent(self.attached.values())
        wait = wait and consumers > 0
        buffer = self.output
        if (consumers, wait) != (buffer.expected, buffer.defers_losses):
            self.flow.change(lambda now: buffer.expect(consumers, lossless, now, wait=wait))

    def _on_line_end(self, number: int, *, by_client: bool) -> None:
        self.attached.pop(number, None)
        self.expect(wait=self.flow.buffer.defers_losses)
        if self.owner == number and by_client and self.is_live:
            self._on_orphaned(self)
        self._on_change(self)

    def fail(self, reason: str, code: str, *, asked: bool) -> None:
        """The child could not be started; `asked`: nobody wants it any more."""
        if asked:
            self.step(LifecycleEvent.TERMINATED_EARLY, reason=reason)
        else:
            self.step(LifecycleEvent.SPAWN_FAILED, reason=reason)
            self.publish_error(reason, code=code)
        self.publish_end()
        self.settled.set()
        self.exited.set()

    # Reports of the engine -------------------------------------------------------------------

    def handle(self, report: Report) -> None:
        """Take what the engine reports."""
        if not self.settled.is_set():
            self._early.append(report)
            return
        match report:
            case Output():
                self.flow.refresh()
            case Suspended(_, suspended):
                if self.is_live and suspended != self.record.suspended:
                    self.update(suspended=suspended)
            case Exited():
                self._exit(report)
            case Closed():
                self._close()
            case LifelineEnded(_, number, by_client):
                if number in self.attached or number == self.owner:
                    self._on_line_end(number, by_client=by_client)

    def _exit(self, report: Exited) -> None:
        status = report.status
        if self.exited.is_set():
            return  # another engine tells it again
        self.exited.set()
        if self.gone.is_set():  # it was closed by force before it died
            if not self.is_removed:
                self.update(exit_code=status.exit_code, signal=status.signal)
            self._forget_slot()
            self._on_change(self)
            return
        self.flow.refresh()
        self.flow.end_idle()
        asked = self.terminating or (status.signal in _TYPED and self.typed)
        if status.signal in self.asked_signals:
            asked = True
            self.end_cause = self.end_cause or self.asked_signals[status.signal]
        facts: Changes = {
            "exit_code": status.exit_code,
            "signal": status.signal,
            "suspended": False,
            "tail_pending": report.tail_pending,
        }
        if self.is_live:
            self.step(exit_event(status.exit_code, status.signal, asked), **facts)
        else:  # a predecessor told it, and was killed before it was kept
            self.update(**facts)
            self._on_change(self)

    def _close(self) -> None:
        if self.gone.is_set():
            return  # another engine tells it again
        forced = self.is_live
        if forced:
            self.flow.refresh()
            self.step(LifecycleEvent.ENDED_WELL, reason="closed by force", suspended=False)
        self.update(tail_pending=False)
        self.flow.end()
        if self.state is State.ERRORED:
            record = self.record
            self.publish_error(shown(self.state, exit_code=record.exit_code, signal=record.signal))
        self._forget_slot()
        self.publish_end(forced=forced)

    def _forget_slot(self) -> None:
        """Let the engine let go, once all has ended and nobody could want to know of it."""
        is_wanted = self._link.keeps_ended and not self.is_removed
        if self.has_run and self.exited.is_set() and not is_wanted:
            self._link.forget(self.slot)

    def publish_end(self, *, forced: bool = False) -> None:
        """Tell the end, once; final statistics stand."""
        self.flow.is_over = True
        record, stats = self.record, self.output.stats()
        payload: dict[str, Json] = {
            "final_state": self.state.value,
            "exit_code": record.exit_code,
            "signal": record.signal,
            "forced": forced,
            "escaped": list(self.escaped),
            "total_written": stats.total_written,
            "total_dropped": stats.total_dropped,
        }
        if not self.has_published_end:
            self.publish(Topic.STOPPED, payload, self.end_cause)
        self.gone.set()
        self.attached.clear()
        self._on_change(self)
        self.flow.wake()
        self._on_gone(self)

    def remove(self) -> PtyRecord:
        """Leave the registry and let go of the output; return the last record."""
        if self.state is State.ERRORED:
            self.step(LifecycleEvent.CLEANED_UP)
        record = self.record
        self._registry.remove(self.pty_id)
        self.is_removed = True
        if self._link.keeps_ended:
            if self.has_run:
                self._forget_slot()
            else:
                self._link.forget(self.slot)
        self.flow.release()
        return record

    # What the flow sees ----------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring what is known of the output up to now."""
        self.flow.refresh()

    def on_published(self) -> None:
        """The account in the ring says what was told."""
        self._publisher.bus.set_checkpoint()

    @property
    def wants_ranges(self) -> bool:
        """Whether somebody subscribed to its `pty.output`."""
        return self._publisher.bus.has_subscribers(Topic.OUTPUT, self.pty_id)

    def on_notifications(self, notifications: list[BufferNotification]) -> None:
        """Publish what the buffer found."""
        if notifications:
            self._publisher.publish_output(self.record, self.cause, notifications)

    def on_output(self) -> None:
        """Be active again."""
        if self.state is State.THROTTLED:
            self.step(LifecycleEvent.OUTPUT_RESUMED)

    def on_silence(self, seconds: float) -> None:
        """Be throttled."""
        if self.state is State.ACTIVE:
            self.step(LifecycleEvent.IDLE_TIMEOUT)
            self.publish(Topic.IDLE_TIMEOUT, {"idle_seconds": seconds})

    def on_range(self, start: int, end: int) -> None:
        """Publish that there is output."""
        self.publish(Topic.OUTPUT, {"from": start, "to": end})

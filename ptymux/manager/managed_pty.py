"""`ManagedPty`: one PTY of a manager, from its spawn to its removal.

It takes what the engine reports, steps through the lifecycle, keeps the registry's record up to
date and publishes the events of all that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Unpack

from ptymux.core.escalation import EnvelopeLog, Outcome, SignalEnvelope
from ptymux.core.event_log import Topic
from ptymux.core.lifecycle import (
    LIVE,
    EndContext,
    Lifecycle,
    LifecycleEvent,
    State,
    shown_of,
)
from ptymux.core.lifetime import Lifetime
from ptymux.core.model import CorrelationId, OnFull, PtyId, PtyRecord, SpawnOptions, WindowSize
from ptymux.core.notifications import BufferNotification
from ptymux.core.output import OutputBuffer
from ptymux.core.reader import ReaderKind
from ptymux.core.registry import Changes, Registry
from ptymux.core.ring import RingBuffer
from ptymux.core.terminal_queries import answers, unfinished
from ptymux.engine.engine import SpawnedPty
from ptymux.engine.reports import Closed, Exited, LifelineEnded, Output, Report, Suspended
from ptymux.errors import InvalidStateError
from ptymux.link.interface import Link
from ptymux.manager.attachments import Attachments
from ptymux.manager.flow import Flow
from ptymux.manager.publisher import Json, Publisher, cause_of
from ptymux.posix.process import SessionMember
from ptymux.posix.procfs import boot_time

__all__ = ["ManagedPty", "PtyHost"]


@dataclass(slots=True, kw_only=True)
class PtyHost:
    """What the PTYs of one manager share, and whom they call when something happens to them."""

    registry: Registry
    link: Link
    publisher: Publisher
    on_gone: Callable[[ManagedPty], None]
    on_begun: Callable[[ManagedPty], None] = lambda _pty: None  # its child runs
    clock: Callable[[], float] = boot_time  # of lifetimes
    on_change: Callable[[ManagedPty], None] = lambda _pty: None
    on_orphaned: Callable[[ManagedPty], None] = lambda _pty: None  # its owner is gone
    # Types the answer to what a program asked its terminal, while there is none.
    answer: Callable[[ManagedPty, bytes], None] | None = None
    # Whoever gave it its size has detached; of those who remain this one gave it a size last.
    on_size: Callable[[ManagedPty, WindowSize], None] = lambda _pty, _size: None


class Milestones:
    """Points in a PTY's life that tasks wait for; each is reached once.

    A terminal that is closed by force is gone before its child has exited.
    """

    def __init__(self) -> None:
        self.settled = asyncio.Event()  # the spawn succeeded or failed
        self.exited = asyncio.Event()  # the child is gone, its own output complete
        self.gone = asyncio.Event()  # the terminal is closed, the statistics are final


class ManagedPty:
    """A PTY from its spawn to its removal; made by `Spawner`."""

    def __init__(
        self,
        record: PtyRecord,
        options: SpawnOptions,
        correlation_id: CorrelationId,
        host: PtyHost,
    ) -> None:
        self.pty_id: Final[PtyId] = record.pty_id
        self.slot: Final = record.number
        self.options = options
        self.cause: Final = correlation_id  # of the spawn: of what the child does by itself
        self.lifecycle = Lifecycle(record.pty_id)
        self.end = EndContext()
        self.launch: bytes | None = None  # how it was started, if that is kept
        self.lifetime = Lifetime(options.timeout_seconds, options.ttl_seconds)
        self.envelopes = EnvelopeLog()
        self.flow = Flow(host.link, self.slot, self)
        self.attachments = Attachments(
            self.flow, self.note_change, lambda size: host.on_size(self, size), self._on_attachment
        )
        self.milestones = Milestones()
        self.input_lock = asyncio.Lock()  # one writer at a time, first come first served
        self.leader_start: int | None = None  # clock ticks since boot
        self.is_removed_at_end = False
        self.is_watched = False  # its client is about to attach, and must find it
        self.is_end_seen = False  # by a client that waited for it, or came later
        # Events that a server before this one published without keeping what they say.
        self.published_before: set[Topic] = set()
        self._host = host
        self._last_record: PtyRecord | None = None  # once it was removed
        self._early: list[Report] = []  # that came before the answer to the spawn

    # Facts -----------------------------------------------------------------------------------

    @property
    def record(self) -> PtyRecord:
        """What the registry knows, or knew last once the PTY was removed."""
        return self._last_record or self._host.registry.get(self.pty_id)

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
        """Whether the child has not ended, as far as the lifecycle knows."""
        return self.lifecycle.state in LIVE

    def refusal(self, wanted: str) -> InvalidStateError:
        """Return the error of a request that its state does not allow; `wanted`: what would."""
        record = self.record
        return InvalidStateError(
            record.pty_id, record.state, wanted, called=record.called, shown=shown_of(record)
        )

    @property
    def has_run(self) -> bool:
        """Whether its child was started, so that there is a ring."""
        return self.flow.has_begun

    @property
    def has_exited(self) -> bool:
        """Whether the child is gone and its own output complete."""
        return self.milestones.exited.is_set()

    @property
    def is_gone(self) -> bool:
        """Whether the terminal is closed and the statistics are final."""
        return self.milestones.gone.is_set()

    @property
    def is_removed(self) -> bool:
        """Whether it left the registry."""
        return self._last_record is not None

    @property
    def is_unseen_failure(self) -> bool:
        """Whether it ended badly, and nobody has looked at it since."""
        return self.state is State.ERRORED and not self.is_end_seen

    @property
    def awaits_consumer(self) -> bool:
        """Whether its end may have to wait until a consumer that must lose nothing has read."""
        readers = self.output.readers.values()
        lossless = any(reader.kind is ReaderKind.LOSSLESS for reader in readers)
        return lossless and self.output.on_full is OnFull.BLOCK

    def own(self, members: Sequence[SessionMember]) -> Sequence[SessionMember]:
        """Return the members of its leader's group or session; none if they are not its own.

        The kernel gives a pid to nobody else while a group or session is named after it. So if the
        process with the leader's pid has another start time, it leads a new group or session.
        Limit: a new session whose leader has ended, too, is taken for the PTY's own.
        """
        leader = self.record.pid
        for member in members:
            if member.pid == leader and self.leader_start not in (None, member.start_time):
                return ()
        return members

    # Events and the record -------------------------------------------------------------------

    def publish(
        self, topic: Topic, payload: Mapping[str, Json], cause: CorrelationId | None = None
    ) -> None:
        """Publish an event of this PTY; its cause is by default the request to spawn it."""
        self._host.publisher.publish(self.record, topic, cause or self.cause, payload)

    def note(self, envelope: SignalEnvelope, cause: CorrelationId | None) -> None:
        """Keep and publish the delivery of a signal."""
        self.envelopes.append(envelope)
        self.publish(Topic.SIGNAL_DELIVERED, dict(envelope.as_json()), cause)
        self.note_change()

    def publish_error(self, error: str, **more: Json) -> None:
        """Publish what went wrong, with how the child ended and the last failed signal."""
        if Topic.ERROR in self.published_before:
            self.published_before.discard(Topic.ERROR)
            return
        record = self.record
        failed = [each for each in self.envelopes if each.outcome is Outcome.FAILED]
        payload: dict[str, Json] = {
            "error": error,
            "exit_code": record.exit_code,
            "signal": record.signal,
            "envelope": failed[-1].as_json() if failed else None,
        }
        self.publish(Topic.ERROR, payload | more, self.end.cause)

    def update(self, **changes: Unpack[Changes]) -> PtyRecord:
        """Change the record."""
        return self._host.registry.update(self.pty_id, at=time.time(), **changes)

    def step(self, event: LifecycleEvent, **changes: Unpack[Changes]) -> None:
        """Take a step of the lifecycle, change the record with it, and publish the step."""
        taken = self.lifecycle.apply(event, time.time())
        changes["state"] = taken.to_state.value
        self.update(**changes)
        cause = None if self.is_live else self.end.cause
        self.publish(Topic.STATE_CHANGED, dict(taken.as_json()), cause)
        self.note_change()

    def rename(self, name: str) -> None:
        """Give it another name, and publish that.

        Raises:
            NameTakenError: another live one has it.
        """
        old = self.record.name
        if name != old:
            self.update(name=name)
            self.publish(Topic.RENAMED, {"old": old, "new": name}, cause_of(None))
            self.note_change()

    def _on_attachment(
        self, topic: Topic, payload: Mapping[str, Json], cause: CorrelationId | None
    ) -> None:
        self.publish(topic, payload, cause or self.end.cause)

    def note_looked_at(self) -> None:
        """Note that somebody looks at it, who sees how it ended if it has."""
        if not self.is_live and not self.is_end_seen:
            self.is_end_seen = True
            self.note_change()

    def note_change(self) -> None:
        """Have the manager keep what changed about this PTY."""
        self._host.on_change(self)

    def note_resized(self, old: WindowSize, new: WindowSize, cause: CorrelationId) -> PtyRecord:
        """Change the size in the record and publish that; the terminal has it already."""
        record = self.update(size=new)
        sizes = (("old", old), ("new", new))
        payload = {name: {"cols": size.cols, "rows": size.rows} for name, size in sizes}
        self.publish(Topic.RESIZED, payload, cause)
        self.note_change()
        return record

    # The spawn -------------------------------------------------------------------------------

    def forget_environment(self) -> None:
        """Release the environment, which was needed for the start only, and may be large."""
        self.options = self.options.without_environment()

    def begin(self, spawned: SpawnedPty, spawn_ms: float) -> None:
        """Take what the engine answered to the spawn: the child runs."""
        self.flow.begin(spawned.ring, self.options)
        self.leader_start = spawned.start_time
        self.lifetime.begin(self._host.clock())
        self.step(LifecycleEvent.SPAWNED, pid=spawned.pid, spawn_ms=spawn_ms)
        self.publish(Topic.SPAWNED, {"pid": spawned.pid, "spawn_ms": spawn_ms})
        self.milestones.settled.set()
        self._host.on_begun(self)
        self.flow.refresh()
        early, self._early = self._early, []
        for report in early:
            self.handle(report)

    def resume(self, ring: RingBuffer | None, *, exited: bool, gone: bool) -> None:
        """Go on where a manager before this one left it; that one's account is in the ring."""
        if ring is not None:
            self.flow.begin(ring, self.options, resumed=True)
        self.milestones.settled.set()
        if exited or gone or ring is None:
            self.flow.end_idle()
            self.milestones.exited.set()
        if gone or ring is None:
            self.lifetime.end(self._host.clock())  # if the manager before did not note when
            self.flow.is_over = True
            self.milestones.gone.set()
            self._host.on_gone(self)

    def fail(self, reason: str, code: str, *, asked: bool) -> None:
        """Note that the child could not be started; `asked`: nobody wants it any more."""
        if asked:
            self.step(LifecycleEvent.TERMINATED_EARLY, reason=reason)
        else:
            self.step(LifecycleEvent.SPAWN_FAILED, reason=reason)
            self.publish_error(reason, code=code)
        self.publish_end()
        self.milestones.settled.set()
        self.milestones.exited.set()

    # Reports of the engine -------------------------------------------------------------------

    def handle(self, report: Report) -> None:
        """Take what the engine reports."""
        if not self.milestones.settled.is_set():
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
            case LifelineEnded(_, line, by_client):
                is_owner = self.attachments.end(line, by_client=by_client)
                if is_owner and by_client and self.is_live:
                    self._host.on_orphaned(self)

    def _exit(self, report: Exited) -> None:
        if self.has_exited:
            return  # an engine that replaced another one reports it again
        self.milestones.exited.set()
        status = report.status
        if self.is_gone:  # it was closed by force before it died
            if not self.is_removed:
                self.update(exit_code=status.exit_code, signal=status.signal)
            self._forget_slot()
            self.note_change()
            return
        self.flow.refresh()
        self.flow.end_idle()
        self.is_end_seen = self.output.attended or bool(self.output.readers)
        event = self._end_event(self.end.exit_event(status.exit_code, status.signal))
        facts: Changes = {
            "exit_code": status.exit_code,
            "signal": status.signal,
            "suspended": False,
            "tail_pending": report.tail_pending,
        }
        if self.is_live:
            self.step(event, **facts)
        else:  # a server before this one published the step, and was killed before it kept it
            self.update(**facts)
            self.note_change()

    def _close(self) -> None:
        if self.is_gone:
            return  # an engine that replaced another one reports it again
        forced = self.is_live
        if forced:
            self.flow.refresh()
            event = self._end_event(LifecycleEvent.ENDED_WELL)
            self.step(event, reason="closed by force", suspended=False)
        self.update(tail_pending=False)
        self.flow.end()
        if self.state is State.ERRORED:
            self.publish_error(shown_of(self.record))
        self._forget_slot()
        self.publish_end(forced=forced)

    def _end_event(self, event: LifecycleEvent) -> LifecycleEvent:
        """Return what an end means: one after its timeout is bad, although we wanted it."""
        return LifecycleEvent.ENDED_BADLY if self.record.timed_out else event

    def _forget_slot(self) -> None:
        """Have the engine forget the PTY, once all has ended and no replacement may ask for it."""
        is_wanted = self._host.link.keeps_ended and not self.is_removed
        if self.has_run and self.has_exited and not is_wanted:
            self._host.link.forget(self.slot)

    def publish_end(self, *, forced: bool = False) -> None:
        """Publish the end with the final statistics, unless that was done; wake who waits."""
        self.flow.is_over = True
        record, stats = self.record, self.output.stats()
        payload: dict[str, Json] = {
            "final_state": self.state.value,
            "exit_code": record.exit_code,
            "signal": record.signal,
            "forced": forced,
            "timed_out": record.timed_out,
            "escaped": list(self.end.escaped),
            "total_written": stats.total_written,
            "total_dropped": stats.total_dropped,
        }
        self.attachments.end_all()
        if Topic.STOPPED not in self.published_before:
            self.publish(Topic.STOPPED, payload, self.end.cause)
        self.lifetime.end(self._host.clock())
        self.milestones.gone.set()
        self.note_change()
        self.flow.wake()
        self._host.on_gone(self)

    def remove(self) -> PtyRecord:
        """Leave the registry and release the output; return the last record."""
        if self.state is State.ERRORED:
            self.step(LifecycleEvent.CLEANED_UP)
        record = self.record
        self._host.registry.remove(self.pty_id)
        self._last_record = record
        if self._host.link.keeps_ended:
            if self.has_run:
                self._forget_slot()
            else:
                self._host.link.forget(self.slot)
        self.flow.release()
        return record

    # What the flow finds: it is the `FlowListener` -----------------------------------------------

    def refresh(self) -> None:
        """Bring what is known of the output up to now."""
        self.flow.refresh()

    def on_accounted(self) -> None:
        """Take note that the ring's account includes what was published of the output."""
        self._host.publisher.bus.set_checkpoint()

    @property
    def wants_ranges(self) -> bool:
        """Whether somebody subscribed to its `pty.output`."""
        return self._host.publisher.bus.has_subscribers(Topic.OUTPUT, self.pty_id)

    def on_notifications(self, notifications: list[BufferNotification]) -> None:
        """Publish what the buffer found."""
        if notifications:
            self._host.publisher.publish_output(self.record, self.cause, notifications)

    def on_output(self) -> None:
        """Step to active: the child wrote something."""
        if self.state is State.THROTTLED:
            self.step(LifecycleEvent.OUTPUT_RESUMED)

    def on_silence(self, seconds: float) -> None:
        """Step to throttled: the child wrote nothing for its idle timeout."""
        if self.state is State.ACTIVE:
            self.step(LifecycleEvent.IDLE_TIMEOUT)
            self.publish(Topic.IDLE_TIMEOUT, {"idle_seconds": seconds})

    @property
    def answers_queries(self) -> bool:
        """Whether no terminal is attached that answers what the program asks."""
        if not self.is_live or self._host.answer is None or self.attachments.are_shown:
            return False
        # One that was made for a terminal shows that terminal its output from the first byte on.
        return self.attachments.were_shown or not self.options.keep_term

    def on_queries(self, output: bytes) -> int:
        """Have answered what the output asks; return how much of it may be half a question."""
        assert self._host.answer is not None
        found = answers(output, self.flow.modes, self.record.size)
        if found:
            self._host.answer(self, found)
        return unfinished(output)

    def on_modes(self) -> None:
        """Have the terminal modes kept: the output that switched them may be evicted."""
        self.note_change()

    @property
    def wants_titles(self) -> bool:
        """Whether somebody subscribed to its titles or bells."""
        has_subscribers = self._host.publisher.bus.has_subscribers
        return has_subscribers(Topic.BELL, self.pty_id) or has_subscribers(Topic.TITLE, self.pty_id)

    def on_title(self, topic: Topic, payload: Mapping[str, Json]) -> None:
        """Publish a title, or that the bell was rung."""
        self.publish(topic, payload)

    def on_range(self, start: int, end: int) -> None:
        """Publish that there is output from one offset to another."""
        self.publish(Topic.OUTPUT, {"from": start, "to": end})

"""The event bus: gives each event a number, writes it to the log, and queues it for subscribers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ptymux.core.event_log import KEPT, EventEnvelope, EventLog, Topic
from ptymux.core.model import CorrelationId, LaneId, Limits, PtyId, SessionId, TerminalId
from ptymux.errors import InvalidValueError, LimitReachedError

__all__ = ["Bus", "MissedEvents", "Subscription"]

_LOGGER = logging.getLogger(__name__)

_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class MissedEvents:
    """Stands in a subscriber's queue in place of `count` events that it had no room for."""

    count: int


@dataclass(slots=True, eq=False)
class Subscription:
    """One subscriber's bounded queue of events; made by `Bus.subscribe`.

    A full queue loses its oldest events. `on_ready` is called when an empty queue gets its first
    event. That happens within `publish`, so it should only note that there is something to take.
    """

    _bus: Bus
    _topics: frozenset[Topic]
    _pty_id: PtyId | None
    _max_queue: int
    _on_ready: Callable[[], None] | None
    _queue: deque[EventEnvelope] = field(default_factory=deque)
    _missed: int = 0

    def take(self) -> list[EventEnvelope | MissedEvents]:
        """Return the events since the last call, oldest first, after a mark for lost ones."""
        taken: list[EventEnvelope | MissedEvents] = (
            [MissedEvents(self._missed)] if self._missed else []
        )
        taken += self._queue
        self._queue.clear()
        self._missed = 0
        return taken

    def close(self) -> None:
        """End the subscription and forget the waiting events; a second call does nothing."""
        self._bus._subscriptions.pop(self, None)
        self.take()

    def wants(self, topic: Topic, pty_id: PtyId | None) -> bool:
        """Return whether this subscriber gets events of that topic and PTY."""
        return topic in self._topics and self._pty_id in (None, pty_id)

    def _offer(self, envelope: EventEnvelope) -> bool:
        """Queue the event; return whether it is the first one that waits."""
        if len(self._queue) == self._max_queue:
            self._queue.popleft()
            self._missed += 1
        self._queue.append(envelope)
        return len(self._queue) == 1 and not self._missed

    def _wake(self) -> None:
        try:
            if self._queue and self._on_ready is not None:
                self._on_ready()
        except Exception:  # a border: a subscriber's failure must not reach the publisher
            _LOGGER.exception("a subscriber failed when it was told of events")


class Bus:
    """The publisher of events: numbers them, logs the kept ones, queues them for subscribers.

    With a recovered log the numbers continue where that log ended, and its epoch stays.
    """

    def __init__(self, epoch: str, log: EventLog | None = None, limits: Limits = _LIMITS) -> None:
        assert log is None or log.epoch == epoch
        self.epoch = epoch
        self._log = log
        self._limits = limits
        self.last_seq = log.last_seq if log else 0  # of the newest kept event
        self._sequences = log.sequences if log else dict.fromkeys(Topic, 0)
        self._subscriptions: dict[Subscription, None] = {}  # a dict as an ordered set

    def publish(
        self,
        topic: Topic,
        *,
        id: str,
        at: float,
        pty_id: PtyId | None = None,
        lane_id: LaneId | None = None,
        session_id: SessionId | None = None,
        terminal_id: TerminalId | None = None,
        correlation_id: CorrelationId | None = None,
        payload: Mapping[str, object] | None = None,
    ) -> EventEnvelope:
        """Publish an event of the time `at`, in seconds since the epoch; never blocks or raises.

        A kept event is in the log before any subscriber gets it. If the payload is no JSON, or
        makes the event larger than `Limits.event_size`, a short one says why it was left out.
        """
        kept = topic in KEPT
        envelope = EventEnvelope(
            id=id,
            topic=topic,
            seq=self.last_seq + 1 if kept else None,
            sequence=self._sequences[topic] + 1 if kept else None,
            epoch=self.epoch,
            timestamp=at,
            pty_id=pty_id,
            lane_id=lane_id,
            session_id=session_id,
            terminal_id=terminal_id,
            correlation_id=correlation_id,
            payload=dict(payload or {}),
        )
        envelope, record = self._fit(envelope)
        if kept:
            self.last_seq += 1
            self._sequences[topic] += 1
            if self._log is not None:
                self._log.append(envelope, record)
        takers = [each for each in self._subscriptions if each.wants(topic, pty_id)]
        # First queue it for all, then wake: a woken subscriber may publish, and the order of
        # events must be the same for everybody.
        for taker in [each for each in takers if each._offer(envelope)]:
            taker._wake()
        return envelope

    def set_checkpoint(self) -> None:
        """Set the log's checkpoint: the state up to the last event is stored."""
        if self._log is not None:
            self._log.set_checkpoint()

    def subscribe(
        self,
        topics: Iterable[Topic] | None = None,
        pty_id: PtyId | None = None,
        max_queue: int | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> Subscription:
        """Return a queue for future events of these topics and this PTY; None means all.

        The queue holds `max_queue` events, by default `Limits.subscriber_queue`.

        Raises:
            LimitReachedError: there are `Limits.subscribers` subscribers already.
            InvalidValueError: `max_queue` is below 1.
        """
        most = self._limits.subscriber_queue if max_queue is None else max_queue
        if most < 1:
            raise InvalidValueError("max_queue", most, "1 or more")
        if len(self._subscriptions) >= self._limits.subscribers:
            remedy = "end an `events -f` or a dashboard"
            raise LimitReachedError("subscribers", self._limits.subscribers, remedy)
        wanted = frozenset(Topic if topics is None else topics)
        subscription = Subscription(self, wanted, pty_id, most, on_ready)
        self._subscriptions[subscription] = None
        return subscription

    def has_subscribers(self, topic: Topic, pty_id: PtyId | None = None) -> bool:
        """Return whether anybody subscribed to this topic for this PTY; None means any PTY."""
        return any(each.wants(topic, pty_id or each._pty_id) for each in self._subscriptions)

    def _fit(self, envelope: EventEnvelope) -> tuple[EventEnvelope, bytes]:
        try:
            record = envelope.encode()
        except (TypeError, ValueError, RecursionError) as error:
            _LOGGER.error("the payload of a %s event is no JSON: %s", envelope.topic, error)
            reason = "no JSON"
        else:
            if len(record) <= self._limits.event_size:
                return envelope, record
            reason = f"{len(record)} bytes"
        envelope = replace(envelope, payload={"omitted": reason})
        return envelope, envelope.encode()

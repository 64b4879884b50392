"""What is announced, the log that outlives a process, and the bus that hands it out.

Layout of the log, version 1: 64 header words, 8 bytes each, native order, written by single
aligned stores; then `capacity` bytes of area. Records are JSON in one line each, newline
included, in the order of their seq. The byte at offset `o` lies at `o % capacity`.

    word  name      meaning
       0  MAGIC     "ptymux", a zero byte, the version; a topic more or less is another version
       1  CAPACITY  bytes of area
       2  START     offset of the oldest record; only grows
       3  END       offset behind the newest record; only grows
       4  EPOCH     four words: the log's id, ASCII, filled up with NULs
       8  TOPICS    a word for each topic in the order of `Topic`: its last sequence

An append stores START (the records that give way are gone), the bytes behind END, END (the
record counts) and the topic's word. So [START, END) is whole after a kill anywhere, and only the
newest record can be ahead of its topic's word. Kept topics share one seq from 1, hence the last
seq is the sum of their sequences.
"""

from __future__ import annotations

import enum
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from mmap import mmap
from types import NoneType
from typing import Any, Final

from ptymux.core.model import CorrelationId, LaneId, Limits, PtyId, SessionId, TerminalId
from ptymux.errors import InvalidValueError, LimitReachedError

__all__ = ["HEADER_SIZE", "Topic", "KEPT", "Envelope", "EventLog", "Missed", "Subscription", "Bus"]

_LOGGER = logging.getLogger(__name__)

_LIMITS: Final = Limits()
HEADER_SIZE: Final = 512
_MAGIC: Final = int.from_bytes(b"ptymux\0\1", "big")
_CAPACITY: Final = 1
_START: Final = 2
_END: Final = 3
_EPOCH: Final = slice(4 * 8, 8 * 8)  # in bytes
_TOPICS: Final = 8

Memory = bytearray | mmap | memoryview


class Topic(enum.StrEnum):
    """Everything that is announced; their order is that of the log's words."""

    SPAWNED = "pty.spawned"
    STATE_CHANGED = "pty.state.changed"
    OUTPUT = "pty.output"
    ERROR = "pty.error"
    STOPPED = "pty.stopped"
    RESIZED = "pty.resized"
    SIGNAL_DELIVERED = "pty.signal.delivered"
    TERMINATING = "pty.terminating"
    FORCE_KILLED = "pty.force_killed"
    IDLE_TIMEOUT = "pty.idle_timeout"
    BACKPRESSURE_ON = "pty.backpressure.on"
    BACKPRESSURE_OFF = "pty.backpressure.off"
    BUFFER_OVERFLOW = "pty.buffer.overflow"
    READER_SKIPPED = "pty.reader.skipped"
    RECONCILED = "pty.reconciled"


KEPT = frozenset(Topic) - {Topic.OUTPUT}  # have a seq and are logged
_WORDS: Final = {topic: _TOPICS + index for index, topic in enumerate(Topic)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One event. `seq` (of the epoch) and `sequence` (of the topic) are None when it is not kept.

    `payload` is JSON: texts, numbers, booleans, None, lists and dicts with text keys.
    """

    id: str
    topic: Topic
    seq: int | None
    sequence: int | None
    epoch: str
    timestamp: float  # seconds since the epoch
    pty_id: PtyId | None = None
    lane_id: LaneId | None = None
    session_id: SessionId | None = None
    terminal_id: TerminalId | None = None
    correlation_id: CorrelationId | None = None
    payload: Mapping[str, object]

    def as_json(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return values | {"topic": self.topic.value, "payload": dict(self.payload)}

    def encode(self) -> bytes:
        """Return the event as one line of JSON with its newline; raises what json.dumps raises."""
        text = json.dumps(self.as_json(), separators=(",", ":"), allow_nan=False)
        return text.encode("ascii") + b"\n"

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> Envelope:
        """Return the event with these fields; unknown ones are skipped.

        Raises:
            InvalidValueError: a field is missing or of another kind, or the topic is unknown.
        """
        known: dict[str, Any] = {name: values.get(name) for name in _FIELDS}  # checked below
        for name, kinds in _FIELDS.items():
            if not isinstance(known[name], kinds):
                raise InvalidValueError(f"an event's {name}", known[name], "of its type")
        if known["topic"] not in _WORDS:
            raise InvalidValueError("an event's topic", known["topic"], "one of this version")
        return cls(**known | {"topic": Topic(known["topic"])})


_FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    **{each.name: (str, NoneType) for each in fields(Envelope)},
    **dict.fromkeys(("id", "topic", "epoch"), (str,)),
    **dict.fromkeys(("seq", "sequence"), (int, NoneType)),
    "timestamp": (int, float),
    "payload": (dict,),
}


class EventLog:
    """The latest kept events in a bounded memory; the oldest go first.

    Given a number it owns that many bytes, given memory it formats it. `recover` goes on with
    memory that a dead process wrote. One process at a time appends.

    Raises:
        InvalidValueError: the memory cannot hold the header, or `epoch` is over 32 ASCII letters.
    """

    def __init__(self, memory: Memory | int, *, epoch: str = "") -> None:
        if len(epoch) > 32 or not epoch.isascii():
            raise InvalidValueError("epoch", epoch, "at most 32 ASCII characters")
        self._map(bytearray(HEADER_SIZE + memory) if isinstance(memory, int) else memory)
        for word in range(_EPOCH.stop // 8 + len(Topic)):
            self._store(word, 0)  # MAGIC is the first: a half-formatted log is none
        self._bytes[_EPOCH] = epoch.encode().ljust(32, b"\0")
        self._store(_CAPACITY, self.capacity)
        self._store(0, _MAGIC)
        self._load()

    @classmethod
    def recover(cls, memory: Memory) -> EventLog:
        """Return the log that this memory holds, as complete as the last append left it.

        Raises:
            InvalidValueError: it holds none, or one of another version, or a damaged one.
        """
        log = cls.__new__(cls)
        log._map(memory)
        words = log._words
        size = words[_END] - words[_START]
        if (words[0], words[_CAPACITY]) != (_MAGIC, log.capacity) or not 0 <= size <= log.capacity:
            raise InvalidValueError("event log", hex(words[0]), "a whole one of this version")
        log._load()
        return log

    def _map(self, memory: Memory) -> None:
        self._bytes = memoryview(memory).cast("B")
        self.capacity = len(self._bytes) - HEADER_SIZE
        if self.capacity < 0:
            raise InvalidValueError("event log", len(self._bytes), f"{HEADER_SIZE} bytes or more")
        self._words = self._bytes[:HEADER_SIZE].cast("Q")

    def _load(self) -> None:
        self.epoch = bytes(self._bytes[_EPOCH]).rstrip(b"\0").decode("ascii", "replace")
        lines = self._lines(self._words[_START], self._words[_END])
        self._sizes = deque(map(len, lines))  # of the retained records
        if lines:
            oldest, newest = _decode(lines[0]), _decode(lines[-1])
            self._store(_WORDS[newest.topic], newest.sequence or 0)
        self.last_seq = sum(self.sequences.values())  # of the newest event, 0 before the first
        if lines and (oldest.seq, newest.seq) != (self.last_seq - len(lines) + 1, self.last_seq):
            raise InvalidValueError("event log", newest.seq, f"at event {self.last_seq}")

    @property
    def sequences(self) -> dict[Topic, int]:
        """The last sequence of each topic, 0 before its first."""
        return {topic: self._words[word] for topic, word in _WORDS.items()}

    def append(self, envelope: Envelope, record: bytes | None = None) -> None:
        """Add the next kept event; `record` is its `encode()`, if at hand.

        An event larger than the whole log leaves it empty and counts as missed.
        """
        assert envelope.seq == self.last_seq + 1
        assert envelope.sequence
        record = envelope.encode() if record is None else record
        end = self._words[_END]
        fits = len(record) <= self.capacity
        start = self._words[_START]
        while self._sizes and (not fits or end + len(record) > start + self.capacity):
            start += self._sizes.popleft()
        self._store(_START, start)
        if fits:
            at = end % self.capacity
            first = min(len(record), self.capacity - at)
            self._copy(at, record[:first])
            self._copy(0, record[first:])
            self._store(_END, end + len(record))
            self._sizes.append(len(record))
        self._store(_WORDS[envelope.topic], envelope.sequence)
        self.last_seq = envelope.seq

    def since(self, seq: int, most: int | None = None) -> tuple[int, list[Envelope]]:
        """Return (the `most` oldest) events after `seq`; how many of all are gone: exactly."""
        seq, oldest = max(0, seq), self.last_seq - len(self._sizes) + 1
        skipped = max(0, seq + 1 - oldest)
        start = self._words[_START] + sum(islice(self._sizes, skipped))
        end = start + sum(islice(self._sizes, skipped, None if most is None else skipped + most))
        return max(0, oldest - seq - 1), [_decode(line) for line in self._lines(start, end)]

    def _lines(self, start: int, end: int) -> list[bytes]:
        area = self._bytes[HEADER_SIZE:]
        at, size = start % max(1, self.capacity), end - start
        text = bytes(area[at : at + size]) + bytes(area[: max(0, at + size - self.capacity)])
        return text.splitlines(keepends=True)

    # An append changes memory only here, so that a test can cut it between any two changes.

    def _store(self, word: int, value: int) -> None:
        self._words[word] = value

    def _copy(self, at: int, data: bytes) -> None:
        self._bytes[HEADER_SIZE + at : HEADER_SIZE + at + len(data)] = data


def _decode(line: bytes) -> Envelope:
    try:
        return Envelope.from_json(json.loads(line))
    except (ValueError, AttributeError) as error:  # the first covers InvalidValueError
        raise InvalidValueError("event log", line[:40], "undamaged") from error


@dataclass(frozen=True, slots=True)
class Missed:
    """In the place of `count` events that a full queue had no room for."""

    count: int


@dataclass(slots=True, eq=False)
class Subscription:
    """A bounded queue of the events that somebody wants; made by `Bus.subscribe`.

    A full queue loses its oldest events. `on_ready` is called when the empty queue got its first
    event, within the publish: it should only note that there is something to take.
    """

    _bus: Bus
    _topics: frozenset[Topic]
    _pty_id: PtyId | None
    _max_queue: int
    _on_ready: Callable[[], None] | None
    _queue: deque[Envelope] = field(default_factory=deque)
    _missed: int = 0

    def take(self) -> list[Envelope | Missed]:
        """Return what came since the last call, oldest first, a gap told in its place."""
        taken: list[Envelope | Missed] = [Missed(self._missed)] if self._missed else []
        taken += self._queue
        self._queue.clear()
        self._missed = 0
        return taken

    def close(self) -> None:
        """Get nothing more, and forget what waits; again is no error."""
        self._bus._subscriptions.pop(self, None)
        self.take()

    def wants(self, topic: Topic, pty_id: PtyId | None) -> bool:
        """Return whether such an event would be handed to it."""
        return topic in self._topics and self._pty_id in (None, pty_id)

    def _offer(self, envelope: Envelope) -> bool:
        """Queue the event and return whether it is the first one waiting."""
        if len(self._queue) == self._max_queue:
            self._queue.popleft()
            self._missed += 1
        self._queue.append(envelope)
        return len(self._queue) == 1 and not self._missed

    def _wake(self) -> None:
        try:
            if self._queue and self._on_ready is not None:
                self._on_ready()
        except Exception:  # a border: a subscriber's failure is none of the publisher's
            _LOGGER.exception("a subscriber failed when it was told of events")


class Bus:
    """Numbers events, logs the kept ones and hands all to whom they concern.

    With a log that was recovered the numbers go on where it ended, under its epoch.
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
    ) -> Envelope:
        """Announce what happened `at`, in seconds since the epoch; never blocks or raises.

        A kept event is in the log before anybody is told. A payload that is no JSON or makes it
        larger than `Limits.event_size` is replaced by one that says why it was omitted.
        """
        kept = topic in KEPT
        envelope = Envelope(
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
        # All have it before any is woken: one that publishes in turn must not change the order.
        for taker in [each for each in takers if each._offer(envelope)]:
            taker._wake()
        return envelope

    def subscribe(
        self,
        topics: Iterable[Topic] | None = None,
        pty_id: PtyId | None = None,
        max_queue: int = 1024,
        on_ready: Callable[[], None] | None = None,
    ) -> Subscription:
        """Return a queue of the events to come: of these topics and this PTY, or of all.

        Raises:
            LimitReachedError: `Limits.subscribers` are there already.
            InvalidValueError: the queue has no room for any event.
        """
        if max_queue < 1:
            raise InvalidValueError("max_queue", max_queue, "1 or more")
        if len(self._subscriptions) >= self._limits.subscribers:
            remedy = "end an `events -f` or a dashboard"
            raise LimitReachedError("subscribers", self._limits.subscribers, remedy)
        wanted = frozenset(Topic if topics is None else topics)
        subscription = Subscription(self, wanted, pty_id, max_queue, on_ready)
        self._subscriptions[subscription] = None
        return subscription

    def has_subscribers(self, topic: Topic, pty_id: PtyId | None = None) -> bool:
        """Return whether anybody wants such events; `pty_id` None: of any PTY."""
        return any(each.wants(topic, pty_id or each._pty_id) for each in self._subscriptions)

    def _fit(self, envelope: Envelope) -> tuple[Envelope, bytes]:
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

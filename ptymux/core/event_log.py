"""Events, and the log of the latest ones, in memory that outlives the process.

An event says that something happened to a PTY: it started, lost bytes, ended. Most topics are
*kept*: their events get a number and are written to this log.

Layout of the log, version 1: 64 header words, then an area of `capacity` bytes. A word is 8 bytes
in native order and is written by one aligned store. Each record is one line of JSON with its
newline; records stand in the order of their seq. The byte at offset `o` lies at `o % capacity`.

    word  name        meaning
       0  MAGIC       "ptymux", a zero byte, the version
       1  CAPACITY    size of the area in bytes
       2  START       offset of the oldest record; only grows
       3  END         offset behind the newest record; only grows
       4  EPOCH       four words: the log's id, ASCII, padded with NULs
       8  TOPICS      a word for each topic in the order of `Topic`: its last sequence
      63  CHECKPOINT  the state up to the event with this seq is stored elsewhere

An append writes in this order: START, beyond the records that are overwritten; the bytes behind
END; END, and now the record counts; the topic's word. So after a kill at any moment, [START, END)
contains whole records, and only the newest one can be missing from its topic's word. All kept
topics share one seq, which starts at 1. So the last seq is the sum of the topics' sequences.

A new topic comes last in `Topic`: in a log of an older version its word is 0, so that such a log is
continued. An older version that gets a log with events of topics that it does not know finds that
the sum is wrong, and begins another log.
"""

from __future__ import annotations

import enum
import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import islice
from mmap import mmap
from types import NoneType
from typing import Any, Final

from ptymux.core.model import CorrelationId, LaneId, Limits, PtyId, SessionId, TerminalId
from ptymux.errors import InvalidValueError

__all__ = ["HEADER_SIZE", "Topic", "KEPT", "EventEnvelope", "EventLog"]

_LOGGER = logging.getLogger(__name__)

_LIMITS: Final = Limits()
HEADER_SIZE: Final = Limits.LOG_HEADER
_MAGIC: Final = int.from_bytes(b"ptymux\0\1", "big")
_CAPACITY: Final = 1
_START: Final = 2
_END: Final = 3
_EPOCH: Final = slice(4 * 8, 8 * 8)  # in bytes
_TOPICS: Final = 8
_CHECKPOINT: Final = 63
_MOST: Final = 1 << 62  # a larger count is damage: no log lives long enough to reach it

Memory = bytearray | mmap | memoryview


class Topic(enum.StrEnum):
    """The kinds of events; their order is that of the words in the log's header."""

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
    ATTACHED = "pty.attached"
    DETACHED = "pty.detached"
    RENAMED = "pty.renamed"
    BELL = "pty.bell"
    TITLE = "pty.title"


KEPT = frozenset(Topic) - {Topic.OUTPUT}  # these have a seq and are written to the log
_WORDS: Final = {topic: _TOPICS + index for index, topic in enumerate(Topic)}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventEnvelope:
    """One event: what happened to which PTY and when.

    `seq` counts the events of the log, `sequence` those of the topic; both are None for an event
    that is not kept. `epoch` is the id of the log. `payload` has JSON values only: texts, numbers,
    booleans, None, lists, and dicts with text keys.
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
        """Return the fields as JSON values."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return values | {"topic": self.topic.value, "payload": dict(self.payload)}

    def encode(self) -> bytes:
        """Return the event as one line of JSON; errors of `json.dumps` go through."""
        text = json.dumps(self.as_json(), separators=(",", ":"), allow_nan=False)
        return text.encode("ascii") + b"\n"

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> EventEnvelope:
        """Return the event with these fields; unknown fields are ignored.

        Raises:
            InvalidValueError: a field is missing or has the wrong type, or the topic is unknown.
        """
        known: dict[str, Any] = {name: values.get(name) for name in _FIELDS}  # checked below
        for name, kinds in _FIELDS.items():
            if not isinstance(known[name], kinds):
                raise InvalidValueError(f"an event's {name}", known[name], "of its type")
        if known["topic"] not in _WORDS:
            raise InvalidValueError("an event's topic", known["topic"], "one of this version")
        return cls(**known | {"topic": Topic(known["topic"])})


_FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    **{each.name: (str, NoneType) for each in fields(EventEnvelope)},
    **dict.fromkeys(("id", "topic", "epoch"), (str,)),
    **dict.fromkeys(("seq", "sequence"), (int, NoneType)),
    "timestamp": (int, float),
    "payload": (dict,),
}


class EventLog:
    """A ring of the latest kept events; the oldest are overwritten first.

    Given a number, it allocates that many bytes; given memory, it formats that memory. `recover`
    instead continues a log that another process wrote. Only one process at a time may append.

    Raises:
        InvalidValueError: the memory is too small for the header; or `epoch` is longer than 32
            characters or not ASCII.
    """

    def __init__(self, memory: Memory | int, *, epoch: str = "") -> None:
        if len(epoch) > 32 or not epoch.isascii():
            raise InvalidValueError("epoch", epoch, "at most 32 ASCII characters")
        self._map(bytearray(HEADER_SIZE + memory) if isinstance(memory, int) else memory)
        for word in range(_CHECKPOINT + 1):
            self._store(word, 0)  # MAGIC first: a half-formatted log must not look like one
        self._bytes[_EPOCH] = epoch.encode().ljust(32, b"\0")
        self._store(_CAPACITY, self.capacity)
        self._store(0, _MAGIC)
        self._load()

    @classmethod
    def recover(cls, memory: Memory) -> EventLog:
        """Return the log in this memory, as the last append left it.

        Raises:
            InvalidValueError: there is no log, or one of another version, or a damaged one.
        """
        log = cls.__new__(cls)
        log._map(memory)
        words = log._words
        size = words[_END] - words[_START]
        if (words[0], words[_CAPACITY]) != (_MAGIC, log.capacity) or not 0 <= size <= log.capacity:
            raise InvalidValueError("event log", hex(words[0]), "a whole one of this version")
        if (count := max(words[_END], words[_CHECKPOINT], *log.sequences.values())) > _MOST:
            raise InvalidValueError("event log", count, "a count that is possible")
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
            sequence = newest.sequence or 0
            if not 0 <= sequence <= _MOST:
                raise InvalidValueError("event log", sequence, "a sequence that is possible")
            self._store(_WORDS[newest.topic], sequence)
        self.last_seq = sum(self.sequences.values())  # of the newest event, 0 before the first
        if lines and (oldest.seq, newest.seq) != (self.last_seq - len(lines) + 1, self.last_seq):
            raise InvalidValueError("event log", newest.seq, f"at event {self.last_seq}")

    @property
    def sequences(self) -> dict[Topic, int]:
        """The sequence of each topic's latest event; 0 before the first one."""
        return {topic: self._words[word] for topic, word in _WORDS.items()}

    def append(self, envelope: EventEnvelope, record: bytes | None = None) -> None:
        """Add the next event; `record` is its `encode()`, if the caller has it already.

        An event that is larger than the whole log empties it and counts as missed.
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

    def set_checkpoint(self) -> None:
        """Set the checkpoint: the state up to the last event is stored, in rings and records."""
        self._store(_CHECKPOINT, self.last_seq)

    def after_checkpoint(self) -> list[EventEnvelope]:
        """Return the events behind the checkpoint: their state was not stored before a kill."""
        return (
            self.since(self._words[_CHECKPOINT])[1]
            if self._words[_CHECKPOINT] < self.last_seq
            else []
        )

    def since(self, seq: int, most: int | None = None) -> tuple[int, list[EventEnvelope]]:
        """Return how many events after `seq` are gone, and the oldest `most` of the others."""
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

    # An append changes memory only here, so that a test can interrupt it between two changes.

    def _store(self, word: int, value: int) -> None:
        self._words[word] = value

    def _copy(self, at: int, data: bytes) -> None:
        self._bytes[HEADER_SIZE + at : HEADER_SIZE + at + len(data)] = data


def _decode(line: bytes) -> EventEnvelope:
    try:
        return EventEnvelope.from_json(json.loads(line))
    except (ValueError, AttributeError) as error:  # the first covers InvalidValueError
        raise InvalidValueError("event log", line[:40], "undamaged") from error

"""A bounded ring of bytes in shared memory, addressed by offsets that only grow.

Theory of operation. One writer appends. Any number of readers, also in other processes that map
the same memory, each keep an offset and copy bytes from there. Nobody waits for anybody:

- `total`, the offset behind the newest byte, is the only head. The byte at offset `o` lies at
  `o % (capacity + SLACK)`. Readers are promised the window `[total - capacity, total)`; the SLACK
  of 64 KiB keeps a write in progress out of it.
- Before a write, the writer stores `intent`, the offset that the write may reach. Bytes below
  `intent - (capacity + SLACK)` may be changing. So a reader copies first and checks the oldest
  reliable offset, the edge, afterwards. If the writer has overtaken the copy, the reader does not
  use it; the bytes are a gap.
- An engine keeps bytes that it knows in the SLACK behind `total` (`mark_ahead`, `pattern.py`). If
  it is killed between the kernel's write and the update of `total`, the next one finds the end of
  that write.

In front of the data lies a header of two pages: see `header.py`. Behind it lies an index of the
times at which the output came: see `time_index.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from ptymux.core.given_values import bytes_of
from ptymux.core.header import (
    CAPACITY,
    FLOOR,
    INTENT,
    LIMIT,
    MAGIC,
    NO_LIMIT,
    PATTERN,
    TOTAL,
    UNCERTAIN,
    WAKE_AT,
    Header,
)
from ptymux.core.model import Limits
from ptymux.core.pattern import PERIOD, Pattern
from ptymux.core.time_index import AREA_SIZE, TimeIndex, Times
from ptymux.errors import InvalidValueError

__all__ = ["NO_LIMIT", "SLACK", "Cursor", "Part", "RingBuffer", "WriteResult", "ring_size"]

SLACK: Final = Limits.SLACK
_ZEROS: Final = Pattern(bytes(PERIOD))  # what engines kept there before they had a pattern

Memory = bytearray | mmap | memoryview
ReadV = Callable[[int, Sequence[memoryview]], int]  # os.readv


def ring_size(capacity: int) -> int:
    """Return the size of the memory for a ring of `capacity` bytes with all that belongs to it."""
    return _times_start(capacity) + AREA_SIZE


def _data_end(capacity: int) -> int:
    return Limits.HEADER + capacity + SLACK  # a ring of an older version has no more


def _times_start(capacity: int) -> int:
    return -(-_data_end(capacity) // 8) * 8  # words are aligned


def _check_size(memory: Memory, needed: int) -> None:
    # On refusal no view may point into the memory: its owner could not close it.
    if (size := memoryview(memory).nbytes) < needed:
        raise InvalidValueError("memory", size, f"{needed} bytes or more")


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The result of one write: bytes appended, and bytes evicted that nobody had consumed."""

    written: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of output, as a reader gets it."""

    offset: int  # of data[0], in bytes since the child started
    skipped: int  # bytes missed just before offset; 0 for a reader that kept up
    data: bytes

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + len(self.data)


class RingBuffer(Header):
    """A ring buffer of `capacity` bytes; when it is full, the oldest bytes are evicted.

    Without `memory` it allocates its own. Memory that is given must have `ring_size(capacity)`
    bytes; its header is formatted, and its data stays as it is. `RingBuffer.attach` uses a ring
    that another process formatted. Capacity 0 is allowed: every byte is dropped at once. After
    construction nothing grows. No operation allocates in proportion to the capacity, except for
    what `read` and `consume` return.

    `consume` is for a single reader in the writer's process. For it this law holds:
    `total == total_consumed + total_dropped + available`. Other readers use a `Cursor`.

    Raises:
        InvalidValueError: `capacity` is out of range, or the memory is too small.
    """

    __slots__ = (
        "_consumed",
        "_data",
        "_dropped",
        "_pattern",
        "_size",
        "_tail",
        "_times",
        "_view",
        "capacity",
    )

    def __init__(self, capacity: int | str, memory: Memory | None = None) -> None:
        capacity = bytes_of("capacity", capacity)
        if not 0 <= capacity <= Limits.LARGEST_BUFFER:
            raise InvalidValueError("capacity", capacity, f"0 to {Limits.LARGEST_BUFFER} bytes")
        if memory is None:
            memory = bytearray(ring_size(capacity))
        _check_size(memory, ring_size(capacity))
        self._map(memory, capacity)
        self._view[: Limits.HEADER] = bytes(Limits.HEADER)
        words = self._words
        words[CAPACITY] = capacity
        words[LIMIT] = words[WAKE_AT] = NO_LIMIT
        words[0] = MAGIC  # last: a half-formatted ring must not look like one

    @classmethod
    def attach(cls, memory: Memory) -> RingBuffer:
        """Return the ring that this memory contains already, with nothing consumed.

        Raises:
            InvalidValueError: it contains no ring, or one of another layout.
        """
        _check_size(memory, _data_end(0))
        with memoryview(memory).cast("B") as view, view[:16].cast("Q") as words:
            magic, capacity = words
        if magic != MAGIC:
            raise InvalidValueError("ring layout", hex(magic), f"{MAGIC:#x}; restart the server")
        ring = cls.__new__(cls)
        ring._map(memory, capacity)
        return ring

    def _map(self, memory: Memory, capacity: int) -> None:
        _check_size(memory, _data_end(capacity))
        view = memoryview(memory).cast("B")
        self.capacity = capacity
        self._size = capacity + SLACK
        self._view = view
        self._words = view[: Limits.HEADER].cast("Q")
        self._data = view[Limits.HEADER : Limits.HEADER + self._size]
        self._tail = self._consumed = self._dropped = 0
        self._pattern = _ZEROS
        self._times: TimeIndex | None = None
        start = _times_start(capacity)
        if len(view) >= start + AREA_SIZE:
            self._times = TimeIndex(self._words, view[start : start + AREA_SIZE].cast("Q"))

    def release(self) -> None:
        """Release the memory, so that its owner can close it; the ring is unusable afterwards."""
        if self._times is not None:
            self._times.release()
        self._words.release()
        self._data.release()
        self._view.release()

    # Facts -----------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """The offset behind the newest byte: the number of bytes ever written."""
        return self._words[TOTAL]

    @property
    def edge(self) -> int:
        """The offset of the oldest byte that a reader can rely on now."""
        words = self._words
        total, overtaken = words[TOTAL], words[INTENT] - self._size
        return min(total, max(total - self.capacity, overtaken, words[FLOOR], 0))

    @property
    def available(self) -> int:
        """The number of bytes that `consume` would return."""
        start, end = self._settle()
        return end - start

    @property
    def utilization(self) -> float:
        """`available / capacity`, 0.0 to 1.0; 0.0 for capacity 0."""
        return self.available / self.capacity if self.capacity else 0.0

    @property
    def total_consumed(self) -> int:
        """The number of bytes that `consume` has returned."""
        return self._consumed

    @property
    def total_dropped(self) -> int:
        """The number of bytes evicted or cleared before `consume` returned them."""
        self._settle()
        return self._dropped

    @property
    def times(self) -> Times:
        """When the output came; not known for a ring that an older version made."""
        end = self.total  # first: what is below it has been noted
        index = self._times
        return Times(() if index is None else index.stamps(), end, is_known=index is not None)

    def note_time(self, second: int) -> None:
        """Have what is written next be of this second of the wall clock. Call it before the write.

        A kill in the write leaves an entry for bytes that `recover` may find.
        """
        if self._times is not None:
            self._times.note(self._words[TOTAL], second, self.edge)

    # The single consumer ---------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> WriteResult:
        """Append `data`; the oldest bytes are evicted to make room."""
        source = memoryview(data).cast("B")
        before = self.total_dropped
        position = 0
        while position < len(source):
            for piece in self.prepare(min(SLACK, len(source) - position)):
                piece[:] = source[position : position + len(piece)]
                position += len(piece)
            self.commit(self._words[INTENT] - self._words[TOTAL])
        return WriteResult(len(source), self.total_dropped - before)

    def read(self, max_bytes: int | None = None) -> bytes:
        """Return the oldest available bytes, at most `max_bytes`, without removing them."""
        start, end = self._settle()
        count = end - start
        return self.copy(start, count if max_bytes is None else max(0, min(count, max_bytes)))

    def consume(self, max_bytes: int | None = None) -> bytes:
        """Return the oldest available bytes, at most `max_bytes`, and remove them."""
        data = self.read(max_bytes)
        self._tail += len(data)
        self._consumed += len(data)
        return data

    def clear(self) -> int:
        """Remove all bytes; return how many of them had not been consumed."""
        start, end = self._settle()
        self._dropped += end - start
        self._tail = self._words[FLOOR] = end
        return end - start

    def _settle(self) -> tuple[int, int]:
        """Count bytes evicted since the last call as dropped; return the window that is left."""
        words = self._words
        floor, total = words[FLOOR], words[TOTAL]  # in this order: the floor is never above total
        oldest = max(total - self.capacity, floor)
        if oldest > self._tail:
            self._dropped += oldest - self._tail
            self._tail = oldest
        return self._tail, total

    # The writer ------------------------------------------------------------------------------

    def prepare(self, size: int) -> list[memoryview]:
        """Begin a write of up to `size` bytes, at most SLACK; return the memory to write to.

        Fill the one or two pieces in order, then call `commit` with the bytes written.
        """
        words = self._words
        total = words[TOTAL]
        words[INTENT] = total + size
        at = total % self._size
        if at + size <= self._size:
            return [self._data[at : at + size]]
        return [self._data[at:], self._data[: at + size - self._size]]

    def commit(self, size: int) -> int:
        """Finish a write: `size` bytes of it become readable; return the new total."""
        words = self._words
        total = words[TOTAL] + size
        words[TOTAL] = total
        words[INTENT] = total
        return total

    def drain(
        self, fd: int, readv: ReadV, count: int, *, limited: bool = True, short: int = 0
    ) -> int:
        """Append up to `count` reads of `fd` with `readv`; return how many bytes the last one got.

        This is `prepare`, `commit` and `mark_ahead` in one. It runs for every 4 KB of output, so
        it does as little as possible around each read. With `limited` it never reads beyond
        `limit`, and returns -1 when it has reached it. It stops after a read of less than `short`
        bytes. An exception of `readv` goes through; the ring is consistent then.
        """
        words, data, ring, pattern = self._words, self._data, self._size, self._pattern.bytes
        total = words[TOTAL]
        if not total:
            self.mark_ahead(SLACK)
        room = SLACK
        got = 0
        try:
            for _ in range(count):
                if limited:
                    room = words[LIMIT] - total
                    if room > SLACK:
                        room = SLACK
                    elif room <= 0:
                        return -1
                words[INTENT] = total + room
                at = total % ring
                end = at + room
                if end <= ring:
                    got = readv(fd, (data[at:end],))
                else:
                    got = readv(fd, (data[at:], data[: end - ring]))
                total += got
                words[TOTAL] = total
                at += SLACK
                if at >= ring:
                    at -= ring
                end = at + got
                if end <= ring:
                    known = at % PERIOD
                    data[at:end] = pattern[known : known + got]
                else:
                    self.mark_ahead(got)
                if got < short:
                    break
        finally:
            words[INTENT] = total
        return got

    def begin_marks(self, pattern: Pattern) -> None:
        """Have this engine's pattern ahead of the newest byte from now on.

        Before the first byte it is not written yet: `drain` does so. A PTY that says nothing, as
        most do in a crowd, has no memory for its output then.
        """
        self._pattern = pattern
        for index, word in enumerate(memoryview(pattern.key).cast("Q")):
            self._words[PATTERN + index] = word
        if self._words[TOTAL]:
            self.mark_ahead(SLACK)

    def mark_ahead(self, size: int) -> None:
        """Write the last `size` of the SLACK bytes behind `total`, after a commit of `size` bytes.

        They replace bytes that the commit evicted, so no reader relies on them.
        """
        at = (self._words[TOTAL] - size + SLACK) % self._size
        first = min(size, self._size - at)
        self._data[at : at + first] = self._pattern.at(at, first)
        self._data[: size - first] = self._pattern.at(0, size - first)

    def recover(self, pattern: Pattern) -> int:
        """Finish the write that a killed engine left incomplete; return how many bytes it had.

        The kernel had written bytes between `total` and `intent`, and `total` was not updated.
        Everything behind `total` was known before; so the write ends at the last byte that is
        another. From now on `pattern` stands there. Limit: bytes at the end of that write that are
        the known ones by chance cannot be seen; so `uncertain` counts it.
        Source: 38 of 300 kills in a flood found such a read; 38 of 38 were recovered exactly.
        """
        words = self._words
        total, intent = words[TOTAL], words[INTENT]
        if intent > total:
            words[UNCERTAIN] += 1
        found = self._written_ahead(min(intent - total, SLACK)) if intent > total else 0
        words[TOTAL] = total + found
        words[INTENT] = total + found
        self.begin_marks(pattern)
        return found

    def _written_ahead(self, size: int) -> int:
        """Return up to where the `size` bytes behind `total` are not those that stood there."""
        total = self._words[TOTAL]
        ahead = self.copy(total, SLACK)
        known = _ZEROS
        # No read is so long that it reaches the end of its room, around which zeros are an older
        # engine's. Elsewhere zeros may be what was never written: the kill can have come before
        # `mark_ahead`.
        if any(ahead[max(0, size - PERIOD) : size + PERIOD]):
            known = Pattern(self._words[PATTERN : PATTERN + PERIOD // 8].tobytes())
        at = total % self._size
        first = min(size, self._size - at)
        before = b"".join((known.at(at, first), known.at(0, size - first)))
        changed = int.from_bytes(ahead[:size], "little") ^ int.from_bytes(before, "little")
        return (changed.bit_length() + 7) // 8

    # Readers ---------------------------------------------------------------------------------

    def copy(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, unchecked: compare with `edge` before use."""
        at = offset % self._size
        if at + size <= self._size:
            return self._data[at : at + size].tobytes()
        return b"".join((self._data[at:], self._data[: at + size - self._size]))


class Cursor:
    """One reader's position in a ring, with the bytes it got and missed so far.

    At any time `total - start == delivered + skipped + backlog`.
    """

    __slots__ = ("delivered", "offset", "ring", "skipped", "start")

    def __init__(self, ring: RingBuffer, offset: int | None = None) -> None:
        """Begin at `offset`, or at the oldest byte that is kept."""
        self.ring = ring
        self.start = self.offset = ring.edge if offset is None else offset
        self.delivered = self.skipped = 0

    @property
    def backlog(self) -> int:
        """Bytes written and neither delivered nor counted as skipped; may exceed the capacity."""
        return self.ring.total - self.offset

    def peek(self, limit: int = Limits.CHUNK) -> Part:
        """Return the next bytes, at most `limit`, without moving.

        A reader that fell behind first tries the edge. If the writer overtakes its copy there, it
        tries a sixteenth of the capacity behind the edge, where it has time to read.
        Source: a reader put exactly on the edge again and again was overtaken 131 times in a run,
        with that distance once.
        """
        ring = self.ring
        at = max(self.offset, ring.edge)
        while True:
            data = ring.copy(at, min(limit, ring.total - at))
            edge = ring.edge
            if at >= edge:
                return Part(at, at - self.offset, data)
            at = min(edge + ring.capacity // 16, ring.total)

    def advance(self, part: Part, size: int | None = None) -> None:
        """Move behind `part`, or behind its first `size` bytes; its gap counts as skipped.

        A reader never moves back: bytes that it was moved past since `peek` stay skipped.
        """
        begin = max(part.offset, self.offset)
        end = max(begin, part.offset + (len(part.data) if size is None else size))
        self.skipped += begin - self.offset
        self.delivered += end - begin
        self.offset = end

    def read(self, limit: int = Limits.CHUNK) -> Part:
        """Return the next bytes, at most `limit`, and move behind them."""
        part = self.peek(limit)
        self.advance(part)
        return part

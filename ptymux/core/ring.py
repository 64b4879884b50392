"""A bounded ring of bytes addressed by offsets that only grow, over any writable memory.

Theory of operation. One writer appends; any number of readers, also in other processes that map
the same memory, keep an offset each and copy. Nobody waits for anybody:

- `total`, the offset behind the newest byte, is the only head. The byte at offset `o` lies at
  `o % (capacity + SLACK)`; the SLACK of 64 KiB keeps a write in progress out of the window that
  was promised, `[total - capacity, total)`.
- Before it writes, the writer stores `intent`, the offset that the write may reach. Whatever lies
  below `intent - (capacity + SLACK)` may be changing. A reader copies first and looks at the edge
  afterwards: what was overtaken meanwhile is a gap and is never used.
- The SLACK bytes from `total` on are kept zero by an engine (`zero_ahead`), so that a successor
  finds the end of a write that was cut between the kernel and `total`.

Before the data lies a header of two pages: see `header.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from ptymux.core.header import (
    CAPACITY,
    FLOOR,
    INTENT,
    LIMIT,
    MAGIC,
    NO_LIMIT,
    TOTAL,
    UNCERTAIN,
    WAKE_AT,
    Header,
)
from ptymux.core.model import Limits
from ptymux.errors import InvalidValueError

__all__ = ["NO_LIMIT", "SLACK", "Cursor", "Part", "RingBuffer", "WriteResult", "ring_size"]

SLACK: Final = Limits.SLACK
_ZEROS: Final = memoryview(bytes(SLACK))

Memory = bytearray | mmap | memoryview
ReadV = Callable[[int, Sequence[memoryview]], int]  # os.readv


def ring_size(capacity: int) -> int:
    """Return how many bytes of memory a ring of `capacity` takes, header and slack included."""
    return Limits.HEADER + capacity + SLACK


def _check_size(memory: Memory, needed: int) -> None:
    # Nothing may point into memory that was refused: its owner could not close it.
    if (size := memoryview(memory).nbytes) < needed:
        raise InvalidValueError("memory", size, f"{needed} bytes or more")


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What one write did: bytes appended, and bytes that nobody had consumed and are gone."""

    written: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of output, as handed to a reader."""

    offset: int  # of data[0], in bytes since the child started
    skipped: int  # bytes missed just before offset; 0 for a reader that kept up
    data: bytes

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + len(self.data)


class RingBuffer(Header):
    """A ring of `capacity` bytes; the oldest go first.

    Without `memory` it owns a private one. Given memory of `ring_size(capacity)` bytes is
    formatted, which leaves its data as it is: an engine relies on fresh zeros there.
    `RingBuffer.attach` maps one that another process formatted. Capacity 0 is legal: every byte
    is dropped at once. After construction nothing grows and no operation allocates in proportion
    to the capacity, except for what `read` and `consume` return.

    `consume` is for a single reader beside the writer, in the same process; its law is
    `total == total_consumed + total_dropped + available`. Other readers use a `Cursor`.

    Raises:
        InvalidValueError: `capacity` is negative, or the memory is too small or no ring.
    """

    __slots__ = ("_consumed", "_data", "_dropped", "_size", "_tail", "_view", "capacity")

    def __init__(self, capacity: int, memory: Memory | None = None) -> None:
        if not 0 <= capacity <= Limits.LARGEST_BUFFER:
            raise InvalidValueError("capacity", capacity, f"0 to {Limits.LARGEST_BUFFER} bytes")
        if memory is None:
            memory = bytearray(ring_size(capacity))
        self._map(memory, capacity)
        self._view[: Limits.HEADER] = _ZEROS[: Limits.HEADER]
        words = self._words
        words[CAPACITY] = capacity
        words[LIMIT] = words[WAKE_AT] = NO_LIMIT
        words[0] = MAGIC  # last: a half-formatted ring is none

    @classmethod
    def attach(cls, memory: Memory) -> RingBuffer:
        """Return a ring over memory that holds one already, with nothing of it consumed.

        Raises:
            InvalidValueError: it is no ring, or one of another layout.
        """
        _check_size(memory, ring_size(0))
        with memoryview(memory).cast("B") as view, view[:16].cast("Q") as words:
            magic, capacity = words
        if magic != MAGIC:
            raise InvalidValueError("ring layout", hex(magic), f"{MAGIC:#x}; restart the server")
        ring = cls.__new__(cls)
        ring._map(memory, capacity)
        return ring

    def _map(self, memory: Memory, capacity: int) -> None:
        _check_size(memory, ring_size(capacity))
        view = memoryview(memory).cast("B")
        self.capacity = capacity
        self._size = capacity + SLACK
        self._view = view
        self._words = view[: Limits.HEADER].cast("Q")
        self._data = view[Limits.HEADER : Limits.HEADER + self._size]
        self._tail = self._consumed = self._dropped = 0

    def release(self) -> None:
        """Let go of the memory, so that its owner can close it; the ring is unusable afterwards."""
        self._words.release()
        self._data.release()
        self._view.release()

    # Facts -----------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """The offset behind the newest byte: all bytes ever written."""
        return self._words[TOTAL]

    @property
    def edge(self) -> int:
        """The offset of the oldest byte that a reader can rely on right now."""
        words = self._words
        total, overtaken = words[TOTAL], words[INTENT] - self._size
        return min(total, max(total - self.capacity, overtaken, words[FLOOR], 0))

    @property
    def available(self) -> int:
        """Bytes that `consume` would return."""
        start, end = self._settle()
        return end - start

    @property
    def utilization(self) -> float:
        """`available / capacity`, 0.0 to 1.0; 0.0 for capacity 0."""
        return self.available / self.capacity if self.capacity else 0.0

    @property
    def total_consumed(self) -> int:
        """Bytes that `consume` returned so far."""
        return self._consumed

    @property
    def total_dropped(self) -> int:
        """Bytes that went, evicted or cleared, before `consume` returned them."""
        self._settle()
        return self._dropped

    # The single consumer ---------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> WriteResult:
        """Append `data`, evicting the oldest bytes when it does not fit."""
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
        """Return the oldest available bytes, at most `max_bytes`, and leave them there."""
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
        """Remove everything; return how many bytes that dropped."""
        start, end = self._settle()
        self._dropped += end - start
        self._tail = self._words[FLOOR] = end
        return end - start

    def _settle(self) -> tuple[int, int]:
        """Count what went since the last look as dropped; return the window that is left."""
        words = self._words
        floor, total = words[FLOOR], words[TOTAL]  # in this order no floor is above the total
        oldest = max(total - self.capacity, floor)
        if oldest > self._tail:
            self._dropped += oldest - self._tail
            self._tail = oldest
        return self._tail, total

    # The writer ------------------------------------------------------------------------------

    def prepare(self, size: int) -> list[memoryview]:
        """Announce a write of up to `size` bytes, at most SLACK, and return where it goes.

        The pieces, one or two, are filled in order; `commit` then says how much was written.
        """
        words = self._words
        total = words[TOTAL]
        words[INTENT] = total + size
        at = total % self._size
        if at + size <= self._size:
            return [self._data[at : at + size]]
        return [self._data[at:], self._data[: at + size - self._size]]

    def commit(self, size: int) -> int:
        """Publish `size` bytes of the announced write; return the new total."""
        words = self._words
        total = words[TOTAL] + size
        words[TOTAL] = total
        words[INTENT] = total
        return total

    def drain(
        self, fd: int, readv: ReadV, count: int, *, limited: bool = True, short: int = 0
    ) -> int:
        """Append what up to `count` calls of `readv(fd, pieces)` give; return the last one's bytes.

        An engine's `prepare`, `commit` and `zero_ahead` in one, with as little around each read as
        there can be: it runs for every 4 KB of output. With `limited` it never goes beyond `limit`
        and returns -1 once it is there. It stops after a read of less than `short` bytes. What
        `readv` raises goes through, nothing half done.
        """
        words, data, ring = self._words, self._data, self._size
        total = words[TOTAL]
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
                    data[at:end] = _ZEROS[:got]
                else:
                    self.zero_ahead(got)
                if got < short:
                    break
        finally:
            words[INTENT] = total
        return got

    def zero_ahead(self, size: int) -> None:
        """Keep SLACK bytes ahead of `total` zero, after a commit of `size` bytes.

        They lie among bytes that the commit evicted, so no reader relies on them.
        """
        at = (self._words[TOTAL] - size + SLACK) % self._size
        if at + size <= self._size:
            self._data[at : at + size] = _ZEROS[:size]
        else:
            first = self._size - at
            self._data[at:] = _ZEROS[:first]
            self._data[: size - first] = _ZEROS[: size - first]

    def recover(self) -> int:
        """Finish the write that a dead engine left in the middle; return the bytes it had written.

        What the kernel had written before `total` could say so lies before `intent`, and ahead
        of `total` everything was zero: so it goes up to the last byte that is none. One that
        ended in NULs cannot be told from a shorter one, or from none; that is counted.
        Source: 38 of 300 kills in a flood found such a read; 38 of 38 were recovered exactly.
        """
        words = self._words
        total, intent = words[TOTAL], words[INTENT]
        found = len(self.copy(total, max(0, intent - total)).rstrip(b"\0"))
        if intent > total:
            words[UNCERTAIN] += 1
        words[TOTAL] = total + found
        words[INTENT] = total + found
        self.zero_ahead(SLACK)
        return found

    # Readers ---------------------------------------------------------------------------------

    def copy(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, unchecked: look at `edge` before using them."""
        at = offset % self._size
        if at + size <= self._size:
            return self._data[at : at + size].tobytes()
        return b"".join((self._data[at:], self._data[: at + size - self._size]))


class Cursor:
    """One reader's position in a ring: an offset, and what it got and missed on the way.

    At any time `total - start == delivered + skipped + backlog`.
    """

    __slots__ = ("delivered", "offset", "ring", "skipped", "start")

    def __init__(self, ring: RingBuffer, offset: int | None = None) -> None:
        """Begin at `offset`, or at the oldest byte still held."""
        self.ring = ring
        self.start = self.offset = ring.edge if offset is None else offset
        self.delivered = self.skipped = 0

    @property
    def backlog(self) -> int:
        """Bytes written and neither delivered nor told as skipped; may exceed the capacity."""
        return self.ring.total - self.offset

    def peek(self, limit: int = Limits.CHUNK) -> Part:
        """Return what comes next, at most `limit` bytes, without moving.

        A reader that fell behind is put on the edge; when the writer overtakes the copy there, it
        goes on a sixteenth of the capacity further, where it has time to read.
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

        A reader never moves back: what it was moved past since `peek` stays skipped.
        """
        begin = max(part.offset, self.offset)
        end = max(begin, part.offset + (len(part.data) if size is None else size))
        self.skipped += begin - self.offset
        self.delivered += end - begin
        self.offset = end

    def read(self, limit: int = Limits.CHUNK) -> Part:
        """Return what comes next, at most `limit` bytes, and move behind it."""
        part = self.peek(limit)
        self.advance(part)
        return part

"""When output came: an index of offsets and seconds, kept in shared memory behind a ring.

Theory of operation. Before the first read in a second, the engine appends one entry: the offset of
the next byte, and the second of the wall clock. So a byte has the second of the last entry at or
below it. While nothing is written, nothing is noted, and no memory is used.

The number of entries is bounded. When the area is full, entries of evicted bytes go. If that is
not enough, the index becomes coarser, the more so the older the output is: the entries that are
left are apart by up to a 32nd of their age, so that an index of 1,024 entries spans years. An entry
that has taken in later ones is a span: its bytes came between its second and that of the next one.

There are two areas. The valid one is changed only by appending: first the entry, then the word
that has the count. A coarser index is written into the other area, and then the same word switches
to it. So a kill between two stores leaves a whole index, and so does a reader see one.

A wall clock can be set. Seconds are kept as they were, also if they go back: `since` begins at the
first output that was stamped with that time or a later one, which is rather more than less.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor
from typing import Final, NamedTuple

from ptymux.core.model import Limits

__all__ = ["AREA_SIZE", "ENTRIES", "Stamp", "TimeIndex", "Times", "thinned"]

ENTRIES: Final = Limits.TIMES
AREA_SIZE: Final = 2 * 16 * ENTRIES  # bytes: two areas of two words for each entry
_META: Final = 11  # the header's word: how often the area was switched, and how many entries
_COUNT_BITS: Final = 32
_SPAN: Final = 1 << 63  # set in an entry's second
_FINENESS: Final = 32  # the part of its age by which an entry may be apart from the next one
_FULL: Final = ENTRIES * 3 // 4  # entries that may be left in a coarser index


class Stamp(NamedTuple):  # made by the thousand when an index becomes coarser
    """One entry: output from `offset` on came in this second, or in a later one if `is_span`."""

    offset: int
    second: int  # since the epoch
    is_span: bool = False  # up to the next entry's second


@dataclass(frozen=True, slots=True)
class Times:
    """When the output of a PTY came, in whole seconds since the epoch, up to the offset `end`."""

    stamps: tuple[Stamp, ...]
    end: int
    is_known: bool = True  # False: this PTY was started by a version that did not note times

    def since(self, at: float) -> int:
        """Return the offset of the first output that came at that time or later.

        Within a span it is the span's beginning. 0 if what came then may have been evicted; `end`
        if nothing came since.
        """
        second = floor(at)
        for index, stamp in enumerate(self.stamps):
            if stamp.second >= second:
                return stamp.offset if index else 0
            if stamp.is_span and self._next_second(index) > second:
                return stamp.offset
        return self.end if self.stamps else 0

    def until(self, at: float) -> int:
        """Return the offset behind the last output that came at that time or earlier."""
        second = floor(at)
        end = self.end
        for stamp in reversed(self.stamps):
            if stamp.second <= second:
                return end
            end = stamp.offset
        return 0 if self.stamps else self.end

    def second_at(self, offset: int) -> int | None:
        """Return when the byte at an offset came; None if that is not known."""
        index = bisect_right(self.stamps, offset, key=lambda stamp: stamp.offset)
        return self.stamps[index - 1].second if index else None

    def as_json(self) -> dict[str, object]:
        """Return it as a server sends it."""
        stamps = [[each.offset, each.second, int(each.is_span)] for each in self.stamps]
        return {"times": stamps, "end": self.end, "known": self.is_known}

    @classmethod
    def from_json(cls, found: dict[str, object]) -> Times:
        """Return what a server sent."""
        rows, end = found["times"], found["end"]
        assert isinstance(rows, list)
        assert isinstance(end, int)
        stamps = tuple(Stamp(offset, second, bool(span)) for offset, second, span in rows)
        return cls(stamps, end, bool(found["known"]))

    def _next_second(self, index: int) -> int:
        return self.stamps[min(index + 1, len(self.stamps) - 1)].second


class TimeIndex:
    """The index in the memory of a ring: `header` is the ring's words, `area` the index's own."""

    __slots__ = ("_area", "_header")

    def __init__(self, header: memoryview, area: memoryview) -> None:
        self._header = header
        self._area = area

    def release(self) -> None:
        """Release the memory."""
        self._area.release()

    def note(self, offset: int, second: int, edge: int) -> None:
        """Have output from `offset` on be of this second; output below `edge` was evicted."""
        switches, count = self._meta()
        if count:
            last = self._start(switches) + 2 * (count - 1)
            if self._area[last + 1] == second:
                return
            if self._area[last] == offset:  # nothing came in the second that was noted
                self._area[last + 1] = second
                return
        if count == ENTRIES:
            switches, count = self._make_coarser(switches, edge)
        self._store(switches, count, Stamp(offset, second))
        self._header[_META] = switches << _COUNT_BITS | count + 1

    def stamps(self) -> tuple[Stamp, ...]:
        """Return all entries; the caller may be another process than the one that notes."""
        while True:
            switches, count = self._meta()
            found = self._load(switches, count)
            if self._meta()[0] == switches:  # else: the area may have been written anew
                return found

    def _meta(self) -> tuple[int, int]:
        word = self._header[_META]
        return word >> _COUNT_BITS, min(word & ((1 << _COUNT_BITS) - 1), ENTRIES)

    def _make_coarser(self, switches: int, edge: int) -> tuple[int, int]:
        kept = thinned(self._load(switches, ENTRIES), edge)
        switches = (switches + 1) & ((1 << _COUNT_BITS) - 1)
        for index, stamp in enumerate(kept):
            self._store(switches, index, stamp)
        self._header[_META] = switches << _COUNT_BITS | len(kept)
        return switches, len(kept)

    @staticmethod
    def _start(switches: int) -> int:
        return switches % 2 * 2 * ENTRIES

    def _store(self, switches: int, index: int, stamp: Stamp) -> None:
        at = self._start(switches) + 2 * index
        self._area[at] = stamp.offset
        self._area[at + 1] = stamp.second | _SPAN * stamp.is_span

    def _load(self, switches: int, count: int) -> tuple[Stamp, ...]:
        start = self._start(switches)
        words = self._area[start : start + 2 * count].tolist()
        pairs = zip(words[::2], words[1::2], strict=True)
        return tuple(Stamp(offset, word & ~_SPAN, bool(word & _SPAN)) for offset, word in pairs)


def thinned(stamps: Sequence[Stamp], edge: int, most: int = _FULL) -> list[Stamp]:
    """Return at most `most` of the entries, at least 2: fewer of old times than of new ones.

    Those of evicted output, below `edge`, go first, but for the last one of them. The oldest one
    that is left and the newest one stay.
    """
    first = bisect_right(stamps, edge, key=lambda stamp: stamp.offset) - 1
    kept = list(stamps[max(first, 0) :])
    fineness = _FINENESS
    while len(kept) > most and fineness:
        kept = _merged(kept, fineness)
        fineness //= 2
    while len(kept) > most:  # a clock that was set again and again
        kept = [*(Stamp(s.offset, s.second, True) for s in kept[:-1:2]), kept[-1]]
    return kept


def _merged(stamps: Sequence[Stamp], fineness: int) -> list[Stamp]:
    """Leave out entries without which their neighbours are near each other for their age."""
    ages = _ages(stamps)
    kept = [stamps[-1]]
    age = 0  # of the last one in `kept`
    leaves_out = False
    for index in range(len(stamps) - 2, -1, -1):
        stamp = stamps[index]
        if index and fineness * (ages[index - 1] - age) <= age and _in_order(stamps, index):
            leaves_out = True
            continue
        is_span = stamp.is_span or leaves_out
        kept.append(Stamp(stamp.offset, stamp.second, is_span))
        age, leaves_out = ages[index], False
    return kept[::-1]


def _ages(stamps: Sequence[Stamp]) -> list[int]:
    """Return how much older than the newest each one is, whichever way the clock went."""
    ages = [0]
    for newer, older in pairwise(reversed(stamps)):
        ages.append(ages[-1] + abs(newer.second - older.second))
    return ages[::-1]


def _in_order(stamps: Sequence[Stamp], index: int) -> bool:
    return stamps[index - 1].second <= stamps[index].second <= stamps[index + 1].second

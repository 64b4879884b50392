"""The account of one PTY's bytes: which were handed to a consumer, and which were lost.

A byte is *handed* once some consumer has got it. Three numbers and a list say everything:

- `handed`: the highest offset that any consumer was handed.
- `holes`: the ranges below it that no consumer was handed.
- `accounted`: the offset below which every byte was evicted and put into one class. It is
  *trimmed* if a consumer had been handed it before, else *dropped*.

A server that was killed may have handed out bytes that it did not record: at most what was on its
way to each client. While these clients are awaited there is a third class. Of the bytes that were
evicted and that no consumer is known to have got, that many are *pending*; all others are dropped
at once. `doubts` are the ranges in which the pending ones lie. A client that comes back says what
it has got (`prove`), and the rest of its share is dropped (`settle`).

These equations hold after every operation:

    written == retained + pending + trimmed + dropped
    written == consumed + pending + dropped + unread     consumed counts bytes handed, each once
    dropped == dropped_attended + dropped_unattended

The list is bounded. With more than `Limits.HOLES` holes, two of them are joined: those with the
fewest bytes between them. From then on these bytes count as unread. So a loss is never understated;
it is overstated by at most `merged` bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ptymux.core.model import Limits

__all__ = ["NOTES", "Account"]

NOTES: Final = 6  # words that the owner of an account stores beside it
_DOUBT_NOTES: Final = 3

Ranges = list[tuple[int, int]]  # (from, to); ascending, apart


class Account:
    """Exact bookkeeping of one PTY's bytes; every operation costs O(number of holes)."""

    __slots__ = (
        "accounted",
        "doubts",
        "dropped_attended",
        "dropped_unattended",
        "handed",
        "holes",
        "merged",
        "trimmed",
    )

    def __init__(self) -> None:
        self.accounted = 0
        self.handed = 0
        self.trimmed = 0
        self.dropped_attended = 0
        self.dropped_unattended = 0
        self.merged = 0
        self.holes: Ranges = []  # not evicted
        self.doubts: Ranges = []  # evicted; some of these bytes may have been handed

    @property
    def pending(self) -> int:
        """Evicted bytes that are neither trimmed nor dropped yet, as they may have been handed."""
        return self.accounted - self.trimmed - self.dropped

    @property
    def dropped(self) -> int:
        """Bytes that were evicted before any consumer was handed them."""
        return self.dropped_attended + self.dropped_unattended

    @property
    def first_unread(self) -> int:
        """The offset of the oldest kept byte that no consumer was handed; the total if none."""
        return self.holes[0][0] if self.holes else max(self.handed, self.accounted)

    def unread(self, total: int) -> int:
        """Return how many of the kept bytes below `total` no consumer was handed."""
        beyond = total - max(self.handed, self.accounted)
        return beyond + sum(b - a for a, b in self.holes)

    def consumed(self, total: int) -> int:
        """Return how many of the first `total` bytes were handed to a consumer, each once."""
        return total - self.dropped - self.pending - self.unread(total)

    def hand(self, start: int, end: int) -> None:
        """Record that a consumer was handed the bytes `[start, end)`."""
        if start >= end:
            return
        if start > self.handed:
            begin = max(self.handed, self.accounted)
            if start > begin:
                self.holes.append((begin, start))
        self.handed = max(self.handed, end)
        if self.holes and start < self.holes[-1][1]:
            self.holes = _without(self.holes, start, end)
        if len(self.holes) > Limits.HOLES:
            self._join()

    def evict(
        self, oldest: int, *, attended: bool, pending: int = 0, doubt_end: int = 0, known: int = 0
    ) -> int:
        """Put every byte below `oldest`, the oldest one kept, into its class; return the loss.

        Up to `pending` bytes in all may be pending; only those below `doubt_end`, which were there
        when their server died. The first `known` bytes of the loss are dropped in any case.
        """
        if oldest <= self.accounted:
            return 0
        lost = self._cut_holes(oldest)
        count = _size(lost)
        doubtful = self._doubt(lost, doubt_end) if pending else 0
        kept = max(0, min(pending - self.pending, count - known, doubtful))
        self.trimmed += oldest - self.accounted - count
        self.accounted = oldest  # by which all of the loss is pending
        return self._drop(count - kept, attended=attended)

    def settle(self, most: int, *, attended: bool) -> int:
        """Have at most `most` bytes pending; drop the others, and return how many that are."""
        if most <= 0:
            self.doubts = []
        return self._drop(max(0, self.pending - max(0, most)), attended=attended)

    def prove(self, start: int, end: int) -> None:
        """Record that a client got `[start, end)` from a server before this one.

        Pending bytes that are among these are trimmed.
        """
        before = _size(self.doubts)
        self.doubts = _without(self.doubts, start, end)
        self.trimmed += min(before - _size(self.doubts), self.pending)

    def _drop(self, count: int, *, attended: bool) -> int:
        if attended:
            self.dropped_attended += count
        else:
            self.dropped_unattended += count
        return count

    def _doubt(self, lost: Ranges, end: int) -> int:
        """Add what was lost below `end` to the doubts; return how much that is.

        If there are too many ranges the oldest ones are given up: their bytes cannot be proved.
        """
        doubts = [(a, min(b, end)) for a, b in lost if a < end]
        self.doubts = (self.doubts + doubts)[-Limits.HOLES :]
        return _size(doubts)

    def _cut_holes(self, oldest: int) -> Ranges:
        """Remove what is unread below `oldest`, and return it."""
        lost = []
        while self.holes and self.holes[0][0] < oldest:
            a, b = self.holes[0]
            lost.append((a, min(b, oldest)))
            if b > oldest:
                self.holes[0] = (oldest, b)
                break
            del self.holes[0]
        begin = max(self.handed, self.accounted)
        if begin < oldest:
            lost.append((begin, oldest))
        return lost

    def _join(self) -> None:
        """Join the two holes with the fewest bytes between them."""
        holes = self.holes
        gap, at = min((holes[i + 1][0] - holes[i][1], i) for i in range(len(holes) - 1))
        holes[at : at + 2] = [(holes[at][0], holes[at + 1][1])]
        self.merged += gap

    # The order as header words: accounted, handed, trimmed, dropped attended, dropped unattended,
    # merged, the owner's NOTES, the number of holes, then both ends of each hole.

    def words(self, notes: Sequence[int]) -> list[int]:
        """Return the account and the owner's notes as words for `RingBuffer.store_account`."""
        assert len(notes) == NOTES
        words = [
            self.accounted,
            self.handed,
            self.trimmed,
            self.dropped_attended,
            self.dropped_unattended,
            self.merged,
            *notes,
            len(self.holes),
        ]
        for hole in self.holes:
            words += hole
        return words

    @classmethod
    def from_words(cls, words: Sequence[int]) -> tuple[Account, list[int]]:
        """Return the account that `words` contain, and the notes stored with it."""
        account = cls()
        account.accounted, account.handed, account.trimmed = words[:3]
        account.dropped_attended, account.dropped_unattended, account.merged = words[3:6]
        count = 6 + NOTES
        bounds = words[count + 1 : count + 1 + 2 * words[count]]
        account.holes = list(zip(bounds[::2], bounds[1::2], strict=True))
        return account, list(words[6:count])

    # The doubts as header words: `accounted` and `handed` again, by which words are recognised that
    # belong to another account; the owner's notes, the number of ranges, both ends of each.

    def doubt_words(self, notes: Sequence[int]) -> list[int]:
        """Return the doubts and three notes as words, to be stored together with `words`."""
        assert len(notes) == _DOUBT_NOTES
        words = [self.accounted, self.handed, *notes, len(self.doubts)]
        for doubt in self.doubts:
            words += doubt
        return words

    def take_doubts(self, words: Sequence[int]) -> list[int]:
        """Take the doubts that `words` contain, and return the notes stored with them.

        An older version stores none. What was pending in an account without doubts is dropped.
        """
        notes = [0] * _DOUBT_NOTES
        count = 2 + _DOUBT_NOTES
        if (words[0], words[1]) == (self.accounted, self.handed):
            notes = list(words[2:count])
            bounds = words[count + 1 : count + 1 + 2 * words[count]]
            self.doubts = list(zip(bounds[::2], bounds[1::2], strict=True))
        if not self.doubts:
            self.settle(0, attended=True)
        return notes


def _size(ranges: Ranges) -> int:
    return sum(b - a for a, b in ranges)


def _without(ranges: Ranges, start: int, end: int) -> Ranges:
    """Return the ranges without `[start, end)`."""
    left = []
    for a, b in ranges:
        if b <= start or a >= end:
            left.append((a, b))
            continue
        if a < start:
            left.append((a, start))
        if b > end:
            left.append((end, b))
    return left

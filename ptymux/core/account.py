"""The account of one PTY's bytes: which were handed to a consumer, and which were lost.

A byte is *handed* once some consumer has got it. Three numbers and a list say everything:

- `handed`: the highest offset that any consumer was handed.
- `holes`: the ranges below it that no consumer was handed.
- `accounted`: the offset below which every byte was evicted and put into one class. It is
  *trimmed* if a consumer had been handed it before, else *dropped*.

These equations hold after every operation:

    written == retained + trimmed + dropped        dropped == dropped_attended + dropped_unattended
    written == consumed + dropped + unread         consumed counts bytes handed, each once

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


class Account:
    """Exact bookkeeping of one PTY's bytes; every operation costs O(number of holes)."""

    __slots__ = (
        "accounted",
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
        self.holes: list[tuple[int, int]] = []  # (from, to); ascending, apart, not evicted

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
        return total - self.dropped - self.unread(total)

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
            self._fill(start, end)
        if len(self.holes) > Limits.HOLES:
            self._join()

    def evict(self, oldest: int, *, attended: bool) -> int:
        """Put every byte below `oldest`, the oldest one kept, into its class; return the loss."""
        if oldest <= self.accounted:
            return 0
        lost = max(0, oldest - max(self.handed, self.accounted)) + self._cut_holes(oldest)
        self.trimmed += oldest - self.accounted - lost
        if attended:
            self.dropped_attended += lost
        else:
            self.dropped_unattended += lost
        self.accounted = oldest
        return lost

    def _cut_holes(self, oldest: int) -> int:
        """Remove the holes below `oldest`; return how many bytes they had."""
        lost = 0
        while self.holes and self.holes[0][0] < oldest:
            a, b = self.holes[0]
            lost += min(b, oldest) - a
            if b > oldest:
                self.holes[0] = (oldest, b)
                break
            del self.holes[0]
        return lost

    def _fill(self, start: int, end: int) -> None:
        """Remove `[start, end)` from the holes."""
        left = []
        for a, b in self.holes:
            if b <= start or a >= end:
                left.append((a, b))
                continue
            if a < start:
                left.append((a, start))
            if b > end:
                left.append((end, b))
        self.holes = left

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

"""The account of one PTY's bytes: who was handed what, and what was lost.

`handed` is the highest offset that some consumer was handed, `holes` are the ranges below it that
nobody was, `accounted` is the offset up to which every byte has been put in its class:

    written == retained + trimmed + dropped        dropped == dropped_attended + dropped_unattended
    written == consumed + dropped + unread         consumed counts bytes handed, each once

A byte is *trimmed* when it is evicted after some consumer was handed it, else *dropped*. Beyond
`Limits.HOLES` holes the two with the smallest island between them are joined: the island counts as
unread from then on, so loss is overstated, never understated, by `merged` bytes at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ptymux.core.model import Limits

__all__ = ["NOTES", "Account"]

NOTES: Final = 6  # words that the holder of an account keeps beside it


class Account:
    """Exact bookkeeping in a few integers; every operation is O(number of holes)."""

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
        self.holes: list[tuple[int, int]] = []  # (from, to), ascending, apart, within the window

    @property
    def dropped(self) -> int:
        """Bytes that went without any consumer having been handed them."""
        return self.dropped_attended + self.dropped_unattended

    @property
    def first_unread(self) -> int:
        """The offset of the oldest kept byte that no consumer was handed; may be the total."""
        return self.holes[0][0] if self.holes else max(self.handed, self.accounted)

    def unread(self, total: int) -> int:
        """Return how many bytes from `accounted` to `total` no consumer was handed."""
        beyond = total - max(self.handed, self.accounted)
        return beyond + sum(b - a for a, b in self.holes)

    def consumed(self, total: int) -> int:
        """Return how many bytes of `total` some consumer was handed, each counted once."""
        return total - self.dropped - self.unread(total)

    def hand(self, start: int, end: int) -> None:
        """Note that a consumer was handed `[start, end)`."""
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
        """Class every byte below `oldest`, the oldest that is kept; return how many were lost."""
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
        """Drop the holes below `oldest`; return their bytes."""
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
        """Cut `[start, end)` out of the holes."""
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
        """Join the two holes with the smallest island between them."""
        holes = self.holes
        gap, at = min((holes[i + 1][0] - holes[i][1], i) for i in range(len(holes) - 1))
        holes[at : at + 2] = [(holes[at][0], holes[at + 1][1])]
        self.merged += gap

    # As header words: accounted, handed, trimmed, dropped attended and unattended, merged, the
    # NOTES of the holder, the number of holes, then the holes' bounds.

    def words(self, notes: Sequence[int]) -> list[int]:
        """Return the account as words for `RingBuffer.store_account`, with NOTES words beside."""
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
        """Return the account in `words`, and the notes that were stored with it."""
        account = cls()
        account.accounted, account.handed, account.trimmed = words[:3]
        account.dropped_attended, account.dropped_unattended, account.merged = words[3:6]
        count = 6 + NOTES
        bounds = words[count + 1 : count + 1 + 2 * words[count]]
        account.holes = list(zip(bounds[::2], bounds[1::2], strict=True))
        return account, list(words[6:count])

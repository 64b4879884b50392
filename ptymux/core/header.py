"""The header of a ring: numbers that an engine and a manager share without sending messages.

Layout, version 1: two pages of words, then `capacity + SLACK` bytes of data, then the index of
times, which a ring of an older version does not have. A word is 8 bytes in native order and is
written by one aligned store. Only the engine, which owns the PTY, writes the
first page. Only the manager, which has the readers, writes the second.

    word  name       meaning
       0  MAGIC      "ptymux" and the layout's version
       1  CAPACITY   bytes promised to readers
       2  TOTAL      offset behind the newest byte
       3  INTENT     offset that the write in progress may reach; never below TOTAL
       4  ENDED      0 while the child runs, 1 once STATUS is valid
       5  STATUS     exit code, or 256 + signal, or 512 if unknown
       6  HELD_MS    milliseconds that output waited because of LIMIT
       7  UNCERTAIN  reads cut by a kill, the last byte of which may not have been found
       8  TYPING     the number of the lifeline whose input is being typed now
       9  SIZE       how many bytes of it are being typed; 0: none
      10  BEFORE     how many bytes of that lifeline were typed before
      11  TIMES      the index of times behind the data, see `time_index.py`: how often its area was
                     switched in the upper half, and how many entries it has
      16  PATTERN    32 words: the bytes that stand behind TOTAL, see `pattern.py`
      64  LIFELINES  two words each: its number, 0 for a free place; the bytes of it typed so far.
                     The number's highest bit is set if the lifeline echoes, the next one if the
                     count is not certain
     512  LIMIT      the engine never reads beyond this offset
     513  WAKE_AT    the engine reports output once TOTAL is here or beyond
     514  FLOOR      readers begin here: bytes below were cleared
     515  ACTIVE     the valid copy of the account: 0 none, 1 or 2
     520  copy 1 of the account, 640 copy 2: see `account.py`
     760  copy 1 of its doubts, 892 copy 2; zeros in a ring of an older version
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ptymux.core.model import Limits

__all__ = [
    "CAPACITY",
    "FLOOR",
    "INTENT",
    "LIMIT",
    "MAGIC",
    "NO_LIMIT",
    "PATTERN",
    "TOTAL",
    "UNCERTAIN",
    "WAKE_AT",
    "Header",
    "LifelineEntry",
]

MAGIC: Final = int.from_bytes(b"ptymux\0\1", "big")
NO_LIMIT: Final = (1 << 64) - 1

CAPACITY: Final = 1
TOTAL: Final = 2
INTENT: Final = 3
_ENDED: Final = 4
_STATUS: Final = 5
_HELD_MS: Final = 6
UNCERTAIN: Final = 7
_TYPING: Final = 8
_TYPING_SIZE: Final = 9
_TYPED_BEFORE: Final = 10
PATTERN: Final = 16
_LIFELINES: Final = 64  # two words for each of Limits.LIFELINES
_ECHOES: Final = 1 << 63
_UNSURE: Final = 1 << 62
LIMIT: Final = 512
WAKE_AT: Final = 513
FLOOR: Final = 514
_ACTIVE: Final = 515
_COPIES: Final = (520, 640)  # indexed by ACTIVE - 1
_COPY_WORDS: Final = 112
_DOUBTS: Final = (760, 892)
_DOUBT_WORDS: Final = 132


@dataclass(frozen=True, slots=True)
class LifelineEntry:
    """The header's entry for one lifeline: how much of its input was typed."""

    index: int  # of its pair of words
    taken: int  # bytes that the terminal took
    echoes: bool
    is_unsure: bool  # whether `taken` may be too high


class Header:
    """The part of a ring that engine and manager use to know of each other: the header's words."""

    __slots__ = ("_words",)
    _words: memoryview  # cast to "Q"

    # The engine's page -----------------------------------------------------------------------

    @property
    def uncertain(self) -> int:
        """The number of reads cut by a kill, the last byte of which may not have been found."""
        return self._words[UNCERTAIN]

    @property
    def being_typed(self) -> tuple[int, int, int]:
        """The lifeline whose input is being typed, how many bytes, and how many were before."""
        words = self._words
        return words[_TYPING], words[_TYPING_SIZE], words[_TYPED_BEFORE]

    def begin_typing(self, lifeline: int, size: int, before: int) -> None:
        """Record that `size` bytes of a lifeline will be typed now, after `before` earlier ones."""
        words = self._words
        words[_TYPING] = lifeline
        words[_TYPED_BEFORE] = before
        words[_TYPING_SIZE] = size

    def end_typing(self) -> None:
        """Record that nothing is being typed."""
        self._words[_TYPING_SIZE] = 0

    def lifelines(self) -> dict[int, LifelineEntry]:
        """Return the entries of all lifelines by their numbers."""
        words = self._words[_LIFELINES : _LIFELINES + 2 * Limits.LIFELINES].tolist()
        pairs = zip(words[::2], words[1::2], strict=True)
        return {
            word & ~(_ECHOES | _UNSURE): LifelineEntry(
                index, taken, bool(word & _ECHOES), bool(word & _UNSURE)
            )
            for index, (word, taken) in enumerate(pairs)
            if word
        }

    def set_lifeline(
        self,
        index: int,
        number: int,
        taken: int,
        *,
        echoes: bool = False,
        is_unsure: bool = False,
    ) -> None:
        """Write a lifeline's entry: `taken` bytes were typed in all; number 0 frees the place.

        The order of the stores keeps the entry valid if a kill comes between them. The flag
        `is_unsure` is set before the count that it is about. The count of a free place is 0.
        """
        words, at = self._words, _LIFELINES + 2 * index
        if not number:
            words[at + 1] = 0
        words[at] = number | _ECHOES * echoes | _UNSURE * is_unsure
        words[at + 1] = taken

    @property
    def held_ms(self) -> int:
        """Milliseconds that output waited because of `limit`."""
        return self._words[_HELD_MS]

    @held_ms.setter
    def held_ms(self, milliseconds: int) -> None:
        self._words[_HELD_MS] = milliseconds

    @property
    def ended(self) -> int | None:
        """The child's exit status as the STATUS word; None while the child runs."""
        return self._words[_STATUS] if self._words[_ENDED] else None

    def end(self, status: int) -> None:
        """Store the child's exit status, then that it is valid."""
        self._words[_STATUS] = status
        self._words[_ENDED] = 1

    # The manager's page ----------------------------------------------------------------------

    @property
    def limit(self) -> int:
        """The offset that the engine never reads beyond; NO_LIMIT if the child never waits."""
        return self._words[LIMIT]

    @limit.setter
    def limit(self, offset: int) -> None:
        self._words[LIMIT] = offset

    @property
    def wake_at(self) -> int:
        """The offset at which the engine reports output: once `total` is here or beyond."""
        return self._words[WAKE_AT]

    @wake_at.setter
    def wake_at(self, offset: int) -> None:
        self._words[WAKE_AT] = offset

    def store_account(self, words: Sequence[int], doubts: Sequence[int] = ()) -> None:
        """Store the account so that a kill cannot damage it: the unused copy first, then ACTIVE."""
        assert len(words) <= _COPY_WORDS
        assert len(doubts) <= _DOUBT_WORDS
        idle = 1 - max(self._words[_ACTIVE] - 1, 0)
        for start, copy in ((_COPIES[idle], words), (_DOUBTS[idle], doubts)):
            self._words[start : start + len(copy)] = array("Q", copy)
        self._words[_ACTIVE] = idle + 1

    def load_account(self) -> list[int] | None:
        """Return the words of the valid copy of the account, padded; None if none was stored."""
        return self._load(_COPIES, _COPY_WORDS)

    def load_doubts(self) -> list[int] | None:
        """Return the words of that copy's doubts, padded; None if no account was stored."""
        return self._load(_DOUBTS, _DOUBT_WORDS)

    def _load(self, copies: tuple[int, int], size: int) -> list[int] | None:
        active = self._words[_ACTIVE]
        if not active:
            return None
        start = copies[active - 1]
        return self._words[start : start + size].tolist()

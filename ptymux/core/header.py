"""The header of a ring: what an engine and a manager know of each other without a message.

Layout, version 1. Two pages of words, 8 bytes each, native order, written by single aligned stores;
then come `capacity + SLACK` bytes of data. The first page is written only by the engine that owns
the PTY, the second only by whoever holds the readers (the manager).

    word  name       meaning
       0  MAGIC      "ptymux" and the layout's version
       1  CAPACITY   bytes promised to readers
       2  TOTAL      offset behind the newest byte
       3  INTENT     offset that the write in progress may reach; never below TOTAL
       4  ENDED      0 while the child runs, 1 once its status was taken
       5  STATUS     exit code, or 256 + signal, or 512 when nobody knows
       6  HELD_MS    milliseconds that output waited at LIMIT
       7  UNCERTAIN  reads that were cut and may have ended in NULs that nobody can count
       8  HAND_LINE  the lifeline whose input is being typed,
       9  HAND_SIZE  how much of it; 0 when nothing is in hand; and
      10  HAND_FROM  how much of it was typed before
      64  LINES      for each lifeline its number, 0 for none, and how much of it was typed;
                     the number's highest bit is set when it echoes, the next one when how much
                     was typed is not known for sure
     512  LIMIT      the engine never reads beyond this offset
     513  WAKE_AT    the engine tells the manager once TOTAL is here or beyond
     514  FLOOR      readers begin here: what is below was cleared
     515  ACTIVE     which copy of the account counts: 0 none, 1 or 2
     520  copy 1 of the account, 640 copy 2: see `account.py`
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
    "TOTAL",
    "UNCERTAIN",
    "WAKE_AT",
    "Header",
    "Line",
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
_HAND_LINE: Final = 8
_HAND_SIZE: Final = 9
_HAND_FROM: Final = 10
_LINES: Final = 64  # two words for each of Limits.LIFELINES
_ECHOES: Final = 1 << 63
_UNSURE: Final = 1 << 62
LIMIT: Final = 512
WAKE_AT: Final = 513
FLOOR: Final = 514
_ACTIVE: Final = 515
_COPIES: Final = (520, 640)  # of ACTIVE - 1
_COPY_WORDS: Final = 112


@dataclass(frozen=True, slots=True)
class Line:
    """What the header says of a lifeline."""

    index: int  # of its words
    taken: int  # bytes of it that were typed
    echoes: bool
    is_unsure: bool  # some of them may not have been


class Header:
    """The words that are neither the ring's own business nor that of its readers."""

    __slots__ = ("_words",)
    _words: memoryview  # cast to "Q"

    # The engine's page -----------------------------------------------------------------------

    @property
    def uncertain(self) -> int:
        """Reads that were cut by the death of an engine, and may have ended in uncounted NULs."""
        return self._words[UNCERTAIN]

    @property
    def in_hand(self) -> tuple[int, int, int]:
        """The lifeline whose input is being typed, how much, and how much of it was before."""
        words = self._words
        return words[_HAND_LINE], words[_HAND_SIZE], words[_HAND_FROM]

    def take_in_hand(self, line: int, size: int, before: int) -> None:
        """Note that `size` bytes of a lifeline are about to be typed, behind so many."""
        words = self._words
        words[_HAND_LINE] = line
        words[_HAND_FROM] = before
        words[_HAND_SIZE] = size

    def put_down(self) -> None:
        """Note that nothing is in hand."""
        self._words[_HAND_SIZE] = 0

    def lines(self) -> dict[int, Line]:
        """Return the lifelines by their numbers."""
        words = self._words[_LINES : _LINES + 2 * Limits.LIFELINES].tolist()
        pairs = zip(words[::2], words[1::2], strict=True)
        return {
            word & ~(_ECHOES | _UNSURE): Line(
                index, taken, bool(word & _ECHOES), bool(word & _UNSURE)
            )
            for index, (word, taken) in enumerate(pairs)
            if word
        }

    def set_line(
        self,
        index: int,
        number: int,
        taken: int,
        *,
        echoes: bool = False,
        is_unsure: bool = False,
    ) -> None:
        """Note how much of a lifeline's input was typed in all; number 0: there is none.

        That it is unknown is there before the count that it is unknown of; and a place that is
        free has no count, also when this is cut.
        """
        words, at = self._words, _LINES + 2 * index
        if not number:
            words[at + 1] = 0
        words[at] = number | _ECHOES * echoes | _UNSURE * is_unsure
        words[at + 1] = taken

    @property
    def held_ms(self) -> int:
        """Milliseconds that output waited at `limit`; the engine's word."""
        return self._words[_HELD_MS]

    @held_ms.setter
    def held_ms(self, milliseconds: int) -> None:
        self._words[_HELD_MS] = milliseconds

    @property
    def ended(self) -> int | None:
        """The child's end as the engine's STATUS word, or None while it runs."""
        return self._words[_STATUS] if self._words[_ENDED] else None

    def end(self, status: int) -> None:
        """Publish the child's end."""
        self._words[_STATUS] = status
        self._words[_ENDED] = 1

    # The manager's page ----------------------------------------------------------------------

    @property
    def limit(self) -> int:
        """The offset that the engine never reads beyond; NO_LIMIT when nothing holds it."""
        return self._words[LIMIT]

    @limit.setter
    def limit(self, offset: int) -> None:
        self._words[LIMIT] = offset

    @property
    def wake_at(self) -> int:
        """The engine tells the manager once `total` is here or beyond."""
        return self._words[WAKE_AT]

    @wake_at.setter
    def wake_at(self, offset: int) -> None:
        self._words[WAKE_AT] = offset

    def store_account(self, words: Sequence[int]) -> None:
        """Keep the account where a successor finds it: the idle copy first, then which counts."""
        assert len(words) <= _COPY_WORDS
        idle = 1 - max(self._words[_ACTIVE] - 1, 0)
        start = _COPIES[idle]
        self._words[start : start + len(words)] = array("Q", words)
        self._words[_ACTIVE] = idle + 1

    def load_account(self) -> list[int] | None:
        """Return the words of the account that counts, padded; None when none was stored."""
        active = self._words[_ACTIVE]
        if not active:
            return None
        start = _COPIES[active - 1]
        return self._words[start : start + _COPY_WORDS].tolist()

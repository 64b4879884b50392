"""Knows which terminal modes a PTY's output has switched on, although nobody reads it.

Theory of operation. The ring is read lazily: up to its end only when somebody asks, as when a
terminal attaches. Else it is read a piece at a time, before the ring evicts what was not seen yet.
The bytes before that matter no more: what they switched on is in the state. A piece of text costs
some 0.3 ms for each MiB, one with colours in every line 10 or more. So the next piece is due only
when the last one has cost at most a twentieth of the time. In a flood beyond that the ring evicts
output that was never looked at; a mode that it switched is not noticed until it is switched again.
"""

from __future__ import annotations

import time
from typing import Final

from ptymux.core.ring import Cursor, RingBuffer
from ptymux.core.terminal_modes import TerminalModes

__all__ = ["ModeTracker"]

_PIECE: Final = 1024 * 1024  # that is read at once
_FIRST: Final = 16 * 1024  # bytes of output that are looked at as soon as somebody looks
_SHARE: Final = 20  # the time between two pieces is so many times what one took
_SHORTEST_SECONDS: Final = 1 / 32  # between two pieces
_MOST_PIECES: Final = 4  # read for one question; the rest of a flood is left out


class ModeTracker:
    """The terminal modes as of `offset` in a ring's output."""

    def __init__(self, ring: RingBuffer, offset: int = 0, redo: bytes = b"") -> None:
        """Begin at `offset`, where the modes are what `redo` switches on."""
        self.modes = TerminalModes()
        self.modes.see(redo)
        self.due_at = 0.0  # when the next piece may be read
        self._cursor = Cursor(ring, min(offset, ring.total))
        self._piece = min(_PIECE, max(1, ring.capacity * 3 // 4))

    @property
    def offset(self) -> int:
        """Up to where the output was read."""
        return self._cursor.offset

    @property
    def kept(self) -> tuple[int, bytes]:
        """What another tracker goes on with: an offset, and what switches the modes on there."""
        return self._cursor.offset - self.modes.pending, self.modes.redo

    def is_due(self, now: float) -> bool:
        """Whether a piece is to be read now: also the first bytes, in which most modes are set."""
        total = self._cursor.ring.total
        if self._cursor.offset < total and self._cursor.offset < _FIRST:
            return True
        return total >= self.wake_at and now >= self.due_at

    @property
    def wake_at(self) -> int:
        """The ring's total at which a piece is to be read, once `due_at` has come."""
        return self._cursor.offset + self._piece

    def look(self) -> bool:
        """Read a piece; return whether it switched something."""
        began = time.monotonic()
        part = self._cursor.read(_PIECE)
        if part.skipped:
            self.modes.skip()
        switched = self.modes.see(part.data)
        now = time.monotonic()
        self.due_at = now + max(_SHORTEST_SECONDS, _SHARE * (now - began))
        return switched

    def catch_up(self) -> bool:
        """Read up to the end, or in a flood its last pieces; return whether that switched anything.

        Afterwards `offset` is the ring's total, unless more was written meanwhile.
        """
        total = self._cursor.ring.total
        behind = total - _MOST_PIECES * _PIECE
        if behind > self._cursor.offset:
            self._cursor.offset = behind
            self.modes.skip()
        switched = False
        while self._cursor.offset < total:
            switched = self.look() or switched
        return switched

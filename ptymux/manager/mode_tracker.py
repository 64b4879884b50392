"""Knows the terminal modes, the title and the bells of a PTY, although nobody reads its output.

Theory of operation. The ring is read lazily: up to its end only when somebody asks, as when a
terminal attaches. Else it is read a piece at a time, before the ring evicts what was not seen yet.
The bytes before that matter no more: what they switched on is in the state. A piece of text costs
some 0.3 ms for each MiB, one with colours in every line 10 or more. So the next piece is due only
when the last one has cost at most a twentieth of the time. In a flood beyond that the ring evicts
output that was never looked at; a mode that it switched is not noticed until it is switched again,
and `skipped` counts its bytes. Somebody who follows bells or titles has it read once a second.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from ptymux.core.ring import Cursor, RingBuffer
from ptymux.core.terminal_modes import TerminalModes
from ptymux.core.terminal_title import TerminalTitle

__all__ = ["ModeTracker"]

_PIECE: Final = 1024 * 1024  # that is read at once
_FIRST: Final = 16 * 1024  # bytes of output that are looked at as soon as somebody looks
_SHARE: Final = 20  # the time between two pieces is so many times what one took
_SHORTEST_SECONDS: Final = 1 / 32  # between two pieces
_GLANCE: Final = 256 * 1024  # that is read at once for somebody who wants a title now
_GLANCE_SECONDS: Final = 0.004  # after which such a one gets what is known
_MOST_PIECES: Final = 4  # read for one question; the rest of a flood is left out


class ModeTracker:
    """The terminal modes as of `offset` in a ring's output."""

    def __init__(self, ring: RingBuffer, offset: int = 0, redo: bytes = b"") -> None:
        """Begin at `offset`, where the modes are what `redo` switches on."""
        self.modes = TerminalModes()
        self.modes.see(redo)
        self.title = TerminalTitle()  # its counts are of what was not published
        self.published_title = ""
        self.skipped = 0  # bytes that were evicted unseen, and not published
        self._counted_to = 0  # bells before this offset were published
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
        pending = max(self.modes.pending, self.title.pending)
        return self._cursor.offset - pending, self.modes.redo

    @property
    def noticed(self) -> dict[str, Any]:
        """The title and what was not published, as JSON values; `restore_noticed` takes them."""
        return {
            "titles": self.title.titles,
            "published": self.published_title,
            "bells": self.title.bells,
            "changes": self.title.changes,
            "skipped": self.skipped,
        }

    def restore_noticed(self, values: Mapping[str, Any]) -> None:
        """Go on where another tracker was, with the title and the counts."""
        self.title = TerminalTitle(values["titles"])
        self.published_title = values["published"]
        self.title.bells, self.title.changes = values["bells"], values["changes"]
        self.skipped = values["skipped"]

    def note_bells_published(self, offset: int) -> None:
        """Note that the bells before this offset were published by another one."""
        self._counted_to = offset
        self.title.bells = self.skipped = 0

    def note_title_published(self, title: str) -> None:
        """Note that this title was published by another one."""
        self.published_title = title
        self.title.changes = 0

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
        return self._read(_PIECE)

    def glance(self, now: float) -> None:
        """Read what there is, but no more than a few milliseconds, and not again at once."""
        total = self._cursor.ring.total
        if now < self.due_at and total > self._cursor.offset + _FIRST:
            return
        while self._cursor.offset < total and time.monotonic() < now + _GLANCE_SECONDS:
            self._read(_GLANCE)

    def _read(self, size: int) -> bool:
        began = time.monotonic()
        if self._cursor.offset < self._counted_to:
            size = min(size, self._counted_to - self._cursor.offset)
        part = self._cursor.read(size)
        if part.skipped:
            self._skip(part.skipped)
        switched = self.modes.see(part.data)
        self.title.see(part.data)
        if self._cursor.offset <= self._counted_to:
            self.title.bells = self.skipped = 0
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
            self._skip(behind - self._cursor.offset)
            self._cursor.offset = behind
        switched = False
        while self._cursor.offset < total:
            switched = self.look() or switched
        return switched

    def _skip(self, count: int) -> None:
        self.modes.skip()
        self.title.skip()
        self.skipped += count

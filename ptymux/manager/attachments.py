"""The clients that are attached to one PTY by a lifeline, and the one whose end hangs it up.

A lifeline is a socket between a client and the engine. It outlives the client's connection to the
server: when a server dies, the lifelines stay open, and each client connects to the replacement
and reads on. Until then its attachment has no reader here, and its reader is *expected*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ptymux.core.model import Limits, WindowSize
from ptymux.core.reader import ReaderKind
from ptymux.errors import LimitReachedError
from ptymux.manager.flow import Flow

__all__ = ["Attachments", "LifelineAttachment", "NoOwner", "OwnedBy", "Owner", "OwnerExpected"]


@dataclass(frozen=True, slots=True)
class NoOwner:
    """The PTY outlives whoever attaches."""


@dataclass(frozen=True, slots=True)
class OwnerExpected:
    """The client that had the PTY spawned is to attach; it is hung up if the client does not."""


@dataclass(frozen=True, slots=True)
class OwnedBy:
    """The PTY is hung up when this lifeline ends, unless its client detaches before."""

    line: int
    is_notified: bool = False  # the client has its end; otherwise it may ask for another


Owner: TypeAlias = NoOwner | OwnerExpected | OwnedBy


@dataclass(slots=True)
class LifelineAttachment:
    """An attachment that lives as long as its lifeline is open."""

    kind: ReaderKind
    readers: int = 0  # that it has now; without one its client is expected back
    pid: int = 0  # of its client; 0 if unknown
    size: WindowSize | None = None  # of the terminal that shows it, if there is one
    sized: int = 0  # grows with each size that somebody gives the PTY, as by typing
    sent_away: asyncio.Event = field(default_factory=asyncio.Event)


class Attachments:
    """The attachments of one PTY by the numbers of their lifelines, and its owner."""

    def __init__(
        self,
        flow: Flow,
        on_change: Callable[[], None],
        on_size: Callable[[WindowSize], None] = lambda _size: None,
    ) -> None:
        """Keep `flow` informed of readers that are expected; call `on_change` to be persisted.

        `on_size` is called with the size that the PTY is to have when who gave it one has left.
        """
        self.owner: Owner = NoOwner()
        self._flow = flow
        self._on_change = on_change
        self._on_size = on_size
        self._sized = 0
        self._by_line: dict[int, LifelineAttachment] = {}

    @property
    def kinds(self) -> dict[int, ReaderKind]:
        """What the reader of each attachment is, by the number of its lifeline."""
        return {line: attachment.kind for line, attachment in self._by_line.items()}

    @property
    def are_shown(self) -> bool:
        """Whether one of them is a terminal, also one that is expected back."""
        return any(
            each.sized or (each.kind is ReaderKind.CONSUMER and not each.readers)
            for each in self._by_line.values()
        )

    @property
    def were_shown(self) -> bool:
        """Whether one of them is or was a terminal, as far as this process knows."""
        return self._sized > 0

    def restore(self, kinds: Mapping[int, ReaderKind], owner: Owner) -> None:
        """Go on with attachments whose readers are expected back."""
        self.owner = owner
        self._by_line = {line: LifelineAttachment(kind) for line, kind in kinds.items()}

    def check_room(self, attachment: LifelineAttachment) -> None:
        """Return if another attachment of this client leaves room for those of others.

        Raises:
            LimitReachedError: its process has half of all that there may be.
        """
        if attachment.pid:
            most = Limits.LIFELINES // 2
            if sum(each.pid == attachment.pid for each in self._by_line.values()) >= most:
                what = "attachments of one process to a PTY"
                raise LimitReachedError(what, most, "end some of them")

    def add(self, line: int, attachment: LifelineAttachment, *, hangs_up: bool) -> None:
        """Add an attachment, which becomes the owner if its end is to hang the PTY up."""
        self._by_line[line] = attachment
        if hangs_up:
            self.owner = OwnedBy(line)
        self._on_change()

    def note_owner_notified(self, line: int) -> None:
        """Note that the client has its end of the lifeline, if that is the owner's."""
        if self._is_owner(line):
            self.owner = OwnedBy(line, is_notified=True)
            self._on_change()

    def detach(self, line: int) -> None:
        """Remove the attachment of a client that detached; the PTY goes on without it."""
        self._remove(line)
        if self._is_owner(line):
            self.owner = NoOwner()
        self.expect_readers()
        self._on_change()

    def end(self, line: int) -> bool:
        """Remove the attachment whose lifeline ended; return whether it was the owner's."""
        is_owner = self._is_owner(line)
        if is_owner or line in self._by_line:
            self._remove(line)
            self.expect_readers()
            self._on_change()
        return is_owner

    def sent_away(self, line: int | None) -> asyncio.Event:
        """Return what is set once the client with this lifeline is to detach."""
        attachment = None if line is None else self._by_line.get(line)
        return asyncio.Event() if attachment is None else attachment.sent_away

    def send_away(self, but: int | None = None) -> int:
        """Have all terminals detach but the one with that lifeline; return how many they are."""
        chosen = [a for line, a in self._by_line.items() if a.sized and line != but]
        for each in chosen:
            each.sent_away.set()
        return len(chosen)

    def note_size(self, line: int, size: WindowSize) -> None:
        """Note the size of the terminal of an attachment, which it gives the PTY."""
        if line in self._by_line:
            self._sized += 1
            self._by_line[line].size, self._by_line[line].sized = size, self._sized

    def _remove(self, line: int) -> None:
        """Remove an attachment; if the PTY had its size, the last of the others gives it one."""
        gone = self._by_line.pop(line, None)
        sized = [each for each in self._by_line.values() if each.size is not None]
        if gone is None or not gone.sized or not sized:
            return
        last = max(sized, key=lambda each: each.sized)
        if last.sized < gone.sized and last.size is not None and last.size != gone.size:
            self._on_size(last.size)

    def come_back(self, line: int | None) -> int | None:
        """Add a reader to the attachment of this lifeline; return the lifeline if there is one."""
        if line is None or line not in self._by_line:
            return None
        self._by_line[line].readers += 1
        self.expect_readers()
        return line

    def go_away(self, line: int) -> None:
        """Remove a reader that lost its connection; while the lifeline is open it is expected."""
        if line in self._by_line:
            self._by_line[line].readers -= 1
            self.expect_readers()

    def clear(self) -> None:
        """Remove all, as the PTY is gone."""
        self._by_line.clear()

    def expect_readers(self, until: float | None = None) -> None:
        """Have consumers without a reader count as attached; `until` as `OutputBuffer.expect`."""
        if not self._flow.has_begun or self._flow.is_over:
            return
        away = [a for a in self._by_line.values() if not a.readers]
        consumers = sum(a.kind is not ReaderKind.OBSERVER for a in away)
        lossless = sum(a.kind is ReaderKind.LOSSLESS for a in away)
        buffer = self._flow.buffer
        if until is not None or consumers != buffer.expected:
            self._flow.change(lambda now: buffer.expect(consumers, lossless, now, until))

    def _is_owner(self, line: int) -> bool:
        return isinstance(self.owner, OwnedBy) and self.owner.line == line

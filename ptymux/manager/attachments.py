"""The clients that are attached to one PTY by a lifeline, and the one whose end hangs it up.

A lifeline is a socket between a client and the engine. It outlives the client's connection to the
server: when a server dies, the lifelines stay open, and each client connects to the replacement
and reads on. Until then its attachment has no reader here, and its reader is *expected*.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ptymux.core.event_log import Topic
from ptymux.core.model import CorrelationId, Limits, WindowSize
from ptymux.core.reader import ReaderKind
from ptymux.errors import LimitReachedError
from ptymux.manager.flow import Flow
from ptymux.manager.publisher import Json, cause_of

__all__ = [
    "Attachments",
    "DetachReason",
    "LifelineAttachment",
    "NoOwner",
    "OwnedBy",
    "Owner",
    "OwnerExpected",
]


class DetachReason(enum.StrEnum):
    """Why an attachment has ended."""

    DETACHED = "detached"  # the client said so: a key, or it had what it wanted
    SENT_AWAY = "sent-away"  # by `ptymux detach`, or by another that attached with `--only`
    CLIENT_ENDED = "client-ended"  # it ended, or was killed, without a word
    PTY_ENDED = "pty-ended"


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
    is_terminal: bool = False  # one that shows the PTY and types into it
    is_ended: bool = False  # its lifeline is; its client may still be connected
    sent_by: int | None = None  # the pid of who sends it away
    sent_away: asyncio.Event = field(default_factory=asyncio.Event)
    cause: CorrelationId = field(default_factory=lambda: cause_of(None))

    def described(self, line: int) -> dict[str, Json]:
        """Return what events say of it."""
        return {
            "pid": self.pid or None,
            "kind": self.kind.value,
            "terminal": self.is_terminal,
            "line": line,
        }


Publish: TypeAlias = Callable[[Topic, Mapping[str, Json], CorrelationId | None], None]


class Attachments:
    """The attachments of one PTY by the numbers of their lifelines, and its owner."""

    def __init__(
        self,
        flow: Flow,
        on_change: Callable[[], None],
        on_size: Callable[[WindowSize], None] = lambda _size: None,
        publish: Publish = lambda _topic, _payload, _cause: None,
    ) -> None:
        """Keep `flow` informed of readers that are expected; call `on_change` to be persisted.

        `on_size` is called with the size that the PTY is to have when who gave it one has left.
        `publish` is called for each attach, and once for its end, before `on_change`.
        """
        self.owner: Owner = NoOwner()
        self._flow = flow
        self._on_change = on_change
        self._on_size = on_size
        self._publish = publish
        self._sized = 0
        self._by_line: dict[int, LifelineAttachment] = {}

    @property
    def kinds(self) -> dict[int, ReaderKind]:
        """What the reader of each attachment is, by the number of its lifeline."""
        return {line: each.kind for line, each in self._by_line.items() if not each.is_ended}

    @property
    def all(self) -> dict[int, LifelineAttachment]:
        """All whose end was not published, by the number of the lifeline."""
        return dict(self._by_line)

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

    def restore(self, attached: Mapping[int, LifelineAttachment], owner: Owner) -> None:
        """Go on with attachments whose readers are expected back; `end_lost` ends the others."""
        self.owner = owner
        self._by_line = dict(attached)

    def apply_published(self, payload: Mapping[str, Any]) -> None:
        """Take what a server published of an attach or its end, and did not keep."""
        line = payload["line"]
        if "reason" in payload:
            self._by_line.pop(line, None)
        elif line not in self._by_line:
            kind = ReaderKind(payload["kind"])
            self._by_line[line] = LifelineAttachment(
                kind, pid=payload["pid"] or 0, is_terminal=payload["terminal"]
            )

    def end_lost(self, open_lines: Iterable[int]) -> None:
        """End those whose lifeline has ended while there was no server."""
        for line in set(self._by_line) - set(open_lines):
            self._finish(line, DetachReason.CLIENT_ENDED)

    def check_room(self, attachment: LifelineAttachment) -> None:
        """Return if another attachment of this client leaves room for those of others.

        Raises:
            LimitReachedError: its process has half of all that there may be.
        """
        if attachment.pid:
            most = Limits.LIFELINES // 2
            mine = [each for each in self._by_line.values() if each.pid == attachment.pid]
            if sum(not each.is_ended for each in mine) >= most:
                what = "attachments of one process to a PTY"
                raise LimitReachedError(what, most, "end some of them")

    def add(self, line: int, attachment: LifelineAttachment, *, hangs_up: bool) -> None:
        """Add an attachment, which becomes the owner if its end is to hang the PTY up."""
        self._by_line[line] = attachment
        self._publish(Topic.ATTACHED, attachment.described(line), attachment.cause)
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
        if line in self._by_line:
            was_sent = self._by_line[line].sent_away.is_set()
            self._give_up_size(line)
            self._finish(line, DetachReason.SENT_AWAY if was_sent else DetachReason.DETACHED)
        if self._is_owner(line):
            self.owner = NoOwner()
        self.expect_readers()
        self._on_change()

    def end(self, line: int, *, by_client: bool = True) -> bool:
        """End the attachment whose lifeline ended; return whether it was the owner's.

        While its client is connected it is not known why: it may be about to say that it detaches.
        """
        is_owner = self._is_owner(line)
        attachment = self._by_line.get(line)
        if attachment is not None:
            self._give_up_size(line)
            attachment.is_ended = True
            if not attachment.readers:
                reason = DetachReason.CLIENT_ENDED if by_client else DetachReason.PTY_ENDED
                self._finish(line, reason)
        if is_owner or attachment is not None:
            self.expect_readers()
            self._on_change()
        return is_owner

    def sent_away(self, line: int | None) -> asyncio.Event:
        """Return what is set once the client with this lifeline is to detach."""
        attachment = None if line is None else self._by_line.get(line)
        return asyncio.Event() if attachment is None else attachment.sent_away

    def send_away(self, but: int | None = None, by: int | None = None) -> int:
        """Have all terminals detach but the one with that lifeline; return how many they are.

        `by` is the pid of who wants that.
        """
        chosen = [a for line, a in self._by_line.items() if a.sized and line != but]
        for each in chosen:
            each.sent_by = by
            each.sent_away.set()
        return len(chosen)

    def note_size(self, line: int, size: WindowSize) -> None:
        """Note the size of the terminal of an attachment, which it gives the PTY."""
        if line in self._by_line and not self._by_line[line].is_ended:
            self._sized += 1
            self._by_line[line].size, self._by_line[line].sized = size, self._sized

    def _finish(self, line: int, reason: DetachReason) -> None:
        """Remove an attachment, and publish why it ended."""
        gone = self._by_line.pop(line)
        payload: dict[str, Json] = gone.described(line) | {"reason": reason.value}
        if reason is DetachReason.SENT_AWAY:
            payload["by"] = gone.sent_by
        cause = None if reason is DetachReason.PTY_ENDED else gone.cause
        self._publish(Topic.DETACHED, payload, cause)

    def _give_up_size(self, line: int) -> None:
        """If the PTY has the size of this attachment, have the last of the others give it one."""
        gone = self._by_line[line]
        had, gone.sized = gone.sized, 0
        sized = [each for each in self._by_line.values() if each.sized and each.size is not None]
        if not had or not sized:
            return
        last = max(sized, key=lambda each: each.sized)
        if last.sized < had and last.size is not None and last.size != gone.size:
            self._on_size(last.size)

    def come_back(self, line: int | None) -> int | None:
        """Add a reader to the attachment of this lifeline; return the lifeline if there is one."""
        if line is None or line not in self._by_line or self._by_line[line].is_ended:
            return None
        self._by_line[line].readers += 1
        self.expect_readers()
        return line

    def go_away(self, line: int) -> None:
        """Remove a reader that lost its connection; while the lifeline is open it is expected."""
        if line in self._by_line:
            attachment = self._by_line[line]
            attachment.readers -= 1
            if attachment.is_ended and not attachment.readers:
                self._finish(line, DetachReason.CLIENT_ENDED)
                self._on_change()
            self.expect_readers()

    def end_all(self) -> None:
        """End all, as the PTY is gone."""
        for line in list(self._by_line):
            self._finish(line, DetachReason.PTY_ENDED)

    def expect_readers(self, until: float | None = None) -> None:
        """Have consumers without a reader count as attached; `until` as `OutputBuffer.expect`."""
        if not self._flow.has_begun or self._flow.is_over:
            return
        away = [a for a in self._by_line.values() if not (a.readers or a.is_ended)]
        consumers = sum(a.kind is not ReaderKind.OBSERVER for a in away)
        lossless = sum(a.kind is ReaderKind.LOSSLESS for a in away)
        buffer = self._flow.buffer
        if until is not None or consumers != buffer.expected:
            self._flow.change(lambda now: buffer.expect(consumers, lossless, now, until))

    def _is_owner(self, line: int) -> bool:
        return isinstance(self.owner, OwnedBy) and self.owner.line == line

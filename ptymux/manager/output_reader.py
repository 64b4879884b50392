"""`OutputReader`: a position in one PTY's output, from which a program reads on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from ptymux.core.model import Limits, PtyId
from ptymux.core.notifications import BufferNotification
from ptymux.core.reader import Reader, ReaderKind
from ptymux.core.ring import Part
from ptymux.manager.managed_pty import ManagedPty

__all__ = ["OutputReader"]


class OutputReader:
    """A reader of one PTY's output, made by `PtyManager.reader`; `close` or a `with` block ends it.

    At any time `total - start == delivered + skipped + backlog`; once it is closed, with the total
    at that time. A closed one reads nothing. The output of a removed PTY stays until its last
    reader is closed.
    """

    def __init__(self, pty: ManagedPty, reader: Reader) -> None:
        self._pty = pty
        self._reader = reader
        self._closed_at: int | None = None  # the total when it was closed

    @classmethod
    def attach(cls, pty: ManagedPty, kind: ReaderKind, offset: int | None) -> OutputReader:
        """Return a new reader of `pty`; raises as `OutputBuffer.attach`."""
        attached: list[Reader] = []

        def attach(now: float) -> list[BufferNotification]:
            reader, notifications = pty.output.attach(kind, now, offset)
            attached.append(reader)
            return notifications

        pty.flow.change(attach)
        return cls(pty, attached[0])

    @property
    def pty_id(self) -> PtyId:
        """The id of the PTY that is read."""
        return self._pty.pty_id

    @property
    def kind(self) -> ReaderKind:
        """What its reading means to the PTY."""
        return self._reader.kind

    @property
    def offset(self) -> int:
        """The offset of the next byte."""
        return self._reader.cursor.offset

    @property
    def start(self) -> int:
        """The offset at which it began."""
        return self._reader.cursor.start

    @property
    def delivered(self) -> int:
        """The number of bytes that it was handed."""
        return self._reader.cursor.delivered

    @property
    def skipped(self) -> int:
        """The number of bytes that it missed, as its parts said."""
        return self._reader.cursor.skipped

    @property
    def backlog(self) -> int:
        """The number of bytes written that it has not come to yet."""
        cursor = self._reader.cursor
        return cursor.backlog if self._closed_at is None else self._closed_at - cursor.offset

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed_at is not None

    @property
    def at_end(self) -> bool:
        """Whether the PTY is gone and all its output was read."""
        return self._pty.is_gone and not self.backlog

    def read(self, max_bytes: int = Limits.CHUNK) -> Part:
        """Return the next output without moving on; empty data if there is none."""
        if self.is_closed:
            return Part(self.offset, 0, b"")
        return self._reader.cursor.peek(max(0, max_bytes))

    def consume(self, max_bytes: int = Limits.CHUNK) -> Part:
        """Return the next output and move behind it."""
        part = self.read(max_bytes)
        self.accept(part)
        return part

    def accept(self, part: Part, size: int | None = None) -> None:
        """Move behind a part that `read` returned, or behind its first `size` bytes.

        A program that passes output on calls it once the next one took that much.
        """
        if (part.data or part.skipped) and not self.is_closed:
            self._pty.flow.hand(self._reader, part, size)

    def note_received(self, start: int) -> None:
        """Note that the client has all output from `start` up to here, from a server before."""
        flow = self._pty.flow
        flow.change(lambda now: flow.buffer.note_received(self._reader, start, now))

    async def wait(self, take: Callable[[], bool] | None = None) -> bool:
        """Return True once there is something to read, False if there never will be.

        Other tasks get a turn in any case, so that a loop of `wait` and `consume` starves none.
        `take` is called as soon as output comes, to read and accept some of it. As long as it
        returns True this goes on waiting. What it raises is raised here.
        """
        if self.backlog:
            await asyncio.sleep(0)
        while not (self.is_closed or self.backlog or self._pty.is_gone):
            await self._pty.flow.woken(self._reader.cursor, take)
        return self.backlog > 0 and not self.is_closed

    async def follow(self, max_bytes: int = Limits.CHUNK) -> AsyncIterator[Part]:
        """Yield parts as they come, until the PTY is gone and all its output was read."""
        while await self.wait():
            yield self.consume(max_bytes)

    def close(self) -> None:
        """Detach it, and end a `wait` for it; a second call does nothing."""
        if self._closed_at is None:
            self._closed_at = self._reader.cursor.ring.total
            flow = self._pty.flow
            flow.change(lambda now: flow.buffer.detach(self._reader, now))
            flow.wake()

    def __enter__(self) -> OutputReader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

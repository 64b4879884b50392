"""A position in one PTY's output, for library users: look, take, follow."""

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
    """A reader of one PTY; made by `PtyManager.reader`, ended by `close` or a `with` block.

    At any time `total - start == delivered + skipped + backlog`, with the total of its closing
    once it is closed; a closed one reads nothing. It keeps the output of a PTY that is removed.
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
            reader, told = pty.output.attach(kind, now, offset)
            attached.append(reader)
            return told

        pty.flow.change(attach)
        return cls(pty, attached[0])

    @property
    def pty_id(self) -> PtyId:
        """The PTY that is read."""
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
        """Bytes it was handed."""
        return self._reader.cursor.delivered

    @property
    def skipped(self) -> int:
        """Bytes it missed and was told of."""
        return self._reader.cursor.skipped

    @property
    def backlog(self) -> int:
        """Bytes written that it neither got nor was told to have missed."""
        cursor = self._reader.cursor
        return cursor.backlog if self._closed_at is None else self._closed_at - cursor.offset

    @property
    def is_closed(self) -> bool:
        """It was detached."""
        return self._closed_at is not None

    @property
    def at_end(self) -> bool:
        """The PTY is closed and everything was read."""
        return self._pty.is_gone and not self.backlog

    def read(self, max_bytes: int = Limits.CHUNK) -> Part:
        """Return what comes next without taking it; empty data when there is nothing."""
        if self.is_closed:
            return Part(self.offset, 0, b"")
        return self._reader.cursor.peek(max(0, max_bytes))

    def consume(self, max_bytes: int = Limits.CHUNK) -> Part:
        """Return what comes next and move behind it."""
        part = self.read(max_bytes)
        self.accept(part)
        return part

    def accept(self, part: Part, size: int | None = None) -> None:
        """Move behind a part that `read` returned, or behind its first `size` bytes.

        For who passes output on: what the next one did not take yet is not taken.
        """
        if (part.data or part.skipped) and not self.is_closed:
            self._pty.flow.hand(self._reader, part, size)

    def note_received(self, start: int) -> None:
        """Note that who reads here has all output from `start` on, from a manager before."""
        flow = self._pty.flow
        flow.change(lambda now: flow.buffer.note_received(self._reader, start, now))

    async def wait(self, take: Callable[[], bool] | None = None) -> bool:
        """Return True once there is something to read, False when there never will be.

        Other tasks get their turn in any case, so that a loop of `wait` and `consume` starves none.
        `take` is called at once when something comes, to read and accept some of it; while it
        returns True, this goes on waiting. What it raises is raised here.
        """
        if self.backlog:
            await asyncio.sleep(0)
        while not (self.is_closed or self.backlog or self._pty.is_gone):
            await self._pty.flow.woken(self._reader.cursor, take)
        return self.backlog > 0 and not self.is_closed

    async def follow(self, max_bytes: int = Limits.CHUNK) -> AsyncIterator[Part]:
        """Yield parts as they come, until the PTY is closed and everything was read."""
        while await self.wait():
            yield self.consume(max_bytes)

    def close(self) -> None:
        """Detach; who waits for it gets the end; again is no error."""
        if self._closed_at is None:
            self._closed_at = self._reader.cursor.ring.total
            flow = self._pty.flow
            flow.change(lambda now: flow.buffer.detach(self._reader, now))
            flow.wake()

    def __enter__(self) -> OutputReader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

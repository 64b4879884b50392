"""The output of one PTY for programs that block: parts as they come, whichever server is there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import cast

from ptymux.client.answers import Pty
from ptymux.client.attach_request import AttachRequest
from ptymux.client.closing import Closing
from ptymux.client.followed_stream import FollowedStream
from ptymux.client.reconnect import RETRY_POLICY, RetryPolicy
from ptymux.client.stream import Lifeline, Stream
from ptymux.core.ring import Part
from ptymux.errors import ConnectionClosedError
from ptymux.protocol.framing import Exit, Frame, Gap, Out

__all__ = ["PtyReader"]


class PtyReader(Closing):
    """A reader attached as `request` says, which is best made by `AttachRequest.to_read`.

    Iterate, or call `read`. `pty` is what the PTY was at first, `end` what it was at its end, None
    before; `skipped` counts the bytes that were missed in all. If the request asks for a `lifeline`
    there is one, unless the PTY had ended; it outlives servers.

    Raises:
        PtymuxError: there is no such PTY, or no server.
    """

    def __init__(
        self, path: str, request: AttachRequest, policy: RetryPolicy = RETRY_POLICY
    ) -> None:
        self._parts: deque[Part] = deque()
        self._missed = 0  # bytes just before the next part
        self._followed = FollowedStream(path, request, policy)
        self.lifeline: Lifeline | None = None
        self.is_over = self.is_closed = False
        self.skipped = 0
        self.end: Pty | None = None
        stream = self._followed.begin()
        self.pty: Pty = cast(Pty, stream.pty)
        self.lifeline = self._followed.take_lifeline()
        self._go_on(stream)

    def __del__(self) -> None:
        self.close()  # of a loop that was left by `break`

    def __iter__(self) -> Iterator[Part]:
        """Give each part as it comes, until the PTY ends; another iteration goes on.

        Raises:
            ConnectionClosedError: the server went away, and none came in its place.
        """
        while (part := self.read()) is not None:
            yield part

    @property
    def offset(self) -> int:
        """The offset of the next byte that `read` returns."""
        return self._parts[0].offset if self._parts else self._offset

    def fileno(self) -> int:
        """Return an fd that is readable when `read` may have something; -1 when there is none.

        What was received already does not show there: call `read(0)` until it returns None first.
        """
        return -1 if self._followed.current is None else self._followed.current.fileno()

    def close(self) -> None:
        """End the attachment; again is no error."""
        self.is_closed = True
        self._followed.close()
        if self.lifeline is not None:
            self.lifeline.close()

    def read(self, timeout: float | None = None) -> Part | None:
        """Return the next part; None when none came within `timeout` seconds, or at the end.

        If the last bytes of a PTY were missed, its last part has no data.

        Raises:
            ConnectionClosedError: the server went away and none came in its place, or this was
                closed.
            ProtocolError: what the server sent cannot be understood.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._parts and not self.is_over:
            if self.is_closed:
                raise ConnectionClosedError("this reader was closed")
            stream = self._followed.current
            if stream is None:
                self._look_for_server(deadline)
            elif stream.wait(deadline):
                self._receive()
            else:
                return None
            is_late = deadline is not None and time.monotonic() >= deadline
            if self._followed.current is None and is_late:
                return None
        return self._parts.popleft() if self._parts else None

    def _receive(self) -> None:
        with self._followed.until_lost() as stream:
            self._take(stream, stream.receive())

    def _look_for_server(self, deadline: float | None) -> None:
        stream = self._followed.try_and_pause(deadline)
        if stream is not None:
            self._go_on(stream)

    def _go_on(self, stream: Stream) -> None:
        self._offset = stream.offset  # behind all that was received
        self._take(stream, stream.pending())

    def _take(self, stream: Stream, frames: list[Frame]) -> None:
        for frame in frames:
            if isinstance(frame, Gap):
                self._missed += frame.end - frame.start
                self.skipped += frame.end - frame.start
            elif isinstance(frame, Out):
                self._parts.append(Part(frame.offset, self._missed, frame.data))
                self._missed = 0
            elif isinstance(frame, Exit):
                self.end = cast(Pty, frame.pty)
        self._offset, self.is_over = stream.offset, stream.is_over
        if self.is_over and self._missed:
            self._parts.append(Part(self._offset, self._missed, b""))
            self._missed = 0

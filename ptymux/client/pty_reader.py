"""A reader of one PTY's output, which goes on with whichever server is there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import cast

from ptymux.client.answers import Pty
from ptymux.client.attach_request import AttachRequest
from ptymux.client.closing import Closing
from ptymux.client.reconnect import Patience, attach_to, is_readable, persistently
from ptymux.client.stream import Lifeline, Stream
from ptymux.core.ring import Part
from ptymux.errors import ConnectionClosedError, PtymuxError
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

    def __init__(self, path: str, request: AttachRequest) -> None:
        self._stream: Stream | None = None
        self._parts: deque[Part] = deque()
        self._missed = 0  # bytes just before the next part
        self._patience: Patience | None = None  # while there is no server
        self._path = path
        self.lifeline: Lifeline | None = None
        self.is_over = self.is_closed = False
        self.skipped = 0
        self.end: Pty | None = None
        stream = persistently(lambda: attach_to(path, request))
        self.pty: Pty = cast(Pty, stream.pty)
        self.lifeline, stream.lifeline = stream.lifeline, None
        self._request = request.living_by(None if self.lifeline is None else self.lifeline.number)
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
        """Where the next byte will be."""
        return self._parts[0].offset if self._parts else self._offset

    def fileno(self) -> int:
        """Return an fd that is readable when `read` may have something; -1 when there is none.

        What was received already does not show there: `read(0)` until it gives None comes first.
        """
        return -1 if self._stream is None else self._stream.fileno()

    def close(self) -> None:
        """End the attachment; again is no error."""
        self.is_closed = True
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self.lifeline is not None:
            self.lifeline.close()

    def read(self, timeout: float | None = None) -> Part | None:
        """Return the next part; None when none came within `timeout` seconds, or at the end.

        The last part of a PTY whose end was missed has no data.

        Raises:
            ConnectionClosedError: the server went away and none came in its place, or this was
                closed.
            ProtocolError: what the server sent cannot be understood.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._parts and not self.is_over:
            if self.is_closed:
                raise ConnectionClosedError("this reader was closed")
            if self._stream is None:
                self._look_for_server(deadline)
            elif is_readable(self._stream, deadline):
                self._receive(self._stream)
            elif deadline is not None:
                return None
            if self._stream is None and deadline is not None and time.monotonic() >= deadline:
                return None
        return self._parts.popleft() if self._parts else None

    def _receive(self, stream: Stream) -> None:
        try:
            self._take(stream, stream.receive())
        except ConnectionClosedError:
            stream.close()
            self._request = self._request.going_on(stream.offset, stream.received_from)
            self._stream, self._patience = None, Patience()

    def _look_for_server(self, deadline: float | None) -> None:
        assert self._patience is not None
        try:
            stream = attach_to(self._path, self._request, deadline)
        except PtymuxError as error:
            self._patience.bear(error, deadline)
            return
        self._go_on(stream)

    def _go_on(self, stream: Stream) -> None:
        self._stream, self._patience = stream, None
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

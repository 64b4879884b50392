"""The output of one PTY for programs that block: parts as they come, whichever server is there."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import cast

from ptymux.client.answers import Pty
from ptymux.client.attach_request import AttachRequest
from ptymux.client.closing import Closing
from ptymux.client.followed_stream import FollowedStream
from ptymux.client.readiness import Readiness
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
    there is one, unless the PTY had ended; it outlives servers. If several threads read, each part
    goes to one of them. `stream` is what the server gave for `request`, if it was asked already.

    Raises:
        UnknownPtyError: there is no such PTY.
        LimitReachedError: it has as many readers as may be.
        NoServerError, UnreachableError: there is no server, or it does not answer.
    """

    def __init__(
        self,
        path: str,
        request: AttachRequest,
        policy: RetryPolicy = RETRY_POLICY,
        stream: Stream | None = None,
    ) -> None:
        self._parts: deque[Part] = deque()
        self._missed = 0  # bytes just before the next part
        self._request = request
        self._followed = FollowedStream(path, request, policy, stream)
        self._readiness: Readiness | None = None  # once somebody has asked for an fd
        self._reading = threading.RLock()
        self.lifeline: Lifeline | None = None
        self.is_over = self.is_closed = False
        self.skipped = 0
        self.end: Pty | None = None
        stream = self._followed.begin() if stream is None else stream
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

    @property
    def has_server(self) -> bool:
        """Whether it is connected; if not, `read` looks for a server, for up to 0.3 s each time."""
        return self._followed.current is not None

    def fileno(self) -> int:
        """Return an fd that is readable when `read(0)` has something to do; -1 once closed.

        That is also at the end, and when the server went away. It stays the same all the time.
        """
        if self.is_closed:
            return -1
        if self._readiness is None:
            self._readiness = Readiness()
            self.note_held(False)
        return self._readiness.fileno()

    def note_held(self, holds: bool) -> None:
        """Have the fd readable while its user holds what it has read."""
        if self._readiness is not None:
            stream = self._followed.current
            holds = holds or bool(self._parts) or self.is_over or stream is None
            self._readiness.update(stream, holds=holds)

    def close(self) -> None:
        """End the attachment, and a `read` in another thread; again is no error."""
        self.is_closed = True
        self._followed.interrupt()
        with self._reading:
            self._followed.close()
            if self.lifeline is not None:
                self.lifeline.close()
            if self._readiness is not None:
                self._readiness.close()

    def read(self, timeout: float | None = None) -> Part | None:
        """Return the next part; None when none came within `timeout` seconds, or at the end.

        If the last bytes of a PTY were missed, its last part has no data.

        Raises:
            ConnectionClosedError: the server went away and none came in its place, or this was
                closed.
            UnknownPtyError: the server was replaced, and the PTY was forgotten meanwhile.
            ProtocolError: what the server sent cannot be understood.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._reading.acquire(timeout=-1 if timeout is None else timeout):
            return None
        try:
            return self._read(deadline)
        finally:
            self.note_held(False)
            self._reading.release()

    def _read(self, deadline: float | None) -> Part | None:
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
            if is_late and not self._parts and not self.is_over:
                return None
        return self._parts.popleft() if self._parts else None

    def give_back(self, parts: Iterable[Part]) -> None:
        """Take back parts that were read last, in their order, for the next `read`."""
        with self._reading:
            self._parts.extendleft(reversed(list(parts)))

    def _receive(self) -> None:
        with self._followed.until_lost() as stream:
            self._take(stream, stream.receive())

    def _look_for_server(self, deadline: float | None) -> None:
        if self.lifeline is not None and self._request.hangup and self.lifeline.has_ended():
            # Its keeper died: what hangs the PTY up at our end has to be another one.
            self._followed.request = replace(self._followed.request, lifeline=True, line=None)
        # Who polls our fd reads with a timeout of 0 again and again: the pause is for them as well.
        is_polled = self._readiness is not None
        stream = self._followed.try_and_pause(deadline, pauses_fully=is_polled)
        if stream is None:
            return
        if stream.lifeline is not None:
            if self.lifeline is not None:
                self.lifeline.close()
            self.lifeline = self._followed.take_lifeline()
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

"""A terminal's or a pipe's attachment to a PTY, which goes on when the server is replaced."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ptymux.client.attach_request import AttachRequest
from ptymux.client.followed_stream import FollowedStream
from ptymux.client.reconnect import RETRY_POLICY, RetryPolicy
from ptymux.client.stream import Lifeline, Stream, unseen
from ptymux.errors import PtymuxError
from ptymux.protocol.framing import Frame, Out

__all__ = ["Attachment"]

_LEAVE_SECONDS: Final = 1.0  # for the server to confirm that we detached


class Attachment:
    """A stream and the lifeline beside it, for callers with a poll loop of their own.

    While there is no server, `stream` is None: call `look_for_server` each time round. The
    lifeline outlives servers; when it has ended, as after the keeper's death, the next server is
    asked for another. `hangup` in the request: whatever ends us but `close(detach=True)` hangs the
    PTY up.
    """

    def __init__(
        self,
        path: str,
        stream: Stream,
        request: AttachRequest,
        policy: RetryPolicy = RETRY_POLICY,
    ) -> None:
        """Take over the stream that the server at `path` gave for `request`."""
        self.path = path
        self.pty_id = str(stream.pty["pty_id"])
        self.pty = stream.pty  # as of the last attach
        self.hangup = request.hangup
        self.lifeline: Lifeline | None
        self.lifeline, stream.lifeline = stream.lifeline, None
        self.offset = stream.offset  # of the next byte, whichever way it comes
        self.is_over = False  # the server sent its last frame: nothing more comes
        self._request = replace(request, pty=self.pty_id)
        self._followed = FollowedStream(path, self._request, policy, stream)

    @property
    def stream(self) -> Stream | None:
        """The stream; None while there is no server."""
        return self._followed.current

    def pending(self) -> list[Frame]:
        """Return the frames that came with the attach; to be called after each."""
        assert self.stream is not None
        return self._noted(self.stream, self.stream.pending())

    def receive(self) -> list[Frame]:
        """Read once and return the frames that are whole; `stream` is None if the server is gone.

        Raises:
            ProtocolError: what came is no frame.
        """
        with self._followed.until_lost() as stream:
            return self._noted(stream, stream.receive())
        return []

    def receive_echoes(self) -> bytes:
        """Read from the lifeline once; return the output from `offset` on that came ahead.

        The keeper sends it, also while there is no server.

        Raises:
            ProtocolError: what came is no frame.
        """
        assert self.lifeline is not None
        echoes = b""
        for frame in self.lifeline.receive():
            fresh = unseen(frame, self.offset)
            if isinstance(fresh, Out) and fresh.offset == self.offset:
                self.offset += len(fresh.data)
                echoes += fresh.data  # to nothing: without a copy
        return echoes

    def look_for_server(self) -> bool:
        """Try once to attach again; return whether there is a stream, with frames pending.

        Raises:
            ConnectionClosedError: the server was away too long.
            PtymuxError: it does not know the PTY any more.
        """
        return self._look(self._followed.try_once)

    def close(self, *, detach: bool) -> None:
        """End the attachment; with `detach` say so before, so that nothing is hung up."""
        if detach and self.hangup:
            with contextlib.suppress(PtymuxError):
                while not self.is_over:
                    self._detach()
        elif detach and self.stream is not None:
            self.stream.detach()
        self._followed.close()
        if self.lifeline is not None:
            self.lifeline.close()

    def _look(self, connect: Callable[[], Stream | None]) -> bool:
        self._followed.request = self._next_request()
        stream = connect()
        if stream is None:
            return False
        if stream.lifeline is not None:
            if self.lifeline is not None:
                self.lifeline.close()
            self.lifeline, stream.lifeline = stream.lifeline, None
        self.pty, self.offset = stream.pty, stream.offset
        return True

    def _next_request(self) -> AttachRequest:
        """Return how to attach to the next server: with the lifeline that is open, or a new one."""
        living = None if self.lifeline is None or self.lifeline.has_ended() else self.lifeline
        return replace(
            self._followed.request,
            offset=self.offset,
            only=False,
            wants_input=living is None and self._request.wants_input,
            lifeline=living is None and self._request.hangup,
            line=None if living is None else living.number,
        )

    def _detach(self) -> None:
        """Ask a server to let us go; `is_over` if one has confirmed it."""
        if self.stream is None:
            if not self._look(self._followed.try_and_pause):
                return
            self.pending()
        assert self.stream is not None
        self.stream.detach()
        deadline = time.monotonic() + _LEAVE_SECONDS
        while self.stream is not None and not self.is_over:
            if self.stream.wait(deadline):
                self.receive()
            else:
                self._followed.lose()  # it hangs: ask the one that replaces it

    def _noted(self, stream: Stream, frames: list[Frame]) -> list[Frame]:
        self.is_over = stream.is_over
        news = [fresh for frame in frames if (fresh := unseen(frame, self.offset)) is not None]
        self.offset = max(self.offset, stream.offset)
        return news

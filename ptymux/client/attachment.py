"""Attachments that go on when the server is replaced: at the offset where they were."""

from __future__ import annotations

import contextlib
import select
import time
from dataclasses import replace
from typing import Final

from ptymux.client.attach_request import AttachRequest
from ptymux.client.reconnect import Patience
from ptymux.client.reconnect import attach_to as resume
from ptymux.client.stream import Lifeline, Stream, unseen
from ptymux.errors import ConnectionClosedError, PtymuxError
from ptymux.protocol.framing import Frame, Out

__all__ = ["RETRY_SECONDS", "Attachment", "Patience", "bear", "resume", "resume_patiently"]

RETRY_SECONDS: Final = 0.05
_LEAVE_SECONDS: Final = 1.0  # for the server to see that we take leave


class Attachment:
    """A stream, and a lifeline beside it, that go on where they were when the server is replaced.

    The lifeline outlives servers, and is asked for again once it has ended. With `hangup`, whatever
    ends us but `close(detach=True)` hangs the PTY up.
    """

    def __init__(
        self,
        path: str,
        stream: Stream,
        request: AttachRequest,
    ) -> None:
        """Take over the stream that the server at `path` gave for `request`."""
        self.path = path
        self.pty_id = str(stream.pty["pty_id"])
        self.pty = stream.pty  # as of the last attach
        self.hangup = request.hangup
        self.stream: Stream | None = stream  # None while there is no server
        self.lifeline: Lifeline | None
        self.lifeline, stream.lifeline = stream.lifeline, None
        self.offset = stream.offset  # of the next byte, whichever way it comes
        self.is_over = False  # the server said its last word
        self._request = replace(request, pty=self.pty_id)
        self._patience: Patience | None = None

    def pending(self) -> list[Frame]:
        """Return the frames that came with the attach; to be called after each."""
        assert self.stream is not None
        return self._noted(self.stream, self.stream.pending())

    def receive(self) -> list[Frame]:
        """Read once and return the frames that are whole; `stream` is None if the server is gone.

        Raises:
            ProtocolError: what came is no frame.
        """
        assert self.stream is not None
        try:
            return self._noted(self.stream, self.stream.receive())
        except ConnectionClosedError:
            self._lose_server()
            return []

    def receive_echoes(self) -> bytes:
        """Read from the lifeline once; return the output from `offset` on, ahead of the stream.

        It comes while there is no server, too.

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
        """Try once to go on; frames may be pending then.

        Raises:
            ConnectionClosedError: the server was away too long.
            PtymuxError: it does not know the PTY any more.
        """
        assert self._patience is not None
        try:
            stream = resume(self.path, self._next_request())
        except PtymuxError as error:
            bear(self._patience, error)
            return False
        if stream.lifeline is not None:
            if self.lifeline is not None:
                self.lifeline.close()
            self.lifeline, stream.lifeline = stream.lifeline, None
        self._go_on(stream)
        return True

    def close(self, *, detach: bool) -> None:
        """End the attachment, with or without taking leave; again is no error."""
        if detach and self.hangup:
            with contextlib.suppress(PtymuxError):
                while not self.is_over:
                    self._take_leave()
        elif detach and self.stream is not None:
            self.stream.detach()
        if self.stream is not None:
            self.stream.close()
        if self.lifeline is not None:
            self.lifeline.close()

    def _take_leave(self) -> None:
        """Tell a server that this is no hang-up; `is_over` if it has heard."""
        if self.stream is None:
            if not self.look_for_server():
                time.sleep(RETRY_SECONDS)
                return
            self.pending()
        assert self.stream is not None
        self.stream.detach()
        poll = select.poll()
        poll.register(self.stream, select.POLLIN)
        deadline = time.monotonic() + _LEAVE_SECONDS
        while self.stream is not None and not self.is_over:
            if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
                self._lose_server()  # it hangs; the next one will hear
                return
            self.receive()

    def _next_request(self) -> AttachRequest:
        """Return how to attach to the next server: with the lifeline that is open, or a new one."""
        living = None if self.lifeline is None or self.lifeline.has_ended() else self.lifeline
        return replace(
            self._request,
            offset=self.offset,
            wants_input=living is None and self._request.wants_input,
            lifeline=living is None and self._request.hangup,
            line=None if living is None else living.number,
        )

    def _lose_server(self) -> None:
        assert self.stream is not None
        self.stream.close()
        self._request = self._request.going_on(self.stream.offset, self.stream.received_from)
        self.stream, self._patience = None, Patience()

    def _go_on(self, stream: Stream) -> None:
        self.stream, self._patience = stream, None
        self.pty, self.offset = stream.pty, stream.offset

    def _noted(self, stream: Stream, frames: list[Frame]) -> list[Frame]:
        self.is_over = stream.is_over
        news = [fresh for frame in frames if (fresh := unseen(frame, self.offset)) is not None]
        self.offset = max(self.offset, stream.offset)
        return news


def resume_patiently(path: str, request: AttachRequest) -> Stream:
    """Attach as soon as there is a server, or again one.

    Raises:
        PtymuxError: there is none for too long, or it does not know the PTY any more.
    """
    patience = Patience()
    while True:
        try:
            return resume(path, request)
        except PtymuxError as error:
            patience.bear(error)


def bear(patience: Patience, error: PtymuxError) -> None:
    """Return at once if trying again may help; raises as `Patience.bear`."""
    patience.bear(error, deadline=0.0)

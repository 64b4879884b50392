"""Attachments that go on when the server is replaced: at the offset where they were."""

from __future__ import annotations

import contextlib
import select
import time
from typing import Final

from ptymux.client.rpc import Connection
from ptymux.client.stream import Lifeline, Stream, attach
from ptymux.errors import ConnectionClosedError, NoServerError, PtymuxError, UnreachableError
from ptymux.protocol.framing import Frame

__all__ = ["RETRY_SECONDS", "Attachment", "Patience", "resume", "resume_patiently"]

_PATIENCE_SECONDS: Final = 10.0  # in which a server that died has a successor
_NOBODY_SECONDS: Final = 3.0  # without even a socket: then both processes are gone
RETRY_SECONDS: Final = 0.05
_LEAVE_SECONDS: Final = 1.0  # for the server to see that we take leave

_PASSING: Final = (NoServerError, UnreachableError, ConnectionClosedError)


class Patience:
    """Decides how long a server that is away may be away."""

    def __init__(self, seconds: float = _PATIENCE_SECONDS) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._nobody_since: float | None = None

    def bear(self, error: PtymuxError) -> None:
        """Return if trying again may help.

        Raises:
            ConnectionClosedError: it was away too long.
            PtymuxError: `error`, where waiting does not help.
        """
        if not isinstance(error, _PASSING):
            raise error
        now = time.monotonic()
        if not isinstance(error, NoServerError):
            self._nobody_since = None
        elif self._nobody_since is None:
            self._nobody_since = now
        if now >= self._deadline:
            self._give_up(self._seconds, error)
        if self._nobody_since is not None and now >= self._nobody_since + _NOBODY_SECONDS:
            self._give_up(_NOBODY_SECONDS, error)

    def _give_up(self, seconds: float, error: PtymuxError) -> None:
        reason = f"the server went away and did not come back within {seconds:.0f} s"
        raise ConnectionClosedError(f"{reason}; `ptymux server status` tells more") from error


class Attachment:
    """A stream, and a lifeline beside it, that go on where they were when the server is replaced.

    The lifeline outlives servers, and is asked for again once it has ended. With `hangup`, whatever
    ends us but `close(detach=True)` hangs the PTY up.
    """

    def __init__(
        self,
        path: str,
        stream: Stream,
        kind: str = "consumer",
        *,
        wants_input: bool = True,
        hangup: bool = False,
    ) -> None:
        """Take over the stream."""
        self.path = path
        self.pty_id = str(stream.pty["pty_id"])
        self.pty = stream.pty  # as of the last attach
        self.hangup = hangup
        self.stream: Stream | None = stream  # None while there is no server
        self.lifeline: Lifeline | None
        self.lifeline, stream.lifeline = stream.lifeline, None
        self.offset = stream.offset  # of the next byte
        self.is_over = False  # the server said its last word
        self._kind = kind
        self._wants_input = wants_input
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
            self.stream.close()
            self.stream = None
            self._patience = Patience()
            return []

    def look_for_server(self) -> bool:
        """Try once to go on; frames may be pending then.

        Raises:
            ConnectionClosedError: the server was away too long.
            PtymuxError: it does not know the PTY any more.
        """
        assert self._patience is not None
        dead = self.lifeline is None or _has_ended(self.lifeline)
        wants_input = dead and self._wants_input
        try:
            stream = resume(
                self.path, self.pty_id, self.offset, self._kind, wants_input=wants_input
            )
        except PtymuxError as error:
            self._patience.bear(error)
            return False
        if stream.lifeline is not None:
            if self.lifeline is not None:
                self.lifeline.close()
            self.lifeline, stream.lifeline = stream.lifeline, None
        self._go_on(stream)
        return True

    def skip_to_the_last(self, size: int) -> bool:
        """Leave out all but the last `size` bytes of what is to come; False: there is no more.

        Frames may be pending then.
        """
        assert self.stream is not None
        with contextlib.suppress(PtymuxError), Connection(self.path) as connection:
            pty = connection.call("get", pty=self.pty_id)["pty"]
            target = int(pty["buffer"]["total_written"]) - size
            if target > self.offset:
                stream = attach(
                    connection, self.pty_id, kind=self._kind, offset=target, wants_input=False
                )
                self.stream.close()
                self._go_on(stream)
                return True
        return False

    def close(self, *, detach: bool) -> None:
        """End the attachment, with or without taking leave; again is no error."""
        if self.stream is not None:
            if detach and not self.is_over:
                self._take_leave(self.stream)
            self.stream.close()
        if self.lifeline is not None:
            self.lifeline.close()

    def _take_leave(self, stream: Stream) -> None:
        """Tell the server that this is no hang-up, and have it know before the lifeline ends."""
        stream.detach()
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        deadline = time.monotonic() + _LEAVE_SECONDS
        with contextlib.suppress(PtymuxError):
            while self.hangup and not stream.is_over:
                if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
                    return
                stream.receive()

    def _go_on(self, stream: Stream) -> None:
        self.stream, self._patience = stream, None
        self.pty, self.offset = stream.pty, stream.offset

    def _noted(self, stream: Stream, frames: list[Frame]) -> list[Frame]:
        self.offset, self.is_over = stream.offset, stream.is_over
        return frames


def resume(path: str, pty: str, offset: int | str, kind: str, *, wants_input: bool) -> Stream:
    """Attach anew.

    Raises:
        PtymuxError: it cannot be done, or not yet.
    """
    connection = Connection(path)
    try:
        return attach(connection, pty, kind=kind, offset=offset, wants_input=wants_input)
    except BaseException:
        connection.close()
        raise


def resume_patiently(path: str, pty: str, offset: int, kind: str) -> Stream:
    """Attach anew, without input, as soon as there is a server again.

    Raises:
        PtymuxError: there is none for too long, or it does not know the PTY any more.
    """
    patience = Patience()
    while True:
        try:
            return resume(path, pty, offset, kind, wants_input=False)
        except PtymuxError as error:
            patience.bear(error)
        time.sleep(RETRY_SECONDS)


def _has_ended(lifeline: Lifeline) -> bool:
    poll = select.poll()
    poll.register(lifeline, select.POLLIN | select.POLLRDHUP)
    return bool(poll.poll(0))

"""A PTY's output as it comes, from one server to the next: each byte once, from where it was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ptymux.client.reconnect import RETRY_POLICY, Reconnect, RetryPolicy, hello_seconds
from ptymux.client.server_connection import ServerConnection
from ptymux.client.stream import Stream, attach
from ptymux.errors import PtymuxError

if TYPE_CHECKING:
    from ptymux.client.attach_request import AttachRequest
    from ptymux.client.stream import Lifeline

__all__ = ["FollowedStream", "attach_to"]


class FollowedStream(Reconnect[Stream]):
    """The stream of one attachment, and after the loss of a server another that continues it.

    `request` is how the next stream is asked for. It follows what was received: `offset` and
    `received_from` are right whenever there is no stream.
    """

    def __init__(
        self,
        path: str,
        request: AttachRequest,
        policy: RetryPolicy = RETRY_POLICY,
        stream: Stream | None = None,
    ) -> None:
        """Take over `stream`, if `request` was granted already."""
        # A server that answered an attach was there: the next one has its whole time to come.
        super().__init__(replace(policy, served_seconds=0.0), stream)
        self.path = path
        self.request = request

    def lose(self, error: PtymuxError | None = None) -> None:
        """Let go of the stream, as `Reconnect.lose`; the next one begins where it ended."""
        stream = self.current
        if stream is not None:
            self.request = self.request.going_on(stream.offset, stream.received_from)
        super().lose(error)

    def take_lifeline(self) -> Lifeline | None:
        """Return the lifeline of the stream that there is, which is the caller's from now on.

        The streams to come have none: the next servers know the attachment by its number.
        """
        assert self.current is not None
        lifeline, self.current.lifeline = self.current.lifeline, None
        self.request = self.request.living_by(None if lifeline is None else lifeline.number)
        return lifeline

    def _connect(self, deadline: float | None) -> Stream:
        return attach_to(self.path, self.request, deadline)


def attach_to(path: str, request: AttachRequest, deadline: float | None = None) -> Stream:
    """Attach on a connection of its own; a server has until the deadline to say hello, or 0.2 s.

    Raises:
        PtymuxError: it cannot be done, or not yet.
    """
    connection = ServerConnection(path, hello_seconds(deadline))
    try:
        return attach(connection, request)
    except BaseException:
        connection.close()
        raise

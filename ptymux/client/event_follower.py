"""The events of a server, and of the one that comes in its place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import cast

from ptymux.client.answers import Event, Missed
from ptymux.client.closing import Closing
from ptymux.client.reconnect import Patience, persistently
from ptymux.client.server_connection import ServerConnection
from ptymux.errors import ConnectionClosedError, PtymuxError

__all__ = ["EventFollower"]


class EventFollower(Closing):
    """The events after the number `since`, in order: iterate, or call `read`.

    Without `follow` those that are kept, of all or those after `since`; with it also those to
    come, and without `since` only these: from the moment when this is made.

    Raises:
        PtymuxError: there is no server, or no such topic or PTY.
    """

    def __init__(
        self,
        path: str,
        *,
        since: int | None = None,
        topics: Sequence[str] | None = None,
        pty: str | None = None,
        follow: bool = True,
    ) -> None:
        self._connection: ServerConnection | None = None
        self._path = path
        self._chosen = {"topics": list(topics) if topics else None, "pty": pty, "follow": follow}
        self._epoch: str | None = None
        self._seq = 0  # of the last event that was given
        self._missed = 0  # to be told before the next
        self._patience: Patience | None = None  # while there is no server
        self.is_over = self.is_closed = False
        persistently(lambda: self._open(since if since is not None or follow else 0))

    def __del__(self) -> None:
        self.close()  # of a loop that was left by `break`

    def __iter__(self) -> Iterator[Event | Missed]:
        """Give each as it comes, until there are no more; another iteration goes on.

        Raises:
            ConnectionClosedError: the server went away, and none came in its place.
        """
        while (told := self.read()) is not None:
            yield told

    def close(self) -> None:
        """Hear no more; again is no error."""
        self.is_closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def read(self, timeout: float | None = None) -> Event | Missed | None:
        """Return the next; None when none came within `timeout` seconds, or after the last.

        Raises:
            ConnectionClosedError: the server went away and none came in its place, or this was
                closed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._missed:
            if self.is_over:
                return None
            if self.is_closed:
                raise ConnectionClosedError("these events were closed")
            if self._connection is None:
                self._look_for_server(deadline)
            elif (event := self._receive(self._connection, deadline)) is not None:
                return event
            if deadline is not None and time.monotonic() >= deadline and not self._missed:
                return None
        missed, self._missed = Missed(missed=self._missed), 0
        return missed

    def _receive(self, connection: ServerConnection, deadline: float | None) -> Event | None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            told = connection.notification(left)
        except ConnectionClosedError:
            self._connection, self._patience = None, Patience()
            return None
        if told is None:
            return None
        if told.method == "missed":
            self._missed += int(told.params["count"])
        elif told.method == "end":
            self.is_over = True
        elif told.method == "event":
            self._seq = told.params["seq"] or self._seq
            return cast(Event, told.params)
        return None

    def _look_for_server(self, deadline: float | None) -> None:
        patience = self._patience
        assert patience is not None
        try:
            self._open(self._seq)
        except PtymuxError as error:
            patience.bear(error, deadline)

    def _open(self, since: int | None) -> None:
        connection = ServerConnection(self._path)
        try:
            reply = connection.call("events", since=since, **self._chosen)
            if since and self._epoch not in (None, reply["epoch"]):
                # Another server, which never knew of this one: its numbers are its own.
                connection.close()
                self._epoch = reply["epoch"]
                self._open(0)
                return
        except BaseException:
            connection.close()
            raise
        self._connection, self._epoch = connection, reply["epoch"]
        self._seq = reply["last_seq"] if since is None else since
        self._missed += int(reply["missed"])

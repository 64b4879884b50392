"""The events of a server, and of each that replaces it, in order and each once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from ptymux.client.answers import Event, Missed
from ptymux.client.closing import Closing
from ptymux.client.reconnect import RETRY_POLICY, Reconnect, RetryPolicy
from ptymux.client.server_connection import ServerConnection
from ptymux.errors import ConnectionClosedError

__all__ = ["EventFollower"]


class EventFollower(Closing):
    """The events after the number `since`, in order: iterate, or call `read`.

    Without `follow` those that are kept, of all or those after `since`; with it also those to
    come, and without `since` only these: from the moment when this is made. If several
    threads read, each event goes to one of them.

    Raises:
        InvalidValueError: there is no such topic.
        UnknownPtyError: there is no such PTY.
        NoServerError, UnreachableError: there is no server, or it does not answer.
    """

    def __init__(
        self,
        path: str,
        *,
        since: int | None = None,
        topics: Sequence[str] | None = None,
        pty: str | None = None,
        follow: bool = True,
        policy: RetryPolicy = RETRY_POLICY,
    ) -> None:
        chosen = {"topics": list(topics) if topics else None, "pty": pty, "follow": follow}
        first = since if since is not None or follow else 0
        self._reading = threading.RLock()
        self._events = _EventConnection(path, chosen, first, policy)
        self.is_over = self.is_closed = False
        self._events.begin()

    def __del__(self) -> None:
        self.close()  # of a loop that was left by `break`

    def __iter__(self) -> Iterator[Event | Missed]:
        """Give each event as it comes, until there are no more; another iteration goes on.

        Raises:
            ConnectionClosedError: the server went away, and none came in its place.
        """
        while (event := self.read()) is not None:
            yield event

    def close(self) -> None:
        """End the connection, and a `read` in another thread; again is no error."""
        self.is_closed = True
        self._events.interrupt()
        with self._reading:
            self._events.close()

    def read(self, timeout: float | None = None) -> Event | Missed | None:
        """Return the next event; None when none came within `timeout` seconds, or after the last.

        Raises:
            ConnectionClosedError: the server went away and none came in its place, or this was
                closed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._reading.acquire(timeout=-1 if timeout is None else timeout):
            return None
        try:
            return self._read(deadline)
        finally:
            self._reading.release()

    def _read(self, deadline: float | None) -> Event | Missed | None:
        while not self._events.missed:
            if self.is_over:
                return None
            if self.is_closed:
                raise ConnectionClosedError("these events were closed")
            if self._events.current is None:
                self._events.try_and_pause(deadline)
            elif (event := self._receive(deadline)) is not None:
                return event
            if deadline is not None and time.monotonic() >= deadline and not self._events.missed:
                return None
        missed, self._events.missed = Missed(missed=self._events.missed), 0
        return missed

    def _receive(self, deadline: float | None) -> Event | None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        with self._events.until_lost() as connection:
            notification = connection.notification(left)
            if notification is None:
                return None
            if notification.method == "missed":
                self._events.missed += int(notification.params["count"])
            elif notification.method == "end":
                self.is_over = True
            elif notification.method == "event":
                self._events.since = notification.params["seq"] or self._events.since
                return cast(Event, notification.params)
        return None


class _EventConnection(Reconnect[ServerConnection]):
    """A connection on which events come: those after `since`, the last one that was received."""

    def __init__(
        self,
        path: str,
        chosen: Mapping[str, object],
        since: int | None,
        policy: RetryPolicy,
    ) -> None:
        # A server that gave its events was there: the next one has its whole time to come.
        super().__init__(replace(policy, served_seconds=0.0))
        self.since = since  # None: only those to come
        self.missed = 0  # to be reported before the next event
        self._path = path
        self._chosen = chosen
        self._epoch: str | None = None  # in which numbers are counted

    def _connect(self, deadline: float | None) -> ServerConnection:
        connection = ServerConnection(self._path)
        try:
            reply = connection.call("events", since=self.since, **self._chosen)
            if self.since and self._epoch not in (None, reply["epoch"]):
                # Another server, which never knew of the one before: its numbers are its own.
                connection.close()
                self._epoch, self.since = reply["epoch"], 0
                return self._connect(deadline)
        except BaseException:
            connection.close()
            raise
        self._epoch = reply["epoch"]
        self.since = reply["last_seq"] if self.since is None else self.since
        self.missed += int(reply["missed"])
        return connection

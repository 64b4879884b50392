"""Requests to whichever server is there, from any thread, on connections that are kept open."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from ptymux.client.closing import Closing
from ptymux.client.reconnect import RETRY_POLICY, RetryPolicy, ServerReconnect, repeat
from ptymux.client.server_connection import ServerConnection
from ptymux.errors import ConnectionClosedError

__all__ = ["Requests"]

_MOST_IDLE: Final = 4  # connections that wait for the next request

_T = TypeVar("_T")


class Requests(Closing):
    """Connections for requests: one for each that is under way at a time, in different threads.

    Each goes to the server that is there: when one was replaced, so is the connection.
    """

    def __init__(self, connection: ServerConnection, policy: RetryPolicy = RETRY_POLICY) -> None:
        """Take over `connection`."""
        self.path = connection.path
        self._policy = policy
        self._lock = threading.Lock()  # for what is below
        self._idle = [connection]
        self._busy: set[ServerConnection] = set()
        self._is_closed = False

    def close(self) -> None:
        """End the connections, and what other threads ask on them; again is no error."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for connection in self._busy:
                connection.interrupt()
        for connection in idle:
            connection.close()

    def ask(self, method: str, **params: object) -> Mapping[str, Any]:
        """Return the result of a request that does no harm twice; raises as `repeating`."""
        return self.repeating(lambda connection: connection.call(method, **params))

    def repeating(self, act: Callable[[ServerConnection], _T]) -> _T:
        """Return what `act` returns, called again as often as the connection breaks.

        Raises:
            ConnectionClosedError: this was closed, no server came in place of one that died, or
                each that came went away at once.
            PtymuxError: as `act`, where another try would not help.
        """
        with _closing_told():
            take = partial(self._take, ServerConnection)
            return repeat(take, partial(self._use, act=act), self._policy)

    def once(self, act: Callable[[ServerConnection], _T]) -> _T:
        """Return what `act` returns, which is called once, on a connection that seems to live.

        Raises:
            ConnectionClosedError: this was closed, there is no server any more, or it died while
                it was asked.
            PtymuxError: as `act`.
        """
        with _closing_told():
            connection = self._take(lambda path: ServerReconnect(path, self._policy).wait())
            return self._use(connection, act)

    def _use(self, connection: ServerConnection, act: Callable[[ServerConnection], _T]) -> _T:
        """Return what `act` returns, and keep the connection for later."""
        is_lost = False
        try:
            return act(connection)
        except self._policy.passing:
            is_lost = True
            self._check_open()  # if we closed it, another try is not what is wanted
            raise
        finally:
            self._give_back(connection, is_lost=is_lost)

    def _take(self, connect: Callable[[str], ServerConnection]) -> ServerConnection:
        connection: ServerConnection | None = None
        while connection is None:
            with self._lock:
                self._check_open()
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = connect(self.path)
            elif _has_ended(connection):
                connection.close()
                connection = None
        with self._lock:
            if not self._is_closed:
                self._busy.add(connection)
                return connection
        connection.close()
        raise _ClosedError

    def _give_back(self, connection: ServerConnection, *, is_lost: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            is_of_use = not (is_lost or self._is_closed) and connection.fileno() >= 0
            if is_of_use and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise _ClosedError


class _ClosedError(Exception):
    """We were closed: nothing is tried again."""


@contextmanager
def _closing_told() -> Iterator[None]:
    try:
        yield
    except _ClosedError:
        raise ConnectionClosedError("this client was closed") from None


def _has_ended(connection: ServerConnection) -> bool:
    """Whether a connection was closed, by us or by the server, which says nothing unasked."""
    if connection.fileno() < 0:
        return True
    poll = select.poll()  # select() has no room for fds above 1023
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))

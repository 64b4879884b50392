"""Requests to whichever server is there, on one connection as long as that lasts."""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ptymux.client.closing import Closing
from ptymux.client.reconnect import RETRY_POLICY, RetryPolicy, ServerReconnect, repeat
from ptymux.client.server_connection import ServerConnection
from ptymux.errors import ConnectionClosedError

__all__ = ["Requests"]

_T = TypeVar("_T")


class Requests(Closing):
    """A connection for requests, and another one once its server was replaced."""

    def __init__(self, connection: ServerConnection, policy: RetryPolicy = RETRY_POLICY) -> None:
        """Take over `connection`."""
        self.path = connection.path
        self._connection = connection
        self._policy = policy
        self._is_closed = False

    def close(self) -> None:
        """End the connection; again is no error."""
        self._is_closed = True
        self._connection.close()

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
        self._check_open()
        return repeat(lambda: self._usable(ServerConnection), act, self._policy)

    def connection(self) -> ServerConnection:
        """Return the connection, or another one if its server has gone since the last request.

        Raises:
            ConnectionClosedError: this was closed, or there is no server any more.
        """
        self._check_open()
        return self._usable(lambda path: ServerReconnect(path, self._policy).wait())

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionClosedError("this client was closed")

    def _usable(self, connect: Callable[[str], ServerConnection]) -> ServerConnection:
        if _has_ended(self._connection):
            self._connection.close()
            self._connection = connect(self.path)
        return self._connection


def _has_ended(connection: ServerConnection) -> bool:
    """Whether a connection was closed, by us or by the server, which says nothing unasked."""
    if connection.fileno() < 0:
        return True
    poll = select.poll()  # select() has no room for fds above 1023
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))

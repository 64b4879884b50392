"""Requests to a server, and to the one that comes in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ptymux.client.closing import Closing
from ptymux.client.reconnect import connect_patiently, is_readable, with_server
from ptymux.client.server_connection import ServerConnection
from ptymux.errors import ConnectionClosedError

__all__ = ["Requests"]

_T = TypeVar("_T")


class Requests(Closing):
    """Keeps a connection, and makes another one when its server was replaced."""

    def __init__(self, connection: ServerConnection) -> None:
        """Take over `connection`."""
        self.path = connection.path
        self._connection = connection
        self._is_closed = False

    def close(self) -> None:
        """End the connection; again is no error."""
        self._is_closed = True
        self._connection.close()

    def ask(self, method: str, **params: object) -> Mapping[str, Any]:
        """Ask for what is harmless to ask for again, and do so if the server dies meanwhile."""
        return self.repeating(lambda connection: connection.call(method, **params))

    def repeating(self, act: Callable[[ServerConnection], _T]) -> _T:
        """Return what `act` returns, called again as often as the connection breaks.

        Raises:
            ConnectionClosedError: the server went away and none came in its place, or each that
                came went away at once.
        """
        self._check_open()
        return with_server(lambda: self._connected(ServerConnection), act)

    def connection(self) -> ServerConnection:
        """Return the connection, or another one if its server has gone since the last request.

        Raises:
            ConnectionClosedError: this was closed, or there is no server any more.
        """
        self._check_open()
        return self._connected(connect_patiently)

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionClosedError("this client was closed")

    def _connected(self, connect: Callable[[str], ServerConnection]) -> ServerConnection:
        if self._connection.fileno() < 0 or is_readable(self._connection, time.monotonic()):
            self._connection.close()
            self._connection = connect(self.path)
        return self._connection

"""How a library user's requests and readers outlive a server that is replaced."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from ptymux.client.attach_request import AttachRequest
from ptymux.client.server_connection import HELLO_SECONDS, ServerConnection
from ptymux.client.stream import Stream, attach
from ptymux.errors import ConnectionClosedError, NoServerError, PtymuxError, UnreachableError

__all__ = [
    "Patience",
    "attach_to",
    "connect_patiently",
    "is_readable",
    "persistently",
    "with_server",
]

_T = TypeVar("_T")

_AWAY_SECONDS: Final = 10.0  # in which a server that died has a successor
_NOBODY_SECONDS: Final = 3.0  # without even a socket: then both processes are gone
_RETRY_SECONDS: Final = 0.05
_SERVED_SECONDS: Final = 1.0
_HASTE_SECONDS: Final = 0.2  # for a hello, however little time is left

_PASSING: Final = (NoServerError, UnreachableError, ConnectionClosedError)


class _HasFd(Protocol):
    def fileno(self) -> int: ...


class Patience:
    """Decides how long a server may be away."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def bear(self, error: PtymuxError, deadline: float | None = None) -> None:
        """Return after a moment if trying again may help; the moment ends at the deadline.

        Raises:
            ConnectionClosedError: it was away too long.
            PtymuxError: `error`, where waiting does not help.
        """
        if not isinstance(error, _PASSING):
            raise error
        seconds = _NOBODY_SECONDS if isinstance(error, NoServerError) else _AWAY_SECONDS
        now = time.monotonic()
        if now >= self._began + seconds:
            reason = f"the server went away and did not come back within {seconds:.0f} s"
            raise ConnectionClosedError(f"{reason}; `ptymux server status` tells more") from error
        left = _RETRY_SECONDS if deadline is None else deadline - now
        time.sleep(max(0.0, min(_RETRY_SECONDS, left)))


def connect_patiently(path: str) -> ServerConnection:
    """Return a connection to the server at `path`, or to the one that comes in its place.

    Raises:
        ConnectionClosedError: none came.
        PtymuxError: as `ServerConnection`, where waiting does not help.
    """
    patience = Patience()
    while True:
        try:
            return ServerConnection(path)
        except PtymuxError as error:
            patience.bear(error)


def with_server(
    connect: Callable[[], ServerConnection], act: Callable[[ServerConnection], _T]
) -> _T:
    """Return what `act` returns, called again with another connection as often as one breaks.

    Raises:
        ConnectionClosedError: the server went away and none came in its place, or each that came
            went away at once.
        PtymuxError: as `connect` and `act`, where waiting does not help.
    """
    patience = Patience()
    while True:
        served_since = float("inf")
        try:
            connection = connect()
            served_since = time.monotonic()
            return act(connection)
        except PtymuxError as error:
            # One that served for a while was there: another is waited for as long as the first.
            if time.monotonic() > served_since + _SERVED_SECONDS:
                patience = Patience()
            patience.bear(error)


def persistently(act: Callable[[], _T]) -> _T:
    """Return what `act` returns, which is called again when the server dies meanwhile.

    Raises:
        ConnectionClosedError: none came in its place.
        PtymuxError: as `act`, where waiting does not help.
    """
    patience: Patience | None = None
    while True:
        try:
            return act()
        except ConnectionClosedError as error:
            patience = patience or Patience()
            patience.bear(error)


def attach_to(path: str, request: AttachRequest, deadline: float | None = None) -> Stream:
    """Attach on a connection of its own; a server is given less time to say hello if there is less.

    Raises:
        PtymuxError: it cannot be done, or not yet.
    """
    left = HELLO_SECONDS if deadline is None else deadline - time.monotonic()
    connection = ServerConnection(path, min(HELLO_SECONDS, max(_HASTE_SECONDS, left)))
    try:
        return attach(connection, request)
    except BaseException:
        connection.close()
        raise


def is_readable(source: _HasFd, deadline: float | None) -> bool:
    """Return True once there is something to read or it has ended; False after the deadline."""
    poll = select.poll()  # select() has no room for fds above 1023
    poll.register(source.fileno(), select.POLLIN)
    left = None if deadline is None else 1000 * max(0.0, deadline - time.monotonic())
    return bool(poll.poll(left))

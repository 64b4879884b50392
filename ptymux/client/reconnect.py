"""What every client does when its server dies: connect to the replacement, and go on.

A server that dies is replaced within a fraction of a second, and the PTYs do not notice. But its
connections end. So each client connects again, and goes on with the next byte, the next event, or
the same request once more; if no server comes in time, it gives up.

`Reconnect` does this for one connection. A caller that may block calls `wait`, or has `run` do all
of its work. A caller with a poll loop of its own calls `try_once` each time round. For how long
they go on trying is the same for all: it is in a value, `RetryPolicy`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Generic, Protocol, TypeVar

from ptymux.client.closing import Closing
from ptymux.client.server_connection import HELLO_SECONDS, ServerConnection
from ptymux.errors import ConnectionClosedError, NoServerError, PtymuxError, UnreachableError

__all__ = [
    "RETRY_POLICY",
    "RETRY_SECONDS",
    "Clock",
    "Reconnect",
    "RetryPolicy",
    "ServerReconnect",
    "hello_seconds",
    "repeat",
]

RETRY_SECONDS: Final = 0.05  # between two tries

_SHORTEST_HELLO_SECONDS: Final = 0.2

_Conn = TypeVar("_Conn", bound=Closing)
_T = TypeVar("_T")


class Clock(Protocol):
    """A clock to sleep by: the module `time`, or one that a test moves."""

    def monotonic(self) -> float:
        """Return the seconds since some moment in the past."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Return after so long."""
        ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """For how long, how often and after which failures a client tries to connect again.

    The server counts as away from the moment when a connection broke, or when a try began that
    failed. It is back when a connection has lasted for `served_seconds`: servers that come and die
    at once are not waited for any longer than one that does not come.
    """

    died_seconds: float = 10.0  # how long a server may be away that died or does not answer
    gone_seconds: float = 3.0  # the same while nobody listens at the socket: its keeper died too
    served_seconds: float = 1.0
    pause_seconds: float = RETRY_SECONDS
    passing: tuple[type[PtymuxError], ...] = (  # failures after which another try may help
        NoServerError,
        UnreachableError,
        ConnectionClosedError,
    )
    says_how_long: bool = True  # the error at the end; otherwise the last failure is raised
    clock: Clock = field(default=time, repr=False)

    @property
    def at_first(self) -> RetryPolicy:
        """The same for a first connection: if there is no server, that is an error at once.

        A server that hangs up is being replaced, so that another try helps.
        """
        return replace(self, passing=(ConnectionClosedError,))


RETRY_POLICY: Final = RetryPolicy()  # of all clients, except in tests


class Reconnect(Closing, Generic[_Conn]):
    """A connection that is made again when its server was replaced.

    `current` is the connection, None while there is no server. It is used in a block, which ends
    early when the server turns out to be dead:

        with reconnect.until_lost() as connection:
            ...

    A subclass makes the connection, in `_connect`.
    """

    def __init__(self, policy: RetryPolicy = RETRY_POLICY, current: _Conn | None = None) -> None:
        """Take over `current`, if there is a connection already."""
        self.current = current
        self._policy = policy
        self._connected_at = self._policy.clock.monotonic()
        self._away_since: float | None = None
        self._was_brief = False  # the last connection broke before it had lasted long enough

    def close(self) -> None:
        """End the connection, as it is not needed any more; again is no error."""
        self._away_since = None
        if self.current is not None:
            self.current.close()
            self.current = None

    def interrupt(self) -> None:
        """Have another thread that waits on the connection find that it broke."""
        connection = self.current
        if connection is not None:
            connection.interrupt()

    def try_once(self, deadline: float | None = None) -> _Conn | None:
        """Return the connection, made now if need be; None if that failed, and to be tried again.

        It waits for nothing but the server's answer; for that until the deadline, or 0.2 s.

        Raises:
            ConnectionClosedError: the server was away too long.
            PtymuxError: another try would not help.
        """
        if self.current is None:
            began = self._policy.clock.monotonic()
            try:
                self.current = self._connect(deadline)
            except PtymuxError as error:
                self._check(error, began)
                return None
            self._connected_at = self._policy.clock.monotonic()
        return self.current

    def try_and_pause(
        self, deadline: float | None = None, *, pauses_fully: bool = False
    ) -> _Conn | None:
        """Do as `try_once` does; after a failure pause, but not longer than until the deadline.

        `pauses_fully`: also behind the deadline, for who would come back at once.
        """
        connection = self.try_once(deadline)
        if connection is None:
            self._pause(None if pauses_fully else deadline)
        return connection

    def wait(self) -> _Conn:
        """Return the connection, once there is a server; raises as `try_once`."""
        if self._was_brief:
            self._was_brief = False
            self._pause()
        while (connection := self.try_and_pause()) is None:
            pass
        return connection

    def begin(self) -> _Conn:
        """Return the first connection; raises at once if there is no server, else as `wait`."""
        policy = self._policy
        self._policy = policy.at_first
        try:
            return self.wait()
        finally:
            self._policy = policy

    def run(self, act: Callable[[_Conn], _T]) -> _T:
        """Return what `act` returns, called again on another connection as often as one breaks.

        Raises:
            ConnectionClosedError: no server came, or each that came died at once.
            PtymuxError: as `act`, where another try would not help.
        """
        while True:
            connection = self.wait()
            with self.until_lost():
                return act(connection)

    def until_lost(self) -> _UntilLost[_Conn]:
        """Return a block in which the connection is used, and which survives the server's death.

        When the connection breaks, the block ends there, and `current` is None afterwards.

        Raises:
            ConnectionClosedError: as `lose`, at the end of the block.
        """
        return _UntilLost(self)

    def survives(self, error: BaseException | None) -> bool:
        """Whether `error` means that the connection broke; if so it is let go of, as by `lose`."""
        if not isinstance(error, self._policy.passing):
            return False
        self.lose(error)
        return True

    def lose(self, error: PtymuxError | None = None) -> None:
        """Let go of the connection: `error` says that it broke; without, the server hangs.

        Raises:
            ConnectionClosedError: servers came and died at once for too long.
        """
        if self.current is not None:
            self.current.close()
            self.current = None
        now = self._policy.clock.monotonic()
        self._was_brief = now - self._connected_at < self._policy.served_seconds
        if self._away_since is None or not self._was_brief:
            self._away_since = now
        if error is not None:
            self._check(error, now)

    def _connect(self, deadline: float | None) -> _Conn:
        """Return a new connection; raises PtymuxError, also when the deadline came before."""
        raise NotImplementedError

    def _check(self, error: PtymuxError, since: float) -> None:
        """Return if another try may help after `error`; `since`: if this is the first failure."""
        if not isinstance(error, self._policy.passing):
            raise error
        if self._away_since is None:
            self._away_since = since
        is_gone = isinstance(error, NoServerError)
        seconds = self._policy.gone_seconds if is_gone else self._policy.died_seconds
        if self._policy.clock.monotonic() < self._away_since + seconds:
            return
        if not self._policy.says_how_long:
            raise error
        reason = f"the server went away and did not come back within {seconds:.0f} s"
        raise ConnectionClosedError(f"{reason}; `ptymux server status` tells more") from error

    def _pause(self, deadline: float | None = None) -> None:
        clock, seconds = self._policy.clock, self._policy.pause_seconds
        if deadline is not None:
            seconds = max(0.0, min(seconds, deadline - clock.monotonic()))
        clock.sleep(seconds)


class _UntilLost(Generic[_Conn]):
    """The block of `Reconnect.until_lost`; that a `Reconnect` is itself one closes it."""

    __slots__ = ("_reconnect",)

    def __init__(self, reconnect: Reconnect[_Conn]) -> None:
        self._reconnect = reconnect

    def __enter__(self) -> _Conn:
        assert self._reconnect.current is not None
        return self._reconnect.current

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        return self._reconnect.survives(error)


class ServerReconnect(Reconnect[ServerConnection]):
    """A connection for requests to the server at `path`."""

    def __init__(self, path: str, policy: RetryPolicy = RETRY_POLICY) -> None:
        super().__init__(policy)
        self.path = path

    def _connect(self, deadline: float | None) -> ServerConnection:
        return ServerConnection(self.path, hello_seconds(deadline))


class _MadeBy(Reconnect[_Conn]):
    """A connection made by a function."""

    def __init__(self, connect: Callable[[], _Conn], policy: RetryPolicy) -> None:
        super().__init__(policy)
        self._make = connect

    def _connect(self, deadline: float | None) -> _Conn:
        return self._make()


def repeat(
    connect: Callable[[], _Conn], act: Callable[[_Conn], _T], policy: RetryPolicy = RETRY_POLICY
) -> _T:
    """Return what `act` returns, called again on another connection as often as one breaks.

    The last connection stays open.

    Raises:
        ConnectionClosedError: no server came, or each that came died at once.
        PtymuxError: as `connect` and `act`, where another try would not help.
    """
    return _MadeBy(connect, policy).run(act)


def hello_seconds(deadline: float | None) -> float:
    """Return how long to wait for a server's hello: until the deadline, but 0.2 to 2 s."""
    left = HELLO_SECONDS if deadline is None else deadline - time.monotonic()
    return min(HELLO_SECONDS, max(_SHORTEST_HELLO_SECONDS, left))

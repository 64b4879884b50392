"""How a command finds its server and asks it, and what it gets when none runs."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ptymux.cli.output.printing import print_json
from ptymux.client.server_connection import ServerConnection, socket_path
from ptymux.errors import (
    ConnectionClosedError,
    NoServerError,
    UnknownPtyError,
    UnreachableError,
)
from ptymux.posix.runtime import check_is_socket, state_path
from ptymux.protocol.messages import Notification, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["change_pty", "chosen_path", "connect", "reach", "renewed_links", "repeating"]

_T = TypeVar("_T")

_COME_UP_SECONDS: Final = 5.0  # for a server that somebody else is starting just now
_HELLO_SECONDS: Final = 1.8  # so that with our own start a silent server costs 2 s
_RETRY_SECONDS: Final = 0.01


def renewed_links(env: Mapping[str, str]) -> dict[str, str]:
    """Let the links beside the socket lead to what `env` has, for detached shells; return them."""
    from ptymux.cli.options.config import refresh_env
    from ptymux.posix.renewed_env import renew

    return renew(chosen_path(), refresh_env(), env)


def chosen_path(context: click.Context | None = None) -> str:
    """Return the path of the socket: of `--socket`, else PTYMUX_SOCKET, else the default.

    The option is that of `context`, by default of the command that runs.

    Raises:
        InvalidValueError: no socket can have such a path.
    """
    context = context or click.get_current_context(silent=True)
    return socket_path(None if context is None else context.find_root().params.get("socket"))


def connect(*, start: bool = False) -> ServerConnection:
    """Return a connection to the server; with `start` one is started if none runs.

    Without a server it acts as a connection to one that has no PTYs: lists are empty and every PTY
    is unknown. A request that only a real server can answer raises NoServerError.

    Raises:
        PtymuxError: what is at the socket does not answer as a server, or none could be started.
    """
    path = chosen_path()
    try:
        return reach(path)
    except NoServerError as error:
        check_is_socket(path)
        if not start:
            return _Nobody(path, error)
    from ptymux.cli.options.config import leave_after
    from ptymux.client.autostart import start_server

    start_server(path, leave_seconds=leave_after())
    return _connect_soon(path)


def reach(path: str) -> ServerConnection:
    """Return a connection to the server at `path`, also while it is being replaced.

    Raises:
        NoServerError: none runs.
        PtymuxError: what is there does not answer as a server.
    """
    began = time.monotonic()
    try:
        return ServerConnection(path, _HELLO_SECONDS)
    except ConnectionClosedError:  # before it said hello: nothing was asked yet
        return _reach_replacement(path, began)


def _reach_replacement(path: str, began: float) -> ServerConnection:
    """Return a connection to the server that comes after the one that hung up; else as `reach`."""
    from ptymux.client.reconnect import RetryPolicy, repeat
    from ptymux.core.windows import Windows

    deadline = began + Windows.from_environment(os.environ).replacement

    def left() -> float:
        return max(deadline - time.monotonic(), _RETRY_SECONDS)

    def connect() -> ServerConnection:
        return ServerConnection(path, left())

    policy = RetryPolicy(
        died_seconds=left(),
        pause_seconds=_RETRY_SECONDS,
        passing=(ConnectionClosedError,),
        says_how_long=False,
    )
    try:
        return repeat(connect, lambda connection: connection, policy)
    except ConnectionClosedError as error:
        reason = f"it hangs up on whoever comes; {state_path(path, 'log')} may say why"
        raise UnreachableError(path, reason) from error


def repeating(act: Callable[[ServerConnection], _T]) -> _T:
    """Return what `act` returns with a connection; call it again if the server is replaced.

    So `act` must be harmless to do twice.

    Raises:
        PtymuxError: as `connect`, or there was no server for too long.
    """
    from ptymux.client.requests import Requests

    connection = connect()
    if isinstance(connection, _Nobody):
        return act(connection)
    with Requests(connection) as requests:
        return requests.repeating(act)


def home() -> str | None:
    """Return the id of the PTY into which our output goes; None if it is none or unknown."""
    try:
        is_file = stat.S_ISREG(os.fstat(1).st_mode)
    except OSError:
        return None
    return None if is_file else os.environ.get("PTYMUX_ID")


def change_pty(method: str, as_json: bool, **params: object) -> None:
    """Have the server change a PTY, again if it is replaced; print the PTY if JSON is wanted.

    Raises:
        PtymuxError: the server refused, or there is none.
    """
    pty = repeating(lambda connection: connection.call(method, **params)["pty"])
    if as_json:
        print_json(pty=pty)


def _connect_soon(path: str) -> ServerConnection:
    """Connect to a server that serves, or will soon as somebody has just started it."""
    from ptymux.client.reconnect import RetryPolicy, ServerReconnect

    policy = RetryPolicy(
        gone_seconds=_COME_UP_SECONDS,
        pause_seconds=_RETRY_SECONDS,
        passing=(NoServerError,),
        says_how_long=False,
    )
    return ServerReconnect(path, policy).wait()


class _Nobody(ServerConnection):
    """Takes the place of a connection where no server runs: there are no PTYs."""

    def __init__(self, path: str, error: NoServerError) -> None:
        self.path = path
        self.reply_timeout = 0.0
        self.patience: float | None = 0.0
        self._error = error

    def close(self) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        """Return -1, as there is nothing to wait for."""
        return -1

    def notification(self, timeout: float | None = None) -> Notification | None:
        """Return the notification that ends a list of events."""
        return Notification("end", {})

    def _ask(
        self,
        method: str,
        params: dict[str, Any],
        timeout: float | None,
        payload: bytes = b"",
        fds: Sequence[int] = (),
    ) -> Reply:
        named = [params["pty"]] if params.get("pty") else params.get("ptys") or []
        if named:
            raise UnknownPtyError(named[0])
        if method == "list":
            return Reply(None, {"ptys": [], "ended": 0, "next": None})
        if method in ("kill", "remove"):
            return Reply(None, {"ptys": [], "removed": []})
        if method == "events" and not params.get("follow"):
            return Reply(None, {"missed": 0, "epoch": "", "last_seq": 0})
        raise self._error

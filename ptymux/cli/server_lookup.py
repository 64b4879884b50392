"""How a command finds its server, and what it hears when none runs."""

from __future__ import annotations

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
from ptymux.protocol.messages import Notification

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["change_pty", "chosen_path", "connect", "reach", "repeating"]

_T = TypeVar("_T")

_COME_UP_SECONDS: Final = 5.0  # for a server that somebody else is starting just now
_HELLO_SECONDS: Final = 1.8  # so that with our own start a silent server costs 2 s
_RETRY_SECONDS: Final = 0.01


def chosen_path(context: click.Context | None = None) -> str:
    """Return the path of the socket: of `--socket`, else PTYMUX_SOCKET, else the default.

    The option is that of `context`, by default of the command that runs.

    Raises:
        InvalidValueError: no socket can have such a path.
    """
    context = context or click.get_current_context(silent=True)
    return socket_path(None if context is None else context.find_root().params.get("socket"))


def connect(*, start: bool = False) -> ServerConnection:
    """Return a connection to the server, which `start` starts if none runs.

    Without a server it is a connection to one without PTYs: lists are empty and every PTY is
    unknown. What only a real server can answer raises NoServerError.

    Raises:
        PtymuxError: there is something at the socket that cannot be talked to, or it did not start.
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
        PtymuxError: there is something that cannot be talked to.
    """
    deadline = time.monotonic() + _HELLO_SECONDS
    while True:
        try:
            return ServerConnection(path, max(deadline - time.monotonic(), _RETRY_SECONDS))
        except ConnectionClosedError as error:  # before it said hello: nothing was asked yet
            if time.monotonic() > deadline:
                log = state_path(path, "log")
                reason = f"it hangs up on whoever comes; {log} may say why"
                raise UnreachableError(path, reason) from error
        time.sleep(_RETRY_SECONDS)


def repeating(act: Callable[[ServerConnection], _T]) -> _T:
    """Return what `act` returns, called again on another connection if the server is replaced.

    It asks for what may be asked for twice.

    Raises:
        PtymuxError: as `connect`, or there was no server for too long.
    """
    from ptymux.client.requests import Requests

    connection = connect()
    if isinstance(connection, _Nobody):
        return act(connection)
    with Requests(connection) as requests:
        return requests.repeating(act)


def change_pty(method: str, as_json: bool, **params: object) -> None:
    """Ask the server for what may be done twice and is answered by the PTY; print that as JSON.

    Raises:
        PtymuxError: the server refused, or there is none.
    """
    pty = repeating(lambda connection: connection.call(method, **params)["pty"])
    if as_json:
        print_json(pty=pty)


def _connect_soon(path: str) -> ServerConnection:
    """Connect to a server that serves, or is about to as somebody else has just started it."""
    deadline = time.monotonic() + _COME_UP_SECONDS
    while True:
        try:
            return ServerConnection(path)
        except NoServerError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_SECONDS)


class _Nobody(ServerConnection):
    """What stands for a server where none runs."""

    def __init__(self, path: str, error: NoServerError) -> None:
        self.path = path
        self.reply_timeout = 0.0
        self.patience: float | None = 0.0
        self._error = error

    def close(self) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        """Return -1: there is nothing to wait for."""
        return -1

    def notification(self, timeout: float | None = None) -> Notification | None:
        """Return what a server says last."""
        return Notification("end", {})

    def _ask(
        self,
        method: str,
        params: dict[str, Any],
        timeout: float | None,
        payload: bytes = b"",
        fds: Sequence[int] = (),
    ) -> tuple[dict[str, Any], list[int]]:
        named = [params["pty"]] if params.get("pty") else params.get("ptys") or []
        if named:
            raise UnknownPtyError(named[0])
        if method == "list":
            return {"ptys": [], "ended": 0, "next": None}, []
        if method in ("kill", "remove"):
            return {"ptys": [], "removed": []}, []
        if method == "events" and not params.get("follow"):
            return {"missed": 0, "epoch": "", "last_seq": 0}, []
        raise self._error

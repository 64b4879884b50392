"""One call of a method of the protocol: what the method is given, and what it returns.

`App` calls the methods in `methods`. These know of the app only what `ServerControl` says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ptymux.errors import PtymuxError
from ptymux.link.launch import Installation
from ptymux.manager.server_manager import ServerManager
from ptymux.posix.caller import differences
from ptymux.protocol.params import Params
from ptymux.server.client_connection import ClientConnection

__all__ = ["MethodCall", "Method", "MethodReply", "MethodResult", "ServerControl", "Upgrade"]


class ServerControl(Protocol):
    """What methods can ask of the server besides its PTYs; `App` has it."""

    def status(self) -> dict[str, Any]:
        """Return what is known of this server, as `server status --json` shows it."""
        ...

    def stop_soon(self) -> None:
        """Begin to end all PTYs, then this process and its keeper."""
        ...

    async def restart(self, installation: Installation | None) -> None:
        """Return once another keeper has taken over; another server does so a moment later.

        Raises:
            LinkClosedError: no other keeper came; the one before goes on.
            ServerStoppingError: the server ends.
        """
        ...


@dataclass(frozen=True, slots=True)
class MethodCall:
    """One request for a method, by one client."""

    manager: ServerManager
    server: ServerControl
    connection: ClientConnection
    params: Params

    async def pause(self) -> None:
        """Let others go first if this took long; to be called between the slices of a list."""
        await self.connection.budget.pause()

    def differences(self) -> list[str]:
        """Return in words what commands of this client cannot have as it has."""
        try:
            return differences(self.connection.pid) if self.connection.pid else []
        except PtymuxError:  # no open files to look
            return []


Upgrade: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class MethodReply:
    """A reply that passes an fd or upgrades the connection.

    Whoever sends it closes `fd`. If it could be sent, `upgrade` is awaited, which uses the
    connection from then on. If not, `undo` is called.
    """

    result: Mapping[str, Any]
    fd: int | None = None
    upgrade: Upgrade | None = None
    undo: Callable[[], None] | None = None


MethodResult: TypeAlias = Mapping[str, Any] | MethodReply
Method: TypeAlias = Callable[[MethodCall], Awaitable[MethodResult]]

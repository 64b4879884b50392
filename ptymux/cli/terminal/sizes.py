"""The size of this terminal, and the sizes that other clients give a PTY."""

from __future__ import annotations

import contextlib

from ptymux.client.server_connection import ServerConnection
from ptymux.core.model import WindowSize
from ptymux.errors import NotATerminalError, PtymuxError
from ptymux.posix.tty import read_size

__all__ = ["SizeWatch", "terminal_size"]


def terminal_size() -> WindowSize | None:
    """Return the size of the terminal at stdout; None without a terminal, or if it has no size."""
    with contextlib.suppress(NotATerminalError):
        return read_size(1)
    return None


class SizeWatch:
    """Gets each new size of a PTY, on a connection of its own; without a server it gets none."""

    def __init__(self, path: str, pty: str) -> None:
        self._path = path
        self._pty = pty
        self._connection: ServerConnection | None = None
        self.open()

    def open(self) -> None:
        """Begin, or begin again after the server went away."""
        self.close()
        try:
            connection = ServerConnection(self._path)
        except PtymuxError:
            return
        try:
            connection.call("events", pty=self._pty, topics=["pty.resized"], follow=True)
        except PtymuxError:
            connection.close()
            return
        self._connection = connection

    def fileno(self) -> int:
        """Return the fd to wait for; -1 when no size will come."""
        return -1 if self._connection is None else self._connection.fileno()

    def take(self) -> list[WindowSize]:
        """Return the sizes that came since the last call."""
        sizes = []
        try:
            while self._connection is not None and (news := self._connection.notification(0)):
                if news.method == "event":
                    new = news.params["payload"]["new"]
                    sizes.append(WindowSize(int(new["cols"]), int(new["rows"])))
        except PtymuxError:  # the server went away; the stream ends, too
            self.close()
        return sizes

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

"""The interface of all links: a manager uses its engine through it, wherever the engine is."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from ptymux.core.model import SpawnOptions, WindowSize
from ptymux.engine.engine import SpawnedPty
from ptymux.engine.reports import Report

__all__ = ["Link", "OnReport"]

OnReport = Callable[[Report], None]


class Link(Protocol):
    """A manager's requests to its engine; they are those of `engine.engine.Engine`, asynchronous.

    Reports are passed to the callback given to `start`, in order, and never during a request.
    """

    keeps_ended: bool  # whether a manager that replaces this one gets ended PTYs too

    def start(self, on_report: OnReport) -> None:
        """Begin to deliver reports; call it once, in the running loop."""
        ...

    async def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> SpawnedPty:
        """Start a child in a new PTY."""
        ...

    def cancel_spawn(self, slot: int) -> None:
        """Have a spawn fail that waits for a file system; one that does not goes on."""
        ...

    async def open_lifeline(
        self, slot: int, *, echoes: bool = False, kept: Collection[int] = ()
    ) -> tuple[int, socket.socket]:
        """Return number and client's end of a new input channel; the caller owns the socket.

        If there are too many the oldest idle one gives way, but none of those `kept`.
        """
        ...

    async def resize(self, slot: int, size: WindowSize) -> None:
        """Set the terminal's size."""
        ...

    async def signal_foreground(self, slot: int, signum: int) -> int:
        """Send INT, QUIT or TSTP to the terminal's foreground group; return that group."""
        ...

    async def is_canonical(self, slot: int) -> bool:
        """Return whether the terminal is in canonical mode."""
        ...

    async def close_pty(self, slot: int) -> None:
        """Close the terminal now, even if processes still have it open."""
        ...

    def credit_raised(self, slot: int) -> None:
        """Notify the engine that the ring's `limit` was raised."""
        ...

    def forget(self, slot: int) -> None:
        """Remove a PTY from the engine; its number is never used again."""
        ...

    async def close(self) -> None:
        """Close the link and all that it keeps; it is unusable afterwards."""
        ...

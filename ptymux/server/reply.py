"""What a command returns when that is more than a result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Answer"]


class Answer(dict[str, Any]):
    """A result that brings an fd, or that upgrades the connection once it is sent."""

    fd: int = -1  # its own: whoever sends it closes it
    then: Callable[[], Awaitable[None]] | None = None
    undo: Callable[[], None] | None = None  # called in the place of `then` when it was not sent

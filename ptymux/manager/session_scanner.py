"""Looks at /proc for many PTYs at once: a scan costs the same for one session and for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, Generic, TypeVar

from ptymux.posix.process import SessionMember, escaped_descendants, session_scan

__all__ = ["SessionScanner"]

_SPACING_SECONDS: Final = 0.005  # between two scans, so that who asks meanwhile shares the next

T = TypeVar("T")


class _Shared(Generic[T]):
    """Answers all who ask before a scan begins by that one scan."""

    def __init__(self, look: Callable[[Collection[int]], Mapping[int, tuple[T, ...]]]) -> None:
        self._look = look
        self._wanted: set[int] = set()
        self._next: asyncio.Task[Mapping[int, tuple[T, ...]]] | None = None
        self._last = float("-inf")

    async def ask(self, sid: int) -> tuple[T, ...]:
        """Return the answer for `sid` as of a scan that begins after the call."""
        self._wanted.add(sid)
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return (await asyncio.shield(self._next)).get(sid, ())

    async def _run(self) -> Mapping[int, tuple[T, ...]]:
        await asyncio.sleep(self._last + _SPACING_SECONDS - time.monotonic())
        wanted, self._wanted, self._next = self._wanted, set(), None
        try:
            return self._look(wanted)
        finally:
            self._last = time.monotonic()


class SessionScanner:
    """Looks for the processes of sessions, and for those that left them."""

    def __init__(self) -> None:
        self._members = _Shared(session_scan)
        self._escaped = _Shared(escaped_descendants)

    async def members(self, sid: int) -> tuple[SessionMember, ...]:
        """Return the session's living processes.

        Raises:
            OutOfResourcesError: no more open files.
        """
        return await self._members.ask(sid)

    async def escaped(self, sid: int) -> tuple[int, ...]:
        """Return the descendants of a session that left it, as setsid does.

        Limit: found through their living ancestors, so ask before these are signalled.

        Raises:
            OutOfResourcesError: no more open files.
        """
        return tuple(process.pid for process in await self._escaped.ask(sid))

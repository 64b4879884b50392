"""`async_` of a dialogue: something is expected while an asyncio program goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from pexpect import EOF, TIMEOUT  # type: ignore[import-untyped]

__all__ = ["Dialogue", "expect_async"]


class Dialogue(Protocol):
    """What is needed of a `PtyExpect`."""

    maxread: int
    wake: Callable[[], object] | None

    @property
    def has_server(self) -> bool:
        """Whether there is a connection."""
        ...

    def look_for_server(self) -> None:
        """Try to connect again."""
        ...

    def fileno(self) -> int:
        """Return an fd that is readable when something can be read."""
        ...

    def used(self) -> AbstractContextManager[None]:
        """Hold others off for a `with` block."""
        ...

    def read_nonblocking(self, size: int, timeout: float | None) -> Any:
        """Return output; raises TIMEOUT and EOF."""
        ...


async def expect_async(dialogue: Dialogue, expecter: Any, timeout: float | None) -> int:
    """Return what `expecter` finds in the output, as its `expect_loop` does.

    The fd of the dialogue is watched. While its server is being replaced, a thread connects, as
    that takes a while.

    Raises:
        TIMEOUT, EOF: as pexpect's `expect`.
        RuntimeError: another thread or task expects something of this dialogue.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with dialogue.used():
        try:
            index: int | None = expecter.existing_data()
            while index is None:
                index = expecter.new_data(await _next(dialogue, deadline))
            return index
        except EOF as error:
            found: int = expecter.eof(error)
        except TIMEOUT as error:
            found = expecter.timeout(error)
        except BaseException:
            expecter.errored()
            raise
        return found


async def _next(dialogue: Dialogue, deadline: float | None) -> Any:
    """Return the next output; raises EOF, and TIMEOUT when none came before the deadline."""
    while True:
        try:
            if not dialogue.has_server:
                await _look_for_server(dialogue)
            return dialogue.read_nonblocking(dialogue.maxread, 0)
        except TIMEOUT:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise
        if dialogue.has_server:
            await _readable(dialogue, left)


async def _look_for_server(dialogue: Dialogue) -> None:
    looking = asyncio.ensure_future(asyncio.to_thread(dialogue.look_for_server))
    try:
        await asyncio.shield(looking)
    except asyncio.CancelledError:
        await asyncio.wait([looking])  # else it would go on beside who comes next
        raise


async def _readable(dialogue: Dialogue, seconds: float | None) -> None:
    """Return once there is something to read, after so many seconds, or when it was closed."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    fd = dialogue.fileno()
    loop.add_reader(fd, woken.set)
    dialogue.wake = lambda: loop.call_soon_threadsafe(woken.set)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(woken.wait(), seconds)
    finally:
        dialogue.wake = None
        loop.remove_reader(fd)

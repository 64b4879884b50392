"""A link to an engine in the same process, driven by its event loop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Collection, Mapping
from typing import Final

from ptymux.core.model import SpawnOptions, WindowSize
from ptymux.engine.engine import Engine, SpawnedPty
from ptymux.errors import LinkClosedError
from ptymux.link.interface import OnReport

__all__ = ["InProcessLink"]

_CHECK_SECONDS: Final = 0.5  # between two checks for children that a signal has stopped


class InProcessLink:
    """A link to an engine in this process, which the running event loop drives.

    It is for programs for which no Python interpreter can be started, such as frozen ones. It
    reaps only its own children, each by its pidfd. Limits: children get the fds that the program
    leaves open across an exec; `posix.spawn.spawn` says what the program's threads notice; if the
    program is killed, its children only get HUP.
    """

    keeps_ended = False

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_report: OnReport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._check_timer: asyncio.TimerHandle | None = None

    def start(self, on_report: OnReport) -> None:
        """Start the engine and deliver its reports; call it once, in the running loop."""
        self._engine = Engine()
        self._on_report = on_report
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._engine.fileno(), self._turn)
        self._check()

    async def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> SpawnedPty:
        """Start a child in a new PTY."""
        await asyncio.sleep(0)  # so that many spawns in a row do not block the loop
        return self._open().spawn(slot, options, env)

    def cancel_spawn(self, slot: int) -> None:
        """Do nothing: a spawn that waits for a file system makes the whole program wait."""

    async def open_lifeline(
        self, slot: int, *, echoes: bool = False, kept: Collection[int] = ()
    ) -> tuple[int, socket.socket]:
        """Return number and client's end of a new input channel."""
        return self._open().open_lifeline(slot, echoes=echoes, kept=kept)

    async def resize(self, slot: int, size: WindowSize) -> None:
        """Set the terminal's size."""
        self._open().resize(slot, size)

    async def signal_foreground(self, slot: int, signum: int) -> int:
        """Send INT, QUIT or TSTP to the terminal's foreground group; return that group."""
        return self._open().signal_foreground(slot, signum)

    async def is_canonical(self, slot: int) -> bool:
        """Return whether the terminal is in canonical mode."""
        return self._open().is_canonical(slot)

    async def close_pty(self, slot: int) -> None:
        """Close the terminal now."""
        self._open().close_pty(slot)
        self._soon()

    def credit_raised(self, slot: int) -> None:
        """Notify the engine that the ring's `limit` was raised."""
        self._open().credit_raised(slot)
        self._soon()

    def forget(self, slot: int) -> None:
        """Remove a PTY from the engine."""
        self._open().forget(slot)

    async def close(self) -> None:
        """Close the engine and all its PTYs; the link is unusable afterwards."""
        if self._engine is None or self._loop is None:
            return
        for timer in (self._timer, self._check_timer):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._engine.fileno())
        self._engine.close()
        self._engine = None

    def _open(self) -> Engine:
        if self._engine is None:
            raise LinkClosedError("this manager is closed; make another")
        return self._engine

    def _soon(self) -> None:
        """Deliver the reports that a request has caused, in the next iteration of the loop."""
        assert self._loop is not None
        if self._open().deadline == 0.0:
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Run the engine for one turn and deliver its reports."""
        engine, deliver = self._engine, self._on_report
        if engine is None or deliver is None:
            return
        for report in engine.run_once():
            deliver(report)
        deadline = engine.deadline
        if deadline is not None or self._timer is not None:
            self._set_timer(deadline)

    def _set_timer(self, deadline: float | None) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay = max(0.0, deadline - time.monotonic())
            self._timer = self._loop.call_later(delay, self._turn)

    def _check(self) -> None:
        assert self._loop is not None
        self._check_timer = self._loop.call_later(_CHECK_SECONDS, self._check)
        self._open().check_stopped()
        self._turn()

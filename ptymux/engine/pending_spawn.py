"""A spawn whose child has to wait before it runs, for a file system that may never answer."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from ptymux.core.model import SpawnOptions
from ptymux.core.units import format_duration
from ptymux.core.windows import Windows
from ptymux.engine.input import Handler
from ptymux.errors import PtymuxError, SpawnError
from ptymux.posix.caller import CallerWorld
from ptymux.posix.launch import Launch
from ptymux.posix.resource_errors import resource_error
from ptymux.posix.spawn import PtyPair, SpawnedChild

__all__ = ["PendingHost", "PendingSpawn"]


class PendingHost(Protocol):
    """The part of an engine that a pending spawn uses."""

    windows: Windows
    deadlines: dict[int, float]  # by slot, on time.monotonic: when to call `PendingSpawn.expire`

    def watch(self, fd: int, mask: int, handler: Handler) -> None:
        """Call `handler` for the events of `mask` on `fd`; mask 0 ends that."""
        ...


class PendingSpawn:
    """One child between its fork and its exec; `on_end` is called once with how it went."""

    def __init__(
        self,
        host: PendingHost,
        slot: int,
        options: SpawnOptions,
        env: Mapping[str, str],
        directory: int,
        pty: PtyPair,
        world: CallerWorld | None,
        *,
        begin: Callable[[], None],
        on_end: Callable[[SpawnedChild | PtymuxError], None],
    ) -> None:
        """Fork the child; raises as `Launch`."""
        self._host = host
        self._slot = slot
        self._program: Final = options.argv[0]
        self._on_end = on_end
        self._launch = Launch(options, env, directory, pty, world, begin=begin)
        self.pid = self._launch.pid
        try:
            host.watch(self._launch.fileno(), select.EPOLLIN, self._on_answer)
        except OSError as error:  # of epoll
            self._launch.give_up()
            raise resource_error(error) or SpawnError(str(error)) from error
        host.deadlines[slot] = time.monotonic() + host.windows.launch

    def _on_answer(self, _events: int) -> None:
        self._leave_host()
        try:
            child = self._launch.answer()
        except PtymuxError as error:
            self._on_end(error)
        else:
            self._on_end(child)

    def expire(self) -> None:
        """Give up: it took too long."""
        seconds = format_duration(self._host.windows.launch)
        self._give_up(
            f"{self._program}: it, its interpreter or the directory is on a file system that does "
            f"not answer; given up after {seconds}"
        )

    def cancel(self) -> None:
        """Give up: nobody wants it any more."""
        self._give_up(f"{self._program}: ended while it waited for a file system")

    def _give_up(self, reason: str) -> None:
        poll = select.poll()
        poll.register(self._launch.fileno(), select.POLLIN)
        if poll.poll(0):  # it has just run, or failed
            self._on_answer(0)
            return
        self._leave_host()
        self._launch.give_up()
        self._on_end(SpawnError(reason))

    def _leave_host(self) -> None:
        self._host.watch(self._launch.fileno(), 0, self._on_answer)
        self._host.deadlines.pop(self._slot, None)

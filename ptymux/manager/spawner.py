"""`Spawner`: registers new PTYs and has the engine start their children."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import ExitStack

from ptymux.core.lifecycle import LifecycleEvent, State
from ptymux.core.model import (
    CorrelationId,
    PtyId,
    PtyRecord,
    SessionId,
    SpawnOptions,
    TerminalId,
    child_environment,
)
from ptymux.errors import PtymuxError
from ptymux.link.interface import Link
from ptymux.manager.managed_pty import ManagedPty, PtyHost
from ptymux.manager.publisher import Publisher, new_id
from ptymux.manager.roster import Roster
from ptymux.manager.termination import Terminations

__all__ = ["Spawner"]


class Spawner:
    """Spawns for a manager; a spawn that was begun is finished, also if its caller is cancelled."""

    def __init__(
        self, roster: Roster, link: Link, publisher: Publisher, terminations: Terminations
    ) -> None:
        self._roster = roster
        self._link = link
        self._terminations = terminations
        self.host = PtyHost(
            registry=roster.registry, link=link, publisher=publisher, on_gone=roster.note_end
        )
        self.socket_path: str | None = None  # in the environment of children
        self._next_number = 1
        self._starting: set[asyncio.Task[Exception | None]] = set()

    def reserve(self, number: int) -> None:
        """Give no PTY a number below this one."""
        self._next_number = max(self._next_number, number)

    async def spawn(
        self,
        options: SpawnOptions,
        cause: CorrelationId,
        prepare: Callable[[ManagedPty], None] = lambda _pty: None,
        held: ExitStack | None = None,
    ) -> PtyRecord:
        """Return the record of a new PTY once its child runs; raises as `PtyManager.spawn`.

        `prepare` is called with the PTY before anything of it is published. `held` closes the fds
        of `options`: if the caller is cancelled, that is taken over, and done when the start is
        over. It may ask a second keeper, which must not get other files that have their numbers.
        """
        self._roster.check_memory(options)
        pty = self._register(options, cause)
        prepare(pty)
        pty.step(LifecycleEvent.SPAWN)
        starting = asyncio.create_task(self._start(pty))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        try:
            error = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The engine cannot be stopped: what it starts is ended as soon as it runs.
            if self._terminations.of(pty) is None:
                self._terminations.begin(pty, 0.0, cause)
            if held is not None:
                rest = held.pop_all()
                starting.add_done_callback(lambda _starting: rest.close())
            raise
        if error is not None:
            raise error
        return pty.record

    async def _start(self, pty: ManagedPty) -> Exception | None:
        """Have the engine start a PTY's child; return why that failed, None if it did not."""
        env = child_environment(pty.options, os.environ, pty_id=pty.pty_id, socket=self.socket_path)
        started = time.perf_counter()
        try:
            spawned = await self._link.spawn(pty.slot, pty.options, env)
        except Exception as error:  # a border: whatever it is, it is this PTY's failure
            code = error.code if isinstance(error, PtymuxError) else PtymuxError.code
            pty.fail(str(error), code, asked=self._terminations.of(pty) is not None)
            return error
        finally:
            pty.forget_environment()
        pty.begin(spawned, 1000 * (time.perf_counter() - started))
        return None

    def _register(self, options: SpawnOptions, cause: CorrelationId) -> ManagedPty:
        now = time.time()
        env = os.environ if options.env is None else options.env
        record = PtyRecord(
            pty_id=PtyId(new_id("pty")),
            number=self._next_number,
            name=options.name,
            lane_id=options.lane,
            session_id=options.session or SessionId(new_id("ses")),
            terminal_id=options.terminal or TerminalId(new_id("ter")),
            command=options.argv,
            cwd=options.cwd or os.readlink("/proc/self/cwd"),  # also of one that was removed
            size=options.size,
            state=State.IDLE.value,
            created_at=now,
            updated_at=now,
            env_names=tuple(sorted({*env, *options.overrides})),
        )
        return self.register(record, options, cause)

    def register(
        self,
        record: PtyRecord,
        options: SpawnOptions,
        cause: CorrelationId,
        *,
        restored: bool = False,
    ) -> ManagedPty:
        """Register a PTY that is about to be spawned, or that is restored."""
        self._roster.registry.register(record, restored=restored)
        self._next_number = max(self._next_number, record.number + 1)
        pty = ManagedPty(record, options, cause, self.host)
        self._roster.add(pty)
        return pty

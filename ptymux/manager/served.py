"""The manager of a server: what clients may ask besides, and what a successor must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ptymux.core.lifecycle import Event
from ptymux.core.model import (
    CorrelationId,
    Limits,
    OnFull,
    PtyId,
    PtyRecord,
    SpawnOptions,
    WindowSize,
    check_name,
)
from ptymux.core.ring import RingBuffer
from ptymux.keeper.engine import Spawned
from ptymux.keeper.remote import RemoteLink
from ptymux.manager.describe import describe
from ptymux.manager.manager import PtyManager
from ptymux.manager.memory import as_memory, from_memory
from ptymux.manager.pty import ManagedPty

__all__ = ["ServedManager"]


class ServedManager(PtyManager):
    """A PtyManager over a keeper; whatever changes about a PTY is told to the keeper to keep."""

    def __init__(self, link: RemoteLink, socket_path: str, limits: Limits | None = None) -> None:
        super().__init__(link=link, limits=limits)
        self._remote = link
        self._spawner.socket_path = socket_path
        self._spawner.on_registered = self._remember

    async def spawn(
        self, options: SpawnOptions, *, correlation_id: CorrelationId | None = None
    ) -> PtyRecord:
        """Start a command; the keeper then knows how long that took."""
        record = await super().spawn(options, correlation_id=correlation_id)
        if self.knows(record.pty_id):
            self._remember(self._roster.get(record.pty_id))
        return record

    @property
    def epoch(self) -> str:
        """The random id of the event log."""
        return self._bus.epoch

    @property
    def last_seq(self) -> int:
        """The seq of the newest event."""
        return self._bus.last_seq

    @property
    def live_count(self) -> int:
        """How many PTYs have not ended."""
        return self._roster.registry.live_count

    def knows(self, pty_id: PtyId) -> bool:
        """Whether there is such a PTY."""
        return pty_id in self._roster.registry

    def is_gone(self, pty_id: PtyId) -> bool:
        """Whether a PTY has ended for good, its terminal closed."""
        return self._roster.get(pty_id).gone.is_set()

    def find(self, reference: str, *, prefixes: bool = False) -> PtyRecord:
        """Return the PTY that an id, a number or a name means, or with `prefixes` its beginning.

        Raises:
            UnknownPtyError, AmbiguousPtyError: nothing fits, or too much.
        """
        return self._roster.registry.find(reference, prefixes=prefixes)

    def describe(self, pty_id: PtyId, *, full: bool = False) -> dict[str, Any]:
        """Return a PTY as JSON values; `full` adds its history and its signals."""
        return describe(self._roster.get(pty_id), full=full)

    def teller(self, pty_id: PtyId) -> Callable[[], dict[str, Any]]:
        """Return what tells of a PTY as `describe` does, also once it was removed."""
        pty = self._roster.get(pty_id)
        return lambda: describe(pty)

    async def resize(
        self, pty_id: PtyId, size: WindowSize, *, correlation_id: CorrelationId | None = None
    ) -> PtyRecord:
        """Set a terminal's size; raises as `PtyManager.resize`."""
        record = await super().resize(pty_id, size, correlation_id=correlation_id)
        self._remember(self._roster.get(pty_id))
        return record

    async def is_canonical(self, pty_id: PtyId) -> bool:
        """Whether a live PTY's terminal collects lines, and cuts one above 4,095 bytes."""
        return await self._link.is_canonical(self._live(pty_id, "input needs one that runs").slot)

    def rename(self, pty_id: PtyId, name: str) -> PtyRecord:
        """Give a PTY another name.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidValueError: it cannot be a name.
            InvalidStateError: it has ended; an ended one has no name to give.
        """
        pty = self._live(pty_id, "only a live one has a name")
        pty.update(name=check_name(name))
        self._remember(pty)
        return pty.record

    def set_on_full(self, pty_id: PtyId, on_full: OnFull) -> int:
        """Change what happens when the ring is full; return the offset from which it holds."""
        offset = super().set_on_full(pty_id, on_full)
        self._remember(self._roster.get(pty_id))
        return offset

    async def nudge(self, pty_id: PtyId, size: WindowSize) -> None:
        """Have the program draw itself again: another size, and back; nobody is told.

        Raises:
            UnknownPtyError, InvalidStateError: as `resize`.
        """
        pty = self._live(pty_id, "only a live one can draw")
        before = pty.record.size
        await self._link.resize(pty.slot, size)
        await self._link.resize(pty.slot, before)

    def number_from(self, number: int) -> None:
        """Give the next PTY this number, or a higher one: lower ones were given out."""
        self._spawner.reserve(number)

    def adopt(self, slot: int, ring: RingBuffer, memory: Mapping[str, Any]) -> None:
        """Go on with a PTY that was there before this manager; called before anything else."""
        record, options, cause = from_memory(memory)
        assert record.number == slot
        pty = self._spawner.register(record, options, cause)
        pty.step(Event.SPAWN)
        pty.begin(
            Spawned(memory["pid"], ring, memory["start_time"]),
            memory["spawn_ms"] or 0.0,
            resumed=True,
        )

    def _remember(self, pty: ManagedPty) -> None:
        if pty.is_live:
            self._remote.remember(
                pty.slot, as_memory(pty.record, pty.options, pty.cause, pty.leader_start)
            )

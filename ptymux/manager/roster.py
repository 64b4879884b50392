"""`Roster`: all PTYs of a manager; live ones within limits, ended ones until they age out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Final

from ptymux.core.model import Limits, PtyId, PtyRecord, SpawnOptions
from ptymux.core.registry import Registry
from ptymux.core.ring import ring_size
from ptymux.errors import OutOfResourcesError, UnknownPtyError
from ptymux.manager.managed_pty import ManagedPty
from ptymux.posix.memory import available_memory

__all__ = ["Roster"]

_log = logging.getLogger("ptymux")

_MEMORY_WARN: Final = 0.50  # of the available memory, if every ring grows to its full size
_MEMORY_SECONDS: Final = 1.0  # for which the last look at it is used


class Roster:
    """All PTYs by id and by slot; `Limits.ended_ptys` and `ended_bytes` bound the ended ones."""

    def __init__(self, limits: Limits) -> None:
        self.registry = Registry(limits.ptys)
        self._limits = limits
        self._ptys: dict[PtyId, ManagedPty] = {}
        self._slots: dict[int, ManagedPty] = {}  # until the engine has forgotten it
        self._ended: dict[PtyId, ManagedPty] = {}  # oldest end first
        self._ended_bytes = 0  # that these retain, or more: some may have been cleared since
        self._memory = 0  # bytes available at `_memory_at`
        self._memory_at = float("-inf")

    def __iter__(self) -> Iterator[ManagedPty]:
        """Iterate over the PTYs there are now, oldest first."""
        return iter(tuple(self._ptys.values()))

    def add(self, pty: ManagedPty) -> None:
        """Add a PTY that was just registered."""
        self._ptys[pty.pty_id] = self._slots[pty.slot] = pty

    def get(self, pty_id: PtyId) -> ManagedPty:
        """Return a PTY.

        Raises:
            UnknownPtyError: there is none with this id.
        """
        if pty_id not in self._ptys:
            raise UnknownPtyError(pty_id)
        return self._ptys[pty_id]

    def in_slot(self, slot: int) -> ManagedPty | None:
        """Return the PTY in an engine's slot, a removed one too until the engine forgets it."""
        return self._slots.get(slot)

    def note_end(self, pty: ManagedPty) -> None:
        """Add a PTY to the ended ones, and remove the oldest of these beyond the limits."""
        self._ended[pty.pty_id] = pty
        self._ended_bytes += pty.flow.retained
        if self._ended_bytes > self._limits.ended_bytes:
            self._ended_bytes = sum(each.flow.retained for each in self._ended.values())
        for each in list(self._ended.values()):
            if not self._keeps_too_much():
                return
            if each is not pty:
                self.remove(each)

    def _keeps_too_much(self) -> bool:
        limits = self._limits
        return len(self._ended) > limits.ended_ptys or self._ended_bytes > limits.ended_bytes

    def remove(self, pty: ManagedPty) -> PtyRecord:
        """Remove a PTY that is gone; return its last record."""
        if self._ended.pop(pty.pty_id, None) is not None:
            self._ended_bytes -= pty.flow.retained
        record = pty.remove()
        del self._ptys[pty.pty_id]
        self.leave_slot(pty)
        return record

    def leave_slot(self, pty: ManagedPty) -> None:
        """Free the slot of a removed PTY, unless its child has not exited."""
        if pty.is_removed and pty.has_exited:
            self._slots.pop(pty.slot, None)

    def check_memory(self, options: SpawnOptions) -> None:
        """Check, before a spawn, that the memory suffices if all rings grow to their full size.

        Raises:
            OutOfResourcesError: they could take more than `Limits.MEMORY_SHARE` of it.
        """
        live = [pty for pty in self if not pty.is_gone]
        growth = [ring_size(pty.options.buffer_size) - pty.ring.total for pty in live]
        needed = sum(max(0, size) for size in growth) + ring_size(options.buffer_size)
        available = self._available()
        if needed > Limits.MEMORY_SHARE * available:
            raise OutOfResourcesError(
                "memory",
                f"rings could grow by {needed} bytes and {available} are available; "
                "use a smaller --buffer-size or end some PTYs",
            )
        if needed > _MEMORY_WARN * available:
            _log.warning("rings could grow by %d of the %d bytes available", needed, available)

    def _available(self) -> int:
        """Return the available memory; it is read once a second, as that takes 0.2 ms."""
        now = time.monotonic()
        if now - self._memory_at > _MEMORY_SECONDS:
            self._memory, self._memory_at = available_memory(), now
        return self._memory

"""What survives both processes: which children there are, so that a successor can prove them.

A preallocated file with one fixed slot of 64 bytes for each PTY that may live; a full disk
therefore refuses no spawn. A slot is written before the spawn is reported:

    0  pid            8 bytes, 0 for a free slot
    8  start time     8 bytes, clock ticks since boot
   16  number         8 bytes, the PTY's short number
   24  boot id       36 bytes, text

All words in native order: the file never leaves the machine.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from ptymux.errors import UnsafeDirectoryError
from ptymux.posix.process import boot_id

__all__ = ["NoChildRecords", "ChildProof", "ChildRecords", "StateFile", "read_proofs"]

_SLOT: Final = struct.Struct("=QQQ36s4x")
assert _SLOT.size == 64


@dataclass(frozen=True, slots=True)
class ChildProof:
    """A child as it was written down."""

    pid: int
    start_time: int
    number: int
    boot_id: str


class ChildRecords(Protocol):
    """Where a keeper writes its children down."""

    @property
    def left(self) -> list[ChildProof]:
        """The children that a keeper before this one wrote down, and nobody has claimed."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another child."""
        ...

    def keep(self, number: int, pid: int, start_time: int | None) -> None:
        """Go on with a child that was there before this keeper."""
        ...

    def settle(self) -> None:
        """Forget the children that were left."""
        ...

    def enter(self, number: int, pid: int, start_time: int | None) -> None:
        """Write a child down, before anybody is told of it."""
        ...

    def leave(self, number: int) -> None:
        """Forget a child that is gone; again is no error."""
        ...


class NoChildRecords:
    """Nowhere: nobody will look for the children."""

    @property
    def is_full(self) -> bool:
        """Never."""
        return False

    @property
    def left(self) -> list[ChildProof]:
        """None."""
        return []

    def keep(self, number: int, pid: int, start_time: int | None) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""

    def enter(self, number: int, pid: int, start_time: int | None) -> None:
        """Do nothing."""

    def leave(self, number: int) -> None:
        """Do nothing."""


class StateFile:
    """The file of one keeper, mapped; the keeper holds the lock that makes it the only writer.

    What a keeper before this one wrote down stays until it is settled: `left`.
    """

    def __init__(self, path: str | None, slots: int) -> None:
        """Map the file at `path`; None: memory, for who has none to write to at the moment."""
        size = slots * _SLOT.size
        self._map = mmap.mmap(-1, size) if path is None else _map_file(path, size)
        self._boot_id = boot_id()
        self._slots: dict[int, int] = {}  # PTY number: its slot
        self._left = {at: proof for at, proof in _read(self._map) if proof.pid}
        self._free = [at for at in range(slots - 1, -1, -1) if at not in self._left]

    @property
    def left(self) -> list[ChildProof]:
        """The children that a keeper before this one wrote down, and nobody has claimed."""
        return list(self._left.values())

    def take_over(self, before: StateFile) -> None:
        """Write down what another one has, in place of it; this one is empty."""
        for old, proof in _read(before._map):
            if proof.pid:
                at = self._free.pop()
                self._write(at, proof)
                if old in before._left:
                    self._left[at] = proof
                else:
                    self._slots[proof.number] = at
        before.close()

    def keep(self, number: int, pid: int, start_time: int | None) -> None:
        """Go on with a child that lives, written down or not, and whose PTY is known."""
        for at, proof in list(self._left.items()):
            if proof.number == number:
                self._slots[number] = at
                del self._left[at]
                break
        if number not in self._slots and not self.is_full:
            self.enter(number, pid, start_time)

    def settle(self) -> None:
        """Forget the children that were left: somebody has seen to them."""
        for at in self._left:
            _SLOT.pack_into(self._map, at * _SLOT.size, 0, 0, 0, b"")
            self._free.append(at)
        self._left.clear()

    @property
    def is_full(self) -> bool:
        """Whether there is no slot for another child."""
        return not self._free

    def enter(self, number: int, pid: int, start_time: int | None) -> None:
        """Write a child down, before anybody is told of it; there is a free slot."""
        at = self._free.pop()
        self._slots[number] = at
        self._write(at, ChildProof(pid, start_time or 0, number, self._boot_id))

    def _write(self, at: int, proof: ChildProof) -> None:
        words = (proof.pid, proof.start_time, proof.number, proof.boot_id.encode())
        _SLOT.pack_into(self._map, at * _SLOT.size, *words)

    def leave(self, number: int) -> None:
        """Free the slot of a child that is gone; again is no error."""
        at = self._slots.pop(number, None)
        if at is not None:
            _SLOT.pack_into(self._map, at * _SLOT.size, 0, 0, 0, b"")
            self._free.append(at)

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()


def _map_file(path: str, size: int) -> mmap.mmap:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags, 0o600)
        try:
            os.posix_fallocate(fd, 0, max(size, os.fstat(fd).st_size))
            return mmap.mmap(fd, size)
        finally:
            os.close(fd)
    except OSError as error:
        raise UnsafeDirectoryError(path, error.strerror or "it cannot be written") from error


def read_proofs(path: str) -> list[ChildProof]:
    """Return the children that the file at `path` has, whoever writes it; none if there is none."""
    try:
        with open(path, "rb") as file:
            return [proof for _at, proof in _read(file.read()) if proof.pid]
    except OSError:
        return []


def _read(content: mmap.mmap | bytes) -> Iterator[tuple[int, ChildProof]]:
    for at in range(len(content) // _SLOT.size):
        pid, started, number, boot = _SLOT.unpack_from(content, at * _SLOT.size)
        yield at, ChildProof(pid, started, number, boot.rstrip(b"\0").decode(errors="replace"))

"""The state file: it lists the living children, and survives a kill of both processes.

With it the next keeper can prove which processes came from its PTYs. The file has one slot of 64
bytes for each PTY that may live, and is allocated in advance; so a full disk cannot make a spawn
fail. A child's slot is written before its spawn is reported:

    0  pid            8 bytes, 0 for a free slot
    8  start time     8 bytes, clock ticks since boot
   16  number         8 bytes, the PTY's short number
   24  boot id       36 bytes, text

Words are in native order: the file never leaves the machine.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from ptymux.errors import UnsafeDirectoryError
from ptymux.posix.process import boot_id

__all__ = ["NoChildRecords", "ChildProof", "ChildRecords", "StateFile", "read_proofs"]

_SLOT: Final = struct.Struct("=QQQ36s4x")
assert _SLOT.size == 64


@dataclass(frozen=True, slots=True)
class ChildProof:
    """A child as the state file has it: enough to prove which process it is."""

    pid: int
    start_time: int
    number: int
    boot_id: str


class ChildRecords(Protocol):
    """A keeper's list of its living children, for the keeper after it."""

    @property
    def left(self) -> list[ChildProof]:
        """Children that an earlier keeper left behind, and that belong to no PTY now."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another child."""
        ...

    def keep(self, number: int, pid: int, start_time: int | None) -> None:
        """Continue with a child of the keeper before this one."""
        ...

    def forget_left(self) -> None:
        """Remove the children in `left`."""
        ...

    def enter(self, number: int, pid: int, start_time: int | None) -> None:
        """Add a child, before its spawn is reported."""
        ...

    def leave(self, number: int) -> None:
        """Remove a child that has ended; a second call does nothing."""
        ...


class NoChildRecords:
    """No list at all: for a private keeper, after which no other comes."""

    @property
    def is_full(self) -> bool:
        """Always False."""
        return False

    @property
    def left(self) -> list[ChildProof]:
        """Always empty."""
        return []

    def keep(self, number: int, pid: int, start_time: int | None) -> None:
        """Do nothing."""

    def forget_left(self) -> None:
        """Do nothing."""

    def enter(self, number: int, pid: int, start_time: int | None) -> None:
        """Do nothing."""

    def leave(self, number: int) -> None:
        """Do nothing."""


class StateFile:
    """One keeper's state file; the keeper's lock makes it the only writer.

    It is also in memory. It is not mapped: if somebody cuts a mapped file short, the next access
    kills the process. A write into a file that was cut makes it longer again.

    Children that an earlier keeper has entered stay in `left` until `forget_left`.
    """

    def __init__(self, path: str | None, slots: int) -> None:
        """Open the file at `path`; None: memory only, while the file cannot be used."""
        size = slots * _SLOT.size
        self._fd = -1 if path is None else _open_file(path, size)
        found = b"" if path is None else os.pread(self._fd, size, 0)
        self._content = bytearray(found.ljust(size, b"\0"))
        self._boot_id = boot_id()
        self._slots: dict[int, int] = {}  # the slot of each PTY number
        self._left = {at: proof for at, proof in _read(self._content) if proof.pid}
        self._free = [at for at in range(slots - 1, -1, -1) if at not in self._left]

    @property
    def left(self) -> list[ChildProof]:
        """Children that an earlier keeper left behind, and that belong to no PTY now."""
        return list(self._left.values())

    def copy_from(self, before: StateFile) -> None:
        """Copy all children of another state file and close it; this one is empty before."""
        for old, proof in _read(before._content):
            if proof.pid:
                at = self._free.pop()
                self._write(at, proof)
                if old in before._left:
                    self._left[at] = proof
                else:
                    self._slots[proof.number] = at
        before.close()

    def keep(self, number: int, pid: int, start_time: int | None) -> None:
        """Continue with a living child whose PTY is known, whether the file has it or not."""
        for at, proof in list(self._left.items()):
            if proof.number == number:
                self._slots[number] = at
                del self._left[at]
                break
        if number not in self._slots and not self.is_full:
            self.enter(number, pid, start_time)

    def forget_left(self) -> None:
        """Remove the children in `left`: they have been handled."""
        for at in self._left:
            self._clear(at)
            self._free.append(at)
        self._left.clear()

    @property
    def is_full(self) -> bool:
        """Whether there is no slot for another child."""
        return not self._free

    def enter(self, number: int, pid: int, start_time: int | None) -> None:
        """Add a child, before its spawn is reported; there must be a free slot."""
        at = self._free.pop()
        self._slots[number] = at
        self._write(at, ChildProof(pid, start_time or 0, number, self._boot_id))

    def _write(self, at: int, proof: ChildProof) -> None:
        words = (proof.pid, proof.start_time, proof.number, proof.boot_id.encode())
        self._put(at, _SLOT.pack(*words))

    def _clear(self, at: int) -> None:
        self._put(at, bytes(_SLOT.size))

    def _put(self, at: int, slot: bytes) -> None:
        self._content[at * _SLOT.size : (at + 1) * _SLOT.size] = slot
        if self._fd >= 0:
            with suppress(OSError):  # it was cut short, and the disk is full
                os.pwrite(self._fd, slot, at * _SLOT.size)

    def mend(self) -> None:
        """Write the whole file again if somebody has cut it short."""
        if self._fd >= 0 and os.fstat(self._fd).st_size < len(self._content):
            with suppress(OSError):
                os.pwrite(self._fd, self._content, 0)

    def leave(self, number: int) -> None:
        """Free the slot of a child that has ended; a second call does nothing."""
        at = self._slots.pop(number, None)
        if at is not None:
            self._clear(at)
            self._free.append(at)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open_file(path: str, size: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags, 0o600)
        try:
            os.posix_fallocate(fd, 0, max(size, os.fstat(fd).st_size))
        except BaseException:
            os.close(fd)
            raise
        return fd
    except OSError as error:
        raise UnsafeDirectoryError(path, error.strerror or "it cannot be written") from error


def read_proofs(path: str) -> list[ChildProof]:
    """Return the children in the state file at `path`; empty if there is no such file."""
    try:
        with open(path, "rb") as file:
            return [proof for _at, proof in _read(file.read()) if proof.pid]
    except OSError:
        return []


def _read(content: bytes | bytearray) -> Iterator[tuple[int, ChildProof]]:
    for at in range(len(content) // _SLOT.size):
        pid, started, number, boot = _SLOT.unpack_from(content, at * _SLOT.size)
        yield at, ChildProof(pid, started, number, boot.rstrip(b"\0").decode(errors="replace"))

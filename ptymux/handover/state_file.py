"""The state file: it lists the living children, and survives a kill of both processes.

With it the next keeper can prove which processes came from its PTYs. The file has one slot of 64
bytes for each PTY that may live, and is allocated in advance; so a full disk cannot make a spawn
fail. A child's slot is written before its spawn is reported, by a forked child itself before it
executes anything:

    0  pid            8 bytes, 0 for a free slot
    8  start time     8 bytes, clock ticks since boot
   16  number         8 bytes, the PTY's short number
   24  boot id       36 bytes, text

Before a child is started its pid is not known. Until then its slot has an intent, by which the
child can be found if nobody lives to write down its pid:

    0  0              8 bytes, as in a free slot
    8  begin          8 bytes, clock ticks since boot: the child did not start before; never 0
   16  number         4 bytes
   20  boot id       16 bytes
   36  PTYMUX_ID     28 bytes, its end as in the child's environment

Words are in native order: the file never leaves the machine.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from ptymux.errors import PtymuxError, UnsafeDirectoryError
from ptymux.posix.process import ProcessId, boot_id

__all__ = [
    "ChildProof",
    "ChildRecords",
    "NoChildRecords",
    "SpawnIntent",
    "StateFile",
    "read_intents",
    "read_proofs",
]

_SLOT: Final = struct.Struct("=QQQ36s4x")
_INTENT: Final = struct.Struct("=8xQI16s28s")
assert _SLOT.size == _INTENT.size == 64
_MARK_BYTES: Final = 28
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ChildProof:
    """A child as the state file has it: enough to prove which process it is."""

    pid: int
    start_time: int
    number: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class SpawnIntent:
    """A spawn of which is known only that it was about to begin."""

    not_before: int  # clock ticks since boot
    number: int
    mark: bytes  # the end of the child's PTYMUX_ID


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

    def intend(self, number: int, pty_id: str) -> None:
        """Add a child that is about to be started, with this PTYMUX_ID."""
        ...

    def enter(self, number: int, pid: int, start_time: int | None) -> None:
        """Add a child, before its spawn is reported."""
        ...

    def leave(self, number: int) -> None:
        """Remove a child that has ended or never began; a second call does nothing."""
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

    def intend(self, number: int, pty_id: str) -> None:
        """Do nothing."""

    def enter(self, number: int, pid: int, start_time: int | None) -> None:
        """Do nothing."""

    def leave(self, number: int) -> None:
        """Do nothing."""


class StateFile:
    """One keeper's state file; the keeper's lock makes it the only writer.

    It is also in memory. It is not mapped: if somebody cuts a mapped file short, the next access
    kills the process. A write into a file that was cut makes it longer again.

    Children that an earlier keeper has entered stay in `left` until `forget_left`. Of its intents
    nothing is known until `settle_intents` or `drop_intents`.
    """

    def __init__(self, path: str | None, slots: int) -> None:
        """Open the file at `path`; None: memory only, while the file cannot be used."""
        size = slots * _SLOT.size
        self._fd = -1 if path is None else _open_file(path, size)
        found = b"" if path is None else os.pread(self._fd, size, 0)
        self._content = bytearray(found.ljust(size, b"\0"))
        self._boot_id = boot_id()
        self._slots: dict[int, int] = {}  # the slot of each PTY number
        self._intended: set[int] = set()  # numbers whose slot has an intent
        self._left = {at: proof for at, proof in _read(self._content) if proof.pid}
        self._left_intents = dict(_read_intents(self._content, self._boot_id))
        taken = self._left.keys() | self._left_intents.keys()
        self._free = [at for at in range(slots - 1, -1, -1) if at not in taken]

    @property
    def left(self) -> list[ChildProof]:
        """Children that an earlier keeper left behind, and that belong to no PTY now."""
        return list(self._left.values())

    def copy_from(self, before: StateFile) -> None:
        """Copy all children of another state file and close it; this one is empty before."""
        for number in before._intended:
            self._slots[number] = at = self._free.pop()
            self._put(at, before._slot(before._slots[number]))
        self._intended |= before._intended
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
                return
        for at, intent in list(self._left_intents.items()):
            if intent.number == number:
                self._slots[number] = at
                self._intended.add(number)
                del self._left_intents[at]
        if number in self._intended or (number not in self._slots and not self.is_full):
            self.enter(number, pid, start_time)

    def forget_left(self) -> None:
        """Remove the children in `left`: they have been handled."""
        for at in self._left:
            self._clear(at)
            self._free.append(at)
        self._left.clear()

    def settle_intents(
        self, find: Callable[[Iterable[SpawnIntent]], Mapping[int, ProcessId]]
    ) -> None:
        """Add to `left` the children that spawns of a killed keeper have led to.

        Nobody else may know of them. `find` returns the child of each intent, by PTY number, if it
        lives. If it cannot tell now, the next keeper tries again.
        """
        if not self._left_intents:
            return
        with suppress(PtymuxError):
            found = find(self._left_intents.values())
            for at, intent in self._left_intents.items():
                child = found.get(intent.number)
                if child is not None:
                    pid, started = child.pid, child.start_time
                    proof = ChildProof(pid, started, intent.number, self._boot_id)
                    self._left[at] = proof
                    self._write(at, proof)
            self.drop_intents()

    def drop_intents(self) -> None:
        """Forget the intents of an earlier keeper: its server knows what has become of them."""
        for at in self._left_intents.keys() - self._left.keys():
            self._clear(at)
            self._free.append(at)
        self._left_intents.clear()

    @property
    def is_full(self) -> bool:
        """Whether there is no slot for another child."""
        return not self._free

    def intend(self, number: int, pty_id: str) -> None:
        """Add a child that is about to be started; there must be a free slot."""
        self._slots[number] = at = self._free.pop()
        self._intended.add(number)
        now = int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)
        mark = pty_id.encode(errors="replace")[-_MARK_BYTES:]
        self._put(at, _INTENT.pack(max(1, now), number, _raw(self._boot_id), mark))

    def enter(self, number: int, pid: int, start_time: int | None) -> None:
        """Add a child, before its spawn is reported; it is intended, or there is a free slot."""
        if number in self._intended:
            self._intended.discard(number)
            at = self._slots[number]
        else:
            self._slots[number] = at = self._free.pop()
        self._write(at, ChildProof(pid, start_time or 0, number, self._boot_id))

    def _write(self, at: int, proof: ChildProof) -> None:
        words = (proof.pid, proof.start_time, proof.number, proof.boot_id.encode())
        self._put(at, _SLOT.pack(*words))

    def _slot(self, at: int) -> bytes:
        return bytes(self._content[at * _SLOT.size : (at + 1) * _SLOT.size])

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
        """Free the slot of a child that has ended or never began; again it does nothing."""
        self._intended.discard(number)
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
    return [proof for _at, proof in _read(_content_of(path)) if proof.pid]


def read_intents(path: str) -> list[SpawnIntent]:
    """Return the spawns of this boot that are about to begin in the state file at `path`."""
    return [intent for _at, intent in _read_intents(_content_of(path), boot_id())]


def _content_of(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _read_intents(content: bytes | bytearray, boot: str) -> Iterator[tuple[int, SpawnIntent]]:
    for at in range(len(content) // _INTENT.size):
        if any(content[at * _INTENT.size : at * _INTENT.size + 8]):
            continue  # it has a pid
        begin, number, raw_boot, mark = _INTENT.unpack_from(content, at * _INTENT.size)
        if begin and raw_boot == _raw(boot):
            yield at, SpawnIntent(begin, number, mark.rstrip(b"\0"))


def _raw(boot: str) -> bytes:
    """Return a boot id in 16 bytes."""
    with suppress(ValueError):
        return bytes.fromhex(boot.replace("-", ""))
    return b""


def _read(content: bytes | bytearray) -> Iterator[tuple[int, ChildProof]]:
    for at in range(len(content) // _SLOT.size):
        pid, started, number, boot = _SLOT.unpack_from(content, at * _SLOT.size)
        yield at, ChildProof(pid, started, number, boot.rstrip(b"\0").decode(errors="replace"))

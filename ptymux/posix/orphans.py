"""Orphans: processes that a killed keeper left behind, and the proof that they are ours.

The kernel reuses pids, and anybody may set an environment variable. So there are four classes:

- *Proven* ours: pid, start time and boot are as the keeper wrote them down. All processes of a
  proven leader's session are proven too, while that leader exists, be it as a zombie. Once the
  leader was reaped, its session proves nothing: its number may have been reused.
- *Identified*: a keeper died as it started a child, and could not write down its pid. What it wrote
  before is when that began, and the child's PTYMUX_ID, which no other has. The child is the first
  process that leads a session with it, from that second: whatever has it too comes from the child.
  Limit: if the child has ended by then, a daemon that it started in that second counts as the
  child. A pid is written down within some 0.1 ms, in which no program starts another.
- *Unproven*: only a marker in the environment says that the process came from a PTY. It may have
  left its PTY on purpose, as an agent does. People can look at it; ptymux never touches it. Values
  of its environment are compared here and never shown.
- Everything else is ignored: a reused pid, another boot, another user's process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from ptymux.posix.process import ProcessId
from ptymux.posix.procfs import Stat, boot_id, ignores_term, read, read_stat, scan

__all__ = ["Findings", "Orphan", "find", "identify"]

_MARKER: Final = b"PTYMUX_ID="  # not PTYMUX_SOCKET: users set that themselves
_START_SECONDS: Final = 1  # from the writing of an intent until the child is there
_WRAP: Final = 1 << 14  # pids count up, and begin anew above 32,767 or later
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_MOST: Final = 6 * 1024 * 1024  # the kernel's limit for arguments and environment


class ProcessProof(Protocol):
    """A child as its keeper wrote it to the state file, before it reported the child to anybody."""

    @property
    def pid(self) -> int: ...
    @property
    def start_time(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def boot_id(self) -> str: ...


class StartIntent(Protocol):
    """A child as its keeper wrote it to the state file before it started the child."""

    @property
    def not_before(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def mark(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Orphan:
    """A living process that came from a PTY; `posix.process.send` accepts it."""

    pid: int
    start_time: int  # clock ticks since boot
    number: int | None  # of its PTY; None if it is not proven
    name: str  # of its program, as the kernel shortens it
    ignores_term: bool = False  # only known of proven ones

    @property
    def is_proven(self) -> bool:
        """Whether it may be signalled."""
        return self.number is not None


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a search for orphans; each list is sorted by PTY and pid."""

    proven: tuple[Orphan, ...]
    unproven: tuple[Orphan, ...]


def find(proofs: Iterable[ProcessProof], *, socket: str | None = None) -> Findings:
    """Return the living processes that came from PTYs, found by one scan; never this process.

    Unproven processes are listed if they are this user's; with `socket` only if they came from a
    PTY of that server. Nothing is changed. Limit: a process that was forked during the scan may be
    missing; call it again until nothing is left.

    Raises:
        OutOfResourcesError: no more open files.
    """
    stats = scan(lambda stat: stat.pid != os.getpid())
    # Read after the scan: if a leader is still the same process now, it was so during all of the
    # scan, and its session number meant its own session.
    leaders = _leaders(proofs)
    ours = [stat for stat in stats if stat.pid in leaders or stat.sid in leaders]
    known = {stat.pid for stat in ours}
    marked = [stat for stat in stats if stat.pid not in known and _is_marked(stat.pid, socket)]
    proven = [_orphan(stat, leaders.get(stat.pid, leaders.get(stat.sid))) for stat in ours]
    return Findings(
        proven=tuple(sorted(proven, key=lambda orphan: (orphan.number or 0, orphan.pid))),
        unproven=tuple(_orphan(stat, None) for stat in sorted(marked)),
    )


def identify(intents: Iterable[StartIntent]) -> dict[int, ProcessId]:
    """Return the living child of each start of this boot that a killed keeper had begun.

    They are by PTY number. Ask this once, before the child may end: a process that has left the
    child's session could be taken for it afterwards.

    Raises:
        OutOfResourcesError: no more open files.
    """
    wanted = list(intents)
    first = min((intent.not_before for intent in wanted), default=0)
    leaders = scan(lambda stat: stat.pid == stat.sid and stat.start_time >= first)
    marks = {stat: _mark(stat.pid) for stat in leaders}
    found = {}
    for intent in wanted:
        until = intent.not_before + _START_SECONDS * _TICKS
        its = [
            stat
            for stat, mark in marks.items()
            if intent.mark
            and mark.endswith(intent.mark)
            and intent.not_before <= stat.start_time <= until
        ]
        if (child := _first(its)) is not None:
            found[intent.number] = ProcessId(child.pid, child.start_time)
    return found


def _first(stats: list[Stat]) -> Stat | None:
    """Return the process that started before the others; None if that is not certain."""
    start = min((stat.start_time for stat in stats), default=0)
    first = sorted(stat for stat in stats if stat.start_time == start)  # by their pids
    if not first or first[-1].pid - first[0].pid >= _WRAP:
        return None
    return first[0]


def _leaders(proofs: Iterable[ProcessProof]) -> dict[int, int]:
    """Return the PTY number of each proven child that exists, be it as a zombie, by its pid."""
    boot = boot_id()
    found = {}
    for proof in proofs:
        if proof.boot_id != boot or proof.pid <= 1 or not proof.start_time:
            continue
        stat = read_stat(proof.pid)
        if stat is not None and stat.start_time == proof.start_time:
            found[proof.pid] = proof.number
    return found


def _orphan(stat: Stat, number: int | None) -> Orphan:
    name = (read(f"/proc/{stat.pid}/comm") or b"").decode(errors="replace").rstrip("\n")
    ignores = number is not None and ignores_term(stat.pid)
    return Orphan(stat.pid, stat.start_time, number, name, ignores)


def _is_marked(pid: int, socket: str | None) -> bool:
    variables = _variables(pid)
    is_marked = any(variable.startswith(_MARKER) for variable in variables)
    return is_marked and (socket is None or _of_server(socket) in variables)


def _mark(pid: int) -> bytes:
    """Return the PTYMUX_ID of a process of this user, empty if it has none."""
    for variable in _variables(pid):
        if variable.startswith(_MARKER):
            return variable.removeprefix(_MARKER)
    return b""


def _of_server(socket: str) -> bytes:
    return b"PTYMUX_SOCKET=" + os.fsencode(socket)


def _variables(pid: int) -> list[bytes]:
    """Return the environment that a process of this user began with; empty for other users'."""
    with contextlib.suppress(OSError):  # it is gone, or we may not read it
        if os.stat(f"/proc/{pid}").st_uid == os.geteuid():
            with open(f"/proc/{pid}/environ", "rb") as file:
                return file.read(_MOST).split(b"\0")
    return []

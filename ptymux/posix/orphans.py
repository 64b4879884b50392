"""Find what a dead keeper left behind, and prove that it is ours.

A pid is a number that the kernel gives out again, an environment is what anybody may set. So:

- A process is *proven* ours when its pid lives, started when the proof says, in the boot that the
  proof says; and so is every process of its session, while that leader is there to vouch for it,
  if only as a zombie. A session whose leader was reaped proves nothing: its number may have had
  another owner in between.
- A process is *unproven* when no more than a marker in its environment says that it came from a
  PTY. It may have left its PTY on purpose, as an agent does. It is for people to look at; nothing
  of it is ever touched, and its environment's values are compared here and told to nobody.
- Everything else is nobody's business: a reused pid, another boot, another user's process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from ptymux.posix.procfs import Stat, boot_id, ignores_term, read, read_stat, scan

__all__ = ["Findings", "Orphan", "find"]

_MARKER: Final = b"PTYMUX_ID="  # the socket alone may be what a user chose to talk to
_MOST: Final = 6 * 1024 * 1024  # the kernel allows arguments and environment no more


class ProcessProof(Protocol):
    """A child as its keeper wrote it down before it told anybody of it."""

    @property
    def pid(self) -> int: ...
    @property
    def start_time(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def boot_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Orphan:
    """A living process that came from a PTY; `posix.process.send` takes it."""

    pid: int
    start_time: int  # clock ticks since boot
    number: int | None  # the PTY's; None while unproven
    name: str  # of its program, as the kernel cuts it
    ignores_term: bool = False  # known of proven ones only

    @property
    def is_proven(self) -> bool:
        """Whether it may be signalled."""
        return self.number is not None


@dataclass(frozen=True, slots=True)
class Findings:
    """What is there, each list by PTY and pid."""

    proven: tuple[Orphan, ...]
    unproven: tuple[Orphan, ...]


def find(proofs: Iterable[ProcessProof], *, socket: str | None = None) -> Findings:
    """Return the living processes that came from PTYs, by one scan; the caller is never among them.

    Of unproven processes those of this user, and with `socket` those alone that a PTY of that
    server brought forth. Nothing is changed; ask again until nothing is left, as a process that
    was forked during the scan may be missing.

    Raises:
        OutOfResourcesError: no more open files.
    """
    stats = scan(lambda stat: stat.pid != os.getpid())
    # Asked after the scan: a leader that is still the same was so during all of it, so that its
    # number stood for its own session and for no other.
    leaders = _leaders(proofs)
    ours = [stat for stat in stats if stat.pid in leaders or stat.sid in leaders]
    known = {stat.pid for stat in ours}
    marked = [stat for stat in stats if stat.pid not in known and _is_marked(stat.pid, socket)]
    proven = [_orphan(stat, leaders.get(stat.pid, leaders.get(stat.sid))) for stat in ours]
    return Findings(
        proven=tuple(sorted(proven, key=lambda orphan: (orphan.number or 0, orphan.pid))),
        unproven=tuple(_orphan(stat, None) for stat in sorted(marked)),
    )


def _leaders(proofs: Iterable[ProcessProof]) -> dict[int, int]:
    """Return the PTY number of each proven child that is there, if only as a zombie, by its pid."""
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


def _of_server(socket: str) -> bytes:
    return b"PTYMUX_SOCKET=" + os.fsencode(socket)


def _variables(pid: int) -> list[bytes]:
    """Return the environment that a process of this user began with; of others, nothing."""
    with contextlib.suppress(OSError):  # it is gone, or not ours to look into
        if os.stat(f"/proc/{pid}").st_uid == os.geteuid():
            with open(f"/proc/{pid}/environ", "rb") as file:
                return file.read(_MOST).split(b"\0")
    return []

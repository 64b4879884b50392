"""What the processes of a session use of the machine: processor time and memory."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

from ptymux.posix.procfs import read, scan

__all__ = ["Usage", "session_usage"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """What a session used so far of processors, and what memory it has now."""

    cpu_seconds: float  # also by processes that have ended, once their parent knows
    memory_bytes: int  # resident; what several of its processes share counts once


def session_usage(leaders: Collection[int]) -> dict[int, Usage]:
    """Return what the sessions of these leaders use, by the leader's pid.

    A session without a living process is left out.
    """
    wanted = set(leaders)
    ticks: dict[int, int] = {}
    private: dict[int, int] = {}
    shared: dict[int, int] = {}
    for stat in scan(lambda stat: stat.sid in wanted):
        spent, memory = _read_ticks(stat.pid), _read_memory(stat.pid)
        if spent is None or memory is None:
            continue  # it ended meanwhile
        sid = stat.sid
        ticks[sid] = ticks.get(sid, 0) + spent
        private[sid] = private.get(sid, 0) + memory[0]
        shared[sid] = max(shared.get(sid, 0), memory[1])
    return {
        sid: Usage(spent / _TICKS, (private[sid] + shared[sid]) * _PAGE)
        for sid, spent in ticks.items()
    }


def _read_ticks(pid: int) -> int | None:
    """Return a process's own time and that of its ended children, in clock ticks."""
    data = read(f"/proc/{pid}/stat")
    if not data:
        return None
    # The name may contain spaces and parentheses; the fields behind it cannot.
    fields = data[data.rindex(b")") + 2 :].split(maxsplit=16)
    return sum(map(int, fields[11:15]))


def _read_memory(pid: int) -> tuple[int, int] | None:
    """Return the pages of a process that are its own, and those that it shares with others."""
    data = read(f"/proc/{pid}/statm")
    if not data:
        return None
    resident, shared = map(int, data.split()[1:3])
    return resident - shared, shared

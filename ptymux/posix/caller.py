"""What a child has from whoever asked for it, and not from the keeper: limits, priorities, CPUs.

It is read from the asking process, by its pid. `differences` says in words what a child cannot
have: only a process itself can change its groups, namespaces and cgroup.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ptymux.errors import PtymuxError
from ptymux.posix.procfs import read

__all__ = ["CallerWorld", "take_on", "differences", "free_ourselves", "own_limits", "world_of"]

# Of open files the soft limit travels by itself.
# fmt: off
_LIMITS: Final = (
    "AS", "CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "NICE", "NPROC", "RSS", "RTPRIO",
    "RTTIME", "SIGPENDING", "STACK",
)
# fmt: on
_OURS: Final = ("AS", "CPU", "DATA", "FSIZE", "RTTIME")  # what would end or hinder ourselves
_MOST_OPEN_FILES: Final = 1 << 16  # old programs close every possible fd
_NAMESPACES: Final = {"net": "network", "mnt": "mount", "ipc": "IPC", "uts": "host name"}
_CGROUP_LIMITS: Final = ("memory.max", "pids.max", "cpu.max", "cpuset.cpus")
# The numbers of ioprio_set(2) and ioprio_get(2), which glibc does not wrap.
_IOPRIO: Final = {"x86_64": (251, 252), "aarch64": (30, 31), "riscv64": (30, 31)}.get(
    os.uname().machine
)
_libc: Final = ctypes.CDLL(None)
_IOPRIO_WHO_PROCESS: Final = 1
_CAP_SYS_NICE: Final = 23
_CAP_SYS_RESOURCE: Final = 24


@dataclass(frozen=True, slots=True)
class CallerWorld:
    """The limits and priorities of one process."""

    limits: Mapping[str, tuple[int, int]]  # soft and hard by name, -1 for none
    nice: int
    cpus: frozenset[int]
    io_priority: int  # as of ioprio_get(2); 0 if it has none of its own
    oom_score: int

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "limits": {name: list(pair) for name, pair in self.limits.items()},
            "nice": self.nice,
            "cpus": sorted(self.cpus),
            "io_priority": self.io_priority,
            "oom_score": self.oom_score,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CallerWorld:
        """Return what `as_json` was called with."""
        return cls(
            {name: (pair[0], pair[1]) for name, pair in values["limits"].items()},
            values["nice"],
            frozenset(values["cpus"]),
            values["io_priority"],
            values["oom_score"],
        )


def world_of(pid: int = 0) -> CallerWorld | None:
    """Return what a process of this user has, by default this one; None if it cannot be read."""
    try:
        return CallerWorld(
            {name: resource.prlimit(pid, _number(name)) for name in _LIMITS},
            os.getpriority(os.PRIO_PROCESS, pid),
            frozenset(os.sched_getaffinity(pid)),
            _io_priority(pid),
            int(read(f"/proc/{pid or 'self'}/oom_score_adj") or b"0"),
        )
    except (OSError, ValueError, PtymuxError):  # it has ended, or is another user's
        return None


def take_on(world: CallerWorld) -> None:
    """Have this process have what the caller has, as far as it may."""
    with suppress(OSError):
        os.sched_setaffinity(0, world.cpus)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, world.nice)
    if _IOPRIO is not None and world.io_priority != _io_priority(0):
        _libc.syscall(_IOPRIO[0], _IOPRIO_WHO_PROCESS, 0, world.io_priority)
    if int(read("/proc/self/oom_score_adj") or b"0") != world.oom_score:
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
            score.write(str(world.oom_score))
    # Memory last: with little of it Python gets no further than the exec.
    for name in sorted(world.limits, key=("DATA", "AS").__contains__):
        _limit(name, world.limits[name])


def _limit(name: str, wanted: tuple[int, int]) -> None:
    number = _number(name)
    now = resource.getrlimit(number)
    if now == wanted:
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(number, wanted)
        return
    soft, hard = (min(value, now[1], key=_order) for value in wanted)
    with suppress(OSError, ValueError):
        resource.setrlimit(number, (min(soft, hard, key=_order), hard))


def free_ourselves() -> None:
    """Raise the limits that whoever started us has left us, as far as we may; see `own_limits`.

    They are for commands, which get those of their own caller. A process of ours serves them all.
    """
    for name in _OURS:
        with suppress(OSError, ValueError):
            resource.setrlimit(_number(name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        _, hard = resource.getrlimit(_number(name))
        with suppress(OSError, ValueError):
            resource.setrlimit(_number(name), (hard, hard))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        wanted = max(soft, min(hard, _MOST_OPEN_FILES))
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with suppress(OSError):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    if os.getpriority(os.PRIO_PROCESS, 0) > 0:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)


def own_limits() -> list[str]:
    """Return in words what limits this process, which serves others, although it should not."""
    found = []
    for name in _OURS:
        _, hard = resource.getrlimit(_number(name))
        if hard != resource.RLIM_INFINITY:
            found.append(f"{_WORDS[name]} {hard}")
    return found


_WORDS: Final = {
    "AS": "memory (ulimit -v)",
    "CPU": "seconds of CPU (ulimit -t)",
    "DATA": "data (ulimit -d)",
    "FSIZE": "file size (ulimit -f)",
    "RTTIME": "real time (ulimit -R)",
}


def differences(pid: int) -> list[str]:
    """Return in words what a command that this process asks us for cannot have as it has."""
    found = []
    for kind, word in _NAMESPACES.items():
        with suppress(OSError):  # not ours to look at
            if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"):
                found.append(f"{word} namespace")
    theirs, ours = _groups(pid), _groups(os.getpid())
    if theirs is not None and ours is not None and theirs != ours:
        found.append(f"groups ({_names(theirs - ours or theirs)})")
    limited = sorted(set(_limiting_cgroups(pid)) - set(_limiting_cgroups(os.getpid())))
    if limited:
        found.append(f"limits of the cgroup {limited[-1]}")
    world, own = world_of(pid), world_of()
    if world is not None and own is not None:
        found += _out_of_reach(world, own)
    return found


def _out_of_reach(world: CallerWorld, own: CallerWorld) -> Iterator[str]:
    if world.nice < own.nice and not _has_capability(_CAP_SYS_NICE):
        yield f"nice {world.nice} (it has {own.nice})"
    if _has_capability(_CAP_SYS_RESOURCE):
        return
    for name, (_, hard) in world.limits.items():
        if _order(hard) > _order(own.limits[name][1]):
            yield f"limit of {_WORDS.get(name, name.lower())} above {own.limits[name][1]}"


def _has_capability(number: int) -> bool:
    for line in (read("/proc/self/status") or b"").splitlines():
        if line.startswith(b"CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _groups(pid: int) -> frozenset[int] | None:
    """Return the groups of a process, its effective one among them."""
    groups: set[int] = set()
    for line in (read(f"/proc/{pid}/status") or b"").splitlines():
        if line.startswith(b"Gid:"):
            groups.add(int(line.split()[2]))
        elif line.startswith(b"Groups:"):
            return frozenset(groups.union(map(int, line.split()[1:])))
    return None


def _names(groups: frozenset[int]) -> str:
    import grp

    names = []
    for group in sorted(groups):
        with suppress(KeyError):
            names.append(grp.getgrgid(group).gr_name)
    return ", ".join(names) or ", ".join(map(str, sorted(groups)))


def _limiting_cgroups(pid: int) -> Iterator[str]:
    """Return the cgroups of a process that limit what its members use."""
    for line in (read(f"/proc/{pid}/cgroup") or b"").decode(errors="replace").splitlines():
        number, _, path = line.partition("::")
        if number != "0":
            continue
        while path not in ("", "/"):
            for name in _CGROUP_LIMITS:
                limit = read(f"/sys/fs/cgroup{path}/{name}")
                if limit and not limit.startswith(b"max") and limit.strip():
                    yield path
                    break
            path = path.rpartition("/")[0]


def _io_priority(pid: int) -> int:
    return 0 if _IOPRIO is None else max(0, _libc.syscall(_IOPRIO[1], _IOPRIO_WHO_PROCESS, pid))


def _number(name: str) -> int:
    return int(getattr(resource, f"RLIMIT_{name}"))


def _order(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else limit

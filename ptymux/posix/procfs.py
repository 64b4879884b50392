"""Readers of /proc: a process's state, its start time, scans of all; and the time since boot."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from ptymux.errors import UnsupportedPlatformError
from ptymux.posix.reserve_fds import retry_with_reserve
from ptymux.posix.resource_errors import resource_error

__all__ = [
    "Stat",
    "read",
    "read_stat",
    "scan",
    "start_time",
    "boot_id",
    "boot_time",
    "ignores_term",
    "pid_behind",
]


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that ptymux uses."""

    pid: int
    state: str
    ppid: int
    pgid: int
    sid: int
    start_time: int
    is_zombie: bool


def boot_time() -> float:
    """Return the seconds since the machine was started, those in which it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read(path: str) -> bytes | None:
    """Return the first 8 KiB of a file in /proc; None if its process is gone.

    Raises:
        OutOfResourcesError: no more open files; that must not look like the end of a process.
    """
    return retry_with_reserve(lambda: _read(path))


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 8192)
        finally:
            os.close(fd)
    except OSError as error:
        if (shortage := resource_error(error)) is not None:
            raise shortage from error
        return None


def read_stat(pid: int) -> Stat | None:
    """Return the state of a process; None if there is none with this pid."""
    data = read(f"/proc/{pid}/stat")
    if not data:
        return None
    # The name may contain spaces and parentheses; the fields behind it cannot.
    fields = data[data.rindex(b")") + 2 :].split(maxsplit=20)
    state = fields[0].decode()
    return Stat(
        pid=pid,
        state=state,
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        start_time=int(fields[19]),
        # A process whose first thread has ended shows Z too, while its other threads run.
        is_zombie=state in "ZX" and int(fields[17]) <= 1,
    )


def scan(wanted: Callable[[Stat], bool]) -> list[Stat]:
    """Return the living processes for which `wanted` is true; 3 ms for 240 processes.

    Raises:
        OutOfResourcesError: no more open files.
    """
    stats = (read_stat(int(name)) for name in retry_with_reserve(_names) if name.isdigit())
    return [stat for stat in stats if stat and not stat.is_zombie and wanted(stat)]


def _names() -> list[str]:
    try:
        return os.listdir("/proc")
    except OSError as error:
        raise resource_error(error) or UnsupportedPlatformError("/proc cannot be read") from error


def start_time(pid: int) -> int | None:
    """Return a process's start time in clock ticks since boot; None if there is no such process."""
    stat = read_stat(pid)
    return stat.start_time if stat else None


def ignores_term(pid: int) -> bool:
    """Return whether the process ignores TERM, as interactive shells do."""
    for line in (read(f"/proc/{pid}/status") or b"").split(b"\n"):
        if line.startswith(b"SigIgn:"):
            return bool(int(line[7:], 16) >> signal.SIGTERM - 1 & 1)
    return False


def boot_id() -> str:
    """Return the id of the machine's current boot; start times of other boots do not compare."""
    return (read("/proc/sys/kernel/random/boot_id") or b"").decode().strip()


def pid_behind(pidfd: int) -> int:
    """Return the pid of the process behind a pidfd; -1 once it was reaped."""
    for line in (read(f"/proc/self/fdinfo/{pidfd}") or b"").split(b"\n"):
        if line.startswith(b"Pid:"):
            return int(line[4:])
    return -1

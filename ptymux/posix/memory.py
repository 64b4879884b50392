"""Shared memory for rings, and how much memory and how many open files there are."""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
from collections.abc import Iterator

from ptymux.errors import InvalidValueError, PtymuxError, UnsupportedPlatformError
from ptymux.posix.procfs import read
from ptymux.posix.resource_errors import resource_error

__all__ = [
    "create_ring_memory",
    "map_ring_memory",
    "available_memory",
    "raise_open_files_limit",
    "resident_memory",
]

_SIZE_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_MOST_OPEN_FILES = 1 << 16  # old programs close every possible fd; a child might inherit ours
_KIB = 1024


def create_ring_memory(size: int) -> tuple[int, mmap.mmap]:
    """Return new shared memory of `size` bytes, all zero: its fd and a mapping of it.

    Nobody can resize it, so that no mapping of it can fault. Pages cost memory once written.
    The caller closes both. The mapping holds a duplicate of the fd: a ring costs two.

    Raises:
        OutOfResourcesError: memory or open files.
    """
    try:
        fd = os.memfd_create("ptymux-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise _failure(error) from error
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SIZE_SEALS | fcntl.F_SEAL_SEAL)
        return fd, mmap.mmap(fd, size, mmap.MAP_SHARED)
    except OSError as error:
        os.close(fd)
        raise _failure(error) from error


def map_ring_memory(fd: int) -> mmap.mmap:
    """Return a mapping of a ring made by `create_ring_memory`, perhaps in another process.

    Raises:
        InvalidValueError: it is not sealed, so that its owner could make our reads fault.
        OutOfResourcesError: memory or open files.
    """
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if seals & _SIZE_SEALS != _SIZE_SEALS:
        raise InvalidValueError("ring memory", f"fd {fd}", "a memfd sealed against resizing")
    try:
        return mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED)
    except OSError as error:
        raise _failure(error) from error


def _failure(error: OSError) -> PtymuxError:
    return resource_error(error) or UnsupportedPlatformError(f"no shared memory: {error.strerror}")


def available_memory(*, proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> int:
    """Return how many bytes can be had without swapping or reaching a limit of our cgroups.

    File pages not used lately count as free, since the kernel drops them first.
    """
    free = _fields(f"{proc}/meminfo").get(b"MemAvailable:", 0) * _KIB
    return max(0, min([free, *_cgroup_headrooms(proc, cgroups)]))


def _cgroup_headrooms(proc: str, cgroups: str) -> Iterator[int]:
    for line in os.fsdecode(read(f"{proc}/self/cgroup") or b"").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _headrooms(cgroups, path, "memory.max", "memory.current", b"")
            yield from _headrooms(f"{cgroups}/unified", path, "memory.max", "memory.current", b"")
        elif "memory" in controllers.split(","):
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
            yield from _headrooms(f"{cgroups}/memory", path, limit, usage, b"total_")


def _headrooms(
    root: str, path: str, limit_name: str, usage_name: str, prefix: bytes
) -> Iterator[int]:
    """Yield what the group and each one above it have left; those without a limit are silent.

    Inside a container the path may be the host's and not exist; its root is then our group.
    """
    while True:
        limit, usage = read(f"{root}{path}/{limit_name}"), read(f"{root}{path}/{usage_name}")
        if limit and usage and limit.strip() != b"max":
            idle = _fields(f"{root}{path}/memory.stat").get(prefix + b"inactive_file", 0)
            yield int(limit) - int(usage) + idle
        if path in ("", "/"):
            return
        path = path.rpartition("/")[0]


def _fields(path: str) -> dict[bytes, int]:
    """Return the numbers of a file of lines such as `name 12 kB`."""
    words = (line.split() for line in (read(path) or b"").splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) > 1 and pair[1].isdigit()}


def raise_open_files_limit() -> int:
    """Let this process open as many files as it may, 65536 at most; return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, min(hard, _MOST_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def resident_memory(pid: int | None = None, *, shared: bool = True) -> int:
    """Return how many bytes this process has resident, or another of this user.

    Without `shared` those of rings and of other memory that processes share are left out.
    """
    fields = _fields(f"/proc/{pid or 'self'}/status")
    left_out = 0 if shared else fields.get(b"RssShmem:", 0)
    return (fields.get(b"VmRSS:", 0) - left_out) * _KIB

"""Memory: shared memory for rings, how much is available."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator

from ptymux.errors import (
    InvalidValueError,
    OutOfResourcesError,
    PtymuxError,
    UnsupportedPlatformError,
)
from ptymux.posix.procfs import read
from ptymux.posix.resource_errors import resource_error

__all__ = [
    "create_ring_memory",
    "map_ring_memory",
    "available_memory",
    "resident_memory",
]

_SIZE_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_KIB = 1024


def create_ring_memory(size: int) -> tuple[int, mmap.mmap]:
    """Return new shared memory of `size` zero bytes: its fd and a mapping; the caller closes both.

    It is sealed against resizing, so access to a mapping can never fault. A page uses memory once
    it is written. The mapping has a duplicate of the fd, so a ring uses two.

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
    """Return a mapping of memory made by `create_ring_memory`, also of another process's.

    Raises:
        InvalidValueError: it is not sealed; its owner could resize it and make our reads fault.
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
    if error.errno == errno.EFBIG:
        return OutOfResourcesError(
            "file size", "start the server where `ulimit -f` is larger: shared memory counts as one"
        )
    return resource_error(error) or UnsupportedPlatformError(f"no shared memory: {error.strerror}")


def available_memory(*, proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> int:
    """Return how many bytes are available without swapping or reaching a limit of our cgroups.

    File pages that were not used lately count as available: the kernel drops them first.
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
    """Yield what is left of the limit of this cgroup and of each above it that has a limit.

    In a container the path may be the host's and not exist; then the root is our cgroup.
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
    """Return the numbers in a file with lines such as `name 12 kB`, by name."""
    words = (line.split() for line in (read(path) or b"").splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) > 1 and pair[1].isdigit()}


def resident_memory(pid: int | None = None, *, shared: bool = True) -> int:
    """Return how many bytes of memory a process uses: this one, or another of this user.

    Without `shared` it leaves out the memory that processes share, such as rings.
    """
    fields = _fields(f"/proc/{pid or 'self'}/status")
    left_out = 0 if shared else fields.get(b"RssShmem:", 0)
    return (fields.get(b"VmRSS:", 0) - left_out) * _KIB

"""The fds above stderr that a process has from its parent, and passes on to a child.

A child gets them at the numbers that it was told, as in `MAKEFLAGS=--jobserver-auth=3,4`. Here they
are other numbers, which may be among those: so each number is freed before it is given.
"""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from ptymux.errors import InvalidValueError, OutOfResourcesError
from ptymux.posix.spawn_context import STANDARD_FDS

__all__ = ["check_open", "check_numbers", "duplicate_outside", "fds_from_parent", "kept_apart"]


def fds_from_parent() -> list[int]:
    """Return the fds above stderr that a program executed here would get, in ascending order.

    Python closes on exec all that it opens itself, so these are from our parent.
    """
    found = []
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= STANDARD_FDS:
            with suppress(OSError):  # the fd of the listing itself
                if os.get_inheritable(int(name)):
                    found.append(int(name))
    return sorted(found)


def check_open(what: str, fds: Collection[int]) -> None:
    """Check that fds are open, before they are passed to another process.

    Raises:
        InvalidValueError: one is not.
    """
    for fd in fds:
        try:
            os.fstat(fd)
        except OSError:
            raise InvalidValueError(what, fd, "an open fd") from None


def check_numbers(numbers: Collection[int]) -> None:
    """Check that a child of this process can have fds of these numbers.

    Raises:
        OutOfResourcesError: one is not below the hard limit.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if numbers and 0 <= hard <= max(numbers):
        remedy = f"fd {max(numbers)} is to be passed, and the keeper may have {hard} (`ulimit -Hn`)"
        raise OutOfResourcesError("fd numbers", remedy)


@contextmanager
def kept_apart(passed: Mapping[int, int]) -> Iterator[Mapping[int, int]]:
    """Give the same files for a `with` block, none of them at another's number in the child."""
    apart: dict[int, int] = {}
    try:
        for number, fd in passed.items():
            is_in_the_way = fd != number and fd in passed
            apart[number] = duplicate_outside(fd, passed) if is_in_the_way else fd
        yield apart
    finally:
        for number, fd in apart.items():
            if fd != passed[number]:
                os.close(fd)


def duplicate_outside(fd: int, numbers: Collection[int]) -> int:
    """Return a duplicate of `fd` whose number is not among these; it is closed on exec."""
    lowest = STANDARD_FDS
    while (copy := fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)) in numbers:
        os.close(copy)
        lowest = copy + 1
    return copy

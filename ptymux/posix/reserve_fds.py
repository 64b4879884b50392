"""A few open files kept for what has to work when there are no others: to look and to signal.

Who is told that there are no more open files is advised to end some PTYs, which takes some. Only
a process that called `keep_reserve_fds` has any; elsewhere a shortage stays one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from ptymux.errors import OutOfResourcesError

__all__ = ["SPARE_FILES", "keep_reserve_fds", "reserve_fds", "with_reserve_fds"]

SPARE_FILES: Final = 32  # a successor, which begins without, needs some more than its predecessor
_held: list[int] = []

T = TypeVar("T")


def keep_reserve_fds(count: int = SPARE_FILES) -> None:
    """Hold so many, or as many as there can be; 0 gives them up."""
    while len(_held) > count:
        os.close(_held.pop())
    with suppress(OSError):
        while len(_held) < count:
            _held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


@contextmanager
def reserve_fds() -> Iterator[None]:
    """Lend them: what is opened within is to be closed within, and nobody else is to run."""
    count = SPARE_FILES if _held else 0
    keep_reserve_fds(0)
    try:
        yield
    finally:
        keep_reserve_fds(count)


def with_reserve_fds(work: Callable[[], T]) -> T:
    """Return what `work` returns; done once more, with the spare files, where it lacked some."""
    try:
        return work()
    except OutOfResourcesError:
        if not _held:
            raise
    with reserve_fds():
        return work()

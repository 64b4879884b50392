"""A reserve of open files, for work that must succeed when all others are in use.

When a process has no open files left, its error message advises to end some PTYs. To look at
processes and to signal them needs open files too; the reserve gives them. A process has a reserve
only after `keep_reserve`; others simply get the error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from ptymux.errors import OutOfResourcesError

__all__ = [
    "RESERVE_SIZE",
    "forget_reserve",
    "keep_reserve",
    "released_reserve",
    "retry_with_reserve",
]

RESERVE_SIZE: Final = 32  # enough for a replacement, which needs a few more than the process before
_held: list[int] = []

T = TypeVar("T")


def keep_reserve(count: int = RESERVE_SIZE) -> None:
    """Hold `count` open files in reserve, or as many as there are left; 0 releases them."""
    while len(_held) > count:
        os.close(_held.pop())
    with suppress(OSError):
        while len(_held) < count:
            _held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def forget_reserve() -> None:
    """Forget a reserve whose files were closed: in a child, which has none of the open files."""
    _held.clear()


@contextmanager
def released_reserve() -> Iterator[None]:
    """Release the reserve for a `with` block, and take it back afterwards.

    Close within the block what you open in it, and let nothing else run meanwhile.
    """
    count = RESERVE_SIZE if _held else 0
    keep_reserve(0)
    try:
        yield
    finally:
        keep_reserve(count)


def retry_with_reserve(work: Callable[[], T]) -> T:
    """Return the result of `work`; if it lacks open files, it is called again with the reserve."""
    try:
        return work()
    except OutOfResourcesError:
        if not _held:
            raise
    with released_reserve():
        return work()

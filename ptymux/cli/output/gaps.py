"""What people read in the place of output that is missing: on a terminal, or on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ptymux.cli.output.printing import count_of, print_message, times

__all__ = ["PipeGaps", "ScreenGaps", "gap_text", "uncertain_text"]

_SOFT_RESET: Final = b"\x1b[!p\x1b[0m\r\n"


def gap_text(size: int, start: int | None = None, *, places: int = 0, cut: int = 0) -> str:
    """Return the words for `size` bytes of output that are missing.

    They are the ones from offset `start` on, behind which `cut` bytes are left out; or those of
    `places` gaps that were not reported yet. With neither, it is only known how many a terminal
    does not get.
    """
    if start is not None:
        rest = f"; the rest of the line that they cut, {cut:,} bytes, is left out" if cut else ""
        return f"{size:,} bytes of output are missing here, from offset {start:,} on{rest}"
    if places:
        where = f"{places:,} places" if places > 1 else "one place"
        return f"{size:,} more bytes of output are missing, in {where}"
    return f"{size:,} bytes not shown"


def uncertain_text(count: int) -> str:
    """Return the words for `count` reads that kills of the keeper have cut."""
    return (
        f"{times(count)} the keeper was killed while it read this output; "
        f"up to {count_of(count, 'byte')} may be missing"
    )


class ScreenGaps:
    """The lines about missing bytes among the output that waits to be shown on a terminal."""

    def __init__(self) -> None:
        self._missing = self._text = 0

    def add(self, size: int) -> bytes:
        """Return the line about `size` bytes, to be shown in their place."""
        line = _SOFT_RESET + f"[ptymux: {gap_text(size)}]\r\n".encode()
        self._missing += size
        self._text += len(line)
        return line

    def forget(self) -> int:
        """Forget the lines that wait; return by how much more is missing than they are long."""
        more = self._missing - self._text
        self._missing = self._text = 0
        return more


class PipeGaps:
    """Prints on stderr what a pipe does not get: the first gap at once, many in few lines."""

    _SECONDS: Final = 1.0  # between two lines

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._count = self._size = 0  # of gaps that are not printed yet
        self._printed_at = float("-inf")

    def add(self, start: int, end: int) -> None:
        """Print that the output in [start, end) is missing, or keep it for a line about several."""
        if self._clock() < self._printed_at + self._SECONDS:
            self._count += 1
            self._size += end - start
            return
        self.print_rest()
        print_message(gap_text(end - start, start))
        self._printed_at = self._clock()

    def print_rest(self) -> None:
        """Print what is not printed yet."""
        if self._count:
            print_message(gap_text(self._size, places=self._count))
            self._count = self._size = 0

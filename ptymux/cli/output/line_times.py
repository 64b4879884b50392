"""The time in front of a line of output, from what the server says about when it came."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ptymux.core.time_index import Times

__all__ = ["LineTimes"]

_UNKNOWN: Final = b"-".ljust(25) + b" "  # as wide as a time


class LineTimes:
    """Gives times by offset; asks `load` again for output that came after the last answer."""

    def __init__(self, load: Callable[[], Times], clock: Callable[[], float] = time.time) -> None:
        self._load = load
        self._clock = clock
        self._times = load()
        self._second: int | None = None  # the one that was made a text last
        self._text = b""

    def stamp(self, offset: int) -> bytes:
        """Return the local time at which the byte at an offset came, and a blank."""
        # A server's answer has all seconds up to its `end`; later output can be of the same one.
        if offset >= self._times.end and self._last_second != int(self._clock()):
            self._times = self._load()
        second = self._times.second_at(offset)
        if second is None:
            return _UNKNOWN
        if second != self._second:
            self._second, self._text = second, f"{format_second(second)} ".encode()
        return self._text

    @property
    def _last_second(self) -> int | None:
        return self._times.stamps[-1].second if self._times.stamps else None


def format_second(second: int) -> str:
    """Return a second since the epoch as local time with its zone: 2026-11-27T14:05:09+01:00."""
    zone = time.strftime("%z", time.localtime(second))
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.localtime(second))}{zone[:3]}:{zone[3:5]}"

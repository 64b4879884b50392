"""How long a PTY may run, and how long it stays once it has ended.

All times are seconds of one clock that goes on over processes and does not jump when the time of
day is set. They mean something until the machine is restarted, and no PTY lives longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["LONGEST_PAUSE", "Lifetime", "next_look"]

# A timer may stand still while the machine sleeps, and the clock goes on.
LONGEST_PAUSE: Final = 60.0  # seconds between two looks
_SHORTEST_PAUSE: Final = 0.001


@dataclass(slots=True)
class Lifetime:
    """The limits on one PTY's time, and when they began to count."""

    timeout_seconds: float = 0.0  # that it may run; 0: as long as it likes
    ttl_seconds: float | None = None  # that it stays once it has ended; None: until it ages out
    began_at: float | None = None  # its child runs since then
    ended_at: float | None = None  # its terminal is closed since then

    def begin(self, now: float) -> None:
        """Note that the child runs; later calls change nothing."""
        if self.began_at is None:
            self.began_at = now

    def end(self, now: float) -> None:
        """Note that it has ended; later calls change nothing."""
        if self.ended_at is None:
            self.ended_at = now

    @property
    def timeout_at(self) -> float | None:
        """When the child has run for too long; None for never, and once it has ended."""
        if self.began_at is None or self.ended_at is not None or not self.timeout_seconds:
            return None
        return self.began_at + self.timeout_seconds

    @property
    def removal_at(self) -> float | None:
        """When to remove the PTY; None: by itself never."""
        if self.ended_at is None or self.ttl_seconds is None:
            return None
        return self.ended_at + self.ttl_seconds


def next_look(times: Iterable[float | None], now: float) -> float | None:
    """Return the seconds until the next look at what is due; None if there is nothing to wait for.

    `times` are when something will be due.
    """
    waited_for = [each for each in times if each is not None]
    if not waited_for:
        return None
    return min(max(min(waited_for) - now, _SHORTEST_PAUSE), LONGEST_PAUSE)

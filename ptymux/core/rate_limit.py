"""A loss that goes on for a while, and how often it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["REPORT_SECONDS", "RateLimitedLoss"]

REPORT_SECONDS: Final = 1.0  # between two reports of the same loss
_RESUMED: Final = 0.0  # a deadline that is still to be counted from now on


class RateLimitedLoss:
    """Reports a loss at once, then at most once a second, then that it is over.

    `add`, `due` and `close` yield at most one `(amount, final)`; the amounts add up to what was
    added once the burst was closed.
    """

    __slots__ = ("_ahead", "_pending", "deadline", "total")

    def __init__(self) -> None:
        self.total = 0
        self._pending = self._ahead = 0
        self.deadline: float | None = None  # when `due` has something to say; None between bursts

    @property
    def is_open(self) -> bool:
        """Whether a loss was reported, and not yet that it is over."""
        return self.deadline is not None

    @property
    def reported(self) -> int:
        """How much of the total was in a report."""
        return self.total - self._pending + self._ahead

    def resume(self, total: int, reported: int, *, is_open: bool) -> None:
        """Go on after somebody who reported so much of a total, or already more than it.

        When that was is unknown: the next report comes a second from now.
        """
        self.total = total
        self._pending = max(0, total - reported)
        self._ahead = max(0, reported - total)
        self.deadline = _RESUMED if self._pending or is_open else None

    def add(self, amount: int, now: float) -> Iterator[tuple[int, bool]]:
        """Note a loss of `amount`; yield the report that this makes due, if any."""
        self.total += amount
        known = min(amount, self._ahead)  # somebody reported it before it was counted
        self._ahead -= known
        amount -= known
        self._pending += amount
        if amount and self.deadline is None:
            yield self._report(now), False
        else:
            yield from self.due(now)

    def due(self, now: float) -> Iterator[tuple[int, bool]]:
        """Yield the report that is due by now: more loss, or the end after a second without."""
        if self.deadline == _RESUMED:
            self.deadline = now + REPORT_SECONDS
        if self.deadline is not None and now >= self.deadline:
            if self._pending:
                yield self._report(now), False
            else:
                yield from self.close()

    def close(self) -> Iterator[tuple[int, bool]]:
        """Yield the closing report of a burst that is open."""
        if self.deadline is not None:
            amount, self._pending, self.deadline = self._pending, 0, None
            yield amount, True

    def _report(self, now: float) -> int:
        amount, self._pending, self.deadline = self._pending, 0, now + REPORT_SECONDS
        return amount

"""A rate limit for loss reports: at once, then at most one a second, then a final one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["REPORT_SECONDS", "RateLimitedLoss"]

REPORT_SECONDS: Final = 1.0  # between two reports of the same loss
_RESUMED: Final = 0.0  # a deadline that is not computed yet: the next call knows the time


class RateLimitedLoss:
    """The loss of one reader or PTY, and when it is to be reported.

    A burst begins with the first loss and ends after a second without one. `add`, `due` and
    `close` yield at most one report `(amount, final)`. When a burst is closed, the amounts of its
    reports add up to what was lost.
    """

    __slots__ = ("_pending", "ahead", "deadline", "total")

    def __init__(self) -> None:
        self.total = 0
        self._pending = 0
        self.ahead = 0  # loss that was reported and that `add` has not counted yet
        self.deadline: float | None = None  # when to call `due`; None between bursts

    @property
    def is_open(self) -> bool:
        """Whether a burst has been reported whose final report has not."""
        return self.deadline is not None

    @property
    def reported(self) -> int:
        """How much loss all reports together contained."""
        return self.total - self._pending + self.ahead

    def resume(
        self, total: int, reported: int, *, is_open: bool, deadline: float | None = None
    ) -> None:
        """Continue for a process that died after it had reported `reported` bytes of loss.

        That can be more than `total`, the loss that was stored: a loss is reported before it is
        stored. The next report comes at `deadline`, the one of that process; if that is unknown,
        in a second.
        """
        self.total = total
        self._pending = max(0, total - reported)
        self.ahead = max(0, reported - total)
        self.deadline = None
        if self._pending or is_open:
            self.deadline = _RESUMED if deadline is None else deadline

    def add(self, amount: int, now: float) -> Iterator[tuple[int, bool]]:
        """Add a loss of `amount` bytes; yield the report that is due now, if any."""
        self.total += amount
        known = min(amount, self.ahead)  # reported already by the process that died
        self.ahead -= known
        amount -= known
        self._pending += amount
        if amount and self.deadline is None:
            yield self._report(now), False
        else:
            yield from self.due(now)

    def due(self, now: float) -> Iterator[tuple[int, bool]]:
        """Yield the report that is due: of more loss, or the final one after a second without."""
        if self.deadline == _RESUMED:
            self.deadline = now + REPORT_SECONDS
        if self.deadline is not None and now >= self.deadline:
            if self._pending:
                yield self._report(now), False
            else:
                yield from self.close()

    def close(self) -> Iterator[tuple[int, bool]]:
        """End the burst, if there is one; yield its final report."""
        if self.deadline is not None:
            amount, self._pending, self.deadline = self._pending, 0, None
            yield amount, True

    def _report(self, now: float) -> int:
        amount, self._pending, self.deadline = self._pending, 0, now + REPORT_SECONDS
        return amount

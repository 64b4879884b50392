"""A clock that only a test moves: its `sleep` takes no time."""

from __future__ import annotations

__all__ = ["FakeClock"]


class FakeClock:
    """Stands for the module `time`; `slept` has each pause, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.slept.append(seconds)
        self.now += seconds

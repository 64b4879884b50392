"""Figures of a benchmark: what was measured, in each round, and what it should have been."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

__all__ = [
    "NO_COMPILER",
    "QUICK",
    "BenchError",
    "Figure",
    "Goal",
    "NotMeasurableError",
    "Plan",
    "interleave",
    "median_of",
    "quantile",
    "quantile_of",
    "ratio_of",
]

NO_COMPILER: Final = "no C compiler"

# What writes when nothing can be compiled; its start-up then counts, in every row alike.
PYTHON_WRITER: Final = """
import os, sys
left, line = int(sys.argv[1]), bytes(97 + i % 26 for i in range(79)) + b"\\n"
block = memoryview(819 * line)
while left > 0:
    left -= os.write(1, block[:left])
"""


class BenchError(Exception):
    """The benchmark could not run, or what it ran lost bytes."""


class NotMeasurableError(Exception):
    """A part cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything to measure."""

    rounds: int = 9
    size: int = 50_000_000  # bytes through the PTYs in a round
    rings: int = 300
    spawns: int = 200
    transfers: int = 300  # of `block`
    samples: int = 20_000  # of an operation that takes microseconds
    echoes: int = 500  # in a round
    interrupts: int = 5  # in a round
    watched_seconds: float = 3.0  # for which CPU time is counted, in a round
    quiet_seconds: float = 0.3  # after which a terminal has shown all it had to
    program: str | None = None  # scripts/bench.c, compiled
    why_no_program: str = NO_COMPILER

    @property
    def needed_program(self) -> str:
        """The C program, where there is no doing without.

        Raises:
            NotMeasurableError: there is none.
        """
        if self.program is None:
            raise NotMeasurableError(self.why_no_program)
        return self.program

    def share(self, count: int) -> int:
        """Return the bytes of each of `count` PTYs in a round."""
        return max(1, self.size // count)

    def writer(self, size: int) -> tuple[str, ...]:
        """Return a command that writes `size` bytes of text."""
        if self.program is not None:
            return (self.program, "write", str(size))
        return (sys.executable, "-ISc", PYTHON_WRITER, str(size))


QUICK: Final = Plan(
    rounds=3,
    size=400_000,
    rings=20,
    spawns=10,
    transfers=20,
    samples=1000,
    echoes=20,
    interrupts=1,
    watched_seconds=0.3,
    quiet_seconds=0.05,
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a number should be: at least `bound` if `at_least`, else below it; 0 is 0."""

    bound: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '<' if self.bound else '='} {self.bound:g}"

    def is_met(self, value: float) -> bool:
        """Whether `value` reaches the goal."""
        if self.at_least:
            return value >= self.bound
        return value < self.bound or value == self.bound == 0


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, what it was in each round, and its goal if it has one."""

    name: str
    unit: str
    value: float | None  # None when it could not be measured; `note` says why
    rounds: Sequence[float] = ()
    goal: Goal | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal was reached; None without one."""
        if self.goal is None or self.value is None:
            return None
        return self.goal.is_met(self.value)

    def as_json(self, part: str) -> dict[str, object]:
        """Return it for machines, with the part it belongs to."""
        return {
            "part": part,
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "low": min(self.rounds, default=None),
            "high": max(self.rounds, default=None),
            "goal": str(self.goal) if self.goal else None,
            "met": self.is_met,
            "note": self.note,
            "rounds": list(self.rounds),
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return it for people: name, value, spread, goal, verdict."""
        if self.value is None:
            return (self.name, "-", "", str(self.goal or ""), self.note)
        spread = f"{min(self.rounds):.3g}..{max(self.rounds):.3g}" if len(self.rounds) > 1 else ""
        verdict = {None: self.note, True: "met", False: "not met"}[self.is_met]
        value = f"{self.value:.3g} {self.unit}".rstrip()
        return (self.name, value, spread, str(self.goal or ""), verdict)


def median_of(
    name: str, unit: str, rounds: Sequence[float], goal: Goal | None = None, note: str = ""
) -> Figure:
    """Return the median over the rounds."""
    return Figure(name, unit, statistics.median(rounds), rounds, goal, note)


def quantile_of(
    name: str, unit: str, rounds: Sequence[Sequence[float]], share: float, goal: Goal | None = None
) -> Figure:
    """Return the quantile of all samples of all rounds; its spread is that of the rounds' own."""
    pooled = [sample for samples in rounds for sample in samples]
    return Figure(name, unit, quantile(pooled, share), [quantile(r, share) for r in rounds], goal)


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the sample below or at which `share` of them lie; the largest for 1.0."""
    return sorted(samples)[max(0, math.ceil(share * len(samples)) - 1)]


T = TypeVar("T")


def ratio_of(
    name: str, ours: Sequence[float], theirs: Sequence[float], goal: Goal | None = None
) -> Figure:
    """Return the median of the ratios within each round."""
    return median_of(name, "", [one / other for one, other in zip(ours, theirs, strict=True)], goal)


def interleave(rounds: int, works: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Return what each of `works` gave in each round, all in turn; a first round is not counted."""
    results: dict[str, list[T]] = {name: [] for name in works}
    for number in range(1 + rounds):
        for name, work in works.items():
            result = work()
            if number:
                results[name].append(result)
    return results

"""What `ptymux stress` runs: scenarios, and the outcome that the laws of the account demand."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ptymux.core.model import KIB, MIB, Limits, OnFull
from ptymux.core.units import format_capacity
from ptymux.errors import InvalidValueError
from ptymux.stress.child import LARGEST_BYTES, SMALLEST_BYTES, ChildKind, written_bytes

__all__ = [
    "DEFAULT_BYTES",
    "DEFAULT_SIZES",
    "LATENESS_SECONDS",
    "THRESHOLD",
    "Conduct",
    "Plan",
    "Scenario",
    "make_plan",
]

DEFAULT_SIZES: Final = (1 * MIB, 4 * MIB, 16 * MIB)
DEFAULT_BYTES: Final = 50_000_000
THRESHOLD: Final = 0.75  # of backpressure, in every scenario
LATENESS_SECONDS: Final = 0.050  # a timer may never be later, nor who reads as fast as they can

SLOWNESS: Final = 4  # a slow consumer reads one of so many bytes while the child runs
_PACE: Final = 20e6  # bytes a second of the paced child
_PACED_SECONDS: Final = 2.5  # at least, so that three overflow events are due before the final one
_PACED_SHARE: Final = 5  # its buffer is full after this part of it, at the latest
_HELD_BUFFERS: Final = 1000  # a child that is held at every few bytes would take for ever
_KEEPS_UP: Final = 256 * KIB  # below it a burst of the engine alone may overflow the buffer
_FLOOD: Final = 200e6  # bytes a second; a terminal hardly takes more


class Conduct(enum.Enum):
    """How the reader of a scenario behaves; the value is its name for people."""

    NEVER = "never reads"
    SLOW = "slow"
    FAST = "fast"
    BLOCK = "block"  # lossless: it stops until the child is held, reads half, and again


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One child, one buffer, one reader; bytes unless the name says otherwise."""

    name: str
    conduct: Conduct
    capacity: int
    child: ChildKind
    child_bytes: int  # that the child writes
    pace: float = 0.0  # bytes a second, 0: as fast as it can

    @property
    def title(self) -> str:
        """The name and the size of the buffer, for people."""
        return f"{self.name} {format_capacity(self.capacity)}"

    @property
    def on_full(self) -> OnFull:
        """What happens when the buffer is full."""
        return OnFull.BLOCK if self.conduct is Conduct.BLOCK else OnFull.DROP

    @property
    def total(self) -> int:
        """The bytes that must be counted as written."""
        return written_bytes(self.child, self.child_bytes)

    @property
    def dropped(self) -> tuple[int, int]:
        """The least and the most bytes that may be dropped; equal where the laws are exact."""
        overflow = max(0, self.total - self.capacity)
        match self.conduct:
            case Conduct.NEVER:
                return overflow, overflow
            case Conduct.SLOW:
                return max(0, overflow - self.total // SLOWNESS), overflow
            case Conduct.FAST if self.capacity < _KEEPS_UP:
                return 0, overflow
            case _:
                return 0, 0

    @property
    def raises_backpressure(self) -> bool:
        """Whether backpressure must go on."""
        if not self.capacity or self.conduct is Conduct.FAST:
            return False
        if self.conduct is Conduct.SLOW:
            return self.dropped[0] > 0
        return min(self.total, self.capacity) > THRESHOLD * self.capacity + 1

    @property
    def reports(self) -> int:
        """The least number of overflow events before the final one."""
        if not self.dropped[0]:
            return 0
        return 2 if self.pace else 1

    @property
    def deadline_seconds(self) -> float:
        """The seconds after which a scenario that has not ended counts as stuck."""
        slowest = min(self.pace or 500e3, 500e3)
        return 30 + self.total / slowest


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one call of `ptymux stress` does."""

    sizes: tuple[int, ...]
    child: ChildKind
    child_bytes: int
    scenarios: tuple[Scenario, ...]

    @property
    def is_default(self) -> bool:
        """Whether nothing was chosen; then the time of the whole run is limited, too."""
        return (self.sizes, self.child, self.child_bytes) == (
            DEFAULT_SIZES,
            ChildKind.COUNTER,
            DEFAULT_BYTES,
        )


def make_plan(
    sizes: Sequence[int] = DEFAULT_SIZES,
    child_bytes: int = DEFAULT_BYTES,
    child: ChildKind = ChildKind.COUNTER,
) -> Plan:
    """Return the scenarios for buffers of `sizes`, each size once, in the order given.

    The zero capacity and the paced scenario are always there. The paced one takes the smallest
    size, or a fifth of its bytes, and at least 2.5 seconds: else nothing would space its events.
    In block mode the child fills a thousand buffers at most, before a fast consumer one in 50 ms.

    Raises:
        InvalidValueError: a size or the number of bytes is out of bounds.
    """
    for size in sizes:
        if not 0 <= size <= Limits.LARGEST_BUFFER:
            raise InvalidValueError("--size", size, "0 to 1G")
    if not SMALLEST_BYTES <= child_bytes <= LARGEST_BYTES:
        raise InvalidValueError("--bytes", child_bytes, f"{SMALLEST_BYTES} to {LARGEST_BYTES}")
    sizes = tuple(dict.fromkeys(sizes))
    return Plan(
        sizes=sizes,
        child=child,
        child_bytes=child_bytes,
        scenarios=tuple(_scenarios([size for size in sizes if size], child_bytes, child)),
    )


def _most_bytes(conduct: Conduct, capacity: int) -> int:
    """Return how many bytes the child may write for a scenario to end in reasonable time."""
    if conduct is Conduct.BLOCK:
        return max(SMALLEST_BYTES, _HELD_BUFFERS * capacity)
    return LARGEST_BYTES


def _most_pace(conduct: Conduct, capacity: int, child: ChildKind) -> float:
    """Return how fast the child may write, 0 for as it can.

    A consumer that is to lose nothing, however fast, loses when it is kept off its processor for
    longer than the buffer lasts. So it has to last as long as anything here may come late.
    """
    pace = capacity / LATENESS_SECONDS
    must_keep_up = conduct is Conduct.FAST and capacity >= _KEEPS_UP
    return pace if must_keep_up and child is ChildKind.COUNTER and pace < _FLOOD else 0.0


def _scenarios(sizes: Sequence[int], child_bytes: int, child: ChildKind) -> Iterator[Scenario]:
    for size in sizes:
        for conduct in Conduct:
            yield Scenario(
                name=conduct.value,
                conduct=conduct,
                capacity=size,
                child=child,
                child_bytes=min(child_bytes, _most_bytes(conduct, size)),
                pace=_most_pace(conduct, size, child),
            )
    yield Scenario(
        name="no buffer",
        conduct=Conduct.NEVER,
        capacity=0,
        child=child,
        child_bytes=child_bytes,
    )
    yield Scenario(
        name="paced",
        conduct=Conduct.NEVER,
        capacity=min([child_bytes // _PACED_SHARE, *sizes]) if sizes else 0,
        child=ChildKind.COUNTER,  # `yes` has no pace
        child_bytes=child_bytes,
        pace=min(_PACE, child_bytes / _PACED_SECONDS),
    )

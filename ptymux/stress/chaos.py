"""`ptymux stress --chaos`: the plan of a run in which a server is killed, and the verdicts on it.

Two PTYs of one server have a reader each. The child of the first, the follower, writes at a pace
and never waits: what its reader misses because no server came for long is a gap. The child of the
other, the lossless reader, writes as fast as it can. A full buffer makes it wait most of the time,
and nothing may be lost. This reader reads at a pace; a kill is due each time it got so much more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ptymux.core.model import KIB, MIB, Limits, OnFull
from ptymux.core.notifications import BufferStats
from ptymux.core.reader import ReaderKind
from ptymux.core.units import format_capacity
from ptymux.errors import InvalidValueError
from ptymux.stress.child import LARGEST_BYTES
from ptymux.stress.measurements import ContentCheck
from ptymux.stress.plan import DEFAULT_BYTES
from ptymux.stress.verdict import (
    Verdict,
    content_faults,
    equal,
    has_passed,
    law_faults,
    unless,
    verdict_of,
)

__all__ = [
    "DEFAULT_KILLS",
    "ChaosJudged",
    "ChaosMeasured",
    "ChaosPlan",
    "ReaderMeasured",
    "ReaderPlan",
    "judge_chaos",
    "make_chaos_plan",
]

DEFAULT_KILLS: Final = 10
_MOST_KILLS: Final = 10_000
_DEFAULT_SIZE: Final = 4 * MIB
# What a kill leaves in the reader's socket must not be all that there is to come.
_BYTES_PER_KILL: Final = 512 * KIB
_KILL_SECONDS: Final = 0.5  # of reading, between two kills
_AWAY_SECONDS: Final = 0.5  # until there is another server, as a rule
_STUCK_SECONDS: Final = 10.0  # of them, no reader has the patience for more


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderPlan:
    """One PTY with its reader; a pace is in bytes a second, 0 for as fast as possible."""

    name: str
    kind: ReaderKind
    on_full: OnFull
    child_pace: float
    reader_pace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosPlan:
    """What one call of `ptymux stress --chaos` does; sizes are in bytes."""

    kills: int
    child_bytes: int  # of each of the two
    capacity: int

    @property
    def title(self) -> str:
        """The heading for people."""
        return f"chaos {format_capacity(self.capacity)}"

    @property
    def readers(self) -> tuple[ReaderPlan, ReaderPlan]:
        """The follower, which runs a little longer than all kills take, and the lossless one."""
        return (
            ReaderPlan(
                name="follower",
                kind=ReaderKind.CONSUMER,
                on_full=OnFull.DROP,
                child_pace=self._pace(_KILL_SECONDS + _AWAY_SECONDS),
                reader_pace=0.0,
            ),
            ReaderPlan(
                name="lossless",
                kind=ReaderKind.LOSSLESS,
                on_full=OnFull.BLOCK,
                child_pace=0.0,
                reader_pace=self._pace(_KILL_SECONDS),
            ),
        )

    @property
    def deadline_seconds(self) -> float:
        """The seconds after which a run that has not ended counts as stuck."""
        return 30 + (self.kills + 1) * (_KILL_SECONDS + _STUCK_SECONDS)

    def kill_offset(self, index: int) -> int:
        """Return the offset that the lossless reader has at kill number `index`, from 0."""
        return (index + 1) * self.child_bytes // (self.kills + 1)

    def pause_offset(self, kills: int) -> int:
        """Return the offset at which a reader waits for the kill after `kills`, if that is late.

        On a slow machine a reader might have everything before the server is killed.
        """
        if kills >= self.kills:
            return self.child_bytes + 1
        return (self.kill_offset(kills) + self.kill_offset(kills + 1)) // 2

    def _pace(self, seconds: float) -> float:
        return self.child_bytes / (self.kills + 1) / seconds


def make_chaos_plan(
    kills: int = DEFAULT_KILLS, child_bytes: int | None = None, sizes: tuple[int, ...] = ()
) -> ChaosPlan:
    """Return the plan for `kills` kills.

    Raises:
        InvalidValueError: a number is out of bounds, there is more than one size, or there are too
            few bytes for each kill to hit an output that is not complete.
    """
    if not 1 <= kills <= _MOST_KILLS:
        raise InvalidValueError("--chaos", kills, f"1 to {_MOST_KILLS}")
    if len(sizes) > 1:
        raise InvalidValueError("--size", len(sizes), "given once with --chaos")
    capacity = sizes[0] if sizes else _DEFAULT_SIZE
    if not 1 <= capacity <= Limits.LARGEST_BUFFER:
        raise InvalidValueError("--size", capacity, "1 to 1G with --chaos")
    least = _BYTES_PER_KILL * (kills + 1)
    if child_bytes is None:
        child_bytes = max(DEFAULT_BYTES, least)
    if not least <= child_bytes <= LARGEST_BYTES:
        expected = f"{least} to {LARGEST_BYTES} with --chaos {kills}"
        raise InvalidValueError("--bytes", child_bytes, expected)
    return ChaosPlan(kills=kills, child_bytes=child_bytes, capacity=capacity)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderMeasured:
    """What one reader got, and the statistics of its PTY at the end; sizes are in bytes."""

    plan: ReaderPlan
    check: ContentCheck
    seconds: float  # until it had everything
    silence_seconds: float  # the longest that it waited for output
    kills: int  # while there was output to come
    failure: str | None  # why it could not go on
    exit_code: int | None
    stats: BufferStats | None  # None when no server could be asked
    overflow_dropped: int  # the sum over its overflow events


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosMeasured:
    """All figures of one run."""

    plan: ChaosPlan
    seconds: float
    is_stuck: bool  # it did not end by itself
    kills: int
    server_replaced: int
    keeper_replaced: int
    events_missed: int
    readers: tuple[ReaderMeasured, ...]

    @property
    def silence_seconds(self) -> float:
        """The longest that any reader waited for output."""
        return max(reader.silence_seconds for reader in self.readers)


@dataclass(frozen=True, slots=True)
class ChaosJudged:
    """A run with its verdicts: one on how servers were replaced, one on each reader."""

    measured: ChaosMeasured
    replaced: Verdict
    readers: tuple[Verdict, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All verdicts."""
        return (self.replaced, *self.readers)

    @property
    def has_passed(self) -> bool:
        """Whether the run passed."""
        return has_passed(self.verdicts)


def judge_chaos(measured: ChaosMeasured) -> ChaosJudged:
    """Return the run with its verdicts; a run that did not go as planned proves nothing."""
    return ChaosJudged(
        measured,
        verdict_of("replaced", _run_faults(measured), _run_missing(measured)),
        tuple(
            verdict_of(each.plan.name, _reader_faults(measured.plan, each), _reader_missing(each))
            for each in measured.readers
        ),
    )


def _run_faults(m: ChaosMeasured) -> Iterator[str]:
    yield from unless(not m.is_stuck, "it did not end by itself")
    yield from unless(
        m.server_replaced <= m.kills,
        f"the server was replaced {m.server_replaced} times, and killed {m.kills} times",
    )
    yield from unless(not m.keeper_replaced, f"the keeper was replaced {m.keeper_replaced} times")
    yield from equal("events missed", m.events_missed, 0)


def _run_missing(m: ChaosMeasured) -> Iterator[str]:
    wanted = m.plan.kills
    if (m.kills, m.server_replaced) != (wanted, wanted):
        yield (
            f"the server was killed {m.kills} times and replaced {m.server_replaced} times, "
            f"{wanted} were asked for"
        )


def _reader_missing(r: ReaderMeasured) -> Iterator[str]:
    yield from unless(r.kills > 0, "no kill hit it while there was output to come")


def _reader_faults(plan: ChaosPlan, r: ReaderMeasured) -> Iterator[str]:
    if r.failure is not None:
        yield f"the reader could not go on: {r.failure}"
    yield from unless(r.exit_code == 0, f"the child ended with {r.exit_code}")
    yield from content_faults("delivered", r.check)
    yield from equal("delivered and skipped", r.check.size + r.check.skipped, r.check.end)
    yield from equal("the output's end", r.check.end, plan.child_bytes)
    if r.plan.kind is ReaderKind.LOSSLESS:
        yield from equal("delivered", r.check.size, plan.child_bytes)
    if r.stats is None:
        yield "there are no statistics"
        return
    yield from law_faults(r.stats)
    yield from equal("written", r.stats.total_written, plan.child_bytes)
    yield from equal("consumed", r.stats.total_consumed, r.check.size)
    # What is skipped ends a little behind what is dropped, if the writer overtakes a reader then.
    yield from equal("dropped or unread", r.stats.total_dropped + r.stats.unread, r.check.skipped)
    yield from equal("the sum over overflow events", r.overflow_dropped, r.stats.total_dropped)
    yield from equal("dropped while nobody was attached", r.stats.dropped_unattended, 0)
    yield from equal("merged", r.stats.merged, 0)

"""Measurements as a scenario without a fault would give them."""

from __future__ import annotations

from dataclasses import replace

from ptymux.core.model import MIB
from ptymux.core.notifications import BufferStats
from ptymux.stress.measurements import ContentCheck, EventSeen, Lateness, Measured, Sample
from ptymux.stress.plan import Conduct, Scenario, make_plan

BYTES = 10_000_000


def scenario(name: str, capacity: int = MIB) -> Scenario:
    """Return the scenario of that name from the plan for one size."""
    plan = make_plan([capacity], BYTES)
    return next(each for each in plan.scenarios if each.name == name)


def perfect(of: Scenario) -> Measured:
    """Return what a faultless run of a scenario measures."""
    total, capacity = of.total, of.capacity
    dropped = sum(of.dropped) // 2 if of.conduct is Conduct.SLOW else of.dropped[0]
    reads = of.conduct is not Conduct.NEVER
    delivered = total - dropped if reads else 0
    retained = min(total, capacity)
    unread = 0 if reads else retained
    pressed = (True, False) if of.raises_backpressure else ()
    consumed, tail = ContentCheck(of.child, 0), ContentCheck(of.child, total - retained)
    consumed.size, consumed.skipped = delivered, dropped if reads else 0
    tail.size = retained
    overflows = _overflows(dropped, 3 if of.pace else 1) if dropped else ()
    return Measured(
        scenario=of,
        seconds=0.5,
        consumed_seconds=0.5 if reads else 0.0,
        is_stuck=False,
        exit_code=0,
        stats=BufferStats(
            capacity=capacity,
            retained=retained,
            unread=unread,
            available=unread,
            backlog=0,
            utilization=0.0,
            high_water=retained if of.conduct is not Conduct.FAST else retained // 10,
            total_written=total,
            total_consumed=delivered,
            total_dropped=dropped,
            dropped_attended=dropped,
            dropped_unattended=0,
            trimmed=total - dropped - retained,
            merged=0,
            overflow_events=len(overflows),
            backpressure=False,
            backpressure_events=sum(pressed),
        ),
        start=0,
        end=total,
        delivered=delivered,
        skipped=dropped if reads else 0,
        backlog=0 if reads else total,
        consumed=consumed,
        tail=tail,
        most_retained=retained,
        overrun=0,
        memory_before=30 * MIB,
        memory_peak=31 * MIB + capacity,
        backpressure=pressed,
        overflows=overflows,
        skips=overflows if reads else (),
        missed_events=0,
        warnings=1 if dropped else 0,
        lateness=Lateness.of([0.0001, 0.002, 0.003]),
        samples=(Sample(0.0, 0, 0, 0, 0.0), Sample(0.5, total, delivered, dropped, 1.0)),
    )


def _overflows(dropped: int, reports: int) -> tuple[EventSeen, ...]:
    told = [EventSeen(0.1 + index, 100, 100 * (index + 1), False) for index in range(reports)]
    return (*told, EventSeen(told[-1].seconds + 0.3, dropped - 100 * reports, dropped, True))


def with_stats(measured: Measured, **changes: int | bool) -> Measured:
    """Return measurements whose final statistics are others."""
    return replace(measured, stats=replace(measured.stats, **changes))  # type: ignore[arg-type]


def with_overflows(measured: Measured, overflows: tuple[EventSeen, ...]) -> Measured:
    """Return measurements with other overflow events, counted as the buffer would."""
    return with_stats(replace(measured, overflows=overflows), overflow_events=len(overflows))

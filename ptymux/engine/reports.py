"""Reports of an engine to its manager, as plain values that can be sent as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ptymux.posix.exit_status import ExitStatus

__all__ = [
    "Closed",
    "Exited",
    "LifelineEnded",
    "Output",
    "Report",
    "Suspended",
    "report_as_json",
    "report_from_json",
]


@dataclass(frozen=True, slots=True)
class Output:
    """Report of output: the ring's total has reached its `wake_at`."""

    slot: int


@dataclass(frozen=True, slots=True)
class Exited:
    """Report that the child has exited and its own output is complete in the ring.

    `tail_pending`: another process still has the terminal open; `Closed` follows within a second.
    """

    slot: int
    status: ExitStatus
    tail_pending: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """Report that the terminal is closed: nothing more will be written to the ring."""

    slot: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """Report that a signal has stopped the child, or that it was continued."""

    slot: int
    suspended: bool


@dataclass(frozen=True, slots=True)
class LifelineEnded:
    """Report that an input channel has ended: its client closed it, or the PTY ended."""

    slot: int
    lifeline: int
    by_client: bool


Report = Output | Exited | Closed | Suspended | LifelineEnded


_REPORTS: Final[Mapping[str, Callable[[Any], Report]]] = {
    "o": lambda v: Output(v[1]),
    "x": lambda v: Exited(v[1], ExitStatus(v[2], v[3], v[4]), v[5]),
    "c": lambda v: Closed(v[1]),
    "s": lambda v: Suspended(v[1], v[2]),
    "l": lambda v: LifelineEnded(v[1], v[2], v[3]),
}


def report_from_json(values: list[Any]) -> Report:
    """Return the report that `report_as_json` was called with."""
    return _REPORTS[values[0]](values)


def report_as_json(report: Report) -> list[Any]:
    """Return a report as a short list of JSON values: there are many of them."""
    match report:
        case Output(slot):
            return ["o", slot]
        case Exited(slot, status, tail):
            return ["x", slot, status.exit_code, status.signal, status.core_dumped, tail]
        case Closed(slot):
            return ["c", slot]
        case Suspended(slot, suspended):
            return ["s", slot, suspended]
        case LifelineEnded(slot, number, by_client):
            return ["l", slot, number, by_client]

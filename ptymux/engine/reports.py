"""What an engine tells its manager; plain values, so that a link can carry them."""

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
    """The ring's total reached its `wake_at`."""

    slot: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The child is gone and its own output is complete in the ring.

    `tail_pending`: something else still holds the terminal; `Closed` follows within a second.
    """

    slot: int
    status: ExitStatus
    tail_pending: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The master is closed; nothing will be written to the ring any more."""

    slot: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """The child was stopped by a signal, or continued."""

    slot: int
    suspended: bool


@dataclass(frozen=True, slots=True)
class LifelineEnded:
    """A lifeline is over: its client closed it, or the PTY ended."""

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
    """Return what `report_as_json` was given."""
    return _REPORTS[values[0]](values)


def report_as_json(report: Report) -> list[Any]:
    """Return a report as JSON values, short as there are many."""
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

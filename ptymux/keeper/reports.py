"""What an engine tells its manager; plain values, so that a link can carry them."""

from __future__ import annotations

from dataclasses import dataclass

from ptymux.posix.ending import ExitStatus

__all__ = ["Closed", "Exited", "LifelineEnded", "Output", "Report", "Suspended"]


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
    """An attachment is over: its client closed the lifeline, or all of its input was taken."""

    slot: int
    lifeline: int


Report = Output | Exited | Closed | Suspended | LifelineEnded

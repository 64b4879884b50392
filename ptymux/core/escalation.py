"""Signals: their names, a record of each delivery, and the plan that ends all processes of a PTY.

An `Escalation` only decides; `engine.session_end.perform` acts. Its caller scans the session's
processes, calls `step` with what it found, sends what the answer says, and comes back at
`deadline`. The caller also gives the time, which must never go back. A process can be any value
that the caller can hash and signal. Two values must be equal only for the same process: else a new
process with a reused pid would count as one that had its TERM already.
"""

from __future__ import annotations

import enum
import math
import signal as signals
from collections import deque
from collections.abc import Hashable, Iterator, Set
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from ptymux.core.model import Limits, PtyId
from ptymux.core.words import closest
from ptymux.errors import InvalidValueError, UnknownSignalError

__all__ = [
    "parse_signal",
    "signal_name",
    "Outcome",
    "SignalEnvelope",
    "EnvelopeLog",
    "GRACE_SCAN_SECONDS",
    "KILL_SCAN_SECONDS",
    "GIVE_UP_SECONDS",
    "Send",
    "GiveUp",
    "Done",
    "Action",
    "Escalation",
    "check_grace",
]

GRACE_SCAN_SECONDS = 0.1  # between two scans for new processes while the grace lasts
KILL_SCAN_SECONDS = 0.02  # between two scans once KILL was sent
GIVE_UP_SECONDS = 1.0  # from the first KILL to closing by force


P = TypeVar("P", bound=Hashable)


def parse_signal(given: str | int) -> int:
    """Return the number of a signal given as TERM, SIGTERM, sigterm, 15 or "15".

    Raises:
        UnknownSignalError: this system has no such signal; 0 is not one.
    """
    if isinstance(given, str) and not (given.isascii() and given.isdecimal()):
        name = given.upper().removeprefix("SIG")
        known = signals.Signals.__members__.get(f"SIG{name}")
        if known is None:
            names = (each.removeprefix("SIG") for each in signals.Signals.__members__)
            raise UnknownSignalError(given, closest(name, names))
        return known.value
    # No signal number has more than three digits, and int() refuses thousands of them.
    number = given if isinstance(given, int) else int(given[:3])
    if len(str(given)) > 3 or not 0 < number < signals.NSIG:
        raise UnknownSignalError(given)
    return number


def signal_name(number: int) -> str:
    """Return the name of a signal, TERM for 15; the number if it has no name."""
    try:
        return signals.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


class Outcome(enum.Enum):
    """The result of sending one signal to one process."""

    DELIVERED = "delivered"  # the kernel accepted it
    FAILED = "failed"  # `SignalEnvelope.error` says why
    ESCALATED = "escalated"  # it was a KILL, because TERM had not helped


@dataclass(frozen=True, slots=True)
class SignalEnvelope:
    """The record of one signal sent to one process, and its outcome."""

    pty_id: PtyId
    pid: int
    signal: int
    at: float  # seconds since the epoch
    outcome: Outcome
    error: str | None = None  # in words; set exactly if the outcome is `failed`

    def as_json(self) -> dict[str, str | int | float | None]:
        """Return the envelope as `stats --json` prints it and events contain it."""
        return {
            "pty_id": self.pty_id,
            "pid": self.pid,
            "signal": self.signal,
            "at": self.at,
            "outcome": self.outcome.value,
            "error": self.error,
        }


class EnvelopeLog:
    """The latest `Limits.ENVELOPES` signal deliveries of one PTY, oldest first."""

    def __init__(self) -> None:
        self._envelopes: deque[SignalEnvelope] = deque(maxlen=Limits.ENVELOPES)

    def append(self, envelope: SignalEnvelope) -> None:
        """Add a delivery; a full log drops its oldest."""
        self._envelopes.append(envelope)

    def __iter__(self) -> Iterator[SignalEnvelope]:
        return iter(tuple(self._envelopes))

    def __len__(self) -> int:
        return len(self._envelopes)


@dataclass(frozen=True, slots=True)
class Send(Generic[P]):
    """Order to send `signal` to `process`; if the process is gone, that is no error."""

    process: P
    signal: int


@dataclass(frozen=True, slots=True)
class GiveUp(Generic[P]):
    """Order to close the PTY by force: these processes survived KILL for a second."""

    left: frozenset[P]


@dataclass(frozen=True, slots=True)
class Done:
    """The plan has succeeded: no process of the session is alive."""


Action: TypeAlias = Send[P] | GiveUp[P] | Done


class Escalation(Generic[P]):
    """The plan that ends a session: TERM and CONT, a grace period, then KILL until nothing is left.

    - Each process gets TERM and CONT once, when it is first seen. All TERMs come before any CONT,
      so that a stopped process already has a TERM waiting when it continues.
    - A process that ignores TERM when it is first seen also gets HUP: interactive shells ignore
      TERM. This is checked only once. A program that is cleaning up after TERM may ignore further
      ones, and a HUP would kill it.
    - After the grace period each living process gets KILL, at every step again.
    - With a grace of zero there is only KILL: nobody would have the time to act upon TERM.
    - `GIVE_UP_SECONDS` after the first KILL the plan ends, whatever is left.

    Raises:
        InvalidValueError: the grace is negative or not a finite number.
    """

    def __init__(self, started_at: float, grace_seconds: float) -> None:
        self._kill_at = started_at + check_grace(grace_seconds)
        self._next_at = started_at
        self._asked: set[P] = set()
        self._killed_at: float | None = None
        self._is_over = False
        self._left: frozenset[P] = frozenset()

    @property
    def escalated(self) -> bool:
        """Whether KILL was sent."""
        return self._killed_at is not None

    @property
    def is_over(self) -> bool:
        """Whether `Done` or `GiveUp` was returned; later steps return nothing."""
        return self._is_over

    @property
    def left(self) -> frozenset[P]:
        """The processes that survived KILL when the plan gave up; empty if it did not."""
        return self._left

    def shorten(self, now: float, grace_seconds: float) -> None:
        """End the grace period `grace_seconds` from now, unless it ends earlier anyway.

        That is what a second request to terminate does.

        Raises:
            InvalidValueError: the grace is negative or not a finite number.
        """
        self._kill_at = min(self._kill_at, now + check_grace(grace_seconds))

    def step(self, now: float, alive: Set[P], ignoring_term: Set[P]) -> tuple[Action[P], ...]:
        """Return what to do now, in order; `alive` are the session's processes, just scanned.

        Call it at once, then at each `deadline`, and when a process is known to have ended.
        """
        if self._is_over:
            return ()
        if not alive:
            self._is_over = True
            return (Done(),)
        self._next_at = now
        if now < self._kill_at:
            return self._ask(alive, ignoring_term)
        return self._kill(now, alive)

    def deadline(self, now: float) -> float | None:
        """Return when to call `step` next, not before `now`; None once the plan is over."""
        if self._is_over:
            return None
        if self._killed_at is not None:
            due = min(self._next_at + KILL_SCAN_SECONDS, self._killed_at + GIVE_UP_SECONDS)
        elif self._asked:
            due = min(self._next_at + GRACE_SCAN_SECONDS, self._kill_at)
        else:
            due = self._next_at
        return max(now, due)

    def _ask(self, alive: Set[P], ignoring_term: Set[P]) -> tuple[Send[P], ...]:
        new = [process for process in alive if process not in self._asked]
        self._asked.update(new)
        return (
            *(Send(process, signals.SIGTERM) for process in new),
            *(Send(process, signals.SIGHUP) for process in new if process in ignoring_term),
            *(Send(process, signals.SIGCONT) for process in new),
        )

    def _kill(self, now: float, alive: Set[P]) -> tuple[Action[P], ...]:
        kills = tuple(Send(process, signals.SIGKILL) for process in alive)
        if self._killed_at is None:
            self._killed_at = now
        if now < self._killed_at + GIVE_UP_SECONDS:
            return kills
        self._is_over = True
        self._left = frozenset(alive)
        # If this step is late, it may see processes that had no KILL yet.
        return (*kills, GiveUp(self._left))


def check_grace(grace_seconds: float) -> float:
    """Return `grace_seconds` if it is a valid grace period.

    Raises:
        InvalidValueError: it is negative or not a finite number.
    """
    if not (math.isfinite(grace_seconds) and grace_seconds >= 0):
        raise InvalidValueError("grace", grace_seconds, "a time of 0 or more")
    return grace_seconds

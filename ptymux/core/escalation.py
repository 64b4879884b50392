"""Signals: their names, the record of each delivery, and the plan by which a session is ended.

An `Escalation` only decides; `engine.session_end.perform` acts on real processes. A caller scans
the session, calls `step` with what it found, does what the answer says and comes back at
`deadline`. The clock is the caller's and must never go back. A process is any hashable value that
the caller can signal. Two are equal only if they are the same process: otherwise a new process
with a reused pid would count as one that got its TERM already.
"""

from __future__ import annotations

import enum
import math
import signal as signals
from collections import deque
from collections.abc import Hashable, Iterator, Set
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from ptymux.core.model import DEFAULT_GRACE_SECONDS, Limits, PtyId
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
    "END_TIMING",
    "EndTiming",
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


@dataclass(frozen=True, slots=True)
class EndTiming:
    """How long the stages of an end last that no option sets; tests give shorter ones."""

    hangup_seconds: float = 0.3  # from HUP to TERM: a program that cleans up at HUP dies of a TERM
    grace_seconds: float = DEFAULT_GRACE_SECONDS  # from TERM to KILL, of a PTY without a manager
    close_seconds: float = 1.5  # for the engine to close the terminal of a session that is gone
    step_seconds: float = 0.01  # between two scans of a keeper that ends what it has


END_TIMING: Final = EndTiming()

P = TypeVar("P", bound=Hashable)


def parse_signal(given: str | int) -> int:
    """Return the number of a signal given as TERM, SIGTERM, sigterm, 15 or "15".

    Raises:
        UnknownSignalError: this system has no such signal; 0 is none either.
    """
    if isinstance(given, str) and not (given.isascii() and given.isdecimal()):
        known = signals.Signals.__members__.get(f"SIG{given.upper().removeprefix('SIG')}")
        if known is None:
            raise UnknownSignalError(given)
        return known.value
    # Three digits are more than any signal has; int() refuses thousands of them.
    number = given if isinstance(given, int) else int(given[:3])
    if len(str(given)) > 3 or not 0 < number < signals.NSIG:
        raise UnknownSignalError(given)
    return number


def signal_name(number: int) -> str:
    """Return TERM for 15; a real-time signal without a name of its own is its number."""
    try:
        return signals.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


class Outcome(enum.Enum):
    """What became of one delivery."""

    DELIVERED = "delivered"  # the kernel took it
    FAILED = "failed"  # the error says why
    ESCALATED = "escalated"  # a KILL because asking had not helped


@dataclass(frozen=True, slots=True)
class SignalEnvelope:
    """One delivery of one signal to one process."""

    pty_id: PtyId
    pid: int
    signal: int
    at: float  # seconds since the epoch
    outcome: Outcome
    error: str | None = None  # in words, exactly when it failed

    def as_json(self) -> dict[str, str | int | float | None]:
        """Return the envelope as `stats --json` and the event's payload show it."""
        return {
            "pty_id": self.pty_id,
            "pid": self.pid,
            "signal": self.signal,
            "at": self.at,
            "outcome": self.outcome.value,
            "error": self.error,
        }


class EnvelopeLog:
    """The last `Limits.ENVELOPES` deliveries of one PTY, oldest first."""

    def __init__(self) -> None:
        self._envelopes: deque[SignalEnvelope] = deque(maxlen=Limits.ENVELOPES)

    def append(self, envelope: SignalEnvelope) -> None:
        """Add a delivery; the oldest one goes when the log is full."""
        self._envelopes.append(envelope)

    def __iter__(self) -> Iterator[SignalEnvelope]:
        return iter(tuple(self._envelopes))

    def __len__(self) -> int:
        return len(self._envelopes)


@dataclass(frozen=True, slots=True)
class Send(Generic[P]):
    """Send `signal` to `process`; that it is gone meanwhile is no error."""

    process: P
    signal: int


@dataclass(frozen=True, slots=True)
class GiveUp(Generic[P]):
    """Close the terminal by force and report it: these processes outlived a second of KILL."""

    left: frozenset[P]


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing of the session is alive."""


Action: TypeAlias = Send[P] | GiveUp[P] | Done


class Escalation(Generic[P]):
    """The plan that ends a session: TERM and CONT, a grace, KILL until nothing is left.

    - Each process gets TERM and CONT once, when it is first seen: all TERMs before any CONT, so
      that a stopped process finds TERM waiting when it goes on.
    - One that ignores TERM when it is first seen gets HUP too: interactive shells do. Later is
      no time to look: a program that cleans up after TERM may ignore the next one meanwhile,
      and would die of the HUP.
    - When the grace is over, KILL to all that is alive, at each step again.
    - With a grace of zero KILL is all there is: a TERM could not be acted upon.
    - `GIVE_UP_SECONDS` after the first KILL the plan ends with what is left.

    Raises:
        InvalidValueError: the grace is negative or no finite number.
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
        """KILL was sent."""
        return self._killed_at is not None

    @property
    def is_over(self) -> bool:
        """`Done` or `GiveUp` was returned; later steps return nothing."""
        return self._is_over

    @property
    def left(self) -> frozenset[P]:
        """The processes that outlived KILL when the plan gave up; empty if it did not."""
        return self._left

    def shorten(self, now: float, grace_seconds: float) -> None:
        """End the grace `grace_seconds` from now, unless it ends earlier: a second request.

        Raises:
            InvalidValueError: the grace is negative or no finite number.
        """
        self._kill_at = min(self._kill_at, now + check_grace(grace_seconds))

    def step(self, now: float, alive: Set[P], ignoring_term: Set[P]) -> tuple[Action[P], ...]:
        """Return what to do now, in order; `alive` is the session as just scanned.

        Call it at once, then at each `deadline`, and whenever a process is known to have ended.
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
        """Return when to scan and step next, not before `now`; None once the plan is over."""
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
        # A step that came late may see processes that got no KILL yet.
        return (*kills, GiveUp(self._left))


def check_grace(grace_seconds: float) -> float:
    """Return a grace that can be given.

    Raises:
        InvalidValueError: it is negative or no finite number.
    """
    if not (math.isfinite(grace_seconds) and grace_seconds >= 0):
        raise InvalidValueError("grace", grace_seconds, "a time of 0 or more")
    return grace_seconds

"""The life of a PTY: its six states, the table of transitions, and the words shown to people."""

from __future__ import annotations

import enum
import re
import signal as signals
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ptymux.core.escalation import signal_name
from ptymux.core.model import CorrelationId, Limits, PtyId, PtyRecord
from ptymux.core.words import alternatives
from ptymux.errors import InvalidTransitionError, InvalidValueError

__all__ = [
    "State",
    "LifecycleEvent",
    "TABLE",
    "LIVE",
    "STATE_WORDS",
    "Transition",
    "Lifecycle",
    "transition",
    "EndContext",
    "exit_event",
    "shown",
    "shown_of",
    "check_state",
    "is_in_state",
    "is_alarming",
]


class State(enum.Enum):
    """The state of a PTY. `suspended` (stopped by a signal) is a flag beside it, not a state."""

    IDLE = "idle"  # requested; nothing done yet
    SPAWNING = "spawning"
    ACTIVE = "active"
    THROTTLED = "throttled"  # running, with no output for its idle timeout
    ERRORED = "errored"  # did not start, or ended badly
    STOPPED = "stopped"  # the final state


class LifecycleEvent(enum.Enum):
    """What can happen to a PTY and change its state."""

    SPAWN = "spawn"
    SPAWNED = "spawned"
    SPAWN_FAILED = "spawn-failed"
    TERMINATED_EARLY = "terminated-early"  # before the child ran
    IDLE_TIMEOUT = "idle-timeout"
    OUTPUT_RESUMED = "output-resumed"
    ENDED_WELL = "ended-well"  # exit status 0, or an end that somebody requested
    ENDED_BADLY = "ended-badly"  # another exit status, a foreign signal, or unknown
    CLEANED_UP = "cleaned-up"


# A pair that is missing here is an invalid transition.
TABLE: Mapping[tuple[State, LifecycleEvent], State] = MappingProxyType(
    {
        (State.IDLE, LifecycleEvent.SPAWN): State.SPAWNING,
        (State.SPAWNING, LifecycleEvent.SPAWNED): State.ACTIVE,
        (State.SPAWNING, LifecycleEvent.SPAWN_FAILED): State.ERRORED,
        (State.SPAWNING, LifecycleEvent.TERMINATED_EARLY): State.STOPPED,
        (State.ACTIVE, LifecycleEvent.IDLE_TIMEOUT): State.THROTTLED,
        (State.THROTTLED, LifecycleEvent.OUTPUT_RESUMED): State.ACTIVE,
        (State.ACTIVE, LifecycleEvent.ENDED_WELL): State.STOPPED,
        (State.THROTTLED, LifecycleEvent.ENDED_WELL): State.STOPPED,
        (State.ACTIVE, LifecycleEvent.ENDED_BADLY): State.ERRORED,
        (State.THROTTLED, LifecycleEvent.ENDED_BADLY): State.ERRORED,
        (State.ERRORED, LifecycleEvent.CLEANED_UP): State.STOPPED,
    }
)

# What people see, then what machines do; `exited (1)` and `killed (KILL)` are words, too.
STATE_WORDS = (
    *("starting", "running", "quiet", "suspended", "exited", "killed", "timed out"),
    "failed to start",
    *(state.value for state in State),
)
_ENDED_HOW = re.compile(r"exited \((?:[0-9]{1,3}|unknown)\)|killed \([A-Z0-9+-]{1,12}\)")

LIVE = frozenset({State.IDLE, State.SPAWNING, State.ACTIVE, State.THROTTLED})

_FLAP = (LifecycleEvent.IDLE_TIMEOUT, LifecycleEvent.OUTPUT_RESUMED)


def transition(state: State, event: LifecycleEvent) -> State | None:
    """Return the state that follows `state` after `event`; None if that is not allowed."""
    return TABLE.get((state, event))


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of a PTY's life, as the history keeps it."""

    from_state: State
    event: LifecycleEvent
    to_state: State
    at: float  # seconds since the epoch

    def __str__(self) -> str:
        return f"{self.from_state.value} -> {self.to_state.value} ({self.event.value})"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Transition:
        """Return the step that `as_json` was called on."""
        states = State(values["from"]), LifecycleEvent(values["event"]), State(values["to"])
        return cls(*states, values["at"])

    def as_json(self) -> dict[str, str | float]:
        """Return the step as `stats --json` prints it."""
        return {
            "from": self.from_state.value,
            "to": self.to_state.value,
            "event": self.event.value,
            "at": self.at,
        }


class Lifecycle:
    """The state of one PTY, and its latest steps.

    The history holds the last `Limits.HISTORY` steps, oldest first. Each begins in the state in
    which the one before ended. A PTY that falls silent again and again would fill it. So a step
    to `throttled` replaces a pair before it that went to `throttled` and back. A command that
    falls silent a thousand times still shows its spawn, and its latest silence.
    """

    def __init__(self, pty_id: PtyId) -> None:
        self.pty_id = pty_id
        self._state = State.IDLE
        self._history: deque[Transition] = deque(maxlen=Limits.HISTORY)

    @classmethod
    def resume(cls, pty_id: PtyId, state: State, history: Iterable[Transition]) -> Lifecycle:
        """Return a lifecycle with this state and history, for a PTY that runs already."""
        lifecycle = cls(pty_id)
        lifecycle._state = state
        lifecycle._history.extend(history)
        return lifecycle

    @property
    def state(self) -> State:
        """The state after the latest step; `idle` before the first."""
        return self._state

    @property
    def history(self) -> tuple[Transition, ...]:
        """The latest steps, oldest first."""
        return tuple(self._history)

    @property
    def is_live(self) -> bool:
        """Whether the PTY has not ended."""
        return self._state in LIVE

    def apply(self, event: LifecycleEvent, at: float) -> Transition:
        """Change the state as the table says and return the step; `at` is in epoch seconds.

        Raises:
            InvalidTransitionError: the table does not allow it; nothing was changed.
        """
        to_state = transition(self._state, event)
        if to_state is None:
            raise InvalidTransitionError(
                self.pty_id, self._state.value, event.value, [str(step) for step in self._history]
            )
        step = Transition(self._state, event, to_state, at)
        self._remember(step)
        self._state = to_state
        return step

    def _remember(self, step: Transition) -> None:
        last_two = tuple(past.event for past in self.history[-2:])
        if step.event is LifecycleEvent.IDLE_TIMEOUT and last_two == _FLAP:
            self._history.pop()
            self._history.pop()
        self._history.append(step)


_TYPED = frozenset((signals.SIGINT, signals.SIGQUIT))  # what keys of a terminal send


@dataclass(slots=True)
class EndContext:
    """What was done to a PTY that may end it: by that its end counts as asked for, or as bad."""

    cause: CorrelationId | None = None  # the request that ended it
    is_terminating: bool = False
    is_typed_into: bool = False  # somebody could type into it, INT and QUIT among others
    asked_signals: dict[int, CorrelationId] = field(default_factory=dict)  # and by which request
    escaped: tuple[int, ...] = ()  # processes that left the session before its end
    left: Mapping[int, str] = field(default_factory=dict)  # not ended: pid, and why

    def begin_termination(self, cause: CorrelationId) -> None:
        """Note that a request ends the PTY."""
        self.is_terminating = True
        self.cause = cause

    def ask(self, signal: int, cause: CorrelationId) -> Callable[[], None]:
        """Note that a request sends a signal; return what takes that back if it reaches nobody."""
        before = self.asked_signals.get(signal)
        self.asked_signals[signal] = cause

        def take_back() -> None:
            if before is None:
                self.asked_signals.pop(signal, None)
            else:
                self.asked_signals[signal] = before

        return take_back

    def exit_event(self, exit_code: int | None, signal: int | None) -> LifecycleEvent:
        """Return what the end of the child means; a request whose signal ended it is its cause."""
        asked = self.is_terminating or (signal in _TYPED and self.is_typed_into)
        if signal in self.asked_signals:
            asked = True
            self.cause = self.cause or self.asked_signals[signal]
        return exit_event(exit_code, signal, asked)


def exit_event(exit_code: int | None, signal: int | None, asked: bool) -> LifecycleEvent:
    """Return the event for a child's end; code and signal both None means unknown.

    `asked`: somebody wanted that end. They terminated the PTY, sent it that signal, or typed ^C
    or ^\\ into it.
    """
    if asked or (exit_code == 0 and signal is None):
        return LifecycleEvent.ENDED_WELL
    return LifecycleEvent.ENDED_BADLY


def shown(
    state: State,
    *,
    suspended: bool = False,
    exit_code: int | None = None,
    signal: int | None = None,
    ran: bool = True,
    timed_out: bool = False,
) -> str:
    """Return the word that people see for a PTY's state.

    `ran` is False if the spawn failed, also after the clean-up. The words `throttled` and
    `errored` are for machines. People see how a PTY ended, not whether that was good.
    """
    if state in (State.IDLE, State.SPAWNING):
        return "starting"
    if state in LIVE:
        return _shown_alive(state, suspended)
    if not ran:
        return "failed to start"
    if timed_out:
        return "timed out"
    if signal is not None:
        return f"killed ({signal_name(signal)})"
    if exit_code is None:
        return "exited (unknown)"
    return f"exited ({exit_code})" if exit_code else "exited"


def shown_of(record: PtyRecord) -> str:
    """Return the word that people see for the state of a record."""
    return shown(
        State(record.state),
        suspended=record.suspended,
        exit_code=record.exit_code,
        signal=record.signal,
        ran=record.pid is not None,
        timed_out=record.timed_out,
    )


def check_state(word: str) -> str:
    """Return a word for a state, of machines or of people, that `is_in_state` may take.

    Raises:
        InvalidValueError: it is none, so that no PTY could ever be in that state.
    """
    if word not in STATE_WORDS and not _ENDED_HOW.fullmatch(word):
        raise InvalidValueError("state", word, f"a state; {alternatives(word, STATE_WORDS)}")
    return word


def is_in_state(word: str, state: str, shown: str) -> bool:
    """Return whether a word is for this state; `exited` is, however it exited."""
    return word in (state, shown, shown.partition(" (")[0])


def _shown_alive(state: State, suspended: bool) -> str:
    if suspended:
        return "suspended"
    return "quiet" if state is State.THROTTLED else "running"


def is_alarming(state: State, *, signal: int | None = None, ran: bool = True) -> bool:
    """Return whether to show the state in red: the start failed, or a foreign signal killed it.

    A signal that somebody here sent leads to `stopped`, and so does the clean-up. So `errored`
    with a signal means that nobody here sent it. A plain exit status is never alarming: `grep`
    exits with 1 if it finds nothing.
    """
    return state is State.ERRORED and (not ran or signal is not None)

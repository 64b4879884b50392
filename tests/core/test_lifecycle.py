"""The lifecycle: every (state, event) pair, the history, and the words people see."""

from __future__ import annotations

import itertools
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.lifecycle import (
    LIVE,
    TABLE,
    EndContext,
    Lifecycle,
    LifecycleEvent,
    State,
    check_state,
    exit_event,
    is_alarming,
    is_in_state,
    shown,
    transition,
)
from ptymux.core.model import ENDED_STATES, CorrelationId, Limits, PtyId
from ptymux.errors import InvalidTransitionError, InvalidValueError

pytestmark = pytest.mark.requirement("FR-001")

ID = PtyId("pty_1")

# Written out again by hand: the law, not the table under test.
LAW = {
    ("idle", LifecycleEvent.SPAWN): "spawning",
    ("spawning", LifecycleEvent.SPAWNED): "active",
    ("spawning", LifecycleEvent.SPAWN_FAILED): "errored",
    ("spawning", LifecycleEvent.TERMINATED_EARLY): "stopped",
    ("active", LifecycleEvent.IDLE_TIMEOUT): "throttled",
    ("throttled", LifecycleEvent.OUTPUT_RESUMED): "active",
    ("active", LifecycleEvent.ENDED_WELL): "stopped",
    ("throttled", LifecycleEvent.ENDED_WELL): "stopped",
    ("active", LifecycleEvent.ENDED_BADLY): "errored",
    ("throttled", LifecycleEvent.ENDED_BADLY): "errored",
    ("errored", LifecycleEvent.CLEANED_UP): "stopped",
}
WAYS = {
    State.IDLE: (),
    State.SPAWNING: (LifecycleEvent.SPAWN,),
    State.ACTIVE: (LifecycleEvent.SPAWN, LifecycleEvent.SPAWNED),
    State.THROTTLED: (LifecycleEvent.SPAWN, LifecycleEvent.SPAWNED, LifecycleEvent.IDLE_TIMEOUT),
    State.ERRORED: (LifecycleEvent.SPAWN, LifecycleEvent.SPAWN_FAILED),
    State.STOPPED: (LifecycleEvent.SPAWN, LifecycleEvent.TERMINATED_EARLY),
}
PAIRS = list(itertools.product(State, LifecycleEvent))


def lifecycle_in(state: State) -> Lifecycle:
    lifecycle = Lifecycle(ID)
    for at, event in enumerate(WAYS[state]):
        lifecycle.apply(event, float(at))
    assert lifecycle.state is state
    return lifecycle


def test_there_are_six_states() -> None:
    assert [state.value for state in State] == [
        "idle",
        "spawning",
        "active",
        "throttled",
        "errored",
        "stopped",
    ]


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_each_pair_leads_where_the_law_says(state: State, event: LifecycleEvent) -> None:
    found = transition(state, event)

    assert (found.value if found else None) == LAW.get((state.value, event))


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_apply_takes_a_lawful_step_and_refuses_any_other(
    state: State, event: LifecycleEvent
) -> None:
    lifecycle = lifecycle_in(state)
    before = lifecycle.history

    if (state.value, event) in LAW:
        step = lifecycle.apply(event, 9.0)

        assert (step.from_state, step.event, step.at) == (state, event, 9.0)
        assert lifecycle.state is step.to_state
        assert lifecycle.history == (*before, step)
    else:
        with pytest.raises(InvalidTransitionError):
            lifecycle.apply(event, 9.0)

        assert lifecycle.state is state
        assert lifecycle.history == before


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TABLE[(State.STOPPED, LifecycleEvent.SPAWN)] = State.SPAWNING  # type: ignore[index]


@pytest.mark.parametrize("event", LifecycleEvent)
def test_stopped_is_terminal(event: LifecycleEvent) -> None:
    assert transition(State.STOPPED, event) is None


def test_a_refusal_names_the_pty_its_state_the_event_and_the_recent_history() -> None:
    lifecycle = lifecycle_in(State.ACTIVE)

    with pytest.raises(InvalidTransitionError) as caught:
        lifecycle.apply(LifecycleEvent.SPAWN, 9.0)

    error = caught.value
    assert (error.pty_id, error.state, error.event) == (ID, "active", "spawn")
    assert error.history == ("idle -> spawning (spawn)", "spawning -> active (spawned)")
    for fact in (ID, "active", "'spawn'", "spawning -> active (spawned)"):
        assert fact in str(error)


def test_history_has_each_step_with_its_time_oldest_first() -> None:
    lifecycle = Lifecycle(ID)

    lifecycle.apply(LifecycleEvent.SPAWN, 1.5)
    lifecycle.apply(LifecycleEvent.SPAWNED, 2.5)
    lifecycle.apply(LifecycleEvent.ENDED_BADLY, 3.5)
    lifecycle.apply(LifecycleEvent.CLEANED_UP, 4.5)

    assert [step.as_json() for step in lifecycle.history] == [
        {"from": "idle", "to": "spawning", "event": "spawn", "at": 1.5},
        {"from": "spawning", "to": "active", "event": "spawned", "at": 2.5},
        {"from": "active", "to": "errored", "event": "ended-badly", "at": 3.5},
        {"from": "errored", "to": "stopped", "event": "cleaned-up", "at": 4.5},
    ]


def test_a_thousand_flaps_in_a_row_count_once_and_push_nothing_out() -> None:
    lifecycle = lifecycle_in(State.ACTIVE)

    for at in range(1000):
        lifecycle.apply(LifecycleEvent.IDLE_TIMEOUT, 10.0 + at)
        lifecycle.apply(LifecycleEvent.OUTPUT_RESUMED, 10.5 + at)
    lifecycle.apply(LifecycleEvent.ENDED_WELL, 2000.0)

    assert [(step.event, step.at) for step in lifecycle.history] == [
        (LifecycleEvent.SPAWN, 0.0),
        (LifecycleEvent.SPAWNED, 1.0),
        (LifecycleEvent.IDLE_TIMEOUT, 1009.0),
        (LifecycleEvent.OUTPUT_RESUMED, 1009.5),
        (LifecycleEvent.ENDED_WELL, 2000.0),
    ]


def test_a_silence_after_a_flap_is_the_one_that_history_shows() -> None:
    lifecycle = lifecycle_in(State.THROTTLED)
    lifecycle.apply(LifecycleEvent.OUTPUT_RESUMED, 7.0)

    lifecycle.apply(LifecycleEvent.IDLE_TIMEOUT, 8.0)

    assert [step.at for step in lifecycle.history] == [0.0, 1.0, 8.0]


@given(st.lists(st.sampled_from(LifecycleEvent), max_size=60))
def test_any_sequence_of_events_keeps_a_bounded_history_that_leads_to_the_state(
    events: list[LifecycleEvent],
) -> None:
    lifecycle = Lifecycle(ID)
    expected = "idle"

    for at, event in enumerate(events):
        if (expected, event) in LAW:
            lifecycle.apply(event, float(at))
            expected = LAW[(expected, event)]
        else:
            with pytest.raises(InvalidTransitionError):
                lifecycle.apply(event, float(at))

        history = lifecycle.history
        assert lifecycle.state.value == expected
        assert len(history) <= Limits.HISTORY
        assert [step.at for step in history] == sorted({step.at for step in history})
        for before, after in itertools.pairwise(history):
            assert before.to_state is after.from_state
        assert (history[-1].to_state if history else State.IDLE) is lifecycle.state


@given(
    st.lists(
        st.sampled_from([LifecycleEvent.IDLE_TIMEOUT, LifecycleEvent.OUTPUT_RESUMED]), max_size=50
    )
)
def test_the_spawn_never_leaves_the_history(events: list[LifecycleEvent]) -> None:
    lifecycle = lifecycle_in(State.ACTIVE)

    for event in events:
        if transition(lifecycle.state, event):
            lifecycle.apply(event, 5.0)

    assert [step.event for step in lifecycle.history[:2]] == [
        LifecycleEvent.SPAWN,
        LifecycleEvent.SPAWNED,
    ]


@pytest.mark.parametrize("state", State)
def test_a_pty_is_live_until_it_errored_or_stopped(state: State) -> None:
    lifecycle = lifecycle_in(state)

    assert lifecycle.is_live == (state.value not in {"errored", "stopped"})
    assert lifecycle.is_live == (state in LIVE)


@pytest.mark.parametrize(
    ("exit_code", "signalled", "asked", "event"),
    [
        (0, None, False, LifecycleEvent.ENDED_WELL),
        (1, None, False, LifecycleEvent.ENDED_BADLY),
        (None, signal.SIGKILL, False, LifecycleEvent.ENDED_BADLY),
        (0, signal.SIGKILL, False, LifecycleEvent.ENDED_BADLY),
        (None, None, False, LifecycleEvent.ENDED_BADLY),
        (0, None, True, LifecycleEvent.ENDED_WELL),
        (143, None, True, LifecycleEvent.ENDED_WELL),
        (None, signal.SIGTERM, True, LifecycleEvent.ENDED_WELL),
        (None, None, True, LifecycleEvent.ENDED_WELL),
    ],
)
def test_only_status_0_and_what_was_asked_for_end_well(
    exit_code: int | None, signalled: int | None, asked: bool, event: LifecycleEvent
) -> None:
    assert exit_event(exit_code, signalled, asked) is event


@pytest.mark.parametrize(
    ("end", "signalled", "event"),
    [
        (EndContext(), signal.SIGTERM, LifecycleEvent.ENDED_BADLY),
        (EndContext(is_terminating=True), signal.SIGTERM, LifecycleEvent.ENDED_WELL),
        (EndContext(is_typed_into=True), signal.SIGINT, LifecycleEvent.ENDED_WELL),
        (EndContext(is_typed_into=True), signal.SIGQUIT, LifecycleEvent.ENDED_WELL),
        (EndContext(is_typed_into=True), signal.SIGTERM, LifecycleEvent.ENDED_BADLY),
        (EndContext(), signal.SIGINT, LifecycleEvent.ENDED_BADLY),
    ],
)
def test_what_was_done_to_a_pty_decides_whether_its_end_was_asked_for(
    end: EndContext, signalled: int, event: LifecycleEvent
) -> None:
    assert end.exit_event(None, signalled) is event
    assert end.exit_event(0, None) is LifecycleEvent.ENDED_WELL


def test_a_request_whose_signal_ended_it_is_the_cause_unless_another_came_before() -> None:
    other, ended, terminated = EndContext(), EndContext(), EndContext()
    terminated.begin_termination(CorrelationId("req_2"))
    for end in (other, ended, terminated):
        end.ask(signal.SIGUSR1, CorrelationId("req_1"))

    assert other.exit_event(None, signal.SIGTERM) is LifecycleEvent.ENDED_BADLY
    assert ended.exit_event(None, signal.SIGUSR1) is LifecycleEvent.ENDED_WELL
    assert terminated.exit_event(None, signal.SIGUSR1) is LifecycleEvent.ENDED_WELL

    assert [end.cause for end in (other, ended, terminated)] == [None, "req_1", "req_2"]


def test_a_request_that_reached_nobody_is_taken_back_and_only_that_one() -> None:
    end = EndContext()
    end.ask(signal.SIGTERM, CorrelationId("req_1"))
    take_back = end.ask(signal.SIGTERM, CorrelationId("req_2"))
    end.ask(signal.SIGHUP, CorrelationId("req_3"))

    take_back()

    assert end.asked_signals == {signal.SIGTERM: "req_1", signal.SIGHUP: "req_3"}


@pytest.mark.parametrize("state", [State.IDLE, State.SPAWNING])
def test_what_does_not_run_yet_is_shown_as_starting(state: State) -> None:
    assert shown(state) == "starting"


def test_live_ptys_are_running_quiet_or_suspended() -> None:
    assert shown(State.ACTIVE) == "running"
    assert shown(State.THROTTLED) == "quiet"
    assert shown(State.ACTIVE, suspended=True) == "suspended"
    assert shown(State.THROTTLED, suspended=True) == "suspended"


@pytest.mark.parametrize("state", [State.ERRORED, State.STOPPED])
def test_an_ended_pty_shows_how_it_ended_whatever_its_state(state: State) -> None:
    assert shown(state, exit_code=0) == "exited"
    assert shown(state, exit_code=1) == "exited (1)"
    assert shown(state, signal=signal.SIGKILL) == "killed (KILL)"
    assert shown(state, signal=signal.SIGKILL, suspended=True) == "killed (KILL)"
    assert shown(state) == "exited (unknown)"
    assert shown(state, ran=False) == "failed to start"


def test_only_a_failed_start_and_a_signal_nobody_here_sent_are_alarming() -> None:
    assert is_alarming(State.ERRORED, ran=False)
    assert is_alarming(State.ERRORED, signal=signal.SIGSEGV)

    assert not is_alarming(State.ERRORED)  # a nonzero or an unknown status
    assert not is_alarming(State.STOPPED, signal=signal.SIGTERM)  # asked for
    assert not is_alarming(State.STOPPED, ran=False)  # somebody has seen to it


@pytest.mark.parametrize("state", [state for state in State if state in LIVE])
def test_nothing_live_is_alarming(state: State) -> None:
    assert not is_alarming(state)


def test_ended_states_are_those_that_are_not_live() -> None:
    assert set(ENDED_STATES) == {state.value for state in State if state not in LIVE}


@pytest.mark.parametrize("word", ["exited", "exited (3)", "exited (unknown)", "killed (RTMIN+1)"])
def test_every_word_that_is_shown_is_a_word_for_a_state(word: str) -> None:
    assert check_state(word) == word


@pytest.mark.parametrize(
    "word", ["", "exitd", "exited (", "exited (x)", "Running", "killed (kill)"]
)
def test_a_word_for_no_state_is_refused(word: str) -> None:
    with pytest.raises(InvalidValueError):
        check_state(word)


def test_a_state_has_the_words_of_machines_and_of_people() -> None:
    assert is_in_state("errored", "errored", "exited (1)")
    assert is_in_state("exited (1)", "errored", "exited (1)")
    assert is_in_state("exited", "errored", "exited (1)")
    assert not is_in_state("exited (2)", "errored", "exited (1)")
    assert is_in_state("failed to start", "errored", "failed to start")

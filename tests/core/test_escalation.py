"""Signals and termination: names, envelopes, and the plan under a clock that the test moves."""

from __future__ import annotations

import json
import signal
from signal import SIGCONT, SIGHUP, SIGKILL, SIGTERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.escalation import (
    GIVE_UP_SECONDS,
    GRACE_SCAN_SECONDS,
    KILL_SCAN_SECONDS,
    Action,
    Done,
    EnvelopeLog,
    Escalation,
    GiveUp,
    Outcome,
    Send,
    SignalEnvelope,
    parse_signal,
    signal_name,
)
from ptymux.core.model import Limits, PtyId
from ptymux.errors import InvalidValueError, UnknownSignalError

NOBODY: frozenset[str] = frozenset()


def people(*names: str) -> frozenset[str]:
    return frozenset(names)


def sent(actions: tuple[Action[str], ...]) -> set[tuple[str, int]]:
    return {(each.process, each.signal) for each in actions if isinstance(each, Send)}


def order(actions: tuple[Action[str], ...], process: str) -> list[int]:
    return [a.signal for a in actions if isinstance(a, Send) and a.process == process]


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize("given_as", ["TERM", "SIGTERM", "sigterm", "Term", "15", 15])
def test_a_signal_is_given_by_name_or_number(given_as: str | int) -> None:
    assert parse_signal(given_as) == 15


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize(
    "given_as",
    ["", "SIG", "SIGSIGTERM", "TER", "SIG_IGN", "0", 0, -15, "-15", "65", 65, "1.5", " 15", "¹⁵"],
)
def test_a_signal_that_does_not_exist_is_refused(given_as: str | int) -> None:
    with pytest.raises(UnknownSignalError):
        parse_signal(given_as)


@pytest.mark.requirement("FR-004")
def test_a_number_of_thousands_of_digits_is_refused_like_any_other() -> None:
    with pytest.raises(UnknownSignalError):
        parse_signal("9" * 10_000)


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize("number", range(1, signal.NSIG))
def test_the_name_of_a_signal_means_that_signal(number: int) -> None:
    assert parse_signal(signal_name(number)) == number


@pytest.mark.requirement("FR-004")
def test_a_signal_is_named_without_its_prefix() -> None:
    assert signal_name(SIGKILL) == "KILL"
    assert signal_name(40) == "40"


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome.DELIVERED, None),
        (Outcome.FAILED, "process 7 is gone"),
        (Outcome.ESCALATED, None),
    ],
)
def test_an_envelope_tells_each_outcome(outcome: Outcome, error: str | None) -> None:
    envelope = SignalEnvelope(PtyId("pty_1"), 7, SIGTERM, 1.5, outcome, error)

    assert json.loads(json.dumps(envelope.as_json())) == {
        "pty_id": "pty_1",
        "pid": 7,
        "signal": 15,
        "at": 1.5,
        "outcome": outcome.value,
        "error": error,
    }


@pytest.mark.requirement("FR-004")
def test_there_are_three_outcomes() -> None:
    assert [outcome.value for outcome in Outcome] == ["delivered", "failed", "escalated"]


@pytest.mark.requirement("FR-004")
def test_the_last_fifty_envelopes_are_kept_oldest_first() -> None:
    log = EnvelopeLog()

    for pid in range(1, 61):
        log.append(SignalEnvelope(PtyId("pty_1"), pid, SIGTERM, float(pid), Outcome.DELIVERED))

    assert len(log) == Limits.ENVELOPES == 50
    assert [envelope.pid for envelope in log] == list(range(11, 61))


@pytest.mark.requirement("FR-007")
def test_every_process_gets_term_and_then_cont() -> None:
    plan = Escalation[str](10.0, 5.0)

    actions = plan.step(10.0, people("make", "cc"), NOBODY)

    assert order(actions, "make") == order(actions, "cc") == [SIGTERM, SIGCONT]
    assert [a.signal for a in actions if isinstance(a, Send)] == [
        SIGTERM,
        SIGTERM,
        SIGCONT,
        SIGCONT,
    ]
    assert not plan.escalated


@pytest.mark.requirement("FR-007")
def test_only_those_that_ignore_term_get_hup_at_once() -> None:
    plan = Escalation[str](10.0, 5.0)

    actions = plan.step(10.0, people("bash", "make"), people("bash", "stranger"))

    assert order(actions, "bash") == [SIGTERM, SIGHUP, SIGCONT]
    assert order(actions, "make") == [SIGTERM, SIGCONT]
    assert order(actions, "stranger") == []


@pytest.mark.requirement("FR-007")
def test_nobody_is_asked_twice() -> None:
    plan = Escalation[str](10.0, 5.0)
    plan.step(10.0, people("make", "bash"), people("bash"))

    assert plan.step(12.0, people("make", "bash"), people("bash")) == ()


@pytest.mark.requirement("FR-007")
def test_a_process_that_ignores_term_only_while_it_cleans_up_gets_no_hup() -> None:
    plan = Escalation[str](10.0, 5.0)
    plan.step(10.0, people("server"), NOBODY)

    assert plan.step(10.1, people("server"), people("server")) == ()


@pytest.mark.requirement("FR-007")
def test_a_process_that_turns_up_during_the_grace_is_asked_too() -> None:
    plan = Escalation[str](10.0, 5.0)
    plan.step(10.0, people("make"), NOBODY)

    actions = plan.step(11.0, people("make", "late", "sh"), people("sh"))

    assert order(actions, "late") == [SIGTERM, SIGCONT]
    assert order(actions, "sh") == [SIGTERM, SIGHUP, SIGCONT]
    assert order(actions, "make") == []


@pytest.mark.requirement("FR-007")
def test_what_outlives_the_grace_is_killed_again_and_again() -> None:
    plan = Escalation[str](10.0, 5.0)
    plan.step(10.0, people("make", "cc"), NOBODY)

    assert plan.step(14.9, people("make", "cc"), NOBODY) == ()
    asked_only = not plan.escalated
    assert sent(plan.step(15.0, people("make", "cc"), NOBODY)) == {
        ("make", SIGKILL),
        ("cc", SIGKILL),
    }
    assert (asked_only, plan.escalated) == (True, True)
    assert sent(plan.step(15.02, people("cc", "new"), NOBODY)) == {
        ("cc", SIGKILL),
        ("new", SIGKILL),
    }
    assert plan.step(15.04, NOBODY, NOBODY) == (Done(),)


@pytest.mark.requirement("FR-007")
def test_a_session_that_ends_in_the_grace_is_not_escalated() -> None:
    plan = Escalation[str](10.0, 5.0)
    plan.step(10.0, people("make"), NOBODY)

    assert plan.step(10.3, NOBODY, NOBODY) == (Done(),)
    assert plan.is_over
    assert not plan.escalated
    assert plan.step(20.0, people("stranger"), NOBODY) == ()
    assert plan.deadline(20.0) is None


@pytest.mark.requirement("FR-007")
def test_a_session_without_a_process_is_done_at_once() -> None:
    assert Escalation[str](10.0, 5.0).step(10.0, NOBODY, NOBODY) == (Done(),)


@pytest.mark.requirement("FR-007")
def test_zero_grace_kills_at_once_without_asking() -> None:
    plan = Escalation[str](10.0, 0.0)

    assert plan.step(10.0, people("make"), people("make")) == (Send("make", SIGKILL),)
    assert plan.escalated


@pytest.mark.requirement("FR-007")
def test_a_second_after_the_first_kill_the_plan_gives_up_on_what_is_left() -> None:
    plan = Escalation[str](10.0, 0.0)
    plan.step(10.0, people("stuck"), NOBODY)

    assert sent(plan.step(10.99, people("stuck"), NOBODY)) == {("stuck", SIGKILL)}
    assert not plan.left
    assert plan.step(11.0, people("stuck", "late"), NOBODY)[-1] == GiveUp(people("stuck", "late"))
    assert plan.left == people("stuck", "late")
    assert plan.is_over
    assert plan.deadline(11.0) is None
    assert plan.step(11.1, people("stuck"), NOBODY) == ()


@pytest.mark.requirement("FR-007")
def test_whoever_is_given_up_got_a_kill() -> None:
    plan = Escalation[str](10.0, 0.0)
    plan.step(10.0, people("parent"), NOBODY)

    actions = plan.step(99.0, people("late"), NOBODY)

    assert actions == (Send("late", SIGKILL), GiveUp(people("late")))


@pytest.mark.requirement("FR-007")
def test_the_deadline_is_when_to_scan_next() -> None:
    plan = Escalation[str](10.0, 5.0)

    assert plan.deadline(10.0) == 10.0
    plan.step(10.0, people("make"), NOBODY)
    assert plan.deadline(10.0) == 10.0 + GRACE_SCAN_SECONDS
    plan.step(14.95, people("make"), NOBODY)
    assert plan.deadline(14.95) == 15.0
    plan.step(15.0, people("make"), NOBODY)
    assert plan.deadline(15.0) == 15.0 + KILL_SCAN_SECONDS
    plan.step(15.99, people("make"), NOBODY)
    assert plan.deadline(15.99) == 15.0 + GIVE_UP_SECONDS
    assert plan.deadline(17.0) == 17.0


@pytest.mark.requirement("FR-007")
def test_a_second_request_can_shorten_the_grace_and_not_lengthen_it() -> None:
    plan = Escalation[str](10.0, 5.0)
    plan.step(10.0, people("make"), NOBODY)

    plan.shorten(11.0, 60.0)
    assert plan.step(11.0, people("make"), NOBODY) == ()
    plan.shorten(11.0, 0.0)
    assert sent(plan.step(11.0, people("make"), NOBODY)) == {("make", SIGKILL)}


@pytest.mark.requirement("FR-007")
@pytest.mark.parametrize("grace", [-0.1, float("nan"), float("inf")])
def test_a_grace_that_is_no_time_is_refused(grace: float) -> None:
    with pytest.raises(InvalidValueError):
        Escalation[str](0.0, grace)
    with pytest.raises(InvalidValueError):
        Escalation[str](0.0, 1.0).shorten(0.0, grace)


@pytest.mark.requirement("FR-007")
@given(
    grace=st.floats(0, 3),
    sessions=st.lists(st.frozensets(st.sampled_from("abcdef"), min_size=1), max_size=30),
    stubborn=st.frozensets(st.sampled_from("abcdef")),
)
def test_whatever_the_session_does_the_plan_ends_in_time_and_kills_none_in_the_grace(
    grace: float, sessions: list[frozenset[str]], stubborn: frozenset[str]
) -> None:
    plan = Escalation[str](100.0, grace)
    now, asked, first_kill = 100.0, list[tuple[str, int]](), None
    session = people("a")

    for step in range(1000):
        session = sessions[step] if step < len(sessions) else session
        actions = plan.step(now, session, stubborn)
        kills = {process for process, number in sent(actions) if number == SIGKILL}
        if now < 100.0 + grace:
            assert not kills
            asked += [(a.process, a.signal) for a in actions if isinstance(a, Send)]
        else:
            assert kills == session
            first_kill = now if first_kill is None else first_kill
        due = plan.deadline(now)
        if due is None:
            break
        assert due >= now
        now = max(due, now + 0.001)

    assert plan.is_over
    assert len(asked) == len(set(asked))
    assert first_kill is not None
    assert now - first_kill <= GIVE_UP_SECONDS + 0.001

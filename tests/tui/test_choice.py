"""Sorting, filtering, selecting, and what is asked before something is destroyed."""

from __future__ import annotations

from typing import Any

import pytest

from ptymux.tui.choice import Call, Choice, Local, Sort, Visit
from ptymux.tui.pty_samples import Model
from tests.tui.conftest import Told


def fill(choice: Choice, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Model:
    model = Model()
    model.take(before, at=0.0)
    model.take(after, at=1.0)
    choice.update(model.rows, at=1.0)
    return model


@pytest.fixture
def choice(told: Told) -> Choice:
    choice = Choice()
    before = [told(number) for number in range(1, 6)]
    after = [
        told(1, name="web", total_written=100, lane_id="app"),
        told(2, name="Api", total_written=90_000, lane_id="app"),
        told(3, name=None, total_written=5, total_dropped=900, suspended=True),
        told(4, name="db", total_dropped=800, dropped_attended=1),
        told(5, name="old", state="stopped", shown="exited", total_dropped=9999),
    ]
    fill(choice, before, after)
    return choice


def numbers(choice: Choice) -> list[int]:
    return [row.pty.number for row in choice.rows]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.RATE, [2, 1, 3, 4, 5]),
        (Sort.DROPS, [4, 3, 1, 2, 5]),
        (Sort.TROUBLE, [4, 3, 2, 1, 5]),
        (Sort.NAME, [2, 4, 1, 3, 5]),
        (Sort.AGE, [1, 2, 3, 4, 5]),
    ],
)
def test_rows_are_sorted_and_the_ended_come_last(
    choice: Choice, sort: Sort, order: list[int]
) -> None:
    while choice.sort != sort:
        choice.press("s")

    assert numbers(choice) == order


def test_the_order_is_reversed_but_for_the_ended(choice: Choice) -> None:
    choice.press("r")

    assert numbers(choice) == [4, 3, 1, 2, 5]


def test_lanes_are_filtered_one_after_the_other(choice: Choice) -> None:
    choice.press("l")
    app = numbers(choice)
    choice.press("l")
    default = numbers(choice)
    choice.press("l")

    assert (app, default, len(choice.rows)) == ([2, 1], [3, 4, 5], 5)


def test_the_ended_are_hidden_and_shown(choice: Choice) -> None:
    choice.press("e")
    assert 5 not in numbers(choice)

    choice.press("e")
    assert 5 in numbers(choice)


def test_rows_keep_their_places_for_a_second(choice: Choice, told: Told) -> None:
    model = Model()
    model.take([told(1), told(2)], at=0.0)
    model.take([told(1, total_written=10**9), told(2)], at=1.0)

    choice.update(model.rows, at=1.5)
    soon = numbers(choice)
    choice.update(model.rows, at=2.5)

    assert (soon, numbers(choice)) == ([2, 1], [1, 2])


def test_the_selection_stays_on_its_pty(choice: Choice) -> None:
    choice.press("j")
    choice.press("down")
    assert choice.selected == "pty_1"

    choice.press("s")

    assert choice.selected_row is not None
    assert choice.selected_row.pty.number == 1


def test_the_selection_is_scrolled_into_sight(choice: Choice) -> None:
    choice.scroll(3)
    choice.press("end")
    assert shown(choice, 3) == [4, 5]

    choice.press("home")
    assert shown(choice, 3) == [2, 1]


def shown(choice: Choice, room: int) -> list[int]:
    return [row.pty.number for row in choice.scroll(room).rows]


def test_rows_that_do_not_fit_are_counted(choice: Choice) -> None:
    view = choice.scroll(4)
    assert (len(view.rows), view.above, view.below, view.failed) == (3, 0, 2, 0)
    assert shown(choice, 5) == numbers(choice)

    choice.press("end")
    view = choice.scroll(4)

    assert (len(view.rows), view.above, view.below) == (3, 2, 0)


@pytest.fixture
def troubled(told: Told) -> Choice:
    """Return a choice of ten PTYs, of which 8 and 9 are failures that nobody has looked at."""
    choice = Choice(Sort.NAME)
    ptys = [told(number) for number in range(8)]
    failed = {"state": "errored", "shown": "exited (1)", "unseen": True}
    ptys += [told(8, **failed), told(9, **failed)]
    fill(choice, ptys, ptys)
    return choice


@pytest.mark.parametrize("sort", Sort)
def test_failures_come_first_whatever_the_order(troubled: Choice, sort: Sort) -> None:
    while troubled.sort != sort:
        troubled.press("s")
    assert numbers(troubled)[:2] in ([8, 9], [9, 8])

    troubled.press("r")
    troubled.press("e")

    assert set(numbers(troubled)[:2]) == {8, 9}


def test_failures_stay_in_sight_wherever_one_scrolls(troubled: Choice) -> None:
    troubled.press("end")
    view = troubled.scroll(6)

    assert [row.pty.number for row in view.rows] == [8, 9, 5, 6, 7]
    assert (view.above, view.below, view.failed) == (5, 0, 0)


def test_more_failures_than_fit_leave_room_for_others(troubled: Choice, told: Told) -> None:
    model = Model()
    failed = {"state": "errored", "shown": "exited (1)", "unseen": True}
    model.take([told(0), told(1), *(told(number, **failed) for number in range(2, 10))], at=9.0)
    troubled.update(model.rows, at=9.0)

    troubled.press("end")
    view = troubled.scroll(7)

    assert [row.pty.number for row in view.rows] == [2, 3, 4, 5, 0, 1]
    assert (view.above, view.below, view.failed) == (4, 0, 4)


def test_enter_opens_the_selected_one_and_goes_on_to_the_next_failure(troubled: Choice) -> None:
    assert troubled.press("enter") is None
    assert "select" in troubled.message

    troubled.press("j")

    assert troubled.press("enter") == Visit("pty_8", "8 name8", is_live=False)
    assert troubled.press("enter") == Visit("pty_9", "9 name9", is_live=False)
    assert troubled.press("enter") == Visit("pty_9", "9 name9", is_live=False)


def test_a_selected_pty_that_goes_leaves_its_place(choice: Choice, told: Told) -> None:
    choice.press("end")
    model = Model()
    model.take([told(1)], at=0.0)

    choice.update(model.rows, at=9.0)

    assert choice.selected == "pty_1"


def test_kill_is_asked_and_means_the_pty_that_was_asked_about(choice: Choice, told: Told) -> None:
    choice.press("j")
    assert choice.press("x") is None
    assert choice.question == "kill 2 Api? y/n"
    choice.selected = "pty_1"

    call = choice.press("y")

    assert isinstance(call, Call)
    assert (call.method, call.params) == ("kill", {"ptys": ["pty_2"]})
    assert choice.question is None


@pytest.mark.parametrize("key", ["n", "q", "escape", "enter", "x"])
def test_any_other_answer_than_yes_kills_nothing(choice: Choice, key: str) -> None:
    choice.press("j")
    choice.press("x")

    assert choice.press(key) is None
    assert choice.message == "nothing was done"


def test_only_an_ended_pty_is_removed(choice: Choice) -> None:
    choice.press("j")
    choice.press("d")
    assert choice.question is None
    assert "x kills it" in choice.message

    choice.press("end")
    choice.press("d")
    call = choice.press("y")

    assert isinstance(call, Call)
    assert (call.method, call.params) == ("remove", {"ptys": ["pty_5"]})


def test_a_signal_is_chosen_by_a_key_and_q_is_none(choice: Choice) -> None:
    choice.press("j")
    choice.press("T")
    assert choice.press("q") is None
    choice.press("T")

    call = choice.press("t")

    assert isinstance(call, Call)
    assert (call.method, call.params) == ("signal", {"pty": "pty_2", "signal": "TERM"})


@pytest.mark.parametrize("key", ["x", "d", "T"])
def test_without_a_selection_nothing_is_acted_on(choice: Choice, key: str) -> None:
    assert choice.press(key) is None
    assert choice.question is None
    assert "select" in choice.message


def test_leaving_works_from_everywhere(choice: Choice) -> None:
    assert choice.press("q") is Local.QUIT
    choice.press("j")
    choice.press("x")
    assert choice.press("ctrl-c") is Local.INTERRUPT
    choice.press("n")
    choice.press("?")
    assert choice.shows_help
    assert choice.press("ctrl-z") is Local.SUSPEND
    assert choice.press("q") is Local.QUIT

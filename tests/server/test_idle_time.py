"""A server leaves once it has had nothing to do for a while, counted from the last thing to do."""

from __future__ import annotations

import pytest

from ptymux.server.idle_time import IdleTime


def test_it_is_time_to_leave_once_there_was_nothing_to_do_for_so_long() -> None:
    idle = IdleTime(10.0, 100.0)

    assert idle.next_look(100.0, has_live=False) == 10.0
    assert idle.next_look(104.0, has_live=False) == 6.0
    assert idle.next_look(109.999, has_live=False) == 0.01
    assert idle.next_look(110.0, has_live=False) is None
    assert idle.seconds(110.0) == 10.0


def test_the_time_begins_anew_when_a_client_leaves() -> None:
    idle = IdleTime(10.0, 100.0)

    idle.note_client_left(109.0)

    assert idle.next_look(110.0, has_live=False) == 9.0
    assert idle.next_look(119.0, has_live=False) is None


@pytest.mark.parametrize("leave_seconds", [0.001, 0.3, 3600.0])
def test_it_never_leaves_while_a_pty_lives_nor_right_behind_its_end(leave_seconds: float) -> None:
    """Whenever it ends between two looks, the whole time passes from then on."""
    now = 100.0
    idle = IdleTime(leave_seconds, now)
    for _ in range(50):
        pause = idle.next_look(now, has_live=True)
        assert pause is not None
        assert pause == max(0.01, leave_seconds / 10)
        now += pause

    left = idle.next_look(now, has_live=False)

    assert left is not None
    assert left == pytest.approx(max(0.01, leave_seconds))
    assert idle.next_look(now + left + 1e-6, has_live=False) is None


def test_a_look_that_comes_late_counts_the_time_since_the_one_that_was_due() -> None:
    idle = IdleTime(10.0, 100.0)
    assert idle.next_look(100.0, has_live=True) == 1.0

    assert idle.next_look(105.0, has_live=False) == 6.0

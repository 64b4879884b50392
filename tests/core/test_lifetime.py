"""How long a PTY may run and stays, on a clock that a test moves."""

from __future__ import annotations

import math

import pytest

from ptymux.core.lifetime import LONGEST_PAUSE, Lifetime, next_look
from ptymux.core.model import SpawnOptions
from ptymux.errors import InvalidValueError


def test_the_timeout_counts_from_when_the_child_runs_until_its_end() -> None:
    life = Lifetime(timeout_seconds=10.0)
    times = [life.timeout_at]

    life.begin(100.0)
    life.begin(105.0)  # as a server does that took it over
    times.append(life.timeout_at)
    life.end(104.0)
    times.append(life.timeout_at)

    assert times == [None, 110.0, None]
    assert life.removal_at is None


def test_the_time_to_live_counts_from_the_end() -> None:
    life = Lifetime(ttl_seconds=3600.0)
    life.begin(100.0)
    assert life.timeout_at is None
    assert life.removal_at is None

    life.end(200.0)
    life.end(300.0)

    assert life.removal_at == 3800.0


def test_a_time_to_live_of_zero_is_over_at_the_end() -> None:
    life = Lifetime(ttl_seconds=0.0)
    life.end(200.0)

    assert life.removal_at == 200.0


@pytest.mark.parametrize(
    ("times", "pause"),
    [
        ([], None),
        ([None, None], None),
        ([103.0, None, 101.5], 1.5),
        ([100.0], 0.001),
        ([3.0], 0.001),
        ([100.0 + 86_400 * 400], LONGEST_PAUSE),
        ([math.inf, 1e300], LONGEST_PAUSE),
    ],
)
def test_the_next_look_is_when_the_first_is_due_but_never_far_away(
    times: list[float | None], pause: float | None
) -> None:
    """A timer stands still while the machine sleeps, so that a long one would come late."""
    assert next_look(times, 100.0) == pause


def test_times_are_given_as_text_too_and_checked() -> None:
    options = SpawnOptions(argv=("true",), timeout_seconds="10m", ttl_seconds="1h")  # type: ignore[arg-type]

    assert (options.timeout_seconds, options.ttl_seconds) == (600.0, 3600.0)
    for wrong in (-1.0, math.inf, math.nan, "soon", True):
        with pytest.raises(InvalidValueError):
            SpawnOptions(argv=("true",), timeout_seconds=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError):
            SpawnOptions(argv=("true",), ttl_seconds=wrong)  # type: ignore[arg-type]

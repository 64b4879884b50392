"""Waiting: it ends with the condition, and a wait in vain says for what and what was instead."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import timing
from tests.timing import Wait, deadline_seconds, deadline_text, wait_until, wait_until_async

ROOT = str(Path(__file__).parent.parent)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every deadline past at once."""
    monkeypatch.setattr(timing, "_UNIT_SECONDS", 0.0)


def countdown(count: int) -> Iterator[int]:
    yield from [0] * count
    yield 7


def test_it_returns_what_made_the_condition_true() -> None:
    looks = countdown(3)

    assert wait_until(lambda: next(looks)) == 7


def test_the_async_one_lets_the_loop_go_on() -> None:
    async def main() -> int:
        done: list[int] = []
        asyncio.get_running_loop().call_later(0.001, done.append, 7)
        return (await wait_until_async(lambda: done))[0]

    assert asyncio.run(main()) == 7


@pytest.mark.usefixtures("impatient")
def test_a_wait_in_vain_shows_the_condition_and_its_values() -> None:
    found = {"clients": 2}

    with pytest.raises(AssertionError) as told:
        wait_until(lambda: found["clients"] == 3 and len(found) < 0)

    assert 's for: found["clients"] == 3 and len(found) < 0; in the end ' in str(told.value)
    assert str(told.value).endswith("found['clients'] is 2, len(found) is 1")


@pytest.mark.usefixtures("impatient")
def test_a_wait_in_vain_over_several_lines_is_shown_in_one() -> None:
    ready: list[str] = []

    with pytest.raises(AssertionError, match=r"for: any\( one == \"a\" for one in ready \) and"):
        wait_until(
            lambda: any(
                one == "a"
                for one in ready
            )
            and ready
        )  # fmt: skip


@pytest.mark.usefixtures("impatient")
def test_a_wait_in_vain_says_what_it_was_told_to() -> None:
    with pytest.raises(AssertionError, match=r"for: the end of time; in the end False is False"):
        wait_until(lambda: False, "the end of time")


@pytest.mark.usefixtures("impatient")
def test_a_wait_in_vain_for_a_function_has_its_name_and_its_last_value() -> None:
    def is_there() -> list[int]:
        return []

    with pytest.raises(AssertionError, match=r"is_there; in the end it is \[\]"):
        wait_until(is_there)


@pytest.mark.usefixtures("impatient")
def test_an_error_that_means_not_yet_is_shown_and_another_one_is_raised() -> None:
    def fails() -> bool:
        raise ConnectionError("nobody listens")

    with pytest.raises(AssertionError, match="nobody listens"):
        wait_until(fails, ignoring=OSError)
    with pytest.raises(ConnectionError):
        wait_until(fails, ignoring=ValueError)


@pytest.mark.usefixtures("impatient")
def test_a_condition_that_came_true_late_is_true() -> None:
    assert wait_until(lambda: 7) == 7


def test_pauses_grow_up_to_a_limit() -> None:
    wait = Wait(lambda: False)

    pauses = [wait.next_pause() for _ in range(20)]

    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.001, 0.02)


@pytest.mark.parametrize(("measured", "times"), [("", 1), ("x", 3)])
def test_one_factor_stretches_every_deadline(measured: str, times: int) -> None:
    program = "from tests.timing import deadline_seconds as d; print(d(), d(2))"
    env = os.environ | {"PTYMUX_TEST_FACTOR": "2.5"}
    env.pop("COVERAGE_PROCESS_CONFIG", None)
    env |= {"COVERAGE_PROCESS_CONFIG": "{}"} if measured else {}

    told = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path.insert(0, {ROOT!r}); {program}"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )

    assert [float(word) for word in told.stdout.split()] == [75.0 * times, 150.0 * times]


def test_commands_take_the_same_deadline() -> None:
    assert deadline_text() == f"{deadline_seconds():.0f}s"

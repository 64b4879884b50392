"""Tests of `cli/server_lookup.py`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ptymux.cli import server_lookup
from ptymux.core.windows import VARIABLE, Windows
from ptymux.errors import ConnectionClosedError, PtymuxError, UnreachableError

MOST_SECONDS = 1.8  # with our own start a silent server costs less than 2 s


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[PtymuxError], list[float]]:
    """Have every connection fail so; the list gets how long the server had for its hello."""

    def fail_with(error: PtymuxError) -> list[float]:
        seconds: list[float] = []

        def connect(_path: str, hello_seconds: float) -> None:
            seconds.append(hello_seconds)
            raise error

        monkeypatch.setattr(server_lookup, "ServerConnection", connect)
        return seconds

    return fail_with


def test_silent_server_is_not_waited_for_twice(
    given: Callable[[PtymuxError], list[float]],
) -> None:
    seconds = given(UnreachableError("/s", "it says nothing"))

    with pytest.raises(UnreachableError, match="it says nothing"):
        server_lookup.reach("/s")

    assert seconds == [MOST_SECONDS]


def test_server_that_hangs_up_may_be_replaced_for_as_long_in_all(
    given: Callable[[PtymuxError], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Windows().replacement == MOST_SECONDS
    monkeypatch.setenv(VARIABLE, "replacement=0.05")
    seconds = given(ConnectionClosedError("it hung up"))

    with pytest.raises(UnreachableError, match="it hangs up on whoever comes"):
        server_lookup.reach("/s")

    first, *others = seconds
    assert first == MOST_SECONDS
    assert others
    assert max(others) <= 0.05
    assert others == sorted(others, reverse=True)

"""Tests of `core/windows.py`."""

from __future__ import annotations

import pytest

from ptymux.core.windows import VARIABLE, Windows
from ptymux.errors import InvalidValueError


def test_environment_sets_the_windows_that_it_names_and_no_others() -> None:
    assert Windows.from_environment({}) == Windows()
    assert Windows.from_environment({VARIABLE: ""}) == Windows()
    assert Windows.from_environment({VARIABLE: "typing=2,hangup=0.05"}) == Windows(
        typing=2.0, hangup=0.05
    )


@pytest.mark.parametrize("text", ["typing", "typing=", "typing=x", "nothing=1", "hangup=-1", "=1"])
def test_mistake_is_refused_with_the_names_there_are(text: str) -> None:
    with pytest.raises(InvalidValueError, match="tail_silence"):
        Windows.from_environment({VARIABLE: text})

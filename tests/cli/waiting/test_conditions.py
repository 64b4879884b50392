"""Tests of `cli/waiting/conditions.py`: silence, of which only a clock can tell."""

from __future__ import annotations

from typing import cast

import pytest

from ptymux.cli.waiting import conditions
from ptymux.client.stream import Stream
from tests.cli.waiting.conftest import LateOutput


@pytest.mark.parametrize("stall_seconds", [0.0, 0.9, 1000.0])
def test_output_that_came_is_no_silence_however_late_it_is_read(
    output: LateOutput, stall_seconds: float
) -> None:
    output.write(5)
    output.look_seconds = stall_seconds
    silence = conditions._Silence(0.01, 0)

    assert silence.wait(cast(Stream, output)) is None

    assert silence.offset == 5

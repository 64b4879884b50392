from __future__ import annotations

import signal

import pytest

from tests.program import Program


def test_block_that_fails_does_not_wait_for_its_program() -> None:
    with pytest.raises(ZeroDivisionError), Program(["sleep", "1000"]) as sleeper:
        _ = 1 / 0

    assert sleeper.returncode == -signal.SIGKILL


def test_block_that_ends_waits_for_its_program() -> None:
    with Program(["sh", "-c", "sleep 0.1; exit 3"]) as program:
        pass

    assert program.returncode == 3

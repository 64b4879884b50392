from __future__ import annotations

import signal
import subprocess

import pytest

from tests.program import Program


def test_block_that_fails_does_not_wait_for_its_program() -> None:
    with pytest.raises(ZeroDivisionError), Program(["sleep", "1000"]) as sleeper:
        _ = 1 / 0

    assert sleeper.returncode == -signal.SIGKILL


def test_lines_can_be_read_one_by_one_and_then_all_that_follows() -> None:
    with Program(["printf", r"one\ntwo\nthree\nfour"], stdout=subprocess.PIPE) as program:
        assert program.read_line() == b"one\n"
        assert program.read_line() == b"two\n"
        assert program.communicate()[0] == b"three\nfour"


def test_last_line_may_have_no_end() -> None:
    with Program(["printf", "one"], stdout=subprocess.PIPE) as program:
        assert program.read_line() == b"one"
        assert program.read_line() == b""


def test_block_that_ends_waits_for_its_program() -> None:
    with Program(["sh", "-c", "sleep 0.1; exit 3"]) as program:
        pass

    assert program.returncode == 3

"""Tests of `cli/output/printing.py`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ptymux.cli.output.printing import columns
from ptymux.core.windows import VARIABLE
from tests.program import Program
from tests.timing import wait_until

SAYS_A_WORD = "from ptymux.cli.output.printing import print_message; print_message('word')"


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that has no room."""
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    size = 0
    try:
        while True:
            size += os.write(ends[1], b"x" * 4096)
    except BlockingIOError:
        assert size
    yield ends
    for fd in ends:
        os.close(fd)


def say_a_word(stderr: int, last_words: float) -> Program:
    env = {VARIABLE: f"last_words={last_words}"}
    return Program([sys.executable, "-c", SAYS_A_WORD], stderr=stderr, env=env)


def test_message_that_a_full_stderr_does_not_take_is_left_out(full_pipe: tuple[int, int]) -> None:
    with say_a_word(full_pipe[1], 0.01) as saying:
        assert saying.wait() == 0

    os.set_blocking(full_pipe[0], False)
    assert os.read(full_pipe[0], 1 << 20).strip(b"x") == b""


def test_message_waits_for_a_full_stderr_that_is_read_again(full_pipe: tuple[int, int]) -> None:
    os.set_blocking(full_pipe[0], False)
    said = bytearray()

    def is_said() -> bool:
        with suppress(BlockingIOError):
            said.extend(os.read(full_pipe[0], 4096))
        return said.endswith(b"\n")

    with say_a_word(full_pipe[1], 1000) as saying:
        wait_until(is_said)

        assert saying.wait() == 0
    assert said.strip(b"x") == b"ptymux: word\n"


@pytest.mark.parametrize(
    ("given", "count"), [("80", 80), ("0", 7), ("", 7), ("wide", 7), (None, 7)]
)
def test_columns_are_what_the_environment_says_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    given: str | None,
    count: int,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if given is not None:
        monkeypatch.setenv("COLUMNS", given)

    assert columns(7) == count

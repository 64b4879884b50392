"""What is said to words that other tools have."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from ptymux.cli.habits import HABITS
from ptymux.cli.root import ALIASES, COMMANDS, cli

TYPED = [
    "new",
    "capture",
    "stop",
    "status",
    "start",
    "restart",
    "kill-server",
    "has",
    "exec",
]


@pytest.mark.parametrize("word", sorted(HABITS))
def test_a_habit_is_answered_by_commands_that_there_are(word: str) -> None:
    assert word not in ALIASES
    for command in re.findall(r"`ptymux ([a-z]+)", HABITS[word]):
        shown = CliRunner().invoke(cli, [command, "--help"], prog_name="ptymux")
        assert (command in COMMANDS, shown.exit_code) == (True, 0)


@pytest.mark.parametrize("word", [word for word in TYPED if word not in COMMANDS])
def test_a_word_of_another_tool_gets_the_way_of_ptymux_and_no_guess(word: str) -> None:
    done = CliRunner().invoke(cli, [word], prog_name="ptymux")

    assert done.exit_code == 2
    assert f"no command '{word}'; {HABITS[word]}" in done.output
    assert "did you mean" not in done.output

"""What is said to words that other tools have."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from ptymux.cli.habits import EXTRA_HABITS, HABITS, OPTION_HABITS
from ptymux.cli.main import _print_usage
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


def options_of(name: str) -> set[str]:
    command = cli if name == "ptymux" else cli.get_command(click.Context(cli), name)
    assert command is not None
    return {option for param in command.params for option in (*param.opts, *param.secondary_opts)}


@pytest.mark.parametrize(("name", "option"), sorted(OPTION_HABITS))
def test_an_option_of_another_tool_is_answered_by_what_there_is(name: str, option: str) -> None:
    told = OPTION_HABITS[name, option]

    assert option not in options_of(name)
    for command in re.findall(r"`ptymux ([a-z]+)", told):
        assert command in COMMANDS
    outside = re.sub("`.*?`", "", told)
    assert set(re.findall(r"(?<!\w)--[a-z-]+", outside)) <= options_of(name)


@pytest.mark.parametrize("name", EXTRA_HABITS)
def test_a_command_that_takes_no_pty_says_which_one_does(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert all(isinstance(each, click.Option) for each in command.params)
    assert set(re.findall(r"^--[a-z-]+", EXTRA_HABITS[name])) <= options_of(name)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("attach -t web", "ptymux attach: no option '-t'; a PTY is named without it: `ptymux att"),
        ("run -it sh", "ptymux run: no option '-i'; a command always has a terminal here"),
        ("kill -9 web", "no option '-9'; `ptymux kill --grace 0 PTY` ends at once"),
        ("-r web", "ptymux: no option '-r'; `ptymux attach PTY`; see"),
        ("ps -l", "ptymux ps: no option '-l'; --wide shows more; see"),
        ("top web", "extra argument (web); `ptymux stats --watch PTY` watches one; see"),
        ("ls web", "extra argument (web); `ptymux stats PTY` shows one; see `ptymux ls --help`"),
        ("resize web 100 30", "the size is one word: 100x30; see"),
        ("signal HUP web", "the PTY stands first: `ptymux signal web HUP`; see"),
        ("ls --socket /x", "it stands before the command: `ptymux --socket PATH ls`; see"),
        ("--json ls", "ptymux: no option '--json'; the options of a command stand behind it; see"),
        ("ls --xyz", "ptymux ls: no option '--xyz'; see"),
        ("search x", "no command 'search'; see"),
        ("rnu x", "no command 'rnu', did you mean 'run'"),
    ],
)
def test_a_habit_gets_one_line_that_helps(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], typed: str, told: str
) -> None:
    monkeypatch.setenv("PTYMUX_SOCKET", "/tmp/no-such-folder-of-ptymux/s")

    with pytest.raises(click.UsageError) as refused:
        cli.main(typed.split(), "ptymux", standalone_mode=False)
    _print_usage(refused.value)

    line = capfd.readouterr().err
    assert (line.count("\n"), told in line) == (1, True), line

"""Commands that messages propose."""

from __future__ import annotations

import pytest

from ptymux.cli.habits import HABITS
from ptymux.cli.output.proposals import with_socket


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("none; `ptymux ls -a` lists all", "none; `ptymux --socket /x/s ls -a` lists all"),
        ("[web: exit 2; ptymux logs 3]", "[web: exit 2; ptymux --socket /x/s logs 3]"),
        (
            "`ptymux kill PTY` or `ptymux server stop`",
            "`ptymux --socket /x/s kill PTY` or `ptymux --socket /x/s server stop`",
        ),
        ("see `ptymux ls --help`", "see `ptymux ls --help`"),
        ("see `ptymux server stop --help`", "see `ptymux server stop --help`"),
        ("`ptymux help tmux` has the keys", "`ptymux help tmux` has the keys"),
        ("`ptymux --socket PATH run` starts", "`ptymux --socket PATH run` starts"),
        ("ptymux 1.0 at /x/s", "ptymux 1.0 at /x/s"),
    ],
)
@pytest.mark.parametrize("typed", [["--socket", "/x/s"], ["--socket=/y", "--socket=/x/s"]])
def test_a_proposed_command_has_the_socket_that_was_typed(
    typed: list[str], text: str, shown: str
) -> None:
    assert with_socket(text, ["ptymux", *typed, "ls", "--socket", "/other"]) == shown
    assert with_socket(text, ["ptymux", "ls", *typed]) == text


def test_a_path_is_quoted_as_a_shell_reads_it() -> None:
    argv = ["ptymux", "--socket", "/a b/s", "stop"]

    assert "`ptymux --socket '/a b/s' kill PTY`" in with_socket(HABITS["stop"], argv)


def test_an_option_without_its_value_names_no_socket() -> None:
    assert with_socket("`ptymux ls`", ["ptymux", "--socket"]) == "`ptymux ls`"

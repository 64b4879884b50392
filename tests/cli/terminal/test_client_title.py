"""The title of the terminal that shows a PTY."""

from __future__ import annotations

import pytest

from ptymux.cli.terminal.client_title import title_sequence

PTY = {"name": "web", "command": ["ls", "-l"], "title": ""}


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "web — ls -l"),
        ({"name": None}, "ls -l"),
        ({"title": "made by it"}, "made by it"),
        ({"title": "a\x1b]2;b\x07\x9c"}, "a]2;b"),
        ({"title": "x" * 999}, "x" * 256),
    ],
)
def test_title_is_that_of_the_program_or_names_it(changes: dict[str, str], title: str) -> None:
    expected = b"\x1b[22;2t\x1b]2;" + title.encode() + b"\x07"

    assert title_sequence(PTY | changes, "xterm-256color") == expected


@pytest.mark.parametrize("term", ["", "dumb", "linux", "linux-16color", "vt100", "emacs"])
def test_terminal_without_a_title_is_sent_nothing(term: str) -> None:
    assert title_sequence(PTY, term) == b""

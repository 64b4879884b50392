"""Which words of `ptymux send` are options, and which ones it types."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from ptymux.cli.commands.send import send
from ptymux.cli.options.typed_text import split_words


@pytest.mark.parametrize(
    ("typed", "options", "words"),
    [
        # Behind the first word of the text all is text, also what the command itself has.
        ("w ls -la", "", "w ls -la"),
        ("w ls --paste", "", "w ls --paste"),
        ("w pip list --json --raw", "", "w pip list --json --raw"),
        ("w ls --enter x", "", "w ls --enter x"),
        ("w git checkout -- x", "", "w git checkout -- x"),
        ("w - --raw", "", "w - --raw"),
        # Before it, on either side of the PTY.
        ("--raw w --paste ls --raw", "--raw --paste", "w ls --raw"),
        ("--key Up w --key=x a", "--key Up --key=x", "w a"),
        ("w --key x", "--key x", "w"),
        ("--entr w x", "--entr", "w x"),
        ("w -x", "-x", "w"),
        # At its end, what is typed there.
        ("w make test --enter", "--enter", "w make test"),
        ("w z --key Up --key=C-c --enter", "--key Up --key=C-c --enter", "w z"),
        ("w x --stdin --enter", "--stdin --enter", "w x"),
        ("w make --key Entr", "--key Entr", "w make"),
        ("w --raw ls --json --enter", "--raw --enter", "w ls --json"),
        ("w sort --key 2", "", "w sort --key 2"),
        ("w sort --key x --enter", "--enter", "w sort --key x"),
        ("w sort --key name", "", "w sort --key name"),
        ("w sort --key=2", "", "w sort --key=2"),
        ("w sort --key", "", "w sort --key"),
        ("w x --enter --key", "", "w x --enter --key"),
        ("w --key --enter x", "--key --enter", "w x"),
        # Behind a -- nothing is an option.
        ("w -- -x --enter", "", "w -x --enter"),
        ("--enter w -- --raw", "--enter", "w --raw"),
        ("-- -w x --enter", "", "-w x --enter"),
        ("", "", ""),
    ],
)
def test_options_end_where_the_text_begins(typed: str, options: str, words: str) -> None:
    assert split_words(typed.split(), {"--key"}) == (options.split(), words.split())


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("w -x", "no option '-x'; text that begins so goes behind `--`"),
        ("w --entr", "No such option"),
        ("w --key", "option '--key' needs a value"),
        ("--key", "option '--key' needs a value"),
        ("w", "nothing to send"),
    ],
)
def test_a_mistake_before_the_text_is_told_and_nothing_sent(typed: str, told: str) -> None:
    done = CliRunner().invoke(send, typed.split())

    assert (done.exit_code, told in done.output) == (2, True), done.output


def test_a_completed_option_is_one_wherever_the_text_ends() -> None:
    with click.Context(send, resilient_parsing=True) as ctx:
        send.parse_args(ctx, ["w", "ls", "--enter"])

    assert (ctx.params["text"], ctx.params["enter"]) == (("ls",), True)

"""The PTY that a command means which names none."""

from __future__ import annotations

import click
import pytest

from ptymux.cli.options.own_pty import own_pty, pty_and
from ptymux.cli.root import cli


@pytest.fixture(autouse=True)
def _inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYMUX_ID", "pty_own")
    monkeypatch.setenv("PTYMUX_SOCKET", "/x/s")


@pytest.mark.parametrize(
    ("typed", "found"), [(None, "pty_own"), ("/x/../x/s", "pty_own"), ("/y/s", None)]
)
def test_it_is_the_one_that_we_run_in_if_its_server_is_asked(
    typed: str | None, found: str | None
) -> None:
    ctx = click.Context(cli)
    ctx.params["socket"] = typed

    assert own_pty(ctx) == found


@pytest.mark.parametrize("variable", ["PTYMUX_ID", "PTYMUX_SOCKET"])
def test_outside_and_in_one_of_a_program_there_is_none(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable)

    assert own_pty(click.Context(cli)) is None


def test_of_two_words_one_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pty_and(("web", "x"), "NAME") == ("web", "x")
    assert pty_and(("x",), "NAME") == ("pty_own", "x")
    monkeypatch.delenv("PTYMUX_ID")
    for words, told in (((), "'PTY'"), (("x",), "'NAME'"), (("a", "b", "c"), "too many .*c")):
        with pytest.raises(click.UsageError, match=told):
            pty_and(words, "NAME")

"""`ptymux rename`: gives a live PTY another name."""

from __future__ import annotations

import click

from ptymux.cli.options.own_pty import complete_first, pty_and
from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.server_lookup import change_pty

__all__ = ["rename"]


@click.command(
    epilog="""\b
Examples:
  ptymux rename 3 web
  ptymux rename web    in a PTY, that one
"""
)
@click.argument("words", nargs=-1, metavar="[PTY] NAME", shell_complete=complete_first)
@JSON_OPTION
def rename(words: tuple[str, ...], as_json: bool) -> None:
    """Give a live PTY another name; digits only would be a number.

    Inside a PTY, that one is meant if none is named.
    """
    pty, name = pty_and(words, "NAME")
    change_pty("rename", as_json, pty=pty, name=name)

"""`ptymux rename`: gives a live PTY another name."""

from __future__ import annotations

import click

from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.options.pty_names import PTY
from ptymux.cli.server_lookup import change_pty

__all__ = ["rename"]


@click.command(epilog="Example: ptymux rename 3 web")
@click.argument("pty", type=PTY)
@click.argument("name")
@JSON_OPTION
def rename(pty: str, name: str, as_json: bool) -> None:
    """Give a live PTY another name; digits only would be a number."""
    change_pty("rename", as_json, pty=pty, name=name)

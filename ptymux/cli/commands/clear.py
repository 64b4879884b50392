"""`ptymux clear`: throws away the output that a PTY keeps."""

from __future__ import annotations

import click

from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.options.pty_names import PTY
from ptymux.cli.server_lookup import change_pty

__all__ = ["clear"]


@click.command(epilog="Example: ptymux clear web")
@click.argument("pty", type=PTY)
@JSON_OPTION
def clear(pty: str, as_json: bool) -> None:
    """Throw away the output that a PTY keeps; what nobody had read counts as dropped."""
    change_pty("clear", as_json, pty=pty)

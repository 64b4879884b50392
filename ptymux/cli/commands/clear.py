"""`ptymux clear`: throws away the output that a PTY keeps."""

from __future__ import annotations

import click

from ptymux.cli.options.own_pty import own_pty_argument
from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.server_lookup import change_pty

__all__ = ["clear"]


@click.command(epilog="Example: ptymux clear web")
@own_pty_argument()
@JSON_OPTION
def clear(pty: str, as_json: bool) -> None:
    """Throw away the output that a PTY keeps; what nobody had read counts as dropped.

    Inside a PTY, that one is meant if none is named.
    """
    change_pty("clear", as_json, pty=pty)

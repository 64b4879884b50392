"""`ptymux set`: changes what happens when the buffer of a PTY is full."""

from __future__ import annotations

import click

from ptymux.cli.options.own_pty import own_pty_argument
from ptymux.cli.options.param_types import JSON_OPTION, ON_FULL
from ptymux.cli.output.printing import print_json
from ptymux.cli.server_lookup import connect

__all__ = ["set_"]


@click.command(
    "set",
    epilog="""\b
Examples:
  ptymux set web --on-full block  it waits for those who read all
  ptymux set web --on-full drop   it never waits
""",
)
@own_pty_argument()
@click.option(
    "--on-full",
    type=ON_FULL,
    required=True,
    help="Drop the oldest output, or let the command wait.",
)
@JSON_OPTION
def set_(pty: str, on_full: str, as_json: bool) -> None:
    """Change what happens when a PTY's buffer is full.

    Inside a PTY, that one is meant if none is named.
    """
    with connect() as connection:
        offset = connection.call("set", pty=pty, on_full=on_full)["offset"]
    if as_json:
        print_json(offset=offset)

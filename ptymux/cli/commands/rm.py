"""`ptymux rm`: forgets PTYs that have ended."""

from __future__ import annotations

import click

from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.options.pty_names import ENDED_PTY
from ptymux.cli.output.printing import count_of, print_json, print_message
from ptymux.cli.server_lookup import connect

__all__ = ["rm"]


@click.command(
    epilog="""\b
Examples:
  ptymux rm 3      its output and its numbers go, too
  ptymux rm --all  all that have ended
"""
)
@click.argument("ptys", nargs=-1, type=ENDED_PTY, metavar="[PTY]...")
@click.option("--all", "everything", is_flag=True, help="Every PTY that has ended.")
@JSON_OPTION
def rm(ptys: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Forget PTYs that have ended; with a live one among them, nothing is done."""
    if bool(ptys) == everything:
        raise click.UsageError("which ones? Name them, or give --all")
    with connect() as connection:
        answer = connection.call("remove", ptys=list(ptys) or None, all=everything or None)
    removed = answer.get("removed", [])
    if as_json:
        print_json(removed=removed)
    elif everything:
        print_message(f"{count_of(len(removed), 'PTY')} forgotten", prefix="")

"""`ptymux rm`: forgets PTYs that have ended."""

from __future__ import annotations

import click

from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.options.pty_names import ENDED_PTY
from ptymux.cli.output.printing import count_of, print_json, print_message
from ptymux.cli.output.refusals import Refusals
from ptymux.cli.server_lookup import connect
from ptymux.errors import InvalidStateError, UnknownPtyError

__all__ = ["rm"]


@click.command(
    epilog="""\b
Examples:
  ptymux rm 3      its output and its numbers go, too
  ptymux rm --all  all that have ended

Exit status: 1 when one was not found or lives; it forgets the others, and says which.
"""
)
@click.argument("ptys", nargs=-1, type=ENDED_PTY, metavar="[PTY]...")
@click.option("--all", "everything", is_flag=True, help="Every PTY that has ended.")
@JSON_OPTION
def rm(ptys: tuple[str, ...], everything: bool, as_json: bool) -> int:
    """Forget PTYs that have ended; those that live stay."""
    if bool(ptys) == everything:
        raise click.UsageError("which ones? Name them, or give --all")
    refusals = Refusals()
    removed: list[str] = []
    with connect() as connection:
        if everything:
            removed += connection.call("remove", all=True)["removed"]
        for word in ptys:
            try:
                removed += connection.call("remove", ptys=[word])["removed"]
            except (UnknownPtyError, InvalidStateError) as error:
                refusals.add(word, error)
    if as_json:
        print_json(removed=removed, errors=refusals.as_json())
    elif everything:
        print_message(f"{count_of(len(removed), 'PTY')} forgotten", prefix="")
    return refusals.print()

"""`ptymux kill`: ends PTYs, and returns once they are gone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ptymux.cli.options.param_types import DURATION, JSON_OPTION
from ptymux.cli.options.pty_names import LANE, PTY
from ptymux.cli.output.printing import count_of, print_json, print_message
from ptymux.cli.server_lookup import repeating
from ptymux.client.listing import list_ptys
from ptymux.errors import UnknownPtyError

if TYPE_CHECKING:
    from ptymux.client.server_connection import ServerConnection

__all__ = ["kill"]


@click.command(
    epilog="""\b
Examples:
  ptymux kill web             TERM to its whole session, KILL after the grace
  ptymux kill --grace 0 3 4   KILL at once
  ptymux kill --lane ci       whatever runs in a lane
  ptymux kill --all
"""
)
@click.argument("ptys", nargs=-1, type=PTY, metavar="[PTY]...")
@click.option("--grace", type=DURATION, help="Time between TERM and KILL; else the PTY's own.")
@click.option("--lane", type=LANE, help="Every live PTY of a lane.")
@click.option("--all", "everything", is_flag=True, help="Every live PTY.")
@JSON_OPTION
def kill(
    ptys: tuple[str, ...], grace: float | None, lane: str | None, everything: bool, as_json: bool
) -> None:
    """End PTYs; return once they are gone and their names are free."""
    if (bool(ptys), lane is not None, everything).count(True) != 1:
        raise click.UsageError("which ones? Name them, or give --lane, or --all")
    # By their ids: a name that was freed could be another's when it is asked again.
    ids = [repeating(partial(_id_of, pty)) for pty in ptys]
    # Of many, the server may have forgotten some by the time it answers.
    count = 0 if ptys else len(repeating(partial(_live_ptys, lane)))
    ended = repeating(
        lambda connection: connection.call(
            "kill", ptys=ids or None, lane=lane, all=everything or None, grace=grace
        )["ptys"]
    )
    if as_json:
        print_json(ptys=ended)
    elif not ptys:
        print_message(f"{count_of(count, 'PTY')} ended", prefix="")


def _live_ptys(lane: str | None, connection: ServerConnection) -> list[dict[str, Any]]:
    """Return the live PTYs, all or those of a lane."""
    return list_ptys(connection.call, lane=lane).ptys


def _id_of(pty: str, connection: ServerConnection) -> str:
    """Return the id of a PTY that is named exactly."""
    found: dict[str, Any] = connection.call("get", pty=pty)["pty"]
    if pty not in (found["pty_id"], str(found["number"]), found["name"]):
        raise UnknownPtyError(pty)  # only its beginning, which is good for looking
    return str(found["pty_id"])

"""`ptymux kill`: ends PTYs, and returns once they are gone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ptymux.cli.options.own_pty import own_pty
from ptymux.cli.options.param_types import DURATION, JSON_OPTION
from ptymux.cli.options.pty_names import LANE, PTY, check_exact
from ptymux.cli.output.printing import count_of, print_json, print_message
from ptymux.cli.output.refusals import Refusals
from ptymux.cli.server_lookup import repeating
from ptymux.client.listing import list_ptys
from ptymux.errors import AmbiguousPtyError, UnknownPtyError

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

Exit status: 1 when it did not find all that were named, or could not end all their processes; it
ends the others, and says which.
"""
)
@click.argument("ptys", nargs=-1, type=PTY, metavar="[PTY]...")
@click.option("--grace", type=DURATION, help="Time between TERM and KILL; else the PTY's own.")
@click.option("--lane", type=LANE, help="Every live PTY of a lane.")
@click.option("--all", "everything", is_flag=True, help="Every live PTY.")
@JSON_OPTION
def kill(
    ptys: tuple[str, ...], grace: float | None, lane: str | None, everything: bool, as_json: bool
) -> int:
    """End PTYs; return once they are gone and their names are free."""
    if (bool(ptys), lane is not None, everything).count(True) != 1:
        own = '; this one is "$PTYMUX_ID"' if own_pty() and not ptys else ""
        raise click.UsageError(f"which ones? Name them, or give --lane, or --all{own}")
    refusals = Refusals()
    if ptys:
        result = _end_named(ptys, grace, refusals)
    else:
        # Of many, the server may have forgotten some by the time it answers.
        count = len(repeating(partial(_live_ptys, lane)))
        chosen = {"lane": lane, "all": everything or None}
        result = repeating(partial(_end, chosen, grace))
    survivors = result.get("survivors", [])
    if as_json:
        print_json(ptys=result["ptys"], errors=refusals.as_json(), survivors=survivors)
    elif not ptys:
        print_message(f"{count_of(count, 'PTY')} ended", prefix="")
    is_incomplete = _print_survivors(survivors)
    return refusals.print() or int(is_incomplete)


def _print_survivors(survivors: list[dict[str, Any]]) -> bool:
    """Print on stderr which processes live on; return whether some were to end."""
    is_incomplete = False
    for pty in survivors:
        for process in pty["left"]:
            is_incomplete = True
            print_message(
                f"process {process['pid']} of PTY {pty['number']} lives on: {process['error']}"
            )
        if pty["escaped"]:
            pids = ", ".join(map(str, pty["escaped"]))
            what = "processes" if len(pty["escaped"]) > 1 else "process"
            print_message(
                f"{what} {pids} left PTY {pty['number']} by setsid, and may live on", prefix=""
            )
    return is_incomplete


def _end_named(words: tuple[str, ...], grace: float | None, refusals: Refusals) -> dict[str, Any]:
    """End those that are found; return the server's answer once they are gone."""
    # By their ids: a name that was freed could be another's when it is asked again.
    ids: dict[str, str] = {}
    for word in words:
        try:
            ids[repeating(partial(_id_of, word))] = word
        except (UnknownPtyError, AmbiguousPtyError) as error:
            refusals.add(word, error)
    while ids:
        try:
            return repeating(partial(_end, {"ptys": list(ids)}, grace))
        except UnknownPtyError:  # one ended meanwhile and was forgotten, as after `run --rm`
            ids = {pty_id: word for pty_id, word in ids.items() if _is_known(pty_id)}
    return {"ptys": []}


def _end(
    chosen: Mapping[str, object], grace: float | None, connection: ServerConnection
) -> dict[str, Any]:
    return connection.call("kill", grace=grace, **chosen)


def _is_known(pty_id: str) -> bool:
    try:
        return bool(repeating(partial(_id_of, pty_id)))
    except UnknownPtyError:
        return False


def _live_ptys(lane: str | None, connection: ServerConnection) -> list[dict[str, Any]]:
    """Return the live PTYs, all or those of a lane."""
    return list_ptys(connection.call, lane=lane).ptys


def _id_of(pty: str, connection: ServerConnection) -> str:
    """Return the id of a PTY that is named exactly."""
    found: dict[str, Any] = connection.call("get", pty=pty)["pty"]
    check_exact(pty, found)
    return str(found["pty_id"])

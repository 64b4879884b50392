"""`ptymux ls`: prints the PTYs as a table, as ids or as JSON."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click

from ptymux.cli.options.pty_names import LANE
from ptymux.cli.options.states import STATE
from ptymux.cli.output.ls_table import draw_table, held_words
from ptymux.cli.output.printing import has_colour, paint, print_json, print_text
from ptymux.cli.server_lookup import repeating
from ptymux.client.listing import list_ptys
from ptymux.core.units import printable

__all__ = ["ls"]

_EPILOG = """\b
Examples:
  ptymux ls                              what runs, and what failed unseen
  ptymux ls -a --lane ci                 and what has ended, of one lane
  ptymux ls --failed -q                  ids of what failed unseen
  ptymux ls --state quiet                what has been silent for a while
  ptymux kill $(ptymux ls -q --lane ci)  ids only, for other commands
  ptymux ls --json | jq '.ptys[].buffer.total_dropped'

USED is the share of its buffer that waits to be read. DROPPED is red when somebody was attached
and did not get it.
"""


@click.command(epilog=_EPILOG)
@click.option("-a", "--all", "everything", is_flag=True, help="All that have ended, too.")
@click.option("--lane", type=LANE, help="Those of one lane.")
@click.option("--session", help="Those of one session.")
@click.option(
    "--state",
    type=STATE,
    metavar="STATE",
    help="Those in one state, such as running, quiet, exited or errored.",
)
@click.option("--failed", is_flag=True, help="Failures that nobody has looked at.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(
    everything: bool,
    lane: str | None,
    session: str | None,
    state: str | None,
    failed: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """List the live PTYs, and failures that nobody has looked at; or all of them.

    A failure is an exit status other than 0, a signal that nobody here sent, or a start that did
    not succeed. It is listed until somebody has looked at it, by `logs`, `stats`, `attach` or
    `wait`; who was attached at the end has seen it. Programs get the live ones by -q and --json.
    """
    listing = repeating(
        lambda connection: list_ptys(
            connection.call,
            all=everything or None,
            unseen=failed or not (quiet or as_json) or None,
            lane=lane,
            session=session,
            state=state,
        )
    )
    ptys, ended = listing.ptys, listing.ended
    if failed:
        ptys = [pty for pty in ptys if pty.get("unseen")]
    if as_json:
        print_json(ptys=ptys, ended=ended)
    elif quiet:
        for pty in ptys:
            print_text(pty["pty_id"])
    else:
        _show(ptys, ended)


def _show(ptys: list[dict[str, Any]], ended: int) -> None:
    width = None
    if sys.stdout.isatty():
        width = max(os.get_terminal_size(sys.stdout.fileno()).columns, 1)
    colour = has_colour()
    if ptys:
        lines = draw_table(ptys, now=time.time(), width=width or None, colour=colour)
        print_text("\n".join(lines))
    if sys.stdout.isatty() and sys.stderr.isatty():
        for line in _notes(ptys, ended):
            click.echo(paint(line, "dim", colour=colour), err=True)


def _notes(ptys: list[dict[str, Any]], ended: int) -> list[str]:
    """Return the lines below the table, which are for people only."""
    notes = [
        f"{printable(pty['name'] or str(pty['number']))} waits: nobody is reading"
        for pty in ptys
        if held_words(pty)
    ]
    if ended:
        notes.append(f"{ended} ended, ls -a")
    if not ptys and not ended:
        notes.append("no PTYs; `ptymux run -d COMMAND` starts one")
    return notes

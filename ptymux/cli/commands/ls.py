"""`ptymux ls`: prints the PTYs as a table, as ids or as JSON."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click

from ptymux.cli.options.pty_names import LANE
from ptymux.cli.output.ls_table import draw_table, held_words
from ptymux.cli.output.printing import has_colour, paint, print_json, print_text
from ptymux.cli.server_lookup import repeating
from ptymux.client.listing import list_ptys
from ptymux.core.units import printable

__all__ = ["ls"]

_EPILOG = """\b
Examples:
  ptymux ls                              what runs
  ptymux ls -a --lane ci                 and what has ended, of one lane
  ptymux ls --state quiet                what has been silent for a while
  ptymux kill $(ptymux ls -q --lane ci)  ids only, for other commands
  ptymux ls --json | jq '.ptys[].buffer.total_dropped'

USED is the share of its buffer that waits to be read. DROPPED is red when somebody was attached
and did not get it.
"""


@click.command(epilog=_EPILOG)
@click.option("-a", "--all", "everything", is_flag=True, help="Those that have ended, too.")
@click.option("--lane", type=LANE, help="Those of one lane.")
@click.option("--session", help="Those of one session.")
@click.option("--state", help="Those in one state, such as running, quiet, exited or errored.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(
    everything: bool,
    lane: str | None,
    session: str | None,
    state: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """List the live PTYs, or all of them."""
    listing = repeating(
        lambda connection: list_ptys(
            connection.call, all=everything or None, lane=lane, session=session, state=state
        )
    )
    ptys, ended = listing.ptys, listing.ended
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

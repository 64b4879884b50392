"""`ptymux ls`: prints the PTYs as a table, as ids or as JSON."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import click

from ptymux.cli.options.pty_names import LANE
from ptymux.cli.options.states import STATE
from ptymux.cli.output.ls_table import draw_table, held_words
from ptymux.cli.output.printing import (
    SCHEMA,
    has_colour,
    json_line,
    paint,
    print_json,
    print_text,
)
from ptymux.cli.output.proposals import with_socket
from ptymux.cli.server_lookup import repeating
from ptymux.client.listing import Listing, list_ptys
from ptymux.core.units import printable

__all__ = ["ls"]

_EPILOG: Final = """\b
Examples:
  ptymux ls                              what runs, and what failed unseen
  ptymux ls -a --lane ci                 and what has ended, of one lane
  ptymux ls --failed -q                  ids of what failed unseen
  ptymux ls --state quiet                what has been silent for a while
  ptymux kill $(ptymux ls -q --lane ci)  ids only, for other commands
  ptymux ls --wide                       and CPU, memory, directory, title
  ptymux ls -w                           again every second
  ptymux ls --format '{number:>3} {name:<12} {cpu:>5}'
  ptymux ls --json | jq '.ptys[].buffer.total_dropped'

USED is the share of its buffer that waits to be read. DROPPED is red when somebody was attached
and did not get it. CPU is that of all processes of the PTY's session, 100% for one processor.

A template has {FIELD} for what `--json` has, such as {pid} or {buffer.total_dropped}, and {id},
{lane}, {session}, {command}, {age}, {ended}, {used}, {written}, {dropped}, {cpu} and {memory}.
{name:<12} is 12 cells wide, {pid:>7} is on the right.
"""


_WATCH_SECONDS: Final = 1.0


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
@click.option("--wide", is_flag=True, help="CPU, memory, directory and title, too.")
@click.option("-w", "--watch", is_flag=True, help="Show them again every second, until ^C.")
@click.option(
    "--format",
    "template",
    metavar="TEMPLATE",
    help="A line for each by a template such as '{number} {name}'.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(
    everything: bool,
    lane: str | None,
    session: str | None,
    state: str | None,
    failed: bool,
    wide: bool,
    watch: bool,
    template: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """List the live PTYs, and failures that nobody has looked at; or all of them.

    A failure is an exit status other than 0, a signal that nobody here sent, or a start that did
    not succeed. It is listed until somebody has looked at it, by `logs`, `stats`, `attach` or
    `wait`; who was attached at the end has seen it. Programs get the live ones by -q and --json.
    """
    if sum((wide, quiet, as_json, template is not None)) > 1:
        raise click.UsageError("--wide, --format, --quiet and --json exclude each other")
    printer = _printer(wide=wide, template=template, quiet=quiet, as_json=as_json, watch=watch)

    def ask() -> Listing:
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
        if failed:
            listing.ptys = [pty for pty in listing.ptys if pty.get("unseen")]
        return listing

    printer(ask())
    while watch:
        time.sleep(_WATCH_SECONDS)
        printer(ask())


def _printer(
    *, wide: bool, template: str | None, quiet: bool, as_json: bool, watch: bool
) -> Callable[[Listing], None]:
    """Return what prints a list in the way that was asked for, perhaps again and again."""
    if as_json and watch:
        return lambda listing: print_text(
            json_line({"schema": SCHEMA, "ptys": listing.ptys, "ended": listing.ended})
        )
    if as_json:
        return lambda listing: print_json(ptys=listing.ptys, ended=listing.ended)
    if quiet:
        return lambda listing: _print_lines(pty["pty_id"] for pty in listing.ptys)
    if template is not None:
        return _formatter(template)
    return _Table(wide=wide, watch=watch).show


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print_text(line)


def _formatter(text: str) -> Callable[[Listing], None]:
    from ptymux.cli.output.ls_template import Template

    template = Template(text)
    meter = _meter() if template.needs_usage else None

    def show(listing: Listing) -> None:
        ptys, now = listing.ptys if meter is None else meter(listing.ptys), time.time()
        _print_lines(template.fill(pty, now) for pty in ptys)

    return show


def _meter() -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    from ptymux.cli.output.usage_meter import UsageMeter

    return UsageMeter().measure


class _Table:
    """Prints the table; if it is to be watched, on a terminal in the place of the one before."""

    def __init__(self, *, wide: bool, watch: bool) -> None:
        self._meter = _meter() if wide else None
        self._watch = watch
        self._drawn = 0  # lines on the terminal

    def show(self, listing: Listing) -> None:
        """Print a list, with what people have to know of it below."""
        is_terminal, colour = sys.stdout.isatty(), has_colour()
        cols, rows = os.get_terminal_size(sys.stdout.fileno()) if is_terminal else (0, 0)
        ptys = listing.ptys if self._meter is None else self._meter(listing.ptys)
        lines = draw_table(
            ptys,
            now=time.time(),
            width=cols or None,
            colour=colour,
            wide=self._meter is not None,
        )
        lines = lines if ptys else []
        notes = _notes(ptys, listing.ended)
        if not self._watch:
            _print_lines(lines)
            if is_terminal and sys.stderr.isatty():
                for line in notes:
                    click.echo(paint(line, "dim", colour=colour), err=True)
        elif not is_terminal:
            _print_lines([*lines, ""])
        else:
            lines += [paint(note, "dim", colour=colour) for note in notes]
            self._redraw(lines, rows - 1 if rows else len(lines))

    def _redraw(self, lines: list[str], room: int) -> None:
        if len(lines) > room > 1:
            lines = [*lines[: room - 1], f"{len(lines) - room + 1} more"]
        up = f"\033[{self._drawn}A\033[J" if self._drawn else ""
        print_text(up + "\n".join(lines))
        self._drawn = len(lines)


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
        notes.append(with_socket("no PTYs; `ptymux run -d COMMAND` starts one"))
    return notes

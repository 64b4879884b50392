"""`ptymux stats`: prints the numbers of one PTY, in words or as JSON, once or every second."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final

import click

from ptymux.cli.options.own_pty import own_pty_argument
from ptymux.cli.options.pty_names import ANY_PTY
from ptymux.cli.output.printing import (
    SCHEMA,
    has_colour,
    json_line,
    print_json,
    print_text,
    takes_blocks,
)
from ptymux.cli.output.stats_report import draw_report
from ptymux.cli.server_lookup import repeating
from ptymux.core.model import ENDED_STATES

__all__ = ["stats"]

_EPILOG: Final = """\b
Examples:
  ptymux stats web                     where every byte of its output went
  ptymux stats --watch web             once a second until it ends
  ptymux stats --json 3 | jq .pty.buffer.dropped_attended
  ptymux stats --watch --json web      a line of JSON a second
"""

_WATCH_SECONDS: Final = 1.0


@click.command(epilog=_EPILOG)
@own_pty_argument(ANY_PTY)
@click.option("-w", "--watch", is_flag=True, help="Show them every second until the PTY ends.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(pty: str, watch: bool, as_json: bool) -> None:
    """Show the numbers of one PTY, live or ended, with its history and signals.

    Inside a PTY, that one is meant if none is named.
    """
    found = _ask(pty)
    if watch:
        _watch(found, as_json)
    elif as_json:
        print_json(pty=found)
    else:
        print_text("\n".join(_lines(found)))


def _ask(pty: str) -> dict[str, Any]:
    found: dict[str, Any] = repeating(lambda connection: connection.call("stats", pty=pty)["pty"])
    return found


def _watch(pty: dict[str, Any], as_json: bool) -> None:
    """Print again every second; on a terminal in the place of what was there."""
    drawn = 0
    while True:
        if as_json:
            print_text(json_line({"schema": SCHEMA, "pty": pty}))
        elif sys.stdout.isatty():
            lines = _lines(pty)[: os.get_terminal_size(sys.stdout.fileno()).lines - 1]
            up = f"\033[{drawn}A\033[J" if drawn else ""
            print_text(up + "\n".join(lines))
            drawn = len(lines)
        else:
            print_text("\n".join([*_lines(pty), ""]))
        if pty["state"] in ENDED_STATES:
            return
        time.sleep(_WATCH_SECONDS)
        pty = _ask(pty["pty_id"])


def _lines(pty: dict[str, Any]) -> list[str]:
    width = None
    if sys.stdout.isatty():
        width = os.get_terminal_size(sys.stdout.fileno()).columns or None
    return draw_report(
        pty, now=time.time(), width=width, colour=has_colour(), blocks=takes_blocks()
    )

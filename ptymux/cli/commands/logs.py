"""`ptymux logs`: prints the output that is kept of a PTY and, with -f, what comes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ptymux.cli.options.moments import MOMENT
from ptymux.cli.options.own_pty import own_pty_argument
from ptymux.cli.options.param_types import COUNT
from ptymux.cli.output.gaps import uncertain_text
from ptymux.cli.output.printing import print_message
from ptymux.cli.server_lookup import chosen_path, connect, home
from ptymux.errors import PtymuxError

if TYPE_CHECKING:
    from ptymux.cli.output.log_view import LogView
    from ptymux.client.server_connection import ServerConnection
    from ptymux.core.time_index import Times

__all__ = ["logs"]

_EPILOG: Final = """\b
Examples:
  ptymux logs 3                   what is kept; text and colours on a terminal
  ptymux logs -f --tail 20 web    the last lines, and those to come
  ptymux logs -t --since 1h web   what came since, each line with its time
  ptymux logs --plain 3 | grep x  text as a terminal leaves it
  ptymux logs 3 > file            without the CR that a terminal adds to lines
  ptymux logs --raw 3 > file      the bytes as they were

A TIME is how long ago (10m, 2h, 30d), or 14:05, 2026-11-27 or 2026-11-27T14:05. Times are noted by
the second, of old output less finely; rather more is printed than less, also if the clock was set.
"""


_EXCLUSIVE: Final = (
    ("--raw", "--plain"),
    ("--raw", "--timestamps"),
    ("--tail", "--from"),
    ("--since", "--from"),
    ("--until", "--follow"),
)


@click.command(epilog=_EPILOG)
@own_pty_argument()
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the PTY ends.")
@click.option("--tail", type=COUNT, metavar="N", help="Only the last N lines.")
@click.option("--from", "start", type=COUNT, metavar="OFFSET", help="Only from this byte on.")
@click.option("--since", type=MOMENT, metavar="TIME", help="Only what came at that time or later.")
@click.option("--until", type=MOMENT, metavar="TIME", help="Only what came up to that time.")
@click.option("-t", "--timestamps", is_flag=True, help="The time in front of each line.")
@click.option(
    "--lossless/--lossy",
    default=None,
    help="With -f: in block mode the command waits for us, or goes on. (default: waits)",
)
@click.option(
    "--raw", is_flag=True, help="The bytes as they were, with all that the terminal added."
)
@click.option(
    "--plain",
    is_flag=True,
    help="Text without colours or any other escape code; a progress bar's last state.",
)
def logs(
    pty: str,
    follow: bool,
    tail: int | None,
    start: int | None,
    since: float | None,
    until: float | None,
    timestamps: bool,
    lossless: bool | None,
    raw: bool,
    plain: bool,
) -> None:
    """Print the output of PTY that is kept.

    On a terminal only text and colours, as replayed questions would make it type the answers. In a
    pipe or a file without what the terminal added to the ends of lines. What is missing is told: in
    its place, or on stderr; the line that it cut is left out. Inside a PTY, that one is meant if
    none is named.
    """
    _check_pairs(
        {"--raw": raw, "--plain": plain, "--timestamps": timestamps, "--follow": follow}
        | {"--tail": tail is not None, "--from": start is not None}
        | {"--since": since is not None, "--until": until is not None}
    )
    if lossless is not None and not follow:
        raise click.UsageError("--lossless and --lossy need --follow")
    kind = "one-shot" if not follow else "consumer" if lossless is False else "lossless"
    with connect() as connection:
        found = connection.call("get", pty=pty)["pty"]
        times = None
        if timestamps or since is not None or until is not None:
            times = _times(connection, found)
    if follow and found["pty_id"] == home():
        raise PtymuxError(f"this is PTY {found['number']} itself; it cannot be shown in itself")
    offset, last = _range(times, start, since, until)
    view = _view(raw, plain, found)
    if timestamps:
        view = _stamped(view, offset, found)
    end = _print(found, kind, view, tail, offset, last)
    if count := (end or found).get("uncertain", 0):
        print_message(uncertain_text(count))


def _check_pairs(given: Mapping[str, bool]) -> None:
    for one, other in _EXCLUSIVE:
        if given[one] and given[other]:
            raise click.UsageError(f"{one} and {other} exclude each other")


def _times(connection: ServerConnection, pty: Mapping[str, Any]) -> Times:
    """Return when the output of a PTY came; print it if nobody noted that."""
    from ptymux.core.time_index import Times

    times = Times.from_json(dict(connection.call("times", pty=pty["pty_id"])))
    if not times.is_known:
        print_message(
            f"PTY {pty['number']} has no times: an older version of ptymux started it; "
            "all its output is printed"
        )
    return times


def _range(
    times: Times | None, start: int | None, since: float | None, until: float | None
) -> tuple[int | str, int | None]:
    """Return the offset at which to begin, and the one at which to end if there is one."""
    offset: int | str = "oldest" if start is None else start
    if times is not None and since is not None:
        offset = times.since(since) or "oldest"
    return offset, times.until(until) if times is not None and until is not None else None


def _stamped(view: LogView, offset: int | str, pty: Mapping[str, Any]) -> LogView:
    from ptymux.cli.output.line_times import LineTimes
    from ptymux.cli.output.log_view import Stamped
    from ptymux.core.time_index import Times

    def load() -> Times:
        with connect() as connection:
            return Times.from_json(dict(connection.call("times", pty=pty["pty_id"])))

    start = offset if isinstance(offset, int) else 0
    return Stamped(view, start, LineTimes(load).stamp)


def _view(raw: bool, plain: bool, pty: Mapping[str, Any]) -> LogView:
    from ptymux.cli.output.log_view import Bytes, LogView, Text, Unterminal

    if raw:
        return Bytes()
    if plain or os.isatty(1):
        return Text(colours=not plain)
    return LogView() if pty.get("plain_output") else Unterminal()


def _print(
    pty: Mapping[str, Any],
    kind: str,
    view: LogView,
    tail: int | None,
    offset: int | str,
    until: int | None = None,
) -> Mapping[str, Any] | None:
    """Print the output; return the PTY if we saw its end."""
    from ptymux.cli.output.log_printer import Printer, Tail, follow
    from ptymux.protocol.framing import Exit

    path, pty_id = chosen_path(), str(pty["pty_id"])
    end = None
    on_terminal = os.isatty(1)
    with Printer(1, view, inline=on_terminal, live=on_terminal and kind != "one-shot") as printer:
        if tail is not None:
            # Only what is printed counts as read: an observer looks where the last lines begin.
            last = Tail(tail)
            now = int(pty["buffer"]["total_written"]) if until is None else until
            for piece in follow(path, pty_id, offset, "observer", until=now):
                if not isinstance(piece, Exit):
                    last.add(piece)
            if last.start is not None:
                offset = last.start
                view.skip(offset)  # it begins there
            until = now if kind == "one-shot" else None
        for piece in follow(
            path, pty_id, offset, kind, until=until, printer=printer, inside=home()
        ):
            if isinstance(piece, Exit):
                end = piece.pty
            else:
                printer.print(piece)
    return end

"""What is done to a PTY from outside: kill, rm, rename, set, resize, signal, clear."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ptymux.cli.options.param_types import DURATION, WINDOW_SIZE
from ptymux.cli.options.pty_names import ENDED_PTY, LANE
from ptymux.cli.output.printing import print_json
from ptymux.cli.output.stderr import tell
from ptymux.cli.server_lookup import PTY, connect, every_pty, repeating
from ptymux.errors import SignalError, UnknownPtyError

if TYPE_CHECKING:
    from ptymux.client.server_connection import Connection
    from ptymux.core.model import WindowSize

__all__ = ["clear", "kill", "rename", "resize", "rm", "set_", "signal"]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


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
@_JSON
def kill(
    ptys: tuple[str, ...], grace: float | None, lane: str | None, everything: bool, as_json: bool
) -> None:
    """End PTYs; return once they are gone and their names are free."""
    if (bool(ptys), lane is not None, everything).count(True) != 1:
        raise click.UsageError("which ones? Name them, or give --lane, or --all")
    # By their ids: a name that was freed could be another's when it is asked again.
    ids = [repeating(partial(_id_of, pty)) for pty in ptys]
    # Of many, the server may have forgotten some by the time it answers.
    count = 0 if ptys else repeating(lambda connection: len(every_pty(connection, lane=lane)[0]))
    ended = repeating(
        lambda connection: connection.call(
            "kill", ptys=ids or None, lane=lane, all=everything or None, grace=grace
        )["ptys"]
    )
    if as_json:
        print_json(ptys=ended)
    elif not ptys:
        tell(f"{_several(count)} ended", who="")


@click.command(
    epilog="""\b
Examples:
  ptymux rm 3      its output and its numbers go, too
  ptymux rm --all  all that have ended
"""
)
@click.argument("ptys", nargs=-1, type=ENDED_PTY, metavar="[PTY]...")
@click.option("--all", "everything", is_flag=True, help="Every PTY that has ended.")
@_JSON
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
        tell(f"{_several(len(removed))} forgotten", who="")


@click.command(epilog="Example: ptymux rename 3 web")
@click.argument("pty", type=PTY)
@click.argument("name")
@_JSON
def rename(pty: str, name: str, as_json: bool) -> None:
    """Give a live PTY another name; digits only would be a number."""
    _ask("rename", as_json, pty=pty, name=name)


@click.command(
    "set",
    epilog="""\b
Examples:
  ptymux set web --on-full block  it waits for those who read all
  ptymux set web --on-full drop   it never waits
""",
)
@click.argument("pty", type=PTY)
@click.option(
    "--on-full",
    type=click.Choice(["drop", "block"]),
    required=True,
    help="Drop the oldest output, or let the command wait.",
)
@_JSON
def set_(pty: str, on_full: str, as_json: bool) -> None:
    """Change what happens when a PTY's buffer is full."""
    with connect() as connection:
        offset = connection.call("set", pty=pty, on_full=on_full)["offset"]
    if as_json:
        print_json(offset=offset)


@click.command(epilog="Example: ptymux resize web 120x40")
@click.argument("pty", type=PTY)
@click.argument("size", type=WINDOW_SIZE)
@_JSON
def resize(pty: str, size: WindowSize, as_json: bool) -> None:
    """Change the size of a PTY's terminal: columns by rows."""
    _ask("resize", as_json, pty=pty, cols=size.cols, rows=size.rows)


@click.command(
    epilog="""\b
Examples:
  ptymux signal web HUP            to its process group
  ptymux signal web INT            as ^C: to what is in the foreground
  ptymux signal --session web USR1 to every process of its session

Exit status: 125 when it reached nobody.
"""
)
@click.argument("pty", type=PTY)
@click.argument("name", metavar="SIGNAL")
@click.option("--session", is_flag=True, help="To every process of the session.")
@_JSON
def signal(pty: str, name: str, session: bool, as_json: bool) -> None:
    """Send a signal, by name or number, to what runs in a PTY."""
    with connect() as connection:
        envelopes: list[dict[str, Any]] = connection.call(
            "signal", pty=pty, signal=name, session=session or None
        )["envelopes"]
    if as_json:
        print_json(envelopes=envelopes)
    failed = [envelope for envelope in envelopes if envelope["outcome"] == "failed"]
    if len(failed) == len(envelopes):
        reasons = {str(envelope["error"]) for envelope in failed if envelope["error"]}
        raise SignalError(f"{name} reached nobody: {'; '.join(sorted(reasons)) or 'it has ended'}")
    for envelope in failed:
        tell(f"{name} did not reach process {envelope['pid']}: {envelope['error']}")


@click.command(epilog="Example: ptymux clear web")
@click.argument("pty", type=PTY)
@_JSON
def clear(pty: str, as_json: bool) -> None:
    """Throw away the output that a PTY keeps; what nobody had read counts as dropped."""
    _ask("clear", as_json, pty=pty)


def _ask(method: str, as_json: bool, **params: object) -> None:
    """Do what is answered by the PTY and may be done twice; print that as JSON if wanted."""
    pty = repeating(lambda connection: connection.call(method, **params)["pty"])
    if as_json:
        print_json(pty=pty)


def _id_of(pty: str, connection: Connection) -> str:
    """Return the id of a PTY that is named exactly."""
    found: dict[str, Any] = connection.call("get", pty=pty)["pty"]
    if pty not in (found["pty_id"], str(found["number"]), found["name"]):
        raise UnknownPtyError(pty)  # only its beginning, which is good for looking
    return str(found["pty_id"])


def _several(count: int) -> str:
    return f"{count} PTY{'' if count == 1 else 's'}"

"""`ptymux events`: prints what happened to the PTYs, and what happens, a line for each event."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ptymux.cli.options.param_types import COUNT, OneOf
from ptymux.cli.options.pty_names import PTY
from ptymux.cli.output.clock import format_moment
from ptymux.cli.output.printing import json_line, print_message, print_text
from ptymux.cli.server_lookup import chosen_path, connect
from ptymux.client.event_follower import EventFollower
from ptymux.client.listing import list_ptys
from ptymux.core.cells import cut
from ptymux.core.escalation import signal_name
from ptymux.core.event_log import Topic
from ptymux.core.units import format_size, printable
from ptymux.errors import PtymuxError

if TYPE_CHECKING:
    from ptymux.client.server_connection import ServerConnection

__all__ = ["describe_event", "events"]

_EPILOG: Final = """\b
Examples:
  ptymux events                                 what happened
  ptymux events -f --pty web                    what happens to one PTY
  ptymux events -f --since 0                    both
  ptymux events -f --topic pty.buffer.overflow  who is losing output
  ptymux events --topic pty.attached --topic pty.detached
                                                who came and left, and why
  ptymux events -f --topic pty.bell             who rings
  ptymux events --json | jq 'select(.topic == "pty.stopped")'

Bells and titles come within a second while somebody follows them (-f), else when the output
is looked at, and at the end; count and changes say how often it was.

With --json each line is one event; its seq is what --since takes, after which the next begin.
What was missed, as it was too much or is too old to be kept, is told on stderr and, with --json,
by a line {"missed": N}.
"""

_LOOK_SECONDS: Final = 1.0  # between looks whether somebody reads what we print
_HIDDEN: Final = frozenset({"statistics", "at", "pty_id"})  # from people


@click.command(epilog=_EPILOG)
@click.option("-f", "--follow", is_flag=True, help="Show what happens from now on.")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    type=OneOf("topic", [topic.value for topic in Topic]),
    metavar="TOPIC",
    help="Only this kind, such as pty.stopped; may be repeated.",
)
@click.option("--pty", type=PTY, help="Only of this PTY.")
@click.option(
    "--since",
    type=COUNT,
    metavar="SEQ",
    help="Only after the event of this number (seq in --json); 0 for all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each event.")
def events(
    follow: bool, topics: tuple[str, ...], pty: str | None, since: int | None, as_json: bool
) -> None:
    """Show what happened to your PTYs: starts, ends, who came and left, lost output, and more.

    Some thousand past events are kept. With -f it shows what happens from now on, until ^C.
    """
    names: dict[str, str] = {}
    with connect() as connection:
        if connection.fileno() < 0:  # no server runs, so there are none; or it says what is wrong
            connection.call("events", pty=pty, follow=follow or None)
            return
        if not as_json:
            names |= _names(connection)
    follower = EventFollower(chosen_path(), since=since, topics=topics, pty=pty, follow=follow)
    with contextlib.closing(follower):
        while not follower.is_over:
            event = follower.read(_LOOK_SECONDS)
            if event is None:
                _check_somebody_reads()
            elif "missed" in event:
                _print_missed(int(event["missed"]), as_json=as_json)
            else:
                print_text(json_line(event) if as_json else _line(event, names))


def _print_missed(count: int, *, as_json: bool) -> None:
    print_message(f"{count:,} events were missed")
    if as_json:
        print_text(json_line({"missed": count}))


def _check_somebody_reads() -> None:
    """Raise BrokenPipeError once stdout is a pipe that nobody will ever read from again."""
    poll = select.poll()
    poll.register(1, 0)  # errors are reported unasked
    if poll.poll(0):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _names(connection: ServerConnection) -> dict[str, str]:
    """Return the number and name of each PTY, by its id."""
    return {pty["pty_id"]: _called(pty) for pty in list_ptys(connection.call, all=True).ptys}


def _called(pty: Mapping[str, Any]) -> str:
    name = pty["name"]
    return f"{pty['number']} {printable(name)}" if name else str(pty["number"])


def _line(event: Mapping[str, Any], names: dict[str, str]) -> str:
    pty_id = event["pty_id"]
    if pty_id and pty_id not in names:
        names[pty_id] = _look_up(pty_id)
    return describe_event(event, names.get(pty_id, "-"))


def _look_up(pty_id: str) -> str:
    """Ask for the name of a PTY that is new, on a connection of its own: the first one is busy."""
    from ptymux.client.server_connection import ServerConnection

    try:
        with ServerConnection(chosen_path()) as connection:
            return _called(connection.call("get", pty=pty_id)["pty"])
    except PtymuxError:
        return pty_id


def describe_event(event: Mapping[str, Any], called: str) -> str:
    """Return one event as a line for people; `called` is the number and name of its PTY."""
    at = float(event["timestamp"])
    clock = format_moment(at, time.time(), milliseconds=True)
    payload = event["payload"]
    facts = " ".join(
        f"{name}={_value(name, value)}"
        for name, value in payload.items()
        if name not in _HIDDEN and value not in (None, [], "")
    )
    topic = printable(str(event["topic"]))
    called = cut(called, 16)
    return f"{clock}  {called:<10}  {topic:<20}  {facts}".rstrip()


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and ("dropped" in name or "skipped" in name):
        return format_size(value).replace(" ", "")
    if isinstance(value, int) and name == "signal":
        return signal_name(value)
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list):
        return printable(" ".join(map(str, value)))
    if isinstance(value, Mapping) and value.keys() == {"cols", "rows"}:
        return f"{value['cols']}x{value['rows']}"
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{_value(str(key), each)}" for key, each in value.items())
    return printable(str(value))

"""`ptymux events`: what happened to the PTYs, and what happens, a line each."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ptymux.cli.answer import cut, json_line, print_text
from ptymux.cli.client import PTY, chosen_path, connect, every_pty
from ptymux.cli.message import tell
from ptymux.core.escalation import signal_name
from ptymux.core.events import Topic
from ptymux.core.units import format_size, printable
from ptymux.errors import ConnectionClosedError, PtymuxError

if TYPE_CHECKING:
    from ptymux.client.rpc import Connection

__all__ = ["describe_event", "events"]

_EPILOG: Final = """\b
Examples:
  ptymux events                                 those that are kept
  ptymux events -f --pty web                    those to come, of one PTY
  ptymux events -f --since 0                    both
  ptymux events -f --topic pty.buffer.overflow  who is losing output
  ptymux events --json | jq 'select(.topic == "pty.stopped")'

With --json each line is one event; its seq is what --since takes, after which the next begin.
What was missed, as it was too much or is too old to be kept, is told on stderr and, with --json,
by a line {"missed": N}.
"""

_LOOK_SECONDS: Final = 1.0  # between looks whether somebody reads what we print
_HIDDEN: Final = frozenset({"statistics", "at", "pty_id"})  # from people


@click.command(epilog=_EPILOG)
@click.option("-f", "--follow", is_flag=True, help="Go on with those to come.")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    type=click.Choice([topic.value for topic in Topic]),
    metavar="TOPIC",
    help="Those of a topic, such as pty.stopped; may be repeated.",
)
@click.option("--pty", type=PTY, help="Those of one PTY.")
@click.option("--since", type=click.IntRange(min=0), metavar="SEQ", help="Those after a seq.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each.")
def events(
    follow: bool, topics: tuple[str, ...], pty: str | None, since: int | None, as_json: bool
) -> None:
    """Show the events that are kept, or with -f those to come."""
    start = since if since is not None or follow else 0
    listener = _Listener(as_json, {"topics": list(topics) or None, "pty": pty})
    if not follow:
        listener.listen(start, follow=False)
        return
    while not listener.is_done:
        try:
            listener.listen(start, follow=True)
        except ConnectionClosedError:
            if listener.epoch is None:
                raise
        start = listener.seq  # another server may have come in the place of this one


class _Listener:
    """Prints events, and remembers how far it came; `is_done` when the server has ended."""

    def __init__(self, as_json: bool, chosen: dict[str, Any]) -> None:
        self.epoch: str | None = None
        self.seq = 0
        self.is_done = False
        self._as_json = as_json
        self._chosen = chosen
        self._names: dict[str, str] = {}

    def listen(self, since: int | None, *, follow: bool) -> None:
        """Print the events after `since`, or from now on, until the server says no more.

        Raises:
            ConnectionClosedError: it hung up.
        """
        with connect() as connection:
            self._names |= {} if self._as_json else _names(connection)
            reply = connection.call("events", since=since, follow=follow or None, **self._chosen)
            if self.epoch not in (None, reply["epoch"]) and since:
                # The events of another server: they have another order, all are new.
                self.epoch, self.seq = reply["epoch"], 0
                raise ConnectionClosedError("the server was replaced")
            self.epoch = reply["epoch"]
            self.seq = reply["last_seq"] if since is None else since
            self._tell_missed(reply["missed"])
            while not self.is_done:
                told = connection.notification(_LOOK_SECONDS)
                if told is None:
                    _check_somebody_reads()
                elif told.method == "missed":
                    self._tell_missed(told.params["count"])
                elif told.method == "event":
                    self._print(told.params)
                self.is_done = told is not None and told.method == "end"

    def _print(self, event: dict[str, Any]) -> None:
        self.seq = event["seq"] or self.seq
        print_text(json_line(event) if self._as_json else _line(event, self._names))

    def _tell_missed(self, count: int) -> None:
        if count:
            tell(f"{count:,} events were missed")
        if count and self._as_json:
            print_text(json_line({"missed": count}))


def _check_somebody_reads() -> None:
    """Raise BrokenPipeError once stdout is a pipe that nobody will read from any more."""
    poll = select.poll()
    poll.register(1, 0)  # for what is told unasked: an error
    if poll.poll(0):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _names(connection: Connection) -> dict[str, str]:
    """Return what people call each PTY, by its id."""
    return {pty["pty_id"]: _called(pty) for pty in every_pty(connection, all=True)[0]}


def _called(pty: Mapping[str, Any]) -> str:
    name = pty["name"]
    return f"{pty['number']} {printable(name)}" if name else str(pty["number"])


def _line(event: Mapping[str, Any], names: dict[str, str]) -> str:
    pty_id = event["pty_id"]
    if pty_id and pty_id not in names:
        names[pty_id] = _look_up(pty_id)
    return describe_event(event, names.get(pty_id, "-"))


def _look_up(pty_id: str) -> str:
    """Ask what a PTY that came meanwhile is called; the connection of the events is busy."""
    from ptymux.client.rpc import Connection

    try:
        with Connection(chosen_path()) as connection:
            return _called(connection.call("get", pty=pty_id)["pty"])
    except PtymuxError:
        return pty_id


def describe_event(event: Mapping[str, Any], called: str) -> str:
    """Return one event as a line for people; `called` is what they call its PTY."""
    at = float(event["timestamp"])
    clock = time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
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

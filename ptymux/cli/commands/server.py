"""`ptymux server`: starts, stops or restarts the server, or shows its status."""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import suppress
from typing import Any, Final

import click

import ptymux
from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.output.printing import print_json, print_message, print_text, times
from ptymux.cli.server_lookup import chosen_path, connect, reach
from ptymux.client.server_connection import ServerConnection
from ptymux.core.units import format_duration, format_size
from ptymux.core.windows import Windows
from ptymux.core.words import alternatives
from ptymux.errors import ConnectionClosedError, NoServerError, UnreachableError

__all__ = ["server"]

_EPILOG: Final = """\b
Examples:
  ptymux server status        who serves, since when, with how much memory
  ptymux server restart       a new one, as after an upgrade; every PTY stays
  ptymux server stop --force  end it with all its PTYs
"""

_RETRY_SECONDS: Final = 0.01
_NOT_RUNNING: Final = 1  # exit status of `status`


class _Group(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            known = alternatives(args[0], self.commands)
            raise click.UsageError(f"no command {args[0]!r}; {known}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, epilog=_EPILOG, subcommand_metavar="COMMAND", invoke_without_command=True)
@click.pass_context
def server(ctx: click.Context) -> None:
    """Start, stop or restart the server, or look at it.

    The first `ptymux run -d` starts one by itself.
    """
    if ctx.invoked_subcommand is None:
        print_text(ctx.get_help())


@server.command(epilog="Example: ptymux server start")
@JSON_OPTION
def start(as_json: bool) -> None:
    """Start a server unless one runs; return once it serves."""
    with connect(start=True) as connection:
        status = connection.call("status")
    if as_json:
        print_json(running=True, **status)


@server.command(epilog="Example: ptymux server stop --force")
@click.option("--force", is_flag=True, help="End its live PTYs, too.")
@JSON_OPTION
def stop(force: bool, as_json: bool) -> None:
    """Stop the server; return once it is gone. With live PTYs it needs --force."""
    try:
        with reach(chosen_path()) as connection:
            live = _stop(connection, force)
    except NoServerError:
        live = None
        print_message(f"no server runs at {chosen_path()}", prefix="")
    if as_json:
        print_json(stopped=live is not None, ended=live or 0)


def _stop(connection: ServerConnection, force: bool) -> int:
    """Stop the server, and return how many PTYs ended with it, once both processes are gone."""
    status = connection.call("status")
    handles = [_handle(status[who]) for who in ("pid", "keeper_pid")]
    try:
        live = int(connection.call("shutdown", force=force or None)["live"])
        for handle in handles:
            if handle >= 0:
                poll = select.poll()
                poll.register(handle, select.POLLIN)
                poll.poll()
        return live
    finally:
        for handle in handles:
            if handle >= 0:
                os.close(handle)


def _handle(pid: int) -> int:
    """Return a pidfd; -1 when the process is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1


@server.command(
    epilog="""\b
Examples:
  ptymux server status
  ptymux server status --json | jq .memory

Exit status: 1 when none runs.
"""
)
@JSON_OPTION
def status(as_json: bool) -> int:
    """Show who serves: processes, uptime, PTYs, memory, limits."""
    path = chosen_path()
    try:
        with reach(path) as connection:
            facts = connection.call("status")
    except NoServerError:
        if as_json:
            print_json(running=False, socket=path)
        else:
            print_text(f"no server runs at {path}")
        return _NOT_RUNNING
    if as_json:
        print_json(running=True, **facts)
    else:
        print_text("\n".join(_report(facts)))
    return 0


def _report(facts: dict[str, Any]) -> list[str]:
    limits, replaced = facts["limits"], times(facts["server_replaced"])
    keepers = times(facts.get("keeper_replaced", 0))
    memory = format_size(facts["memory"]["resident"])
    rows = [
        (
            "server",
            f"ptymux {facts['server']}, protocol {facts['protocol']}, pid {facts['pid']}",
        ),
        ("from", facts.get("folder", "?")),
        ("keeper", f"pid {facts['keeper_pid']}"),
        ("replaced", f"the server {replaced}, the keeper {keepers}"),
        ("socket", facts["socket"]),
        ("log", facts["log"]),
        ("up for", format_duration(facts["uptime_seconds"])),
        ("PTYs", f"{facts['live']} live of at most {limits['ptys']}, {facts['ptys']} known"),
        (
            "clients",
            f"{facts['connections']} of at most {limits['connections']}, this one included",
        ),
        ("memory", f"{memory} resident; at worst {format_size(limits['worst_case_bytes'])}"),
    ]
    return [f"{label:<10}{text}" for label, text in rows]


@server.command(
    epilog="Example: ptymux server restart",
    short_help="Put a new server in its place; every PTY stays.",
)
@JSON_OPTION
def restart(as_json: bool) -> None:
    """Put a new server in the place of the one that runs; every PTY stays.

    The new one runs this ptymux, also if the old one was started by another. If that fails, the
    old one goes on.
    """
    seconds = Windows.from_environment(os.environ).restart
    facts = _restart(chosen_path(), seconds, os.path.dirname(os.path.dirname(ptymux.__file__)))
    if as_json:
        print_json(running=True, **facts)
    else:
        folder = facts.get("folder")  # an older server has none
        where = f" from {folder}" if folder else ""
        print_text(f"ptymux {facts['server']}{where} serves now, as process {facts['pid']}")


def _restart(path: str, seconds: float, folder: str) -> dict[str, Any]:
    """Return the status of a server from `folder`, which replaces the one at `path`."""
    deadline = time.monotonic() + seconds
    while True:
        with reach(path) as connection:
            connection.patience = max(deadline - time.monotonic(), _RETRY_SECONDS)
            old = connection.server["pid"]
            with suppress(ConnectionClosedError):  # somebody else has had it replaced
                connection.call("restart", python=sys.executable, folder=folder)
        facts = _await_replacement(path, old, deadline)
        if facts.get("folder") in (None, folder):
            return facts
        if time.monotonic() > deadline:  # pragma: no cover - others restart it again and again
            raise UnreachableError(path, f"it still runs ptymux from {facts['folder']}")


def _await_replacement(path: str, old: int, deadline: float) -> dict[str, Any]:
    """Return the status of the server that replaces the one with the pid `old`."""
    from ptymux.client.reconnect import RetryPolicy, repeat

    def connect() -> ServerConnection:
        left = max(deadline - time.monotonic(), _RETRY_SECONDS)
        return ServerConnection(path, left, reply_timeout=left)

    def ask(connection: ServerConnection) -> dict[str, Any]:
        with connection:
            found = connection.call("status")
        if found["pid"] == old:
            raise ConnectionClosedError("the old server is still on its way out")
        return found

    left = max(deadline - time.monotonic(), _RETRY_SECONDS)
    policy = RetryPolicy(
        died_seconds=left,
        served_seconds=left,  # the old one may hang up late
        pause_seconds=_RETRY_SECONDS,
        passing=(ConnectionClosedError,),
        says_how_long=False,
    )
    try:
        return repeat(connect, ask, policy)
    except ConnectionClosedError as error:
        late = "no new one came in time; see its log"
        raise UnreachableError(path, late) from error

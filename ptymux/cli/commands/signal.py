"""`ptymux signal`: sends a signal to what runs in a PTY."""

from __future__ import annotations

from typing import Any

import click

from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.options.pty_names import PTY
from ptymux.cli.output.printing import print_json, print_message
from ptymux.cli.server_lookup import connect
from ptymux.core.escalation import parse_signal
from ptymux.errors import SignalError, UnknownSignalError

__all__ = ["signal"]


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
@JSON_OPTION
def signal(pty: str, name: str, session: bool, as_json: bool) -> None:
    """Send a signal, by name or number, to what runs in a PTY."""
    if _is_signal(pty) and not pty.isdecimal() and not _is_signal(name):
        raise click.UsageError(f"the PTY stands first: `ptymux signal {name} {pty}`")
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
        print_message(f"{name} did not reach process {envelope['pid']}: {envelope['error']}")


def _is_signal(word: str) -> bool:
    try:
        return bool(parse_signal(word))
    except UnknownSignalError:
        return False

"""How a PTY ended: a line for people, an exit code for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ptymux.cli.output.printing import count_of
from ptymux.core.units import format_duration, format_size, printable

__all__ = ["exit_code", "summary", "title"]

_UNKNOWN: Final = 125
_TIMED_OUT: Final = 124  # as of timeout(1)
_NAME_LENGTH: Final = 40


def title(pty: Mapping[str, Any]) -> str:
    """Return the short title of a PTY for people: its name, else its shell line or its program.

    What an interpreter runs is the program: `worker.py`, not `python3`.
    """
    from ptymux.core.command_line import telling_name  # rarely needed

    name = pty.get("name") or telling_name(pty.get("command") or ()) or "?"
    return printable(str(name))[:_NAME_LENGTH]


def exit_code(pty: Mapping[str, Any]) -> int:
    """Return the exit code of a command of ours that ran in the place of this PTY's command."""
    if pty.get("timed_out"):
        return _TIMED_OUT
    if pty.get("signal") is not None:
        return 128 + int(pty["signal"])
    return _UNKNOWN if pty.get("exit_code") is None else int(pty["exit_code"])


def summary(pty: Mapping[str, Any], *, is_kept: bool = True) -> str:
    """Return the line that sums up an ended PTY; for one that is kept it names `ptymux logs`."""
    buffer = pty["buffer"]
    where = f"; ptymux logs {pty['number']}" if is_kept else ""
    return (
        f"[{title(pty)}: {_end(pty)}, {format_duration(pty['updated_at'] - pty['created_at'])}, "
        f"{format_size(buffer['total_written'])}, {buffer['total_dropped']:,} dropped"
        f"{_uncertain(pty)}{where}]"
    )


def _uncertain(pty: Mapping[str, Any]) -> str:
    """Return how many bytes may be missing, each at the end of a read that a kill has cut."""
    count = pty.get("uncertain", 0)
    return f", {count_of(count, 'byte')} uncertain" if count else ""


def _end(pty: Mapping[str, Any]) -> str:
    if pty.get("signal") is not None or pty.get("timed_out"):
        return str(pty["shown"])
    if pty.get("pid") is None:
        return "failed to start"
    return f"exit {'unknown' if pty.get('exit_code') is None else pty['exit_code']}"

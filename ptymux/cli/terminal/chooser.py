"""A list of PTYs on the terminal, and the question which one is meant."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from ptymux.cli.output.ls_table import draw_table
from ptymux.cli.output.printing import has_colour, print_message, print_text
from ptymux.cli.output.proposals import with_socket

__all__ = ["choose", "chosen", "draw_choices"]

Pty = Mapping[str, Any]

_AROUND: Final = 3  # lines: the header, how many are left out, the question
_LONGEST_LINE: Final = 4096  # that a terminal gives


def choose(ptys: Sequence[Pty]) -> Pty:
    """Ask on the terminal at stdin and stdout which of these is meant; return that PTY.

    The last one is the newest, and meant by an empty answer.

    Raises:
        click.Abort: there is no answer: ^C, ^D, or the terminal has gone.
    """
    cols, rows = os.get_terminal_size(sys.stdout.fileno())
    now, colour = time.time(), has_colour()
    for line in draw_choices(ptys, now=now, cols=cols, rows=rows, colour=colour):
        print_text(line)
    while True:
        sys.stdout.write(f"attach to? [{ptys[-1]['number']}, the newest] ")
        sys.stdout.flush()
        answer = _read_line()
        found = chosen(answer, ptys)
        if found is not None:
            return found
        print_message(f"no PTY {answer!r}; a number or a name, ^C leaves", prefix="")


def draw_choices(
    ptys: Sequence[Pty], *, now: float, cols: int, rows: int, colour: bool = False
) -> list[str]:
    """Return a table of PTYs for a terminal of this size; if it is too small, of the newest."""
    room = max(1, rows - _AROUND) if rows else len(ptys)
    left_out = max(0, len(ptys) - room)
    lines = draw_table(ptys[left_out:], now=now, width=cols or None, colour=colour)
    if left_out:
        lines.insert(1, with_socket(f"{left_out} older, `ptymux ls`"))
    return lines


def chosen(answer: str, ptys: Sequence[Pty]) -> Pty | None:
    """Return the PTY of which this is the number, the name or the id, or which alone begins so.

    The last one, if the answer is empty.
    """
    if not answer:
        return ptys[-1]
    for pty in reversed(ptys):
        if answer in (str(pty["number"]), pty["name"], pty["pty_id"]):
            return pty
    begun = [pty for pty in ptys if str(pty["name"] or "").startswith(answer)]
    return begun[0] if len(begun) == 1 else None


def _read_line() -> str:
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
            data = os.read(0, _LONGEST_LINE)
            if not data:
                raise click.Abort
            line += data
    except (KeyboardInterrupt, OSError, click.Abort):
        print_message("", prefix="")  # so that the shell's prompt begins a line
        raise click.Abort from None
    return line.decode(errors="replace").strip()

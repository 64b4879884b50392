"""`ptymux doctor`: prints what is right and wrong on this machine, and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.output.printing import has_colour, paint, print_json, print_text, wrap
from ptymux.cli.output.proposals import with_socket
from ptymux.cli.server_lookup import chosen_path
from ptymux.core.units import printable

if TYPE_CHECKING:
    from ptymux.cli.doctor.machine import Check
    from ptymux.posix.orphans import Orphan

__all__ = ["doctor"]

_EPILOG: Final = """\b
Examples:
  ptymux doctor             a line for each check, and what to do
  ptymux doctor --dry-run   what a new server would end, and what leave alone
  ptymux doctor --json | jq '.checks[] | select(.status != "ok")'

Exit status: 1 when there is a problem.
"""

_STYLES: Final = {"ok": "green", "warning": "magenta", "problem": "red"}
_LABEL: Final = 22  # cells before the text of a check


@click.command(epilog=_EPILOG)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only tell what a new server would do with processes that were left behind.",
)
@JSON_OPTION
def doctor(dry_run: bool, as_json: bool) -> int:
    """Check this machine and what ptymux has there; nothing is changed."""
    from ptymux.cli.doctor.machine import check_machine
    from ptymux.cli.doctor.user_setup import UserSetup

    path = chosen_path()
    setup = UserSetup(path)
    checks = [*check_machine(os.path.dirname(path)), *setup.check()]
    found = [*setup.left.proven, *setup.left.unproven]
    if as_json:
        print_json(
            socket=path,
            checks=[_check_as_json(check) for check in checks],
            processes=[_process_as_json(orphan) for orphan in found],
        )
    elif dry_run:
        print_text("\n".join(map(_plan, found)) or "nothing was left behind")
    else:
        print_text("\n".join([*_lines(checks), *map(_listing, found)]))
    return int(any(check.status == "problem" for check in checks) and not dry_run)


def _check_as_json(check: Check) -> dict[str, str | None]:
    return {
        "name": check.name,
        "status": check.status,
        "text": check.text,
        "remedy": check.remedy or None,
    }


def _process_as_json(orphan: Orphan) -> dict[str, object]:
    return {
        "pid": orphan.pid,
        "name": orphan.name,
        "number": orphan.number,
        "proven": orphan.is_proven,
        "action": "terminate" if orphan.is_proven else "leave",
    }


def _lines(checks: list[Check]) -> Iterator[str]:
    """Give a line for each check; on a terminal they are wrapped, and aligned."""
    colour = has_colour()
    room = None
    if sys.stdout.isatty():
        room = max(os.get_terminal_size(sys.stdout.fileno()).columns - _LABEL, 20)
    for check in checks:
        text = f"{check.text}; {check.remedy}" if check.remedy else check.text
        text = with_socket(text)
        first, *more = [text] if room is None else wrap(text, room)
        status = paint(f"{check.status:<9}", _STYLES[check.status], colour=colour)
        yield f"{status}{check.name:<{_LABEL - 9}}{first}"
        yield from (" " * _LABEL + piece for piece in more)


def _what(orphan: Orphan) -> str:
    return f"process {orphan.pid} ({printable(orphan.name)})"


def _listing(orphan: Orphan) -> str:
    if orphan.is_proven:
        return f"{'':9}proven       {_what(orphan)} of PTY {orphan.number}"
    return f"{'':9}unproven     {_what(orphan)}; it is never touched"


def _plan(orphan: Orphan) -> str:
    if orphan.is_proven:
        return f"terminate {_what(orphan)} of PTY {orphan.number}"
    return f"leave {_what(orphan)}: that it is ours cannot be proven"

"""`ptymux resize`: changes the size of the terminal of a PTY."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ptymux.cli.options.own_pty import complete_first, pty_and
from ptymux.cli.options.param_types import JSON_OPTION, WINDOW_SIZE
from ptymux.cli.server_lookup import change_pty

if TYPE_CHECKING:
    from ptymux.core.model import WindowSize

__all__ = ["resize"]


@click.command(epilog="Example: ptymux resize web 120x40")
@click.argument("words", nargs=-1, metavar="[PTY] SIZE", shell_complete=complete_first)
@JSON_OPTION
def resize(words: tuple[str, ...], as_json: bool) -> None:
    """Change the size of a PTY's terminal: columns by rows.

    Inside a PTY, that one is meant if none is named.
    """
    if len(words) > 1 and all(word.isdecimal() for word in words[-2:]) and len(words) < 4:
        raise click.UsageError(f"the size is one word: {'x'.join(words[-2:])}")
    pty, typed = pty_and(words, "SIZE")
    size: WindowSize = WINDOW_SIZE.convert(typed, None, click.get_current_context())
    change_pty("resize", as_json, pty=pty, cols=size.cols, rows=size.rows)

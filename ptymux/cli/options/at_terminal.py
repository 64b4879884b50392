"""Options that commands have in common which connect a terminal or a pipe with a PTY."""

from __future__ import annotations

from typing import Final

import click

from ptymux.cli.options.detach_keys import DEFAULT_DETACH, DETACH_KEYS_HELP

__all__ = ["detach_keys_option", "run_json_option", "summary_option"]

detach_keys_option: Final = click.option(
    "--detach-keys",
    default=DEFAULT_DETACH,
    show_default=True,
    metavar="KEYS",
    help=DETACH_KEYS_HELP,
)
summary_option: Final = click.option(
    "--summary", is_flag=True, help="In a pipe too, sum the run up on stderr at its end."
)
run_json_option: Final = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the PTY as JSON: with -d when it runs, else at its end, in a line on stderr.",
)

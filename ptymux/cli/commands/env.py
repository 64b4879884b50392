"""`ptymux env`: prints what the terminal that attached last has for a shell in a PTY."""

from __future__ import annotations

import shlex

import click

from ptymux.cli.output.printing import print_text
from ptymux.cli.server_lookup import chosen_path
from ptymux.core.units import printable

__all__ = ["env"]

_EPILOG = """\b
Example, in a shell that was detached and attached again:
  eval "$(ptymux env --refresh)"

SSH_AUTH_SOCK is a link that each attach renews, so that it stays valid by itself; DISPLAY has to
be set anew. `refresh-env` in config.toml names the variables.
"""


@click.command(epilog=_EPILOG)
@click.option("--refresh", is_flag=True, help="Print it as a shell reads it, with `export`.")
def env(refresh: bool) -> None:
    """Print SSH_AUTH_SOCK, DISPLAY and the like as the terminal has them that attached last."""
    from ptymux.posix.renewed_env import renewed

    for name, value in renewed(chosen_path()).items():
        if refresh:
            print_text(f"export {name}={shlex.quote(value)}")
        else:
            print_text(f"{name}={printable(value)}")

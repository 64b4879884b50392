"""`ptymux version`: prints the versions of ptymux, Python and the kernel."""

from __future__ import annotations

import json
import platform

import click

from ptymux import __version__
from ptymux.cli.output.printing import SCHEMA

__all__ = ["version"]


@click.command(epilog="Example: ptymux version --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Show the version of ptymux, of Python and of the kernel."""
    facts = {
        "schema": SCHEMA,
        "ptymux": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    if as_json:
        click.echo(json.dumps(facts))
    else:
        click.echo("ptymux {ptymux} (Python {python}, Linux {kernel})".format(**facts))

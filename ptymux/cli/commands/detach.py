"""`ptymux detach`: detaches the terminals of PTYs, which go on without them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ptymux.cli.options.own_pty import own_pty
from ptymux.cli.options.param_types import JSON_OPTION
from ptymux.cli.options.pty_names import PTY
from ptymux.cli.output.printing import count_of, print_json, print_message
from ptymux.cli.output.refusals import Refusals
from ptymux.cli.server_lookup import repeating
from ptymux.errors import AmbiguousPtyError, UnknownPtyError

if TYPE_CHECKING:
    from ptymux.client.server_connection import ServerConnection

__all__ = ["detach"]


@click.command(
    epilog="""\b
Examples:
  ptymux detach web   whoever is attached to it gets their own screen back
  ptymux detach       in a PTY, whoever is attached to that
  ptymux detach --all

Those that only look (attach --read-only, logs -f) stay. Your own attachment: C-\\ d.
"""
)
@click.argument("ptys", nargs=-1, type=PTY, metavar="[PTY]...")
@click.option("--all", "everything", is_flag=True, help="The terminals of every live PTY.")
@JSON_OPTION
def detach(ptys: tuple[str, ...], everything: bool, as_json: bool) -> int:
    """Detach the terminals that are attached to PTYs, also those of others; the PTYs go on.

    Inside a PTY, that one is meant if none is named.
    """
    own = None if ptys or everything else own_pty()
    ptys = ptys if own is None else (own,)
    if bool(ptys) == everything:
        raise click.UsageError("which ones? Name them, or give --all")
    refusals = Refusals()
    count = 0
    for word in ptys:
        try:
            count += repeating(partial(_detach, word))
        except (UnknownPtyError, AmbiguousPtyError) as error:
            refusals.add(word, error)
    if everything:
        count = repeating(_detach_all)
    if as_json:
        print_json(detached=count, errors=refusals.as_json())
    else:
        print_message(f"{count_of(count, 'terminal')} detached", prefix="")
    return refusals.print()


def _detach(word: str, connection: ServerConnection) -> int:
    return int(connection.call("detach", ptys=[word])["detached"])


def _detach_all(connection: ServerConnection) -> int:
    return int(connection.call("detach", all=True)["detached"])

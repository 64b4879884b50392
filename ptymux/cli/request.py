"""One request that changes one PTY, with its answer printed as JSON if that is wanted."""

from __future__ import annotations

from ptymux.cli.output.printing import print_json
from ptymux.cli.server_lookup import repeating

__all__ = ["change_pty"]


def change_pty(method: str, as_json: bool, **params: object) -> None:
    """Ask the server for what may be done twice and is answered by the PTY; print that as JSON.

    Raises:
        PtymuxError: the server refused, or there is none.
    """
    pty = repeating(lambda connection: connection.call(method, **params)["pty"])
    if as_json:
        print_json(pty=pty)

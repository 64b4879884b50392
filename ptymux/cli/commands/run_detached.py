"""`ptymux run -d`: the server runs the command, and we are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptymux.cli.output.printing import print_json, print_text
from ptymux.cli.server_lookup import connect

if TYPE_CHECKING:
    from typing import Any

    from ptymux.core.model import SpawnOptions

__all__ = ["run_detached"]


def run_detached(options: SpawnOptions, *, remove: bool, as_json: bool) -> int:
    """Have the server start a command, print its id, return the exit code to end with.

    Raises:
        PtymuxError: it could not be started.
    """
    from ptymux.client.reconnect import persistently
    from ptymux.client.spawn_request import new_request

    request = new_request()

    def spawn() -> dict[str, Any]:
        with connect(start=True) as connection:
            return connection.spawn(options, remove=remove, request=request)

    pty = persistently(spawn)["pty"]
    if as_json:
        print_json(pty=pty)
    else:
        print_text(pty["pty_id"])
    return 0

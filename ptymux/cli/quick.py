"""The fast way for `ptymux stats PTY --json`, which programs call often: without importing click.

Only this plain form is known here. Everything else takes the ordinary way, also where there is no
server or no such PTY.
"""

from __future__ import annotations

from ptymux.cli.output.printing import print_json
from ptymux.client.server_connection import HELLO_SECONDS, ServerConnection, socket_path
from ptymux.errors import ConnectionClosedError, NoServerError, UnknownPtyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run_quickly"]


def run_quickly(words: Sequence[str]) -> int | None:
    """Run `stats PTY --json` and return its exit code; None if the words are others.

    Raises:
        PtymuxError: the server cannot be talked to.
    """
    if len(words) != 3 or words[0] != "stats" or words.count("--json") != 1:
        return None
    pty = words[1] if words[2] == "--json" else words[2]
    if pty.startswith("-") or not pty:
        return None
    try:
        with ServerConnection(socket_path(), HELLO_SECONDS) as connection:
            found = connection.call("stats", pty=pty)["pty"]
    except (NoServerError, UnknownPtyError, ConnectionClosedError):
        return None
    print_json(pty=found)
    return 0

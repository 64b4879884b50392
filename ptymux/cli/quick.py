"""What programs ask many times a second, answered before click is imported.

Only the plainest form of a command is known here; everything else, and every refusal that has to be
told, takes the ordinary way.
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
    """Do `stats PTY --json` and return its exit code; None when that is not what was asked.

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

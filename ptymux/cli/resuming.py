"""Attachments that go on when the server is replaced: at the offset where they were."""

from __future__ import annotations

import time
from typing import Final

from ptymux.client.rpc import Connection
from ptymux.client.stream import Stream, attach
from ptymux.errors import ConnectionClosedError, NoServerError, PtymuxError, UnreachableError

__all__ = ["RETRY_SECONDS", "Patience", "resume", "resume_patiently"]

_PATIENCE_SECONDS: Final = 10.0  # in which a server that died has a successor
RETRY_SECONDS: Final = 0.05

_PASSING: Final = (NoServerError, UnreachableError, ConnectionClosedError)


class Patience:
    """Decides how long a server that is away may be away."""

    def __init__(self, seconds: float = _PATIENCE_SECONDS) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def bear(self, error: PtymuxError) -> None:
        """Return if trying again may help.

        Raises:
            ConnectionClosedError: it was away too long.
            PtymuxError: `error`, where waiting does not help.
        """
        if not isinstance(error, _PASSING):
            raise error
        if time.monotonic() >= self._deadline:
            reason = f"the server went away and did not come back within {self._seconds:.0f} s"
            raise ConnectionClosedError(f"{reason}; `ptymux server status` tells more") from error


def resume(path: str, pty: str, offset: int | str, kind: str, *, wants_input: bool) -> Stream:
    """Attach anew.

    Raises:
        PtymuxError: it cannot be done, or not yet.
    """
    connection = Connection(path)
    try:
        return attach(connection, pty, kind=kind, offset=offset, wants_input=wants_input)
    except BaseException:
        connection.close()
        raise


def resume_patiently(path: str, pty: str, offset: int, kind: str) -> Stream:
    """Attach anew, without input, as soon as there is a server again.

    Raises:
        PtymuxError: there is none for too long, or it does not know the PTY any more.
    """
    patience = Patience()
    while True:
        try:
            return resume(path, pty, offset, kind, wants_input=False)
        except PtymuxError as error:
            patience.bear(error)
        time.sleep(RETRY_SECONDS)

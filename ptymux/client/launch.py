"""Starts a keeper, and with it a server, for the first client that needs one."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import Final

from ptymux.errors import NoServerError
from ptymux.posix.runtime import ensure_directory, state_path

__all__ = ["start_server"]

_KEEPER: Final = "from ptymux.keeper.process import main; main()"
_READY_SECONDS: Final = 10.0
_KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PTYMUX_LEAVE_SECONDS")


def start_server(path: str) -> bool:
    """Start a keeper for the socket at `path`; return once its server serves.

    False: somebody else was faster, and a server is there or about to be.

    Raises:
        UnsafeDirectoryError: the socket's directory is not ours alone.
        NoServerError: it did not come up; the log says why.
    """
    ensure_directory(os.path.dirname(path))
    log = state_path(path, "log")
    told, ready = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_inheritable(ready, True)
        try:
            _spawn(path, log, ready)
        finally:
            os.close(ready)
        word = _read_word(told)
    finally:
        os.close(told)
    if word == "ready":
        return True
    if word.startswith("already-running"):
        return False
    raise NoServerError(f"the server did not start: {word or 'it ended at once'}; see {log}")


def _spawn(path: str, log: str, ready: int) -> None:
    """Start the keeper as a daemon: an intermediate that ends at once is its parent."""
    import ptymux

    folder = os.path.dirname(os.path.dirname(os.path.abspath(ptymux.__file__)))
    code = f"import sys; sys.path.insert(0, {folder!r}); {_KEEPER}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-ISE", "-c", code, path, str(ready)],
        {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, log, flags, 0o600),
        ],
        setsid=True,
        setsigmask=(),
    )
    os.waitpid(pid, 0)


def _read_word(told: int) -> str:
    """Return the line that the keeper says, or nothing when it ended without a word."""
    poll = select.poll()
    poll.register(told, select.POLLIN)
    deadline = time.monotonic() + _READY_SECONDS
    word = b""
    while not word.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            return "it took longer than 10 s"
        data = os.read(told, 4096)
        if not data:
            break
        word += data
    return word.decode(errors="replace").strip()

"""The start of a server for the first client that needs one: of its keeper, which starts it."""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time
from typing import Final

from ptymux.core.windows import Windows
from ptymux.errors import (
    AlreadyRunningError,
    NoServerError,
    OutOfResourcesError,
    UnsafeDirectoryError,
    error_from_wire,
)
from ptymux.posix.resource_errors import resource_error
from ptymux.posix.runtime import ensure_directory, state_path

__all__ = ["start_server"]

_FLAGS = "-ISE"  # of the interpreter: nothing from the user's environment or site
_KEEPER: Final = "from ptymux.keeper.daemon import main; main()"
_OTHER_SECONDS: Final = 2.0  # for somebody else's server to be there
_LOOK_SECONDS: Final = 0.01
_FEWEST_FILES: Final = 64  # Source: with 48 a server starts, and no PTY does; with 56 one does
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PTYMUX_LEAVE_SECONDS", "PTYMUX_WINDOWS")


def start_server(path: str, *, leave_seconds: float | None = None) -> bool:
    """Start a keeper for the socket at `path`; return once its server serves.

    False: somebody else has started one at the same time. With nothing to do the server ends after
    `leave_seconds`, unless PTYMUX_LEAVE_SECONDS says otherwise.

    Raises:
        UnsafeDirectoryError: the socket's directory is not ours alone.
        NoServerError: it did not come up; the log says why.
        OutOfResourcesError: too few open files or processes, or too little memory.
    """
    windows = Windows.from_environment(os.environ)
    _check_limit()
    ensure_directory(os.path.dirname(path))
    log = state_path(path, "log")
    try:
        word = _start(path, log, _environment(leave_seconds), windows.start)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise resource_error(error) or NoServerError(
            f"no server can be started: {reason}"
        ) from error
    code, _, message = word.partition(" ")
    if code == "ready":
        return True
    if code == AlreadyRunningError.code:
        _wait_for(path)
        return False
    if code == UnsafeDirectoryError.code:
        raise error_from_wire(code, message, UnsafeDirectoryError.exit_code)
    raise NoServerError(f"the server did not start: {word or 'it ended at once'}; see {log}")


def _check_limit() -> None:
    """Refuse to start a server that could not open the files that it needs itself."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= hard < _FEWEST_FILES:
        remedy = f"a server needs {_FEWEST_FILES}, and may have {hard}: raise `ulimit -Hn`"
        raise OutOfResourcesError("open files", remedy)


def _environment(leave_seconds: float | None) -> dict[str, str]:
    """Return the variables that the keeper gets: few of ours, as it outlives us."""
    known = {} if leave_seconds is None else {"PTYMUX_LEAVE_SECONDS": f"{leave_seconds:.3f}"}
    return known | {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}


def _start(path: str, log: str, env: dict[str, str], seconds: float) -> str:
    """Start the keeper; return what it reports: `ready`, or an error's code and message."""
    report, ready = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            os.set_inheritable(ready, True)
            _spawn(path, log, ready, env)
        finally:
            os.close(ready)
        return _read_word(report, seconds)
    finally:
        os.close(report)


def _wait_for(path: str) -> None:
    """Return once somebody listens at `path`, or it took too long to go on waiting."""
    deadline = time.monotonic() + _OTHER_SECONDS
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            if sock.connect_ex(path) in (0, errno.EAGAIN):
                return
        time.sleep(_LOOK_SECONDS)  # polls the condition above


def _spawn(path: str, log: str, ready: int, env: dict[str, str]) -> None:
    """Start the keeper as a daemon: an intermediate that ends at once is its parent."""
    import ptymux

    folder = os.path.dirname(os.path.dirname(os.path.abspath(ptymux.__file__)))
    code = f"import sys; sys.path.insert(0, {folder!r}); {_KEEPER}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, _FLAGS, "-c", code, path, str(ready)],
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, log, flags, 0o600),
        ],
        setsid=True,
        setsigmask=(),
    )
    os.waitpid(pid, 0)


def _read_word(report: int, seconds: float) -> str:
    """Return the line that the keeper reports, nothing if it ended before, or that it is late."""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    deadline = time.monotonic() + seconds
    word = b""
    while not word.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            return f"it took longer than {seconds:.0f} s"
        data = os.read(report, 4096)
        if not data:
            break
        word += data
    return word.decode(errors="replace").strip()

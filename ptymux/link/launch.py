"""Starts a keeper process, for a server or for a program that will hand over to it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import ptymux
from ptymux.handover.wire import LINK_FD
from ptymux.posix.runtime import start_code

__all__ = ["Installation", "has_ended", "start_keeper", "start_private_keeper"]

_FLAGS = "-ISE"  # interpreter options: ignore the user's environment and site-packages
_KEEPER: Final = "from ptymux.keeper.daemon import take_over; take_over()"
_NEXT_KEEPER: Final = "from ptymux.keeper.daemon import stand_by; stand_by()"
_PRIVATE: Final = "from ptymux.keeper.private_keeper import main; main()"
# Computed at import: the program may change its directory later.
_FOLDER: Final = os.path.dirname(os.path.dirname(os.path.abspath(ptymux.__file__)))
# The keeper must not keep the program's stdout open: others may wait for that to be closed.
_NOWHERE: Final = tuple((os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3))


@dataclass(frozen=True, slots=True)
class Installation:
    """A Python interpreter, and the folder from which it imports ptymux."""

    python: str = sys.executable
    folder: str = _FOLDER


def start_keeper(
    path: str, installation: Installation | None = None, *, stands_by: bool = False
) -> tuple[socket.socket, int]:
    """Start a keeper for the socket at `path`; return our end of the link, and its pid.

    It waits for a handover, and ends if there is none. With `stands_by` it first gets ready to be
    replaced itself, and then says so. It is our child.

    Raises:
        OSError: open files, processes or memory; or the interpreter cannot be started.
    """
    chosen = installation or Installation()
    code = _code(_NEXT_KEEPER if stands_by else _KEEPER, chosen.folder)
    # With the same interpreter options as this process.
    return _start([chosen.python, sys.orig_argv[1], "-c", code, path], ())


def start_private_keeper() -> tuple[socket.socket, int]:
    """Start a keeper for this program only; otherwise as `start_keeper`.

    Raises:
        OSError: open files, processes or memory; or the interpreter cannot be started.
    """
    return _start([sys.executable, _FLAGS, "-c", _code(_PRIVATE)], _NOWHERE)


def _code(main: str, folder: str = _FOLDER) -> str:
    return start_code(folder, main)


def _start(
    command: list[str], standard_files: Sequence[tuple[object, ...]]
) -> tuple[socket.socket, int]:
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as undo:
        undo.callback(ours.close)
        with theirs:
            fd = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, LINK_FD + 1)
            undo.callback(os.close, fd)
            pid = os.posix_spawn(
                command[0],
                command,
                {name: value for name, value in os.environ.items() if name},
                file_actions=[*standard_files, (os.POSIX_SPAWN_DUP2, fd, LINK_FD)],
                setsid=True,
                setsigdef=(signal.SIGCHLD, signal.SIGTERM),
                setsigmask=(),
            )
        ours.setblocking(False)
        undo.pop_all()
        os.close(fd)
    return ours, pid


async def has_ended(pidfd: int, seconds: float) -> bool:
    """Return whether a process ends within `seconds`; if it is our child, it is reaped."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), seconds)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    return True

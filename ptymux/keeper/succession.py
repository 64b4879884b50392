"""How a server that lost its keeper starts another."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from typing import Final

from ptymux.keeper.supervisor import LINK_FD

__all__ = ["has_ended", "start_keeper"]

_KEEPER: Final = "from ptymux.keeper.daemon import succeed; succeed()"


def start_keeper(path: str) -> tuple[socket.socket, int]:
    """Start a keeper for the socket at `path`; return our end of the link to it, and its pid.

    It waits for what is handed over to it and ends when nothing is. It is our child.

    Raises:
        OSError: open files, processes or memory.
    """
    ours, theirs = socket.socketpair()
    code = f"import sys; sys.path.insert(0, {sys.path[0]!r}); {_KEEPER}"
    with contextlib.ExitStack() as undo:
        undo.callback(ours.close)
        with theirs:
            fd = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, LINK_FD + 1)
            undo.callback(os.close, fd)
            pid = os.posix_spawn(
                sys.executable,
                # With the same flags as this process.
                [sys.executable, sys.orig_argv[1], "-c", code, path],
                dict(os.environ),
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, LINK_FD)],
                setsid=True,
                setsigdef=(signal.SIGCHLD, signal.SIGTERM),
                setsigmask=(),
            )
        ours.setblocking(False)
        undo.pop_all()
        os.close(fd)
    return ours, pid


async def has_ended(pidfd: int, seconds: float) -> bool:
    """Return whether a process ends in time; one that is our child is reaped."""
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

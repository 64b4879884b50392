"""Starts a keeper, and later its zygote, without the files of the installation.

A server whose keeper was killed starts another one by running the interpreter. If the files have
been removed or replaced meanwhile, as in an upgrade, that fails. Then the server forks itself: this
process has everything in memory that a keeper and a zygote need. A keeper that was started from
the files before they were gone has the server fork a zygote in the same way.

Limit: such a keeper or zygote also shares the server's memory, and keeps the rings that the server
had mapped, at most until it is replaced. If the server is no descendant of the keeper, as after a
kill of the keeper, a zygote that is stopped outlives its keeper until it is continued.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable

from ptymux.handover.wire import LINK_FD
from ptymux.keeper import daemon, zygote_client
from ptymux.posix.reserve_fds import forget_reserve

__all__ = ["fork_keeper", "fork_zygote"]

_LOOK_SECONDS = 0.001


def fork_keeper(path: str, zygote_main: Callable[[], None]) -> tuple[socket.socket, int]:
    """Fork a keeper for the socket at `path`; return our end of the link, and its pid.

    It waits for a handover, and ends if there is none. It is our child. `zygote_main` is what its
    zygotes run if they cannot be started otherwise either.

    Raises:
        OSError: open files, processes or memory.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            raise
        if not pid:
            _run_keeper(path, theirs, zygote_main)
    ours.setblocking(False)
    return ours, pid


def _run_keeper(path: str, link: socket.socket, zygote_main: Callable[[], None]) -> None:
    """Become the keeper; never returns, as the frames above belong to the server."""
    try:
        gc.freeze()  # what belongs to the server is never closed: its fds are others' now
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        os.setsid()
        os.dup2(link.fileno(), LINK_FD)
        os.closerange(LINK_FD + 1, 1 << 16)
        forget_reserve()
        zygote_client.forked_main = zygote_main
        sys.argv[1:] = [path]
        daemon.take_over()
        os._exit(0)
    except BaseException:  # a border: this must not get to the server's code
        traceback.print_exc()
    finally:
        os._exit(1)


def fork_zygote(path: str, zygote_main: Callable[[], None], control: int) -> None:
    """Fork a zygote for the keeper at `path`, which asks it on the other end of the fd `control`.

    It belongs to the keeper if that is an ancestor of ours. `control` is closed here.

    Raises:
        OSError: open files, processes or memory.
    """
    try:
        pid = os.fork()
        if not pid:
            _run_zygote(path, zygote_main, control)
    finally:
        os.close(control)
    os.waitpid(pid, 0)


def _run_zygote(path: str, zygote_main: Callable[[], None], control: int) -> None:
    """Become the zygote, but as no child of the server; never returns."""
    try:
        parent = os.getpid()
        if os.fork():
            os._exit(0)
        while os.getppid() == parent:  # it is about to end, and the zygote ends with its parent
            time.sleep(_LOOK_SECONDS)
        gc.freeze()  # what belongs to the server is never closed: its fds are others' now
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        os.dup2(control, zygote_client.CONTROL_FD)
        forget_reserve()
        sys.argv[1:] = [path]
        zygote_main()
        os._exit(0)
    except BaseException:  # a border: this must not get to the server's code
        traceback.print_exc()
    finally:
        os._exit(1)

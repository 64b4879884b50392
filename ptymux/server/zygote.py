"""What servers are forked from: a process that has imported all that one needs, and only waits.

To start the interpreter and to import takes most of the time until a server serves, and all who
are attached wait for that when one was killed. A second server that stands by would be as fast but
cost its memory; these pages are shared with the server.

It has no fds but a socket to its keeper and the standard ones, so that it keeps nothing alive, and
ends when the keeper is gone. Its servers are reaped by nobody: the kernel forgets them as they end.

Limit: one that a signal had stopped when its keeper died ends once it is continued.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys

from ptymux.keeper.zygote_client import CONTROL_FD, receive_fds
from ptymux.posix.memory import raise_open_files_limit
from ptymux.server.startup import serve

__all__ = ["main"]


def main() -> None:
    """Be a zygote, and in the processes forked from it a server: argv is the socket's path."""
    os.closerange(CONTROL_FD + 1, 1 << 16)
    os.set_inheritable(CONTROL_FD, False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    raise_open_files_limit()  # the keeper may be short of them, and so lend us few
    gc.collect()
    gc.freeze()  # a collection in a server would write to the pages that it shares
    with socket.socket(fileno=CONTROL_FD) as control:
        given = _forked(control)
    if given is not None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        link, listener = (socket.socket(fileno=fd) for fd in given)
        if _introduce(link):
            serve(sys.argv[1], link, listener)


def _forked(control: socket.socket) -> tuple[int, int] | None:
    """Fork at each request; return in the child what came with it, and None when all is over."""
    while True:
        request, fds = receive_fds(control, 2)
        if not request:
            return None
        with contextlib.suppress(OSError):  # the keeper gets to know, as the link closes
            if len(fds) == 2 and not os.fork():
                return fds[0], fds[1]
        for fd in fds:
            os.close(fd)


def _introduce(link: socket.socket) -> bool:
    """Tell the keeper who serves at this link; False: it has given us up, and asked another."""
    try:
        handle = os.pidfd_open(os.getpid())
        try:
            socket.send_fds(link, [b"\0"], [handle])
        finally:
            os.close(handle)
    except OSError:
        return False
    return True

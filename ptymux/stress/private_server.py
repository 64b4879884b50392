"""A server for one command alone: at a socket of its own, with a keeper, and gone at the end."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Final

from ptymux.client.autostart import start_server
from ptymux.client.reconnect import ServerReconnect
from ptymux.errors import PtymuxError

__all__ = ["kill_server", "private_server", "undisturbed"]

_LEAVE_SECONDS: Final = 10.0  # of the server, should nobody be left to end it
_END_SECONDS: Final = 10.0  # for it to end when asked to


@contextlib.contextmanager
def private_server() -> Iterator[str]:
    """Start a server in a directory of its own, and give its socket; afterwards both are gone."""
    folder = tempfile.mkdtemp(prefix=f"ptymux-chaos-{os.getpid()}-", dir="/tmp")
    path = os.path.join(folder, "s.sock")
    failed = False
    try:
        try:
            start_server(path, leave_seconds=_LEAVE_SECONDS)
        except PtymuxError:
            failed = True
            raise
        yield path
    finally:
        with undisturbed():
            if not failed:
                _end_server(path)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Have signals that end a program wait for the end of the block."""
    signums = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signums)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_server(path: str) -> None:
    """End keeper, server and children; return once they are gone."""
    processes = []
    try:
        with contextlib.suppress(PtymuxError), ServerReconnect(path).wait() as connection:
            found = connection.call("status")
            for name in ("pid", "keeper_pid"):
                with contextlib.suppress(OSError):
                    processes.append(os.pidfd_open(found[name]))
            connection.call("shutdown", force=True)
        if not _have_ended(processes, _END_SECONDS):
            for pidfd in processes:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            _have_ended(processes, _END_SECONDS)
    finally:
        for pidfd in processes:
            os.close(pidfd)


def _have_ended(pidfds: Sequence[int], seconds: float) -> bool:
    """Return whether all have, after some time at most."""
    deadline = time.monotonic() + seconds
    for pidfd in pidfds:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
            return False
    return True


def kill_server(path: str) -> None:
    """Kill the server behind the socket `path`; return once it is gone."""
    with ServerReconnect(path).wait() as connection:
        pidfd = os.pidfd_open(connection.server["pid"])
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            _have_ended([pidfd], _END_SECONDS)
        finally:
            os.close(pidfd)

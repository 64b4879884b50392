"""A child that a keeper has started before it died: whether it runs, and what it needs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping

from ptymux.core.model import OnFull, SpawnOptions
from ptymux.core.ring import RingBuffer, ring_size
from ptymux.engine.terminal import PtyFds
from ptymux.posix.memory import create_ring_memory

__all__ = ["fds_of_newborn", "stop_and_look"]


def stop_and_look(pid: int, env: Mapping[str, str]) -> bool:
    """Stop a child with this environment; return whether it has executed its program.

    If it has not, it will not run a single instruction of that any more, unless it is continued:
    the kernel stops it before the first one.

    Raises:
        OSError: it has ended.
    """
    os.kill(pid, signal.SIGSTOP)
    mark = f"PTYMUX_ID={env.get('PTYMUX_ID', '')}".encode()  # of this PTY and no other
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except PermissionError:  # it has executed a program that runs as another user
        return True


def fds_of_newborn(pid: int, master: int, options: SpawnOptions) -> PtyFds:
    """Continue a child and return fds for it, which are the caller's, with a new ring.

    Raises:
        OSError: it has ended; or no more open files.
        OutOfResourcesError: memory or open files.
    """
    with contextlib.ExitStack() as undo:
        pidfd = os.pidfd_open(pid)
        undo.callback(os.close, pidfd)
        memfd, memory = create_ring_memory(ring_size(options.buffer_size))
        undo.callback(os.close, memfd)
        with memory:
            ring = RingBuffer(options.buffer_size, memory)
            ring.wake_at = 1
            if options.on_full is OnFull.BLOCK:
                ring.limit = options.buffer_size
            ring.release()
        own = os.dup(master)
        undo.callback(os.close, own)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        undo.pop_all()
    return PtyFds(memfd, own, pidfd)

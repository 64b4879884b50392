"""The zygote, a process that servers are forked from, and what a server does from its fork on.

To start an interpreter and import all modules takes most of the time until a server serves. When a
server was killed, all attached clients wait for that. So the zygote has imported everything and
waits; the pages of these modules are shared with the servers that are forked from it. A second
server that stands by would be as fast, but would cost its memory.

The zygote has no open files but the standard ones and a socket to its keeper, so that it keeps
nothing alive. The kernel reaps its servers. It is killed when its keeper ends, also if a signal has
stopped it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import logging.handlers
import os
import signal
import socket
import sys
from functools import partial
from typing import Final

from ptymux.core.event_log import EventLog
from ptymux.core.model import Limits
from ptymux.errors import InvalidValueError, PtymuxError
from ptymux.handover.snapshot import Greeting
from ptymux.keeper.zygote_client import CONTROL_FD, receive_fds
from ptymux.link.server_link import ServerLink
from ptymux.manager.server_manager import ServerManager
from ptymux.posix.caller import free_ourselves
from ptymux.posix.memory import map_ring_memory
from ptymux.posix.reserve_fds import keep_reserve
from ptymux.posix.runtime import end_with_parent, follow_log, is_at, state_path
from ptymux.server.app import App
from ptymux.server.keeper_fork import fork_keeper, fork_zygote
from ptymux.server.orphan_cleanup import reconcile

__all__ = ["main"]

_log = logging.getLogger("ptymux")

_LOG_BYTES: Final = 1024 * 1024


def main() -> None:
    """Run a zygote, and a server in each process forked from it; argv: the socket's path."""
    os.closerange(CONTROL_FD + 1, 1 << 16)
    os.set_inheritable(CONTROL_FD, False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    free_ourselves()  # the limits of the keeper may be low, and are passed on
    end_with_parent()
    gc.collect()
    gc.freeze()  # a collection in a server would write to the pages that it shares
    with socket.socket(fileno=CONTROL_FD) as control:
        with contextlib.suppress(OSError):
            control.send(b"\0")  # warm
        given = _forked(control)
    if given is not None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        link, listener = (socket.socket(fileno=fd) for fd in given)
        if _introduce(link):
            _run(sys.argv[1], link, listener)


def _forked(control: socket.socket) -> tuple[int, int] | None:
    """Fork a child for each request; in the child, return the fds that came with the request.

    They are the child's end of a link to the keeper, and the socket to listen on. The zygote
    itself returns None, once the keeper is gone.
    """
    while True:
        try:
            request, fds = receive_fds(control, 2)
        except ConnectionResetError:  # it died without having looked whether this is warm
            return None
        if not request:
            return None
        with contextlib.suppress(OSError):  # the keeper sees the link close
            if len(fds) == 2 and not os.fork():
                return fds[0], fds[1]
        for fd in fds:
            os.close(fd)


def _introduce(link: socket.socket) -> bool:
    """Send the keeper our pidfd on the link; return whether it still waits for us."""
    try:
        handle = os.pidfd_open(os.getpid())
        try:
            socket.send_fds(link, [b"\0"], [handle])
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


def _run(path: str, link: socket.socket, listener: socket.socket) -> None:
    """Run the server at `path`, with a link to its keeper and the socket that listens there."""
    os.umask(0o077)
    follow_log(log := state_path(path, "log"))  # the zygote has it open since its own start
    _log.addHandler(_log_handler(log))
    _log.setLevel(logging.INFO)
    free_ourselves()
    keep_reserve()
    asyncio.run(_serve(path, link, listener))


async def _serve(path: str, sock: socket.socket, listener: socket.socket) -> None:
    """Take over what the keeper has, then serve until the server is stopped or has no keeper."""
    lost = asyncio.Event()
    link = ServerLink(sock, path, lambda _reason: lost.set())
    link.current_listener = listener.fileno  # until the app has it
    link.fork_keeper = partial(fork_keeper, path, main)
    link.fork_zygote = partial(fork_zygote, path, main)
    try:
        greeting, restored = await link.greeting()
        if not link.take_place():
            os._exit(0)  # the server before goes on
        log = _open_event_log(link.event_log)
    except PtymuxError as error:
        _log.error("no server without a keeper: %s", error)
        listener.close()
        return
    manager = ServerManager(link, path, Limits(), log)
    reattached = manager.restore(restored, greeting)
    app = App(path, manager, link)
    reconcilings = [asyncio.create_task(reconcile(manager, link, greeting, reattached))]

    def on_keeper_replaced(greeting: Greeting) -> None:
        work = reconcile(manager, link, greeting, manager.live_count)
        reconcilings.append(asyncio.create_task(work))

    manager.on_keeper_replaced = on_keeper_replaced
    serving = asyncio.create_task(app.run(listener))
    losing = asyncio.create_task(lost.wait())
    await asyncio.wait((serving, losing), return_when=asyncio.FIRST_COMPLETED)
    if not serving.done() and not app.is_stopping:
        _log.error("the keeper is gone")
        serving.cancel()
    losing.cancel()
    for task in reconcilings:
        task.cancel()
    await asyncio.gather(serving, *reconcilings, return_exceptions=True)
    await link.close()


def _open_event_log(memory: int) -> EventLog:
    """Return the event log in this memory: that of the server before, or a new one."""
    mapped = map_ring_memory(memory)
    if not any(mapped[:8]):
        return EventLog(mapped, epoch=os.urandom(8).hex())
    try:
        return EventLog.recover(mapped)
    except InvalidValueError as error:
        _log.error("the events so far are lost: %s", error)
        return EventLog(mapped, epoch=os.urandom(8).hex())


class _LogFile(logging.handlers.RotatingFileHandler):
    """A log that is made again if others have moved or removed it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, to the file that is at the path now."""
        if self.stream is not None and not is_at(self.stream.fileno(), self.baseFilename):
            follow_log(self.baseFilename)
            with contextlib.suppress(OSError):
                before, self.stream = self.stream, self._open()
                before.close()
        super().emit(record)


def _log_handler(path: str) -> logging.Handler:
    """Return a handler that writes to the file at `path`, or to stderr if it cannot be opened.

    The keeper has the same file open, as its stderr.
    """
    logging.raiseExceptions = False  # if the disk is full, do not write about that
    try:
        file = _LogFile(path, maxBytes=_LOG_BYTES, backupCount=1)
    except OSError:
        handler: logging.Handler = logging.StreamHandler()
    else:
        file.rotator = _copy_and_empty
        handler = file
    handler.setFormatter(logging.Formatter("%(asctime)s server: %(message)s"))
    return handler


def _copy_and_empty(source: str, destination: str) -> None:
    """Rotate a log so that a process that has it open goes on writing to it."""
    try:
        with open(source, "rb") as old, open(destination, "wb") as new:
            while lines := old.read():  # also those that are written meanwhile
                new.write(lines)
    except OSError:
        return  # a file that is too long is better than lost lines
    os.truncate(source, 0)

"""The start of a keeper process: in the background, without a parent or open files of others."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from ptymux.core.windows import Windows
from ptymux.errors import PtymuxError
from ptymux.handover.wire import LINK_FD, Outbox
from ptymux.keeper.server_keeper import ServerKeeper
from ptymux.keeper.supervisor import log
from ptymux.keeper.zygote_client import Zygote
from ptymux.posix.caller import free_ourselves, own_limits
from ptymux.posix.reserve_fds import keep_reserve
from ptymux.posix.runtime import become_subreaper

__all__ = ["main", "stand_by", "succeed", "take_over"]


def main() -> None:
    """Run a new keeper; argv: the socket's path, and the fd to report readiness or an error on."""
    path, ready = sys.argv[1], int(sys.argv[2])

    def report(text: str) -> None:
        nonlocal ready
        if ready >= 0:
            with contextlib.suppress(OSError):
                os.write(ready, text.encode())
            os.close(ready)
            ready = -1
            keep_reserve(0)  # taken again, it has the lowest numbers: a lower limit spares it
            keep_reserve()

    free_ourselves()  # first: a limit may make the next steps fail
    if os.fork():
        os._exit(0)  # the child belongs to init, and as no session leader it gets no terminal
    os.closerange(3, ready)
    os.closerange(ready + 1, 1 << 16)
    os.set_inheritable(ready, False)
    os.umask(0o077)
    os.chdir("/")
    _ignore_keys()
    try:
        keeper = ServerKeeper.begin(path)
    except PtymuxError as error:
        report(f"{error.code} {error}\n")
        sys.exit(1)
    keeper.on_ready = lambda: report("ready\n")
    if limits := own_limits():
        log(f"limited by whoever started us: {', '.join(limits)}")
    keep_reserve()
    become_subreaper()
    keeper.run()


def take_over() -> None:
    """Run the keeper that replaces one that died; argv: the socket's path. The server is parent."""
    _begin_replacement()
    _take_over(sys.argv[1], None)


def stand_by() -> None:
    """Run the keeper that is to replace one that lives; otherwise as `take_over`.

    It takes over only once it can be replaced itself, as its zygote is ready to fork a server.
    """
    path = sys.argv[1]
    _begin_replacement()
    zygote = Zygote(path, Windows.from_environment(os.environ))
    zygote.start()
    if not zygote.await_warm(until_readable=LINK_FD):
        log("cannot take over: no server can be started here")
        sys.exit(1)
    with socket.socket(fileno=os.dup(LINK_FD)) as link, contextlib.suppress(PtymuxError):
        Outbox(link).send({"op": "warm"})
    _take_over(path, zygote)


def _begin_replacement() -> None:
    os.set_inheritable(LINK_FD, False)
    os.umask(0o077)
    os.chdir("/")
    _ignore_keys()
    free_ourselves()
    become_subreaper()


def _take_over(path: str, zygote: Zygote | None) -> None:
    try:
        keeper = ServerKeeper.take_over(path, zygote)
    except PtymuxError as error:
        log(f"cannot take over: {error}")
        sys.exit(1)
    keeper.run()


succeed = take_over  # servers of version 0.1.0 call it by this name after an upgrade


def _ignore_keys() -> None:
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(name, signal.SIG_IGN)

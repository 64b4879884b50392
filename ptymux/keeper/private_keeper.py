"""The keeper process of one program: it lives as long as the program does, or its link.

Nobody else can reach it: there is no socket path, no lock and no file, and no other program comes
after its own. It begins as a successor does, with what the program hands over: at first nothing.
When the program is gone, however it went, it ends all sessions and then itself; the kernel's own
HUP, as the masters close, would spare whatever ignores that.

Limit: program and keeper killed at the same moment leave what ignores HUP.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from ptymux.core.escalation import END_TIMING, EndTiming
from ptymux.engine.session_end import end_sessions
from ptymux.errors import PtymuxError
from ptymux.handover.snapshot import PtySnapshot
from ptymux.handover.state_file import NoChildRecords
from ptymux.handover.wire import LINK_FD, Inbox
from ptymux.keeper.pty_table import PtyTable
from ptymux.keeper.service import CHECK_SECONDS, KeeperService, handed_over
from ptymux.posix.memory import raise_open_files_limit
from ptymux.posix.reserve_fds import keep_reserve_fds, reserve_fds
from ptymux.posix.runtime import become_subreaper

__all__ = ["PrivateKeeper", "main"]

# TERM too: what ends the processes of a service or a login may leave its own end to the program.
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTERM)


class PrivateKeeper(KeeperService):
    """Keeps for the program at the other end of the link."""

    def __init__(self, timing: EndTiming = END_TIMING) -> None:
        super().__init__(PtyTable(NoChildRecords()))
        self._timing = timing
        self._is_over = False

    @classmethod
    def take_over(cls, timing: EndTiming = END_TIMING) -> PrivateKeeper:
        """Begin with what is handed over through LINK_FD.

        Raises:
            LinkClosedError: the program is gone, or of another version.
            PtymuxError: what it handed over cannot be kept.
        """
        link = socket.socket(fileno=LINK_FD)
        link.setblocking(False)
        inbox = Inbox(link)
        hello, slots, others = handed_over(link, inbox)
        keeper = cls(timing)
        keeper._serve_link(link, inbox)
        keeper._restore(hello.body, [PtySnapshot.of(message) for message in slots])
        for message in others:
            keeper._serve(message)
        # A process that the program forked may hold its end of the link open.
        (program,) = hello.fds
        keeper._engine.watch(program, select.EPOLLIN, lambda _events: keeper._on_hang_up())
        return keeper

    def run(self) -> None:
        """Serve until the program is gone, then end what it has started."""
        self._watch_signals()
        self._send(self._hello(slots=0), fds=[self._self])
        self._send_reports(self._engine.run_once())  # what happened while there was no keeper
        self._send_reports(list(self._table.past_reports()))
        next_check = time.monotonic() + CHECK_SECONDS
        while not self._is_over:
            self._turn(next_check)
            if time.monotonic() >= next_check:
                self._engine.check_stopped()  # no signal tells it of children that are not ours
                next_check = time.monotonic() + CHECK_SECONDS
        with reserve_fds():
            end_sessions(self._table.leaders, self._close, self._timing)

    def _on_hang_up(self) -> None:
        self._is_over = True

    def _say(self, text: str) -> None:
        self._send({"op": "log", "text": text})


def main(timing: EndTiming = END_TIMING) -> None:
    """Be the keeper of our parent."""
    os.closerange(LINK_FD + 1, 1 << 16)
    os.set_inheritable(LINK_FD, False)
    os.umask(0o077)
    os.chdir("/")
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    raise_open_files_limit()
    keep_reserve_fds()
    become_subreaper()
    try:
        keeper = PrivateKeeper.take_over(timing)
    except PtymuxError:
        os._exit(1)  # the program gets to know that there is no hello
    keeper.run()
    os._exit(0)  # at once: somebody waits for it

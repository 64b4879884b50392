"""The keeper of one program that uses `PtyManager`: it ends when the program ends.

Only its program can reach it: there is no socket path, no lock and no file. It starts as every
replacement does, with a handover from the program; the first time that is empty. When the program
has ended, for whatever reason, it ends all sessions and then itself. The kernel alone would only
send HUP when the masters are closed, and some processes ignore that.

Limit: if program and keeper are killed at the same moment, processes that ignore HUP survive.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from ptymux.core.windows import Windows
from ptymux.engine.session_end import end_sessions
from ptymux.errors import PtymuxError
from ptymux.handover.snapshot import PtySnapshot
from ptymux.handover.state_file import NoChildRecords
from ptymux.handover.wire import LINK_FD, Inbox
from ptymux.keeper.pty_table import PtyTable
from ptymux.keeper.service import KeeperService, receive_handover
from ptymux.posix.caller import free_ourselves
from ptymux.posix.reserve_fds import keep_reserve, released_reserve
from ptymux.posix.runtime import become_subreaper

__all__ = ["PrivateKeeper", "main"]

# TERM too: a service manager sends it to every process, and the keeper has to outlive the program.
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTERM)


class PrivateKeeper(KeeperService):
    """A keeper for the one program at the other end of its link."""

    def __init__(self) -> None:
        super().__init__(PtyTable(NoChildRecords(), Windows.from_environment(os.environ)))
        self._is_over = False

    @classmethod
    def take_over(cls) -> PrivateKeeper:
        """Return a keeper for what the program hands over through LINK_FD.

        Raises:
            LinkClosedError: the program is gone, or of another version.
            PtymuxError: what it handed over cannot be used.
        """
        link = socket.socket(fileno=LINK_FD)
        link.setblocking(False)
        inbox = Inbox(link)
        hello, slots, others = receive_handover(link, inbox)
        keeper = cls()
        keeper._link = keeper._new_link(link, inbox)
        keeper._restore(hello.body, [PtySnapshot.of(message) for message in slots])
        for message in others:
            keeper._serve(keeper._link, message)
        # The link alone is not enough: a process forked by the program may keep it open.
        (program,) = hello.fds
        keeper._engine.watch(program, select.EPOLLIN, lambda _events: keeper._on_hang_up())
        return keeper

    def run(self) -> None:
        """Serve until the program is gone, then end all sessions that it has started."""
        self._watch_signals()
        if self._link is not None:
            self._link.send(self._hello(slots=0), fds=[self._self])
        self._send_reports(self._engine.run_once())  # events from while there was no keeper
        self._send_reports(list(self._table.past_reports()))
        check = self._engine.windows.check
        next_check = time.monotonic() + check
        while not self._is_over:
            self._turn(next_check)
            if time.monotonic() >= next_check:
                self._engine.check_stopped()  # there is no signal for children that are not ours
                next_check = time.monotonic() + check
        with released_reserve():
            end_sessions(self._table.leaders, self._close, self._engine.windows)

    def _on_hang_up(self) -> None:
        self._is_over = True

    def _write_log(self, text: str) -> None:
        if self._link is not None:
            self._link.send({"op": "log", "text": text})


def main() -> None:
    """Run the keeper of the program that is our parent process."""
    os.closerange(LINK_FD + 1, 1 << 16)
    os.set_inheritable(LINK_FD, False)
    os.umask(0o077)
    os.chdir("/")
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    free_ourselves()
    keep_reserve()
    become_subreaper()
    try:
        keeper = PrivateKeeper.take_over()
    except PtymuxError:
        os._exit(1)  # the program sees the link close before any hello
    keeper.run()
    os._exit(0)  # at once: the program may wait for our end

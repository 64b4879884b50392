"""The keeper of a user's server: it owns the listening socket, and replaces a server that dies.

It is small on purpose, and parses nothing that a user sent. It serves one server at a time over a
link (`handover/wire.py`). If the server dies, it has another one forked, and the PTYs do not
notice. A server is never its child: it is forked from the zygote (`server/zygote.py`), or is older
than this keeper. If the keeper itself dies, the server starts another one and passes everything to
it (`ServerKeeper.take_over`). The zygote ends then; the new keeper starts its own.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ptymux.core.model import Limits
from ptymux.core.windows import Windows
from ptymux.engine.session_end import end_sessions
from ptymux.errors import AlreadyRunningError, PtymuxError
from ptymux.handover.snapshot import PtySnapshot
from ptymux.handover.wire import LINK_FD, Inbox, Message
from ptymux.keeper.pty_table import PtyTable
from ptymux.keeper.service import KeeperService, receive_handover
from ptymux.keeper.socket_lock import SocketLock
from ptymux.keeper.supervisor import Supervisor, log
from ptymux.posix.memory import create_ring_memory
from ptymux.posix.reserve_fds import released_reserve

__all__ = ["ServerKeeper"]


class ServerKeeper(KeeperService):
    """A server's keeper: owns its PTYs and the socket path, and looks after the server."""

    def __init__(self, path: str, socket_lock: SocketLock, event_log: int) -> None:
        """Keep PTYs for the server at `path`; `event_log` is the memory of its event log."""
        windows = Windows.from_environment(os.environ)
        super().__init__(PtyTable(socket_lock.state, windows))
        self.on_ready: Callable[[], None] = lambda: None  # called when a server serves
        self._socket_lock = socket_lock
        self._log = event_log
        self._server = Supervisor(path, windows)
        self._pending_link: socket.socket | None = None  # to a server that was requested
        self._is_stopping = False
        self._lost_path = False  # another keeper has the path now

    @classmethod
    def begin(cls, path: str) -> ServerKeeper:
        """Return a new keeper that holds the lock of `path` and has no PTYs.

        Raises:
            AlreadyRunningError: another keeper has it.
            UnsafeDirectoryError: it cannot be used.
            OutOfResourcesError: memory or open files.
        """
        socket_lock = SocketLock(path)
        event_log, mapped = create_ring_memory(Limits.LOG_HEADER + Limits().event_log)
        mapped.close()
        return cls(path, socket_lock, event_log)

    @classmethod
    def take_over(cls, path: str) -> ServerKeeper:
        """Return the keeper that replaces one that died; its server hands over through LINK_FD.

        Raises:
            LinkClosedError: the server is gone, or of another version.
            PtymuxError: what it handed over cannot be used.
        """
        link = socket.socket(fileno=LINK_FD)
        link.setblocking(False)
        inbox = Inbox(link)
        hello, slots, others = receive_handover(link, inbox)
        listener, lock, event_log, server = hello.fds
        body = hello.body
        bound = (int(body["bound"][0]), int(body["bound"][1]))
        socket_lock = SocketLock.from_handover(path, lock, socket.socket(fileno=listener), bound)
        keeper = cls(path, socket_lock, event_log)
        keeper._restore(body, [PtySnapshot.of(message) for message in slots])
        keeper._serve_link(link, inbox)
        for message in others:
            keeper._serve(message)
        keeper._server.take_over(server, body["replacements"])
        keeper._watch_server()
        return keeper

    def run(self) -> None:
        """Serve until the server asks to stop, or no server comes up and there are no PTYs."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        self._watch_signals()
        if self._server.is_there:
            self._greet(with_ptys=False)
            self._server.zygote.start()
        else:
            self._start_server()
        check = self._engine.windows.check
        next_check = time.monotonic() + check
        while self._server.is_there or not self._is_stopping:
            self._turn(next_check, self._server.due, self._server.zygote.due)
            now = time.monotonic()
            if now >= next_check:
                self._check_socket()
                self._engine.check_stopped()  # there is no signal for children that are not ours
                next_check = now + check
            self._do_what_is_due(now)
        self._close()

    def _close(self) -> None:
        if self._pending_link is not None:
            self._stop_waiting(self._pending_link).close()
        self._server.zygote.close()
        with released_reserve():  # sessions are left if the server was killed while it ended them
            end_sessions(self._table.leaders, super()._close, self._engine.windows)
        self._socket_lock.close()  # last: until then the state file lists these sessions
        os.close(self._log)

    def _write_log(self, text: str) -> None:
        log(text)

    def _check_socket(self) -> None:
        """Make the socket and its files again if somebody has removed them."""
        if self._is_stopping:
            return
        try:
            if self._socket_lock.renew():
                self._send_socket()
        except AlreadyRunningError:
            if not self._lost_path:
                log("the socket was removed, and another keeper has its path now")
            self._lost_path = True
        except (PtymuxError, OSError):
            pass  # the next check tries again
        finally:
            self._table.state = self._socket_lock.state

    def _send_socket(self) -> None:
        fds = [self._socket_lock.listener.fileno(), self._socket_lock.lock]
        self._send({"op": "listener", "bound": self._socket_lock.bound}, fds=fds)

    # The server ------------------------------------------------------------------------------

    def _do_what_is_due(self, now: float) -> None:
        if self._server.due is not None and now >= self._server.due:
            self._take_next_step()
        zygote = self._server.zygote
        if zygote.due is not None and now >= zygote.due:
            zygote.start()

    def _take_next_step(self) -> None:
        """Do what `Supervisor.due` was set for: kill, give up waiting, stop, or start a server."""
        if self._server.is_there:
            self._server.kill()  # it closed the link and did not end
        elif self._pending_link is not None:
            self._stop_waiting(self._pending_link).close()
            self._server.note_absence()
        elif self._server.is_hopeless and not self._table.has_children:
            log("no server comes up: giving up, as there is no PTY to keep")
            self._is_stopping = True
        elif not self._is_stopping:
            self._start_server()

    def _start_server(self) -> None:
        listener = self._socket_lock.listener
        with released_reserve():  # without a server nobody can end a PTY to free some
            link = self._server.start(listener)
        self._pending_link = link
        if link is not None:
            accept = partial(self._accept_server, link, listener)
            self._engine.watch(link.fileno(), select.EPOLLIN, accept)

    def _accept_server(self, link: socket.socket, listener: socket.socket, _events: int) -> None:
        """Hand over to the server that was requested, or learn that none comes on this link."""
        self._stop_waiting(link)
        with released_reserve():
            has_come = self._server.accept(link)
        if not has_come:
            link.close()
            return
        self._watch_server()
        self._serve_link(link, Inbox(link))
        self._greet(with_ptys=True)
        if self._socket_lock.listener is not listener:  # it was made again since the request
            self._send_socket()

    def _stop_waiting(self, link: socket.socket) -> socket.socket:
        self._pending_link = None
        self._engine.watch(link.fileno(), 0, lambda _events: None)
        return link

    def _watch_server(self) -> None:
        pidfd = self._server.pidfd
        self._engine.watch(pidfd, select.EPOLLIN, lambda _events: self._on_server_end())

    def _greet(self, *, with_ptys: bool) -> None:
        """Send the first message to a server; a new server gets all snapshots too."""
        slots = self._table.slots if with_ptys else []
        proofs = [(p.pid, p.start_time, p.number, p.boot_id) for p in self._table.state.left]
        hello = self._hello(len(slots)) | {
            "replacements": self._server.replacements,
            "bound": self._socket_lock.bound,
            "left": proofs,
        }
        self._send(hello, fds=[self._log, self._self, self._socket_lock.lock])
        for slot in slots:
            self._send_in_turn(partial(self._snapshot_message, slot))
        if not with_ptys:
            self._send_reports(self._engine.run_once())  # events from while there was no keeper
        self._send_reports(list(self._table.past_reports()))

    def _snapshot_message(self, slot: int) -> Message:
        return self._table.snapshot(slot).message

    def _on_server_end(self) -> None:
        self._engine.watch(self._server.pidfd, 0, lambda _events: None)
        self._drop_link()
        if not self._is_stopping:
            log("the server is gone; another is on its way")
        self._server.note_end()

    def _on_child_end(self, pid: int) -> None:
        if pid == self._server.zygote.pid:
            self._server.zygote.note_end()

    def _on_hang_up(self) -> None:
        self._server.note_hang_up()

    def _stop(self) -> None:
        """Have the server end all PTYs and itself, then end too; a second call kills the server."""
        if self._is_stopping:
            self._server.kill()
        self._is_stopping = True
        self._server.terminate()

    # The link --------------------------------------------------------------------------------

    def _op_ready(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._server.note_ready()
        self.on_ready()

    def _op_settled(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._table.state.forget_left()

    def _op_stop(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._is_stopping = True

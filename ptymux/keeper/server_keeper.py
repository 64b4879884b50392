"""The keeper of a user's server: it owns the listening socket, and replaces a server that dies.

It is small on purpose, and parses nothing that a user sent. It serves one server at a time over a
link (`handover/wire.py`). If the server dies, it has another one forked, and the PTYs do not
notice. A server is never its child: it is forked from the zygote (`server/zygote.py`), or is older
than this keeper. If the keeper itself dies, the server starts another one and passes everything to
it (`ServerKeeper.take_over`). The zygote ends then; the new keeper starts its own.

Each is also replaced while it lives, by `ptymux server restart`. Then it does nothing any more,
and ends only when the next one has all that it had; if that dies before, it goes on
(`handover/token.py`).
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from ptymux.core.model import Limits
from ptymux.core.windows import Windows
from ptymux.engine.session_end import end_sessions
from ptymux.errors import AlreadyRunningError, LinkClosedError, PtymuxError
from ptymux.handover.snapshot import PtySnapshot
from ptymux.handover.token import await_decision, end_process, take_token
from ptymux.handover.wire import LINK_FD, Inbox, Message
from ptymux.keeper.manager_link import ManagerLink
from ptymux.keeper.pty_table import PtyTable
from ptymux.keeper.replacement import Replacement
from ptymux.keeper.service import KeeperService, receive_handover
from ptymux.keeper.socket_lock import SocketLock
from ptymux.keeper.supervisor import Supervisor, introduced, log
from ptymux.keeper.zygote_client import Zygote
from ptymux.posix.directory_watch import DirectoryWatch
from ptymux.posix.memory import create_ring_memory
from ptymux.posix.reserve_fds import released_reserve
from ptymux.posix.runtime import follow_log, state_path

__all__ = ["ServerKeeper"]

# In windows for a restart: longer than a server waits for the keeper that it hands over to.
_FROZEN: Final = 2.0
_REMOVAL_SECONDS: Final = 0.02  # for whoever removes our files to remove all of them


class ServerKeeper(KeeperService):
    """A server's keeper: owns its PTYs and the socket path, and looks after the server."""

    def __init__(
        self, path: str, socket_lock: SocketLock, event_log: int, zygote: Zygote | None = None
    ) -> None:
        """Keep PTYs for the server at `path`; `event_log` is the memory of its event log."""
        windows = Windows.from_environment(os.environ)
        super().__init__(PtyTable(socket_lock.state, windows))
        self.on_ready: Callable[[], None] = lambda: None  # called when a server serves
        self._socket_lock = socket_lock
        self._log_path = state_path(path, "log")
        self._log = event_log
        self._server = Supervisor(path, windows, zygote)
        self._server.zygote.borrow = self._borrow_zygote
        self._server.zygote.give_back = self._unwatch
        self._pending_link: socket.socket | None = None  # to a server that was requested
        self._watch: DirectoryWatch | None = None  # for files that are removed
        self._next_check = math.inf  # on time.monotonic
        self._replacement: Replacement | None = None  # of the server that serves
        self._frozen = -1  # the token of a handover to another keeper
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
    def take_over(cls, path: str, zygote: Zygote | None = None) -> ServerKeeper:
        """Return the keeper that replaces another; its server hands over through LINK_FD.

        If the keeper before lives, it is ended as soon as this one has everything.

        Raises:
            LinkClosedError: the server is gone, or of another version; or the keeper before goes
                on, as this took too long.
            PtymuxError: what it handed over cannot be used.
        """
        link = socket.socket(fileno=LINK_FD)
        link.setblocking(False)
        inbox = Inbox(link)
        hello, slots, others = receive_handover(link, inbox)
        listener, lock, event_log, server, *handover = hello.fds
        if handover:
            _take_place(*handover)
        body = hello.body
        bound = (int(body["bound"][0]), int(body["bound"][1]))
        socket_lock = SocketLock.from_handover(path, lock, socket.socket(fileno=listener), bound)
        keeper = cls(path, socket_lock, event_log, zygote)
        keeper._restore(body, [PtySnapshot.of(message) for message in slots])
        socket_lock.state.drop_intents()
        keeper._link = keeper._new_link(link, inbox)
        for message in others:
            keeper._serve(keeper._link, message)
        keeper._server.take_over(server, body["replacements"])
        keeper._watch_server()
        return keeper

    def run(self) -> None:
        """Serve until the server asks to stop, or no server comes up and there are no PTYs."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        self._watch_signals()
        self._watch_files()
        if self._server.is_there:
            if self._link is not None:
                self._greet(self._link, with_ptys=False)
            self._server.zygote.start()
        else:
            self._start_server()
        check = self._engine.windows.check
        self._next_check = min(self._next_check, time.monotonic() + check)
        while self._server.is_there or not self._is_stopping:
            replacement = self._replacement.due if self._replacement else None
            self._turn(self._next_check, self._server.due, self._server.zygote.due, replacement)
            now = time.monotonic()
            if now >= self._next_check:
                self._next_check = now + check
                self._check_files()
                self._engine.check_stopped()  # there is no signal for children that are not ours
            self._do_what_is_due(now)
        self._close()

    def _close(self) -> None:
        if self._pending_link is not None:
            self._stop_waiting(self._pending_link).close()
        if self._replacement is not None:
            self._replacement.kill()
        self._drop_replacement()
        self._server.zygote.close()
        if self._watch is not None:
            self._unwatch(self._watch.fileno())
            self._watch.close()
        with released_reserve():  # sessions are left if the server was killed while it ended them
            end_sessions(self._table.leaders, super()._close, self._engine.windows)
        self._socket_lock.close()  # last: until then the state file lists these sessions
        os.close(self._log)

    def _write_log(self, text: str) -> None:
        log(text)

    def _watch_files(self) -> None:
        """Notice at once that files were removed: a client may come and start another keeper."""
        with contextlib.suppress(OSError):  # each check looks for that, too
            self._watch = DirectoryWatch(os.path.dirname(self._log_path))
            self._engine.watch(self._watch.fileno(), select.EPOLLIN, self._on_removal)

    def _on_removal(self, _events: int) -> None:
        assert self._watch is not None
        self._watch.forget()
        self._check_soon()

    def _check_soon(self) -> None:
        # A moment later: whoever removes a whole directory must not find new files in it.
        self._next_check = min(self._next_check, time.monotonic() + _REMOVAL_SECONDS)

    def _check_files(self) -> None:
        """Look for files that were removed; a removal during the look is noticed, too."""
        if self._watch is not None:
            self._watch.forget()
        self._check_socket()
        follow_log(self._log_path)
        if self._watch is not None and self._watch.follow():
            self._check_soon()

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
        for link in self._links:
            link.send({"op": "listener", "bound": self._socket_lock.bound}, fds=fds)

    # The server ------------------------------------------------------------------------------

    def _do_what_is_due(self, now: float) -> None:
        if self._server.due is not None and now >= self._server.due:
            self._take_next_step()
        zygote = self._server.zygote
        if zygote.due is not None and now >= zygote.due:
            zygote.start()
        if self._replacement is not None and now >= (self._replacement.due or math.inf):
            log("no server came to replace the one that serves")
            self._give_up_replacement()

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
        self._link = self._new_link(link, Inbox(link))
        self._greet(self._link, with_ptys=True)
        if self._socket_lock.listener is not listener:  # it was made again since the request
            self._send_socket()

    def _stop_waiting(self, link: socket.socket) -> socket.socket:
        self._pending_link = None
        self._engine.watch(link.fileno(), 0, lambda _events: None)
        return link

    def _watch_server(self) -> None:
        pidfd = self._server.pidfd
        self._engine.watch(pidfd, select.EPOLLIN, lambda _events: self._on_server_end())

    def _greet(
        self, link: ManagerLink, *, with_ptys: bool, replacement: Replacement | None = None
    ) -> None:
        """Send the first message to a server; a new server gets all snapshots too."""
        slots = self._table.slots if with_ptys else []
        proofs = [(p.pid, p.start_time, p.number, p.boot_id) for p in self._table.state.left]
        hello = self._hello(len(slots)) | {
            "replacements": self._server.replacements + (replacement is not None),
            "bound": self._socket_lock.bound,
            "left": proofs,
        }
        handover = [] if replacement is None else [replacement.taking, self._server.pidfd]
        link.send(hello, fds=[self._log, self._self, self._socket_lock.lock, *handover])
        for slot in slots:
            if self._table.has_launch(slot):
                link.send_in_turn(partial(self._table.launch_message, slot))
            link.send_in_turn(partial(self._snapshot_message, slot))
        if not with_ptys:
            self._send_reports(self._engine.run_once())  # events from while there was no keeper
        if reports := self._table.note(list(self._table.past_reports())):
            link.send({"op": "reports", "reports": reports})

    def _snapshot_message(self, slot: int) -> Message:
        return self._table.snapshot(slot).message

    def _on_server_end(self) -> None:
        if self._replacement is not None and self._replacement.has_come:
            self._use_replacement()
            return
        self._give_up_replacement()
        self._engine.watch(self._server.pidfd, 0, lambda _events: None)
        self._drop_link()
        if not self._is_stopping:
            log("the server is gone; another is on its way")
        self._server.note_end()

    def _borrow_zygote(self, ours: socket.socket, theirs: socket.socket) -> bool:
        """Have the server fork a zygote, as none could be started; it need not be our child."""
        if self._link is None or self._replacement is not None:
            return False
        log(
            "no zygote could be started; the next is forked from the code of the server that serves"
        )
        self._link.send({"op": "zygote"}, fds=[theirs.fileno()])
        end = self._server.zygote.note_end
        self._engine.watch(ours.fileno(), select.EPOLLRDHUP, lambda _events: end())
        return True

    def _on_child_end(self, pid: int, was_killed: bool) -> None:
        if pid == self._server.zygote.pid:
            self._server.zygote.note_end(was_killed=was_killed)

    def _on_hang_up(self) -> None:
        self._server.note_hang_up()

    def _stop(self) -> None:
        """Have the server end all PTYs and itself, then end too; a second call kills the server."""
        if self._is_stopping:
            self._server.kill()
        self._is_stopping = True
        self._server.terminate()

    # A server that takes the place of another ------------------------------------------------

    @property
    def _links(self) -> list[ManagerLink]:
        links = super()._links
        if self._replacement is not None and self._replacement.link is not None:
            links.append(self._replacement.link)
        return links

    def _op_succeed(self, _body: Mapping[str, Any], message: Message, _fds: list[int]) -> None:
        """Request a server to take the place of this one, which waits until that is decided."""
        if self._is_stopping or self._replacement is not None:
            return  # its token is closed with the message: it goes on
        listener = self._socket_lock.listener
        with released_reserve():
            taking, holding = map(os.dup, message.fds)
            sock = self._server.request(listener)
        self._replacement = Replacement(sock, taking, holding, 0.5 * self._engine.windows.restart)
        accept = partial(self._accept_replacement, self._replacement, listener)
        self._engine.watch(sock.fileno(), select.EPOLLIN, accept)

    def _accept_replacement(
        self, replacement: Replacement, listener: socket.socket, _events: int
    ) -> None:
        self._unwatch(replacement.sock.fileno())
        with released_reserve():
            pidfd = introduced(replacement.sock)
        if pidfd is None:
            self._give_up_replacement()
            return
        replacement.pidfd = pidfd
        self._engine.watch(pidfd, select.EPOLLIN, lambda _events: self._on_replacement_end())
        replacement.link = self._new_link(replacement.sock, Inbox(replacement.sock))
        self._greet(replacement.link, with_ptys=True, replacement=replacement)
        if self._socket_lock.listener is not listener:
            self._send_socket()

    def _use_replacement(self) -> None:
        """Look after the server that has taken over, in the place of the one before."""
        replacement, self._replacement = self._replacement, None
        assert replacement is not None
        self._unwatch(self._server.pidfd)
        self._drop_link()
        replacement.close_token()
        self._unwatch(replacement.pidfd)
        self._server.change_to(replacement.pidfd)
        self._link = replacement.link
        self._watch_server()
        log("another server has taken over")
        if self._is_stopping:
            self._server.terminate()

    def _on_replacement_end(self) -> None:
        log("the server that was to take over is gone")
        self._drop_replacement()

    def _give_up_replacement(self) -> None:
        """Have the server that serves go on, once the one that was to take over is dead."""
        if self._replacement is not None and self._replacement.has_come:
            self._replacement.kill()
        else:
            self._drop_replacement()

    def _drop_replacement(self) -> None:
        if self._replacement is not None:
            replacement, self._replacement = self._replacement, None
            replacement.close(self._unwatch)

    def _unwatch(self, fd: int) -> None:
        self._engine.watch(fd, 0, lambda _events: None)

    # The link --------------------------------------------------------------------------------

    def _serve(self, link: ManagerLink, message: Message) -> None:
        if self._replacement is not None and link is self._replacement.link:
            self._use_replacement()  # it says something: so it has taken over
        super()._serve(link, message)
        if self._frozen >= 0:
            self._wait_frozen()

    def _op_freeze(self, _body: Mapping[str, Any], message: Message, _fds: list[int]) -> None:
        """Do nothing any more, once this is answered, until another keeper has taken over or not.

        All that the engine knows is reported before: the next one cannot learn it any more.
        """
        reports, self._engine.reports = self._engine.reports, []
        self._send_reports(reports)
        self._frozen = os.dup(message.fds[0])

    def _wait_frozen(self) -> None:
        token, self._frozen = self._frozen, -1
        await_decision(token, _FROZEN * self._engine.windows.restart)
        if not take_token(token):
            os._exit(0)  # another keeper has taken over
        os.close(token)

    def _op_ready(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._server.note_ready()
        self.on_ready()

    def _op_settled(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._table.state.forget_left()

    def _op_stop(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._is_stopping = True


def _take_place(token: int, before: int) -> None:
    """End the keeper before, which waits for that; `before` is its pidfd.

    Raises:
        LinkClosedError: it has waited too long, and goes on.
    """
    has_token = take_token(token)
    os.close(token)
    if has_token:
        end_process(before)
    os.close(before)
    if not has_token:
        raise LinkClosedError("the keeper before goes on")

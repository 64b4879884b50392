"""`App`: one server. It accepts clients, calls methods for them, and ends the server when asked."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import time
from typing import Any, Final

from ptymux import __version__
from ptymux.errors import (
    LimitReachedError,
    OutOfResourcesError,
    ProtocolError,
    PtymuxError,
    ServerStoppingError,
    UnknownMethodError,
)
from ptymux.link.launch import Installation
from ptymux.link.server_link import ServerLink
from ptymux.manager.server_manager import ServerManager
from ptymux.posix.memory import resident_memory
from ptymux.posix.reserve_fds import released_reserve
from ptymux.posix.runtime import peer, state_path
from ptymux.protocol.messages import MOST_PASSED_FDS, PROTOCOL, Request, encode_error
from ptymux.protocol.params import Params, agree
from ptymux.server.client_connection import ClientConnection
from ptymux.server.idle_time import IdleTime
from ptymux.server.method_call import MethodCall, MethodReply, MethodResult, Upgrade
from ptymux.server.methods import METHODS
from ptymux.server.turns import Turns

__all__ = ["App"]

_log = logging.getLogger("ptymux")

_HELLO_SECONDS: Final = 30.0  # for a client to say hello
_LEAVE_SECONDS: Final = 3600.0  # without a live PTY and a client
_REPLY_SECONDS: Final = 0.01  # for replies to go before the server is replaced
_TRIES: Final = 3  # to have another server take over


class App:
    """One server: its listening socket, its connections, and when it ends."""

    def __init__(self, path: str, manager: ServerManager, link: ServerLink) -> None:
        self.path = path
        self._manager = manager
        self._link = link
        self._listener: socket.socket | None = None
        self._connections: set[ClientConnection] = set()
        self._turns = Turns()
        self._done = asyncio.Event()
        self._started, self._began = time.time(), time.monotonic()
        self._background: set[asyncio.Task[object]] = set()
        self.is_stopping = False
        self._restart: asyncio.Future[None] | None = None
        self._may_serve = asyncio.Event()
        self._may_serve.set()
        self._leave_seconds = _leave_seconds()
        self._idle = IdleTime(self._leave_seconds, time.monotonic())
        self._leave_timer: asyncio.TimerHandle | None = None

    async def run(self, listener: socket.socket) -> None:
        """Accept clients at `listener` and serve them, until the server is to end."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop_soon)
        self._link.on_listener = self._listen_on
        self._link.current_listener = self._listener_fd
        self._listen_on(self._link.listener or listener)
        self._link.listener = None
        self._link.ready()
        self._arm_leave()
        try:
            await self._done.wait()
        finally:
            loop.remove_reader(self._listener_fd())
            for connection in list(self._connections):
                connection.close()
            await asyncio.gather(*(c.task for c in self._connections), return_exceptions=True)

    # What methods can ask for: it is the `ServerControl` ----------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what is known of this server, as `server status --json` shows it."""
        limits = self._manager.limits
        return {
            "server": __version__,
            "folder": Installation().folder,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "keeper_pid": self._link.keeper_pid,
            "socket": self.path,
            "log": state_path(self.path, "log"),
            "started_at": self._started,
            "uptime_seconds": time.monotonic() - self._began,
            "server_replaced": self._link.replacements,
            "keeper_replaced": self._link.keeper_replacements,
            "live": self._manager.live_count,
            "ptys": len(self._manager.list()),
            "connections": len(self._connections),
            "memory": {"resident": resident_memory()},
            "limits": {
                "ptys": limits.ptys,
                "worst_case_bytes": limits.worst_case_bytes,
                "worst_case_fds": limits.worst_case_fds,
                "connections": limits.connections,
            },
        }

    def stop_soon(self) -> None:
        """Begin to end all PTYs, then this process and its keeper."""
        if self.is_stopping:
            return
        self.is_stopping = True
        self._link.stop()  # first: the keeper must not start a replacement

        async def run() -> None:
            try:
                await self._manager.close()
            finally:
                self._done.set()

        self._in_background(run())

    async def restart(self, installation: Installation | None) -> None:
        """Replace the keeper, and begin to replace this process; whoever asks meanwhile joins.

        Raises:
            LinkClosedError: no other keeper came; the one before goes on.
            ServerStoppingError: the server ends.
        """
        if self.is_stopping:
            raise ServerStoppingError
        if self._restart is None:
            self._restart = asyncio.ensure_future(self._link.replace_keeper(installation))
            self._in_background(self._leave_after(self._restart))
        await asyncio.shield(self._restart)

    async def _leave_after(self, restart: asyncio.Future[None]) -> None:
        """Have another server take the place of this one once the keeper was replaced."""
        try:
            await asyncio.wait((restart,))
            if restart.cancelled() or restart.exception() is not None:
                return
            await asyncio.sleep(_REPLY_SECONDS)
            self._pause()
            for _ in range(_TRIES):
                await self._link.quiet()
                if self.is_stopping:
                    return
                self._link.hand_over()
            _log.error("no other server came; this one goes on")
        finally:
            self._restart = None
            self._go_on()

    def _pause(self) -> None:
        """Serve nobody for now; who comes is served by the next server."""
        self._may_serve.clear()
        asyncio.get_running_loop().remove_reader(self._listener_fd())

    def _go_on(self) -> None:
        if not self._may_serve.is_set():
            self._may_serve.set()
            assert self._listener is not None
            self._listen_again(self._listener)

    def _in_background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # Connections -----------------------------------------------------------------------------

    def _listen_on(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener)
            self._listener.close()
        self._listener = listener
        listener.setblocking(False)
        if self._may_serve.is_set():
            loop.add_reader(listener, self._accept, listener)

    def _listener_fd(self) -> int:
        assert self._listener is not None
        return self._listener.fileno()

    def _listen_again(self, listener: socket.socket) -> None:
        if self._listener is listener:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _address = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.EMFILE and _refuse_for_lack_of_files(listener):
                return
            # The clients that wait stay in the backlog; try again a little later.
            _log.warning("cannot accept a client: %s", error.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(0.2, self._listen_again, listener)
            return
        pid, uid = peer(sock)
        if uid != os.geteuid():
            _log.warning("refused a client: process %d, user %d", pid, uid)
            sock.close()
        elif len(self._connections) >= (most := self._manager.limits.connections):
            refusal = LimitReachedError("the number of clients", most, "end some of them")
            with sock, contextlib.suppress(OSError):
                sock.send(encode_error(None, refusal))
        else:
            connection = ClientConnection(sock, self._serve, pid, self._turns)
            connection.on_done = self._on_done
            self._connections.add(connection)
            self._arm_leave()
            connection.expect_hello(_HELLO_SECONDS)

    def _on_done(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        for pty_id in connection.owned:
            self._manager.hang_up_unowned(pty_id)
        self._idle.note_client_left(time.monotonic())
        self._arm_leave()

    def _arm_leave(self) -> None:
        """Have the server end some time after its last client left, if no PTY lives then."""
        if self._leave_timer is not None:
            self._leave_timer.cancel()
            self._leave_timer = None
        if self._leave_seconds and not self._connections:
            self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        """End the server if it was idle for long enough; otherwise look again later."""
        now = time.monotonic()
        pause = self._idle.next_look(now, has_live=bool(self._manager.live_count))
        if pause is None:
            _log.info("nothing to do for %.0f s: leaving", self._idle.seconds(now))
            self.stop_soon()
        else:
            loop = asyncio.get_running_loop()
            self._leave_timer = loop.call_later(pause, self._leave_if_idle)

    async def _serve(self, connection: ClientConnection) -> None:
        while True:
            try:
                request = await connection.next_request()
            except ProtocolError as error:
                await connection.refuse(error)
                raise
            upgrade = await self._answer(connection, request)
            if upgrade is not None:
                await upgrade()
                return
            await connection.budget.pause()

    async def _answer(self, connection: ClientConnection, request: Request) -> Upgrade | None:
        """Do what is asked and reply; return what uses the connection then, if it is upgraded."""
        await self._may_serve.wait()
        try:
            result = await self._perform(connection, request)
        except PtymuxError as error:
            await connection.refuse(error)
            if isinstance(error, ProtocolError):
                raise
            return None
        reply = result if isinstance(result, MethodReply) else MethodReply(result)
        try:
            await _send(connection, reply)
        except BaseException:
            if reply.undo is not None:
                reply.undo()
            raise
        finally:
            if reply.fd is not None:
                os.close(reply.fd)
        return reply.upgrade

    async def _perform(self, connection: ClientConnection, request: Request) -> MethodResult:
        params = Params(request.params)
        if request.method == "hello":
            connection.greet(agree(params))
            return {
                "protocol": connection.version,
                "server": __version__,
                "epoch": self._manager.epoch,
                "pid": os.getpid(),
                "passes_fds": MOST_PASSED_FDS,
            }
        method = METHODS.get(request.method)
        if method is None:
            raise UnknownMethodError(request.method)
        if not connection.version:
            raise ProtocolError("say hello first")
        return await method(MethodCall(self._manager, self, connection, params))


def _refuse_for_lack_of_files(listener: socket.socket) -> bool:
    """Accept the next client and send it an error; return whether even that was possible."""
    refusal = OutOfResourcesError("open files of the server", "end some PTYs or clients")
    with released_reserve(), contextlib.suppress(OSError):
        sock, _address = listener.accept()
        with sock:
            sock.send(encode_error(None, refusal))
        return True
    return False


async def _send(connection: ClientConnection, reply: MethodReply) -> None:
    """Send a reply, or an error in its place if it is longer than a line may be."""
    try:
        await connection.reply(reply.result, [] if reply.fd is None else [reply.fd])
    except ProtocolError as error:
        if reply.upgrade is not None:
            raise
        await connection.refuse(PtymuxError(str(error)))


def _leave_seconds() -> float:
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(os.environ["PTYMUX_LEAVE_SECONDS"]))
    return _LEAVE_SECONDS

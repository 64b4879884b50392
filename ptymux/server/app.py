"""The server process: takes over from the keeper, accepts clients, serves them, leaves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

from ptymux import __version__
from ptymux.core.event_log import EventLog
from ptymux.core.model import Limits, PtyId, WindowSize
from ptymux.errors import (
    InvalidValueError,
    LimitReachedError,
    OutOfResourcesError,
    ProtocolError,
    PtymuxError,
    UnknownMethodError,
)
from ptymux.handover.snapshot import Greeting
from ptymux.link.server_link import ServerLink
from ptymux.manager.server_manager import ServerManager
from ptymux.posix.memory import map_ring_memory, raise_open_files_limit, resident_memory
from ptymux.posix.reserve_fds import keep_reserve, released_reserve
from ptymux.posix.runtime import peer, state_path
from ptymux.protocol.messages import PROTOCOL, Request, encode_error
from ptymux.protocol.params import Params, agree
from ptymux.server.client_connection import ClientConnection
from ptymux.server.log_file import log_handler
from ptymux.server.methods import COMMANDS
from ptymux.server.orphan_cleanup import reconcile
from ptymux.server.reply import Answer

__all__ = ["App", "serve"]

_log = logging.getLogger("ptymux")

_HELLO_SECONDS: Final = 30.0  # for a client to say hello
_LEAVE_SECONDS: Final = 3600.0  # without a live PTY and a client


class App:
    """One server: a manager, a listening socket and its connections."""

    def __init__(self, path: str, manager: ServerManager, link: ServerLink) -> None:
        self.path = path
        self.manager = manager
        self._link = link
        self._listener: socket.socket | None = None
        self._connections: set[ClientConnection] = set()
        self._done = asyncio.Event()
        self._started, self._began = time.time(), time.monotonic()
        self._background: set[asyncio.Task[object]] = set()
        self.is_stopping = False
        self._leave_seconds = _leave_seconds()
        self._idle_since = time.monotonic()  # without a client and a live PTY
        self._leave_timer: asyncio.TimerHandle | None = None

    async def run(self, listener: socket.socket) -> None:
        """Serve until somebody ends it."""
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

    # What commands need ----------------------------------------------------------------------

    def describe(self, pty_id: PtyId, *, full: bool = False) -> dict[str, Any]:
        """Return a PTY as JSON values."""
        return self.manager.describe(pty_id, full=full)

    async def show(self, pty_id: PtyId, size: WindowSize) -> None:
        """Give a PTY the size of the terminal that shows it; the same size asks for a repaint."""
        if self.manager.get(pty_id).size == size:
            await self.manager.nudge(pty_id)
        else:
            await self.manager.resize(pty_id, size)

    def status(self) -> dict[str, Any]:
        """Return what is known of this server."""
        limits = self.manager.limits
        return {
            "server": __version__,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "keeper_pid": self._link.keeper_pid,
            "socket": self.path,
            "log": state_path(self.path, "log"),
            "started_at": self._started,
            "uptime_seconds": time.monotonic() - self._began,
            "server_replaced": self._link.replacements,
            "keeper_replaced": self._link.keeper_replacements,
            "live": self.manager.live_count,
            "ptys": len(self.manager.list()),
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
        """End everything, then this process and its keeper."""
        if self.is_stopping:
            return
        self.is_stopping = True
        self._link.stop()  # before anybody is told that it was asked for

        async def run() -> None:
            try:
                await self.manager.close()
            finally:
                self._done.set()

        self._in_background(run())

    async def replace_keeper(self) -> None:
        """Have another keeper take over from the one that is there.

        Raises:
            LinkClosedError: none came up.
        """
        await self._link.replace_keeper()

    def leave_soon(self) -> None:
        """End this process only, as a kill would: closing what is open would hang PTYs up."""

        async def run() -> None:
            await asyncio.sleep(0.01)  # for the reply to go
            await self._link.linked()  # who leaves without a keeper takes the PTYs along
            os._exit(0)

        self._in_background(run())

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
            # Those who wait stay in the backlog: a little later there may be what it takes.
            _log.warning("cannot accept a client: %s", error.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(0.2, self._listen_again, listener)
            return
        pid, uid = peer(sock)
        if uid != os.geteuid():
            _log.warning("refused a client: process %d, user %d", pid, uid)
            sock.close()
        elif len(self._connections) >= (most := self.manager.limits.connections):
            refusal = LimitReachedError("the number of clients", most, "end some of them")
            with sock, contextlib.suppress(OSError):
                sock.send(encode_error(None, refusal))
        else:
            connection = ClientConnection(sock, self._serve)
            connection.on_done = self._on_done
            self._connections.add(connection)
            self._arm_leave()
            connection.expect_hello(_HELLO_SECONDS)

    def _on_done(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        for pty_id in connection.owned:
            self.manager.hang_up_unowned(pty_id)
        self._idle_since = time.monotonic()
        self._arm_leave()

    def _arm_leave(self) -> None:
        """Leave some time after the last client, if no PTY lives by then."""
        if self._leave_timer is not None:
            self._leave_timer.cancel()
            self._leave_timer = None
        if self._leave_seconds and not self._connections:
            self._leave_if_idle()

    def _leave_in(self, seconds: float) -> None:
        self._leave_timer = asyncio.get_running_loop().call_later(seconds, self._leave_if_idle)

    def _leave_if_idle(self) -> None:
        """Leave unless a PTY lives, or lived until lately; that is looked at now and then."""
        now = time.monotonic()
        if self.manager.live_count:
            next_look = max(0.01, self._leave_seconds / 10)
            self._idle_since = now + next_look  # it may live until then
            self._leave_in(next_look)
        elif (idle := now - self._idle_since) < self._leave_seconds:
            self._leave_in(max(0.01, self._leave_seconds - idle))
        else:
            _log.info("nothing to do for %.0f s: leaving", idle)
            self.stop_soon()

    async def _serve(self, connection: ClientConnection) -> None:
        while True:
            try:
                request = await connection.next_request()
            except ProtocolError as error:
                await connection.refuse(error)
                raise
            then = await self._answer(connection, request)
            if then is not None:
                await then()
                return

    async def _answer(self, connection: ClientConnection, request: Request) -> Any:
        """Do what is asked and reply; return what the reply upgrades the connection to."""
        try:
            result = await self._perform(connection, request)
        except PtymuxError as error:
            await connection.refuse(error)
            if isinstance(error, ProtocolError):
                raise
            return None
        answer = result if isinstance(result, Answer) else Answer(result)
        try:
            await _reply(connection, answer)
        except BaseException:
            if answer.undo is not None:
                answer.undo()
            raise
        finally:
            if answer.fd >= 0:
                os.close(answer.fd)
        return answer.then

    async def _perform(self, connection: ClientConnection, request: Request) -> Mapping[str, Any]:
        params = Params(request.params)
        if request.method == "hello":
            connection.greet(agree(params))
            return {
                "protocol": connection.version,
                "server": __version__,
                "epoch": self.manager.epoch,
                "pid": os.getpid(),
            }
        command = COMMANDS.get(request.method)
        if command is None:
            raise UnknownMethodError(request.method)
        if not connection.version:
            raise ProtocolError("say hello first")
        return await command(self, connection, params)


def _refuse_for_lack_of_files(listener: socket.socket) -> bool:
    """Tell the next client that waits why it is not served; False: not even that can be done."""
    refusal = OutOfResourcesError("open files of the server", "end some PTYs or clients")
    with released_reserve(), contextlib.suppress(OSError):
        sock, _address = listener.accept()
        with sock:
            sock.send(encode_error(None, refusal))
        return True
    return False


async def _reply(connection: ClientConnection, answer: Answer) -> None:
    """Send an answer, or a refusal when it is longer than any may be."""
    try:
        await connection.reply(answer, [answer.fd] if answer.fd >= 0 else [])
    except ProtocolError as error:
        if answer.then is not None:
            raise
        await connection.refuse(PtymuxError(str(error)))


def _leave_seconds() -> float:
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(os.environ["PTYMUX_LEAVE_SECONDS"]))
    return _LEAVE_SECONDS


def _open_event_log(memory: int) -> EventLog:
    """Return the event log in this memory: that of the server before this one, or a new one."""
    mapped = map_ring_memory(memory)
    if not any(mapped[:8]):
        return EventLog(mapped, epoch=os.urandom(8).hex())
    try:
        return EventLog.recover(mapped)
    except InvalidValueError as error:
        _log.error("the events so far are lost: %s", error)
        return EventLog(mapped, epoch=os.urandom(8).hex())


async def _serve(path: str, sock: socket.socket, listener: socket.socket) -> None:
    lost = asyncio.Event()
    link = ServerLink(sock, path, lambda _reason: lost.set())
    try:
        greeting, restored = await link.greeting()
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


def serve(path: str, link: socket.socket, listener: socket.socket) -> None:
    """Be the server at `path`, with a link to its keeper and the socket that listens there."""
    os.umask(0o077)
    logging.getLogger("ptymux").addHandler(log_handler(state_path(path, "log")))
    logging.getLogger("ptymux").setLevel(logging.INFO)
    raise_open_files_limit()
    keep_reserve()
    asyncio.run(_serve(path, link, listener))

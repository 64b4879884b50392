"""The keeper process: an engine with its own loop, the listening socket, a server to look after.

It is small on purpose: single-threaded, stdlib only, imports everything at its start (an upgrade
may replace the files under it), parses nothing that a user sent. It serves one server at a time
over a link (`wire.py`) and starts another when that one dies; the PTYs do not notice.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ptymux.core.model import Limits, WindowSize
from ptymux.errors import LinkClosedError, PtymuxError
from ptymux.keeper.engine import Engine
from ptymux.keeper.reports import Closed, Exited, LifelineEnded, Output, Report, Suspended
from ptymux.keeper.statefile import StateFile
from ptymux.keeper.wire import (
    LINK_VERSION,
    Inbox,
    Message,
    Outbox,
    options_from_json,
    unpack_strings,
)
from ptymux.posix.memory import raise_open_files_limit
from ptymux.posix.runtime import become_subreaper, ensure_directory, listen, lock, state_path

__all__ = ["Keeper", "main"]

_SERVER: Final = "from ptymux.server.app import main; main()"
_LINK_FD: Final = 3  # in the server
_LISTENER_FD: Final = 4
_QUICK_DEATH_SECONDS: Final = 2.0  # a server that lived less is started again with a delay
_LONGEST_DELAY_SECONDS: Final = 5.0
_SLOTS_IN_A_MESSAGE: Final = 80  # each brings three fds
_SOCKET_CHECK_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 5.0  # for the server to leave by itself


class Keeper:
    """Owns the engine, the listening socket and the server of one socket path."""

    def __init__(self, path: str, on_ready: Callable[[], None]) -> None:
        """Claim `path`.

        Raises:
            AlreadyRunningError: another keeper has it.
            UnsafeDirectoryError: it cannot be used.
        """
        self._path = path
        self._on_ready = on_ready
        ensure_directory(os.path.dirname(path))
        self._lock = lock(state_path(path, "lock"))
        self._state = StateFile(state_path(path, "state"), Limits().ptys)
        self._state.clear()
        self._listener = listen(path)
        self._engine = Engine()
        self._records: dict[int, bytes] = {}  # by slot: what a next server needs to know
        self._pids: dict[int, int] = {}  # by slot, of children that were not reaped
        self._ended: dict[int, list[Report]] = {}  # told again to each server until forgotten
        self._server_pid = 0
        self._server_started = 0.0
        self._quick_deaths = 0
        self._restart_at: float | None = None
        self._is_stopping = False
        self.replacements = 0
        self._link: socket.socket | None = None
        self._inbox: Inbox
        self._outbox: Outbox
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve until the server asks to stop."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._engine.watch(self._wake_read, select.EPOLLIN, self._on_signal)
        self._start_server()
        next_check = time.monotonic() + _SOCKET_CHECK_SECONDS
        while not (self._is_stopping and self._server_pid == 0):
            self._tell(self._engine.run_once(self._timeout(next_check)))
            now = time.monotonic()
            if now >= next_check:
                self._check_socket()
                next_check = now + _SOCKET_CHECK_SECONDS
            if self._restart_at is not None and now >= self._restart_at:
                self._start_server()
        self._close()

    def _timeout(self, next_check: float) -> float:
        due = [next_check, self._restart_at, self._engine.deadline]
        return max(0.0, min(each for each in due if each is not None) - time.monotonic())

    def _close(self) -> None:
        for path in (self._path, state_path(self._path, "state"), state_path(self._path, "lock")):
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._engine.close()
        self._state.close()
        self._listener.close()

    # The socket ------------------------------------------------------------------------------

    def _check_socket(self) -> None:
        """Bind again when somebody cleaned the directory up."""
        if os.path.exists(self._path) or self._is_stopping:
            return
        try:
            ensure_directory(os.path.dirname(self._path))
            listener = listen(self._path)
        except (PtymuxError, OSError):
            return  # later, perhaps
        self._listener.close()
        self._listener = listener
        self._send({"op": "listener"}, fds=[listener.fileno()])

    # The server ------------------------------------------------------------------------------

    def _start_server(self) -> None:
        self._restart_at = None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        code = f"import sys; sys.path.insert(0, {sys.path[0]!r}); {_SERVER}"
        with theirs:
            # Through high numbers, so that neither source is overwritten by the other's target.
            link, listener = os.dup(theirs.fileno()), os.dup(self._listener.fileno())
            actions = [
                (os.POSIX_SPAWN_DUP2, link, 100),
                (os.POSIX_SPAWN_DUP2, listener, 101),
                (os.POSIX_SPAWN_DUP2, 100, _LINK_FD),
                (os.POSIX_SPAWN_DUP2, 101, _LISTENER_FD),
                (os.POSIX_SPAWN_CLOSE, 100),
                (os.POSIX_SPAWN_CLOSE, 101),
            ]
            try:
                self._server_pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-ISE", "-c", code, self._path],
                    dict(os.environ),
                    file_actions=actions,
                    setsigdef=(signal.SIGCHLD, signal.SIGTERM),
                    setsigmask=(),
                )
            except OSError:
                ours.close()
                self._schedule_restart()
                return
            finally:
                os.close(link)
                os.close(listener)
        self._server_started = time.monotonic()
        self._link = ours
        self._inbox, self._outbox = Inbox(ours), Outbox(ours)
        self._engine.watch(ours.fileno(), select.EPOLLIN, self._on_link)
        self._greet()

    def _greet(self) -> None:
        """Hand everything there is to a new server."""
        slots = list(self._records)
        self._send(
            {
                "op": "hello",
                "version": LINK_VERSION,
                "slots": len(slots),
                "replacements": self.replacements,
                "keeper_pid": os.getpid(),
            }
        )
        for first in range(0, len(slots), _SLOTS_IN_A_MESSAGE):
            for slot in slots[first : first + _SLOTS_IN_A_MESSAGE]:
                fds = self._engine.holdings(slot)
                self._send({"op": "slot", "slot": slot}, self._records[slot], fds)
        for reports in self._ended.values():
            self._tell(reports)

    def _on_server_end(self) -> None:
        if self._link is not None:
            self._engine.watch(self._link.fileno(), 0, self._on_link)
            self._inbox.close()
            self._outbox.close()
            self._link.close()
            self._link = None
        self._server_pid = 0
        if not self._is_stopping:
            self.replacements += 1
            self._schedule_restart()

    def _schedule_restart(self) -> None:
        """Start another at once; one that keeps dying is given time."""
        now = time.monotonic()
        quick = now - self._server_started < _QUICK_DEATH_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        delay = 0.0 if self._quick_deaths < 2 else 0.1 * 2 ** min(self._quick_deaths, 8)
        self._restart_at = now + min(delay, _LONGEST_DELAY_SECONDS)
        if self._quick_deaths == 5:
            _log(f"the server died {self._quick_deaths} times in a row; see the log above")

    def _stop(self) -> None:
        self._is_stopping = True
        if self._server_pid:
            with contextlib.suppress(ProcessLookupError):  # our unreaped child or reaped: see below
                os.kill(self._server_pid, signal.SIGTERM)

    def _on_signal(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        self._engine.check_stopped()
        self._reap()

    def _reap(self) -> None:
        """Take the ends of children that are not a PTY's: the server, and adopted orphans."""
        own = set(self._pids.values())
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid in own:
                return  # the engine takes its own by their pidfds, and calls here again
            os.waitpid(ended.si_pid, 0)
            if ended.si_pid == self._server_pid:
                self._on_server_end()

    # The link --------------------------------------------------------------------------------

    def _on_link(self, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._flush()
            if events & (select.EPOLLIN | select.EPOLLHUP):
                for message in self._inbox.receive():
                    self._serve(message)
        except LinkClosedError:
            # Its end is told by SIGCHLD; until then there is nothing to hear from it.
            if self._link is not None:
                self._engine.watch(self._link.fileno(), 0, self._on_link)

    def _send(
        self, body: Mapping[str, Any], data: bytes = b"", fds: list[int] | None = None
    ) -> None:
        if self._link is None:
            return
        with contextlib.suppress(LinkClosedError):
            self._outbox.send(body, data, fds or [])
            self._flush()

    def _flush(self) -> None:
        assert self._link is not None
        self._outbox.flush()
        mask = select.EPOLLIN | (select.EPOLLOUT if self._outbox.is_waiting else 0)
        self._engine.watch(self._link.fileno(), mask, self._on_link)

    def _tell(self, reports: list[Report]) -> None:
        told: list[list[Any]] = []
        for report in reports:
            match report:
                case Output(slot):
                    told.append(["o", slot])
                case Exited(slot, status, tail):
                    self._pids.pop(slot, None)
                    self._state.leave(slot)
                    self._remember(slot, report)
                    told.append(
                        ["x", slot, status.exit_code, status.signal, status.core_dumped, tail]
                    )
                case Closed(slot):
                    self._remember(slot, report)
                    told.append(["c", slot])
                case Suspended(slot, suspended):
                    told.append(["s", slot, suspended])
                case LifelineEnded(slot, number):
                    told.append(["l", slot, number])
        if told:
            self._send({"op": "reports", "reports": told})

    def _remember(self, slot: int, report: Report) -> None:
        known = self._ended.setdefault(slot, [])
        if report not in known:
            known.append(report)

    def _serve(self, message: Message) -> None:
        body = message.body
        operation = getattr(self, f"_op_{body['op']}")
        reply: dict[str, Any] = {"op": "reply", "id": body.get("id")}
        fds: list[int] = []
        try:
            reply["result"] = operation(body, message, fds)
        except PtymuxError as error:
            reply["error"] = {
                "code": error.code,
                "message": str(error),
                "exit_code": error.exit_code,
            }
        finally:
            for fd in message.fds:
                os.close(fd)
        if body.get("id") is not None:
            self._send(reply, fds=fds)
        if body["op"] == "lifeline" and fds:
            os.close(fds[0])  # the client's end, which the message has carried

    def _op_ready(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._quick_deaths = 0
        self._on_ready()

    def _op_spawn(
        self, body: Mapping[str, Any], message: Message, fds: list[int]
    ) -> dict[str, Any]:
        words = unpack_strings(message.data)
        argc, envc = body["argc"], body["envc"]
        env = dict(word.partition("=")[::2] for word in words[argc : argc + envc])
        cwd = f"/proc/self/fd/{message.fds[0]}" if message.fds else None
        stdin = message.fds[1] if len(message.fds) > 1 else None
        options = options_from_json(body["options"], words[:argc], cwd=cwd, stdin=stdin)
        slot = body["slot"]
        spawned = self._engine.spawn(slot, options, env)
        self._state.enter(slot, spawned.pid)
        self._pids[slot] = spawned.pid
        spawned.ring.release()
        memory = {**body["memory"], "pid": spawned.pid}
        self._records[slot] = json.dumps(memory).encode()
        fds += self._engine.holdings(slot)
        return {"pid": spawned.pid, "start_time": spawned.start_time}

    def _op_lifeline(
        self, body: Mapping[str, Any], _message: Message, fds: list[int]
    ) -> dict[str, Any]:
        number, sock = self._engine.open_lifeline(body["slot"])
        fds.append(sock.detach())
        return {"number": number}

    def _op_resize(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._engine.resize(body["slot"], WindowSize(body["cols"], body["rows"]))

    def _op_foreground(
        self, body: Mapping[str, Any], _message: Message, _fds: list[int]
    ) -> dict[str, Any]:
        return {"group": self._engine.signal_foreground(body["slot"], body["signal"])}

    def _op_canonical(
        self, body: Mapping[str, Any], _message: Message, _fds: list[int]
    ) -> dict[str, Any]:
        return {"canonical": self._engine.is_canonical(body["slot"])}

    def _op_credit(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._engine.credit_raised(body["slot"])

    def _op_close(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._engine.close_pty(body["slot"])

    def _op_record(self, body: Mapping[str, Any], message: Message, _fds: list[int]) -> None:
        if body["slot"] in self._records:
            self._records[body["slot"]] = message.data

    def _op_forget(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        slot = body["slot"]
        self._engine.forget(slot)
        self._state.leave(slot)
        for known in (self._records, self._pids, self._ended):
            known.pop(slot, None)

    def _op_stop(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._is_stopping = True


def _log(text: str) -> None:
    """Write a line to stderr, which is the server's log file."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        os.write(2, f"{stamp} keeper: {text}\n".encode())


def main() -> None:
    """Be a keeper: argv is the socket's path and the fd on which to say that a server is ready."""
    path, ready = sys.argv[1], int(sys.argv[2])

    def say(text: str) -> None:
        nonlocal ready
        if ready >= 0:
            with contextlib.suppress(OSError):
                os.write(ready, text.encode())
            os.close(ready)
            ready = -1

    if os.fork():
        os._exit(0)  # nobody's child but init's, and no leader that could get a terminal
    os.closerange(3, ready)
    os.closerange(ready + 1, 1 << 16)
    os.set_inheritable(ready, False)
    os.umask(0o077)
    os.chdir("/")
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(name, signal.SIG_IGN)
    try:
        keeper = Keeper(path, lambda: say("ready\n"))
    except PtymuxError as error:
        say(f"{error.code} {error}\n")
        sys.exit(1)
    raise_open_files_limit()
    become_subreaper()
    keeper.run()

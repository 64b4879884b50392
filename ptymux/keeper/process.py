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
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ptymux.core.model import WindowSize
from ptymux.errors import (
    AlreadyRunningError,
    BadDirectoryError,
    LimitReachedError,
    LinkClosedError,
    OutOfResourcesError,
    PtymuxError,
)
from ptymux.keeper.claim import Claim
from ptymux.keeper.engine import Engine
from ptymux.keeper.reports import Closed, Exited, LifelineEnded, Output, Report, Suspended
from ptymux.keeper.supervisor import Supervisor, log
from ptymux.keeper.wire import (
    LINK_VERSION,
    Inbox,
    Message,
    Outbox,
    options_from_json,
    unpack_strings,
)
from ptymux.posix.spare import spare_files

__all__ = ["Keeper"]

_SOCKET_CHECK_SECONDS: Final = 2.0


class Keeper:
    """Owns the engine, the claim on one socket path and the server."""

    def __init__(self, path: str, on_ready: Callable[[], None]) -> None:
        """Claim `path`.

        Raises:
            AlreadyRunningError: another keeper has it.
            UnsafeDirectoryError: it cannot be used.
        """
        self._on_ready = on_ready
        self._claim = Claim(path)
        self._engine = Engine()
        self._records: dict[int, bytes] = {}  # by slot: what a next server needs to know
        self._pids: dict[int, int] = {}  # by slot, of children that were not reaped
        self._suspended: set[int] = set()
        self._ended: dict[int, list[Report]] = {}  # told again to each server until forgotten
        self._next_slot = 1  # no number is given out twice, whichever server does it
        self._server = Supervisor(path)
        self._is_stopping = False
        self._is_usurped = False  # another keeper has taken the path
        self._may_reap = False  # there may be children to reap that are no PTY's
        self._link: socket.socket | None = None
        self._inbox: Inbox
        self._outbox: Outbox
        self._link_mask = 0  # what of it is waited for
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve until the server asks to stop, or none comes up and there is nothing to keep."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._engine.watch(self._wake_read, select.EPOLLIN, self._on_signal)
        self._start_server()
        next_check = time.monotonic() + _SOCKET_CHECK_SECONDS
        while self._server.pid or not self._is_stopping:
            self._tell(self._engine.run_once(self._timeout(next_check)))
            if self._may_reap:
                self._reap()
            now = time.monotonic()
            if now >= next_check:
                self._check_claim()
                next_check = now + _SOCKET_CHECK_SECONDS
            if self._server.due is not None and now >= self._server.due:
                self._see_to_server()
        self._close()

    def _timeout(self, next_check: float) -> float:
        due = [next_check, self._server.due, self._engine.deadline]
        return max(0.0, min(each for each in due if each is not None) - time.monotonic())

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._claim.close()
        self._engine.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _check_claim(self) -> None:
        """Bind again when somebody cleaned the directory up."""
        if self._is_stopping:
            return
        try:
            if self._claim.renew():
                self._send({"op": "listener"}, fds=[self._claim.listener.fileno()])
        except AlreadyRunningError:
            if not self._is_usurped:
                log("the socket was removed, and another keeper has its path now")
            self._is_usurped = True
        except (PtymuxError, OSError):
            return  # later, perhaps

    # The server ------------------------------------------------------------------------------

    def _see_to_server(self) -> None:
        if self._server.pid:
            self._server.kill()  # it hung up and did not leave
        elif self._server.is_hopeless and not self._records:
            log("no server comes up: giving up, as there is no PTY to keep")
            self._is_stopping = True
        elif not self._is_stopping:
            self._start_server()

    def _start_server(self) -> None:
        with spare_files():  # no PTY can be ended without a server
            link = self._server.start(self._claim.listener)
        if link is None:
            return
        self._link = link
        self._inbox, self._outbox = Inbox(link), Outbox(link)
        self._link_mask = select.EPOLLIN
        self._engine.watch(link.fileno(), self._link_mask, self._on_link)
        self._greet()

    def _greet(self) -> None:
        """Hand everything there is to a new server."""
        self._send(
            {
                "op": "hello",
                "version": LINK_VERSION,
                "slots": len(self._records),
                "next_slot": self._next_slot,
                "replacements": self._server.replacements,
            }
        )
        for slot, record in self._records.items():
            self._send({"op": "slot", "slot": slot}, record, self._engine.holdings(slot))
        self._tell([Suspended(slot, True) for slot in self._suspended])
        for reports in list(self._ended.values()):
            self._tell(reports)

    def _on_server_end(self) -> None:
        self._drop_link()
        self._server.note_end()

    def _drop_link(self) -> None:
        if self._link is not None:
            self._engine.watch(self._link.fileno(), 0, self._on_link)
            self._inbox.close()
            self._outbox.close()
            self._link.close()
            self._link = None

    def _stop(self) -> None:
        """End with the server, which ends the PTYs first; asked twice, without delay."""
        if self._is_stopping:
            self._server.kill()
        self._is_stopping = True
        self._server.terminate()

    def _on_signal(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        self._engine.check_stopped()
        self._may_reap = True

    def _reap(self) -> None:
        """Take the ends of children that are not a PTY's: the server, and adopted orphans."""
        own = set(self._pids.values())
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                ended = None
            if ended is None:
                self._may_reap = False
                return
            if ended.si_pid in own:
                return  # the engine takes it by its pidfd in the next turn; then again
            os.waitpid(ended.si_pid, 0)
            if ended.si_pid == self._server.pid:
                self._on_server_end()

    # The link --------------------------------------------------------------------------------

    def _on_link(self, events: int) -> None:
        try:
            if events & (select.EPOLLIN | select.EPOLLHUP):
                for message in self._inbox.receive():
                    self._serve(message)
            if events & select.EPOLLOUT:
                self._flush()
        except LinkClosedError:
            self._drop_link()
            self._server.note_hang_up()

    def _send(
        self, body: Mapping[str, Any], data: bytes = b"", fds: list[int] | None = None
    ) -> None:
        if self._link is None:
            return
        try:
            self._outbox.send(body, data, fds or [])
            self._flush()
        except LinkClosedError:
            return  # what it sent before can be read yet; then that it hung up

    def _flush(self) -> None:
        assert self._link is not None
        self._outbox.flush()
        mask = select.EPOLLIN | (select.EPOLLOUT if self._outbox.is_waiting else 0)
        if mask != self._link_mask:
            self._link_mask = mask
            self._engine.watch(self._link.fileno(), mask, self._on_link)

    def _tell(self, reports: list[Report]) -> None:
        told: list[list[Any]] = []
        for report in reports:
            if report.slot not in self._records:
                continue  # the end of one that was forgotten
            match report:
                case Output(slot):
                    told.append(["o", slot])
                case Exited(slot, status, tail):
                    self._pids.pop(slot, None)
                    self._suspended.discard(slot)
                    self._claim.state.leave(slot)
                    self._remember(slot, report)
                    told.append(
                        ["x", slot, status.exit_code, status.signal, status.core_dumped, tail]
                    )
                case Closed(slot):
                    self._remember(slot, report)
                    told.append(["c", slot])
                case Suspended(slot, suspended):
                    (self._suspended.add if suspended else self._suspended.discard)(slot)
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
        reply: dict[str, Any] = {"op": "reply", "id": body.get("id")}
        fds: list[int] = []
        try:
            if message.fds_lost:
                raise OutOfResourcesError("open files of the keeper", "end some PTYs")
            reply["result"] = getattr(self, f"_op_{body['op']}")(body, message, fds)
        except PtymuxError as error:
            reply["error"] = _as_error(error)
        except Exception as error:  # whatever a server asks for, the PTYs live on
            log(f"{body.get('op')}: {type(error).__name__}: {error}")
            reply["error"] = _as_error(PtymuxError(f"the keeper failed: {type(error).__name__}"))
        finally:
            for fd in message.fds:
                os.close(fd)
        if body.get("id") is not None:
            self._answer(body, reply, fds)

    def _answer(self, body: Mapping[str, Any], reply: dict[str, Any], fds: list[int]) -> None:
        try:
            self._send(reply, fds=fds)
        except OutOfResourcesError as error:
            if body["op"] == "spawn":
                self._abandon(body["slot"])
            self._send({"op": "reply", "id": body["id"], "error": _as_error(error)})
        finally:
            if body["op"] == "lifeline" and fds:
                os.close(fds[0])  # the client's end, which the message has carried

    def _op_ready(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._server.note_ready()
        self._on_ready()

    def _op_spawn(
        self, body: Mapping[str, Any], message: Message, fds: list[int]
    ) -> dict[str, Any]:
        slot = body["slot"]
        self._next_slot = max(self._next_slot, slot + 1)
        if self._claim.state.is_full:
            raise LimitReachedError("children", len(self._pids), "end some of them")
        words = unpack_strings(message.data)
        argc, envc = body["argc"], body["envc"]
        env = dict(word.partition("=")[::2] for word in words[argc : argc + envc])
        cwd = f"/proc/self/fd/{message.fds[0]}"
        stdin = message.fds[1] if len(message.fds) > 1 else None
        options = options_from_json(body["options"], words[:argc], cwd=cwd, stdin=stdin)
        try:
            spawned = self._engine.spawn(slot, options, env)
        except BadDirectoryError:
            raise BadDirectoryError(os.readlink(cwd), "it cannot be entered") from None
        self._claim.state.enter(slot, spawned.pid, spawned.start_time)
        self._pids[slot] = spawned.pid
        spawned.ring.release()
        facts = {"pid": spawned.pid, "start_time": spawned.start_time}
        memory = {**body["memory"], **facts}
        self._records[slot] = json.dumps(memory).encode()
        fds += self._engine.holdings(slot)
        return facts

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
        self._forget(body["slot"])

    def _op_abandon(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._abandon(body["slot"])

    def _forget(self, slot: int) -> None:
        self._engine.forget(slot)
        self._claim.state.leave(slot)
        self._suspended.discard(slot)
        for known in (self._records, self._pids, self._ended):
            known.pop(slot, None)

    def _abandon(self, slot: int) -> None:
        """End a child that nobody was told of; it is reaped as orphans are."""
        if slot in self._pids:
            with contextlib.suppress(OSError):  # it has ended
                signal.pidfd_send_signal(self._engine.holdings(slot)[-1], signal.SIGKILL)
        self._forget(slot)

    def _op_stop(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._is_stopping = True


def _as_error(error: PtymuxError) -> dict[str, Any]:
    return {"code": error.code, "message": str(error), "exit_code": error.exit_code}

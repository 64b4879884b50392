"""The keeper process: an engine with its own loop, the listening socket, a server to look after.

It is small on purpose: single-threaded, stdlib only, imports everything at its start (an upgrade
may replace the files under it), parses nothing that a user sent. It serves one server at a time
over a link (`wire.py`) and starts another when that one dies; the PTYs do not notice. When it
dies itself, the server starts another keeper and hands everything over (`Keeper.take_over`).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ptymux.core.model import Limits, WindowSize
from ptymux.errors import AlreadyRunningError, LinkClosedError, OutOfResourcesError, PtymuxError
from ptymux.keeper.claim import Claim
from ptymux.keeper.estate import Estate
from ptymux.keeper.heritage import Heirloom
from ptymux.keeper.reports import Report
from ptymux.keeper.supervisor import LINK_FD, Supervisor, log
from ptymux.keeper.wire import LINK_VERSION, Inbox, Message, Outbox
from ptymux.posix.memory import create_ring_memory
from ptymux.posix.spare import spare_files

__all__ = ["Keeper"]

_SOCKET_CHECK_SECONDS: Final = 2.0
_HANDOVER_SECONDS: Final = 10.0  # for a server to hand everything over


class Keeper:
    """Owns the engine, the claim on one socket path and the server."""

    def __init__(self, path: str, claim: Claim, event_log: int) -> None:
        """Keep for the server at `path`; `event_log` is the memory of its event log."""
        self.on_ready: Callable[[], None] = lambda: None  # a server serves
        self._claim = claim
        self._log = event_log
        self._estate = Estate(claim.state)
        self._engine = self._estate.engine
        self._server = Supervisor(path)
        self._server_handle = -1  # a pidfd, of a server that is not our child
        self._successions = 0  # how many keepers took over before
        self._is_stopping = False
        self._is_usurped = False  # another keeper has taken the path
        self._may_reap = False  # there may be children to reap that are no PTY's
        self._link: socket.socket | None = None
        self._inbox: Inbox
        self._outbox: Outbox
        self._self = os.pidfd_open(os.getpid())
        self._link_mask = 0  # what of it is waited for
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @classmethod
    def begin(cls, path: str) -> Keeper:
        """Claim `path`.

        Raises:
            AlreadyRunningError: another keeper has it.
            UnsafeDirectoryError: it cannot be used.
            OutOfResourcesError: memory or open files.
        """
        claim = Claim(path)
        event_log, mapped = create_ring_memory(Limits.LOG_HEADER + Limits().event_log)
        mapped.close()
        return cls(path, claim, event_log)

    @classmethod
    def take_over(cls, path: str) -> Keeper:
        """Go on where a keeper died, with what its server hands over through LINK_FD.

        Raises:
            LinkClosedError: the server is gone, or of another version.
            PtymuxError: what it handed over cannot be kept.
        """
        link = socket.socket(fileno=LINK_FD)
        link.setblocking(False)
        inbox = Inbox(link)
        messages = _handed_over(link, inbox)
        hello = messages[0]
        listener, lock, event_log, handle = hello.fds
        body = hello.body
        bound = (int(body["bound"][0]), int(body["bound"][1]))
        claim = Claim.inherit(path, lock, socket.socket(fileno=listener), bound)
        keeper = cls(path, claim, event_log)
        keeper._inherit(body, [Heirloom.of(message) for message in messages[1:]])
        keeper._serve_link(link, inbox)
        keeper._watch_server(handle, body["pid"], body["replacements"])
        return keeper

    def _inherit(self, hello: Mapping[str, Any], heirlooms: list[Heirloom]) -> None:
        self._estate.next_slot = hello["next_slot"]
        self._successions = hello["keeper_replacements"]
        self._engine.number_lifelines_from(hello["next_line"])
        for heirloom in heirlooms:
            for size in self._estate.adopt(heirloom).values():
                log(f"PTY {heirloom.slot}: whether {size} bytes of input were typed is unknown")

    def run(self) -> None:
        """Serve until the server asks to stop, or none comes up and there is nothing to keep."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._engine.watch(self._wake_read, select.EPOLLIN, self._on_signal)
        self._on_signal(0)  # what happened before there was a handler
        if self._server.pid:
            self._greet(with_estate=False)
        else:
            self._start_server()
        next_check = time.monotonic() + _SOCKET_CHECK_SECONDS
        while self._server.pid or not self._is_stopping:
            self._tell(self._engine.run_once(self._timeout(next_check)))
            if self._may_reap:
                self._reap()
            now = time.monotonic()
            if now >= next_check:
                self._check_claim()
                self._engine.check_stopped()  # no signal tells it of children that are not ours
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
        self._estate.close()
        for fd in (self._wake_read, self._wake_write, self._self, self._log):
            os.close(fd)

    def _check_claim(self) -> None:
        """Bind again when somebody cleaned the directory up."""
        if self._is_stopping:
            return
        try:
            if self._claim.renew():
                self._estate.state = self._claim.state
                fds = [self._claim.listener.fileno(), self._claim.lock]
                self._send({"op": "listener", "bound": self._claim.bound}, fds=fds)
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
        elif self._server.is_hopeless and not self._estate.has_children:
            log("no server comes up: giving up, as there is no PTY to keep")
            self._is_stopping = True
        elif not self._is_stopping:
            self._start_server()

    def _start_server(self) -> None:
        with spare_files():  # no PTY can be ended without a server
            link = self._server.start(self._claim.listener)
        if link is None:
            return
        self._serve_link(link, Inbox(link))
        self._greet(with_estate=True)

    def _serve_link(self, link: socket.socket, inbox: Inbox) -> None:
        self._link = link
        self._inbox, self._outbox = inbox, Outbox(link)
        self._link_mask = select.EPOLLIN
        self._engine.watch(link.fileno(), self._link_mask, self._on_link)

    def _watch_server(self, handle: int, pid: int, replacements: int) -> None:
        """See to a server that is not our child: it was there before us."""
        self._server.adopt(pid, replacements)
        self._server_handle = handle
        self._engine.watch(handle, select.EPOLLIN, lambda _events: self._on_server_end())

    def _greet(self, *, with_estate: bool) -> None:
        """Tell a server who we are; hand everything there is to a new one."""
        heirlooms = list(self._estate.heirlooms()) if with_estate else []
        proofs = [(p.pid, p.start_time, p.number, p.boot_id) for p in self._estate.state.left]
        hello = {
            "op": "hello",
            "version": LINK_VERSION,
            "pid": os.getpid(),
            "slots": len(heirlooms),
            "next_slot": self._estate.next_slot,
            "next_line": self._engine.next_lifeline,
            "replacements": self._server.replacements,
            "keeper_replacements": self._successions,
            "bound": self._claim.bound,
            "left": proofs,
        }
        self._send(hello, fds=[self._log, self._self, self._claim.lock])
        for heirloom in heirlooms:
            self._send(heirloom.body, heirloom.record, heirloom.fds)
        if not with_estate:
            self._tell(self._engine.run_once())  # what happened while there was no keeper
        self._tell(list(self._estate.past_reports()))

    def _on_server_end(self) -> None:
        if self._server_handle >= 0:
            self._engine.watch(self._server_handle, 0, lambda _events: None)
            os.close(self._server_handle)
            self._server_handle = -1
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
        own = self._estate.pids
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
        told = self._estate.note(reports)
        if told:
            self._send({"op": "reports", "reports": told})

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
                self._estate.abandon(body["slot"])
            self._send({"op": "reply", "id": body["id"], "error": _as_error(error)})
        finally:
            if body["op"] == "lifeline" and fds:
                os.close(fds[0])  # the client's end, which the message has carried

    def _op_ready(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._server.note_ready()
        self.on_ready()

    def _op_spawn(
        self, body: Mapping[str, Any], message: Message, fds: list[int]
    ) -> dict[str, Any]:
        facts, holdings = self._estate.spawn(body, message)
        fds += holdings
        return facts

    def _op_lifeline(
        self, body: Mapping[str, Any], _message: Message, fds: list[int]
    ) -> dict[str, Any]:
        number, sock = self._engine.open_lifeline(body["slot"])
        # The client's end; and ours, from which a successor of this keeper would go on.
        fds.append(sock.detach())
        fds += [fd for open_, fd in self._engine.lifelines(body["slot"]) if open_ == number]
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
        self._estate.remember(body["slot"], message.data)

    def _op_forget(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._estate.forget(body["slot"])

    def _op_abandon(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._estate.abandon(body["slot"])

    def _op_settled(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._estate.state.settle()

    def _op_retire(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        """Leave everything to the server, which starts another keeper."""
        os._exit(0)

    def _op_stop(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._is_stopping = True


def _as_error(error: PtymuxError) -> dict[str, Any]:
    return {"code": error.code, "message": str(error), "exit_code": error.exit_code}


def _handed_over(link: socket.socket, inbox: Inbox) -> list[Message]:
    """Return the messages by which a server hands over: one for all, and one for each PTY."""
    poll = select.poll()
    poll.register(link, select.POLLIN)
    deadline = time.monotonic() + _HANDOVER_SECONDS
    messages: list[Message] = []
    while not messages or len(messages) <= messages[0].body["slots"]:
        if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise LinkClosedError("the server handed nothing over")
        messages += inbox.receive()
        if messages and messages[0].body["version"] != LINK_VERSION:
            raise LinkClosedError(f"the server speaks version {messages[0].body['version']}")
    if any(message.fds_lost for message in messages):
        raise OutOfResourcesError("open files of the keeper", "end some PTYs")
    return messages

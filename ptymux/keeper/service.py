"""The main loop of every keeper: it runs an engine and serves one manager over a link.

A keeper has one thread and uses only the standard library. It imports everything at the start: an
upgrade may replace the files while it runs. What it does when the manager is gone is up to the
subclass.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from ptymux.core.model import WindowSize
from ptymux.engine.reports import Output, Report
from ptymux.engine.terminal import PtyFds
from ptymux.errors import LinkClosedError, OutOfResourcesError, PtymuxError, error_as_json
from ptymux.handover.snapshot import PtySnapshot
from ptymux.handover.wire import LINK_VERSION, Inbox, Message
from ptymux.keeper.manager_link import ManagerLink
from ptymux.keeper.pty_table import PtyTable

__all__ = ["KeeperService", "receive_handover"]

_LATER: Final = object()  # the result of a request that is answered later
_HANDOVER_SECONDS: Final = 10.0  # for a manager to pass all snapshots


class KeeperService:
    """A keeper: owns the PTY table and the link; a method `_op_...` serves each request."""

    def __init__(self, table: PtyTable) -> None:
        self._table = table
        self._engine = table.engine
        self._keeper_replacements = 0  # how often the keeper was replaced
        self._may_reap = False  # there may be ended children that belong to no PTY
        self._link: ManagerLink | None = None
        self._self = os.pidfd_open(os.getpid())
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    # For the subclass ------------------------------------------------------------------------

    def _on_hang_up(self) -> None:
        """Handle that the manager has closed the link."""
        raise NotImplementedError

    def _on_child_end(self, pid: int, was_killed: bool) -> None:
        """Handle the end, by itself or by a signal, of a child that belongs to no PTY."""

    def _write_log(self, text: str) -> None:
        """Write a line to the log."""
        raise NotImplementedError

    # The loop --------------------------------------------------------------------------------

    def _restore(self, hello: Mapping[str, Any], snapshots: list[PtySnapshot]) -> None:
        self._table.next_slot = hello["next_slot"]
        self._keeper_replacements = hello["keeper_replacements"]
        self._engine.number_lifelines_from(hello["next_line"])
        for snapshot in snapshots:
            for size in self._table.restore(snapshot).values():
                self._write_log(
                    f"PTY {snapshot.slot}: whether {size} bytes of input were typed is unknown"
                )

    def _watch_signals(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._engine.watch(self._wake_read, select.EPOLLIN, self._on_signal)
        self._on_signal(0)  # for signals from before there was a handler

    def _turn(self, *deadlines: float | None) -> None:
        """Wait for something to do, until the first of the deadlines, and do it."""
        due = self._engine.deadline
        for deadline in deadlines:
            if deadline is not None and (due is None or deadline < due):
                due = deadline
        assert due is not None
        if reports := self._engine.run_once(max(0.0, due - time.monotonic())):
            self._send_reports(reports)
        if self._may_reap:
            self._reap()

    def _hello(self, slots: int) -> dict[str, Any]:
        return {
            "op": "hello",
            "version": LINK_VERSION,
            "pid": os.getpid(),
            "slots": slots,
            "next_slot": self._table.next_slot,
            "next_line": self._engine.next_lifeline,
            "keeper_replacements": self._keeper_replacements,
            "unlocks": True,  # terminals on which it starts a child
            "launches": True,  # it keeps how PTYs were started
            "passes_fds": True,
        }

    def _on_signal(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        self._engine.check_stopped()
        self._may_reap = True

    def _reap(self) -> None:
        """Reap the children that belong to no PTY: the zygote, and orphans given to us."""
        own = self._table.pids
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                ended = None
            if ended is None:
                self._may_reap = False
                return
            if ended.si_pid in own:
                return  # the engine reaps it by its pidfd in the next turn; then try again
            os.waitpid(ended.si_pid, 0)
            self._on_child_end(ended.si_pid, ended.si_code != os.CLD_EXITED)

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._drop_link()
        self._table.close()
        for fd in (self._wake_read, self._wake_write, self._self):
            os.close(fd)

    # The link --------------------------------------------------------------------------------

    def _new_link(self, sock: socket.socket, inbox: Inbox) -> ManagerLink:
        return ManagerLink(self._engine, sock, inbox, self._serve, self._on_link_lost)

    def _on_link_lost(self, link: ManagerLink) -> None:
        if link is self._link:
            self._drop_link()
            self._on_hang_up()

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
            # The next server does not know these spawns, and has them repeated.
            # Limit: a child that executed its command just now is killed, and may run again.
            self._engine.cancel_spawns()

    @property
    def _links(self) -> list[ManagerLink]:
        """The links to all managers that get the reports."""
        return [] if self._link is None else [self._link]

    def _send_reports(self, reports: list[Report]) -> None:
        slots = [report.slot for report in reports if isinstance(report, Output)]
        if slots:
            for link in self._links:
                link.notify_output(slots)
        if len(slots) < len(reports):
            others = [report for report in reports if not isinstance(report, Output)]
            if sent := self._table.note(others):
                for link in self._links:
                    link.send({"op": "reports", "reports": sent})

    def _serve(self, link: ManagerLink, message: Message) -> None:
        body, later = message.body, False
        fds: list[int] = []

        def serve() -> Any:
            nonlocal later
            if message.fds_lost:
                raise OutOfResourcesError("open files of the keeper", "end some PTYs")
            result = getattr(self, f"_op_{body['op']}")(body, message, fds)
            later = result is _LATER
            return result

        try:
            reply = self._reply(body, serve)
        finally:
            for fd in message.fds:
                os.close(fd)
        if not later:
            self._answer(link, body, reply, fds)

    def _reply(self, body: Mapping[str, Any], serve: Callable[[], Any]) -> dict[str, Any]:
        """Return the reply with what `serve` returns or raises."""
        reply: dict[str, Any] = {"op": "reply", "id": body.get("id")}
        try:
            reply["result"] = serve()
        except PtymuxError as error:
            reply["error"] = error_as_json(error)
        except Exception as error:  # a border: no request of a server may end the PTYs
            self._write_log(f"{body.get('op')}: {type(error).__name__}: {error}")
            reply["error"] = error_as_json(
                PtymuxError(f"the keeper failed: {type(error).__name__}")
            )
        return reply

    def _answer(
        self, link: ManagerLink, body: Mapping[str, Any], reply: dict[str, Any], fds: list[int]
    ) -> None:
        if body.get("id") is None:
            return
        try:
            link.send(reply, fds=fds)
        except OutOfResourcesError as error:
            if body["op"] == "spawn":
                self._table.abandon(body["slot"])
            link.send({"op": "reply", "id": body["id"], "error": error_as_json(error)})
        finally:
            if body["op"] == "lifeline" and fds:
                os.close(fds[0])  # the client's end, which was passed with the reply

    def _op_spawn(self, body: Mapping[str, Any], message: Message, fds: list[int]) -> Any:
        spawned = self._table.spawn(body, message, partial(self._answer_spawn, body))
        if spawned is None:
            return _LATER
        facts, pty_fds = spawned
        fds += pty_fds.open
        return facts

    def _answer_spawn(
        self, body: Mapping[str, Any], finish: Callable[[], tuple[dict[str, Any], PtyFds]]
    ) -> None:
        """Answer a spawn that had to wait, with what `finish` returns or raises."""
        fds: list[int] = []

        def facts() -> dict[str, Any]:
            facts, pty_fds = finish()
            fds.extend(pty_fds.open)
            return facts

        reply = self._reply(body, facts)
        if self._link is not None:
            self._answer(self._link, body, reply, fds)

    def _op_cancel(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        """Give up a spawn that waits for a file system; else nothing."""
        self._engine.cancel_spawns(body["slot"])

    def _op_lifeline(
        self, body: Mapping[str, Any], _message: Message, fds: list[int]
    ) -> dict[str, Any]:
        echoes, kept = bool(body.get("echoes")), body.get("kept", ())  # older servers keep none
        number, sock = self._engine.open_lifeline(body["slot"], echoes=echoes, kept=kept)
        # The client's end; and ours, which the manager keeps for the next keeper.
        fds.append(sock.detach())
        fds += [fd for open_, fd in self._engine.lifelines(body["slot"]) if open_ == number]
        return {"number": number}

    def _op_resize(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._engine.resize(body["slot"], WindowSize(body["cols"], body["rows"]))

    def _op_foreground(
        self, body: Mapping[str, Any], _message: Message, _fds: list[int]
    ) -> dict[str, Any]:
        # Only a server of an older version asks; ours signals through its own master.
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
        self._table.remember(body["slot"], message.data)

    def _op_launch(self, body: Mapping[str, Any], message: Message, _fds: list[int]) -> None:
        self._table.remember_launch(body["slot"], message.data)

    def _op_forget(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._table.forget(body["slot"])

    def _op_abandon(self, body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        self._table.abandon(body["slot"])

    def _op_retire(self, _body: Mapping[str, Any], _message: Message, _fds: list[int]) -> None:
        """Exit at once: the server has duplicates of everything, and starts another keeper."""
        os._exit(0)


def receive_handover(
    link: socket.socket, inbox: Inbox
) -> tuple[Message, list[Message], list[Message]]:
    """Return the messages of a handover: the first one, one for each PTY, and others.

    The others are requests that the manager sent meanwhile; serve them afterwards.

    Raises:
        LinkClosedError: the manager is gone, too slow, or of another version.
        OutOfResourcesError: no more open files for what it passes.
    """
    poll = select.poll()
    poll.register(link, select.POLLIN)
    deadline = time.monotonic() + _HANDOVER_SECONDS
    messages: list[Message] = []
    slots: list[Message] = []
    while not messages or len(slots) < messages[0].body["slots"]:
        if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise LinkClosedError("the server handed nothing over")
        messages += inbox.receive()
        if messages and messages[0].body["version"] != LINK_VERSION:
            raise LinkClosedError(f"the server speaks version {messages[0].body['version']}")
        slots = [message for message in messages if message.body["op"] == "slot"]
    if any(message.fds_lost for message in messages):
        raise OutOfResourcesError("open files of the keeper", "end some PTYs")
    return messages[0], slots, [m for m in messages[1:] if m.body["op"] != "slot"]

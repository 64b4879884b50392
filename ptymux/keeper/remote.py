"""A link to an engine in a keeper process: the requests of `Link` as messages."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ptymux.core.model import SpawnOptions, WindowSize
from ptymux.core.ring import RingBuffer
from ptymux.errors import LinkClosedError, OutOfResourcesError, PtymuxError, error_from_wire
from ptymux.keeper.engine import Spawned
from ptymux.keeper.link import OnReport
from ptymux.keeper.reports import Closed, Exited, LifelineEnded, Output, Report, Suspended
from ptymux.keeper.wire import (
    LINK_VERSION,
    Inbox,
    Message,
    Outbox,
    PassedOptions,
    options_as_json,
    pack_strings,
)
from ptymux.posix.memory import map_ring_memory
from ptymux.posix.process import ExitStatus

__all__ = ["Inherited", "RemoteLink"]


@dataclass(frozen=True, slots=True)
class Inherited:
    """A PTY that was there before this server."""

    slot: int
    ring: RingBuffer
    record: Mapping[str, Any]


class RemoteLink:
    """The server's side of the link; the keeper greets with everything that there is already.

    Holds, per PTY, what a new keeper would need: dups of its ring's memfd, master and pidfd.
    """

    def __init__(self, sock: socket.socket, on_lost: Callable[[str], None]) -> None:
        """Take the link over; `on_lost` is called once when the keeper is gone."""
        sock.setblocking(False)
        self._sock = sock
        self._on_lost = on_lost
        self._inbox, self._outbox = Inbox(sock), Outbox(sock)
        self._loop = asyncio.get_running_loop()
        self._replies: dict[int, asyncio.Future[Message]] = {}
        self._next_id = 1
        self._holdings: dict[int, tuple[int, ...]] = {}
        self._memories: dict[int, Mapping[str, Any]] = {}  # of PTYs that are about to be spawned
        self._on_report: OnReport | None = None
        self._early: list[Report] = []  # before `start`
        self._greeting: asyncio.Future[Mapping[str, Any]] = self._loop.create_future()
        self._inherited: list[Inherited] = []
        self.on_listener: Callable[[socket.socket], None] | None = None
        self.listener: socket.socket | None = None  # that came before somebody was to be told
        self._loop.add_reader(sock, self._on_readable)

    async def greeting(self) -> tuple[Mapping[str, Any], list[Inherited]]:
        """Return what the keeper says of itself, and the PTYs it has.

        Raises:
            LinkClosedError: it is gone, or of another version.
        """
        hello = await self._greeting
        return hello, self._inherited

    # Link ------------------------------------------------------------------------------------

    def start(self, on_report: OnReport) -> None:
        """Begin to report."""
        self._on_report = on_report
        early, self._early = self._early, []
        for report in early:
            self._loop.call_soon(on_report, report)

    async def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> Spawned:
        """Start a child in a new PTY."""
        assert isinstance(options, PassedOptions)
        words = [*options.argv, *(f"{key}={value}" for key, value in env.items())]
        fds = [options.cwd_fd]
        if options.stdin_fd is not None:
            fds.append(options.stdin_fd)
        body = {
            "slot": slot,
            "options": options_as_json(options),
            "argc": len(options.argv),
            "envc": len(env),
            "memory": self._memories.pop(slot, {}),
        }
        reply = await self._call("spawn", body, pack_strings(words), fds)
        try:
            ring = self._hold(slot, reply)
        except PtymuxError:
            self._send({"op": "abandon", "slot": slot})
            raise
        result = reply.body["result"]
        return Spawned(result["pid"], ring, result["start_time"])

    async def open_lifeline(self, slot: int) -> tuple[int, socket.socket]:
        """Return the number and the client's end of a new lifeline."""
        reply = await self._call("lifeline", {"slot": slot})
        _check_fds(reply)
        return reply.body["result"]["number"], socket.socket(fileno=reply.fds[0])

    async def resize(self, slot: int, size: WindowSize) -> None:
        """Set the terminal's size."""
        await self._call("resize", {"slot": slot, "cols": size.cols, "rows": size.rows})

    async def signal_foreground(self, slot: int, signum: int) -> int:
        """Send INT, QUIT or TSTP to the terminal's foreground group; return that group."""
        reply = await self._call("foreground", {"slot": slot, "signal": signum})
        group = reply.body["result"]["group"]
        assert isinstance(group, int)
        return group

    async def is_canonical(self, slot: int) -> bool:
        """Whether the terminal collects lines."""
        reply = await self._call("canonical", {"slot": slot})
        return bool(reply.body["result"]["canonical"])

    async def close_pty(self, slot: int) -> None:
        """Close the terminal now."""
        await self._call("close", {"slot": slot})

    def credit_raised(self, slot: int) -> None:
        """Tell the engine that the ring's `limit` was raised."""
        self._send({"op": "credit", "slot": slot})

    def forget(self, slot: int) -> None:
        """Let the engine let go of a PTY."""
        self._send({"op": "forget", "slot": slot})
        for fd in self._holdings.pop(slot, ()):
            os.close(fd)

    async def close(self) -> None:
        """Let go of everything; the link is unusable afterwards."""
        self._lose("closed", tell=False)

    # Beyond Link -----------------------------------------------------------------------------

    def remember(self, slot: int, record: Mapping[str, Any]) -> None:
        """Have the keeper keep what a successor of this server needs to know of a live PTY."""
        if slot in self._holdings:
            self._send({"op": "record", "slot": slot}, json.dumps(record).encode())
        else:
            self._memories[slot] = record

    def ready(self) -> None:
        """Tell the keeper that this server serves."""
        self._send({"op": "ready"})

    def stop(self) -> None:
        """Tell the keeper to end with this server."""
        self._send({"op": "stop"})

    # Messages --------------------------------------------------------------------------------

    async def _call(
        self, op: str, body: Mapping[str, Any], data: bytes = b"", fds: list[int] | None = None
    ) -> Message:
        number = self._next_id
        self._next_id += 1
        future: asyncio.Future[Message] = self._loop.create_future()
        self._replies[number] = future
        try:
            self._send({"op": op, "id": number, **body}, data, fds)
            reply = await future
        finally:
            self._replies.pop(number, None)
        error = reply.body.get("error")
        if error is not None:
            raise error_from_wire(error["code"], error["message"], error["exit_code"])
        return reply

    def _send(
        self, body: Mapping[str, Any], data: bytes = b"", fds: list[int] | None = None
    ) -> None:
        if self._sock.fileno() < 0:
            raise LinkClosedError("the keeper is gone; try again")
        self._outbox.send(body, data, fds or [])
        if self._outbox.is_waiting:
            self._loop.add_writer(self._sock, self._on_writable)

    def _on_writable(self) -> None:
        try:
            self._outbox.flush()
        except LinkClosedError as error:
            self._lose(str(error))
            return
        if not self._outbox.is_waiting:
            self._loop.remove_writer(self._sock)

    def _on_readable(self) -> None:
        try:
            for message in self._inbox.receive():
                self._take(message)
        except PtymuxError as error:
            self._lose(str(error))
        except (LookupError, TypeError, ValueError) as error:
            self._lose(f"it sent what this server does not understand: {error!r}")

    def _take(self, message: Message) -> None:
        body = message.body
        match body["op"]:
            case "reports":
                for values in body["reports"]:
                    self._report(_report(values))
            case "reply":
                future = self._replies.get(body["id"])
                if future is not None and not future.done():
                    future.set_result(message)
                else:
                    _close_all(message.fds)  # whoever asked went away
            case "hello":
                if body["version"] != LINK_VERSION:
                    known = f"{body['version']}, and this server {LINK_VERSION}"
                    raise LinkClosedError(f"the keeper speaks version {known} of the link")
                self._hello = body
                self._greet_when_complete()
            case "slot":
                ring = self._hold(body["slot"], message)
                self._inherited.append(Inherited(body["slot"], ring, json.loads(message.data)))
                self._greet_when_complete()
            case "listener":
                _check_fds(message)
                self._take_listener(socket.socket(fileno=message.fds[0]))

    def _take_listener(self, sock: socket.socket) -> None:
        if self.on_listener is None:  # it does not serve yet, but it will at this one
            if self.listener is not None:
                self.listener.close()
            self.listener = sock
        else:
            self.on_listener(sock)

    def _greet_when_complete(self) -> None:
        if len(self._inherited) == self._hello["slots"] and not self._greeting.done():
            self._greeting.set_result(self._hello)

    def _report(self, report: Report) -> None:
        if self._on_report is None:
            self._early.append(report)
        else:
            self._on_report(report)

    def _hold(self, slot: int, message: Message) -> RingBuffer:
        """Keep what a new keeper would need; return the ring.

        Raises:
            OutOfResourcesError: open files; nothing is kept.
        """
        _check_fds(message)
        try:
            ring = RingBuffer.attach(map_ring_memory(message.fds[0]))
        except PtymuxError:
            _close_all(message.fds)
            raise
        self._holdings[slot] = tuple(message.fds)
        return ring

    def _lose(self, reason: str, *, tell: bool = True) -> None:
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._inbox.close()
        self._outbox.close()
        self._sock.close()
        for fds in self._holdings.values():
            _close_all(fds)
        self._holdings.clear()
        if self.listener is not None:
            self.listener.close()
        if not self._greeting.done():
            self._greeting.set_exception(LinkClosedError(reason))
            self._greeting.exception()  # seen, should nobody wait for it
        for future in self._replies.values():
            if not future.done():
                future.set_exception(LinkClosedError("the keeper is gone; try again"))
        if tell:
            self._on_lost(reason)


_REPORTS: Final[Mapping[str, Callable[[Any], Report]]] = {
    "o": lambda v: Output(v[1]),
    "x": lambda v: Exited(v[1], ExitStatus(v[2], v[3], v[4]), v[5]),
    "c": lambda v: Closed(v[1]),
    "s": lambda v: Suspended(v[1], v[2]),
    "l": lambda v: LifelineEnded(v[1], v[2]),
}


def _report(values: list[Any]) -> Report:
    return _REPORTS[values[0]](values)


def _check_fds(message: Message) -> None:
    """Refuse a message whose fds did not all arrive."""
    if message.fds_lost:
        _close_all(message.fds)
        raise OutOfResourcesError("open files of the server", "end some PTYs")


def _close_all(fds: Any) -> None:
    for fd in fds:
        os.close(fd)

"""A link to an engine in a keeper process: the requests of `Link` as messages.

It outlives the keeper: when that dies, another is started and given everything, and requests wait
until it is there. Only a spawn that was under way fails, as nobody knows how far it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ptymux.core.model import SpawnOptions, WindowSize
from ptymux.core.ring import RingBuffer
from ptymux.errors import LinkClosedError, OutOfResourcesError, PtymuxError, error_from_wire
from ptymux.keeper.conversation import Conversation
from ptymux.keeper.engine import Spawned
from ptymux.keeper.heritage import Greeting, Heirloom, Holdings, Inherited
from ptymux.keeper.link import OnReport
from ptymux.keeper.reports import Report, report_from_json
from ptymux.keeper.statefile import Proof
from ptymux.keeper.succession import has_ended, start_keeper
from ptymux.keeper.wire import (
    LINK_VERSION,
    Message,
    PassedOptions,
    options_as_json,
    pack_strings,
)

__all__ = ["RemoteLink"]

_log = logging.getLogger("ptymux")

_DEATH_SECONDS: Final = 2.0  # for a keeper that hung up to be gone
_TAKE_OVER_SECONDS: Final = 10.0  # for a new one to say hello
_ATTEMPTS: Final = 5


class RemoteLink:
    """The server's side of the link; the keeper greets with everything that there is already.

    Holds, per PTY, what a new keeper would need: dups of its ring's memfd, master and pidfd.
    """

    keeps_ended = True

    def __init__(self, sock: socket.socket, path: str, on_lost: Callable[[str], None]) -> None:
        """Take the link over; `on_lost` is called once when there can be no keeper any more."""
        self._path = path
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._next_slot = self._next_line = 1
        self._holdings = Holdings()
        self._on_report: OnReport | None = None
        self._early: list[Report] = []  # before `start`
        self._greeting: asyncio.Future[Greeting] = self._loop.create_future()
        self._expected = 0  # slots that the keeper has announced
        self._inherited: list[Inherited] = []
        self._keeper = self._lock = -1  # a pidfd, and the lock on the socket's path
        self._recovery: asyncio.Task[None] | None = None
        self._linked = asyncio.Event()
        self._is_closed = self._is_stopping = False
        self.event_log = -1  # the memory of the event log
        self.keeper_pid = 0
        self.keeper_replacements = 0
        self.replacements = 0  # of the server
        self.on_successor: Callable[[Greeting], None] = lambda _greeting: None
        self.on_listener: Callable[[socket.socket], None] | None = None
        self.listener: socket.socket | None = None  # that came before somebody was to be told
        self.current_listener: Callable[[], int] = lambda: -1  # the fd that a new keeper gets
        self._bound = (0, 0)
        self._talk = Conversation(sock, self._take, self._lose)

    async def greeting(self) -> tuple[Greeting, list[Inherited]]:
        """Return what the keeper says of itself, and the PTYs it has.

        Raises:
            LinkClosedError: it is gone, or of another version.
        """
        return await self._greeting, self._inherited

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
        self._next_slot = max(self._next_slot, slot + 1)
        words = [*options.argv, *(f"{key}={value}" for key, value in env.items())]
        fds = [options.cwd_fd]
        if options.stdin_fd is not None:
            fds.append(options.stdin_fd)
        body = {
            "slot": slot,
            "options": options_as_json(options),
            "argc": len(options.argv),
            "envc": len(env),
        }
        reply = await self._call("spawn", body, pack_strings(words), fds)
        try:
            ring = self._hold(slot, reply, reply.fds)
        except PtymuxError:
            self._talk.send({"op": "abandon", "slot": slot})
            raise
        result = reply.body["result"]
        return Spawned(result["pid"], ring, result["start_time"])

    async def open_lifeline(self, slot: int) -> tuple[int, socket.socket]:
        """Return the number and the client's end of a new lifeline."""
        reply = await self._call("lifeline", {"slot": slot})
        _check_fds(reply)
        number = reply.body["result"]["number"]
        self._next_line = max(self._next_line, number + 1)
        theirs, *ours = reply.fds
        for fd in ours:  # none when it has ended already
            self._holdings.hold_line(slot, number, fd)
        return number, socket.socket(fileno=theirs)

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
        self._talk.send({"op": "credit", "slot": slot})

    def forget(self, slot: int) -> None:
        """Let the engine let go of a PTY, and forget what was to be remembered of it."""
        self._talk.send({"op": "forget", "slot": slot})
        self._holdings.drop(slot)

    async def close(self) -> None:
        """Let go of everything; the link is unusable afterwards."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._recovery is not None:
            self._recovery.cancel()
        self._talk.close()
        self._holdings.clear()
        if self.listener is not None:
            self.listener.close()
        _close_all(fd for fd in (self._keeper, self._lock, self.event_log) if fd >= 0)
        self._fail_greeting("closed")
        self._linked.set()

    # Beyond Link -----------------------------------------------------------------------------

    def remember(self, slot: int, record: Mapping[str, Any]) -> None:
        """Have the keeper keep what a successor of this server needs to know of a PTY."""
        memory = json.dumps(record).encode()
        self._holdings.remember(slot, memory)
        self._talk.send({"op": "record", "slot": slot}, memory)

    def settled(self) -> None:
        """Tell the keeper that what an earlier one left behind was seen to."""
        self._talk.send({"op": "settled"})

    def ready(self) -> None:
        """Tell the keeper that this server serves."""
        self._talk.send({"op": "ready"})

    def stop(self) -> None:
        """Tell the keeper to end with this server."""
        self._is_stopping = True
        self._talk.send({"op": "stop"})

    async def replace_keeper(self) -> None:
        """Have another keeper take over; return once it has.

        Raises:
            LinkClosedError: none came up.
        """
        before = self.keeper_replacements
        await self._linked.wait()
        self._linked.clear()
        self._talk.send({"op": "retire"})
        await self._linked.wait()
        if self.keeper_replacements == before:
            raise LinkClosedError("no other keeper came up")

    # Messages --------------------------------------------------------------------------------

    async def _call(
        self, op: str, body: Mapping[str, Any], data: bytes = b"", fds: list[int] | None = None
    ) -> Message:
        while True:
            await self._linked.wait()
            try:
                reply = await self._talk.ask(op, body, data, fds)
                break
            except LinkClosedError:
                if op == "spawn" or self._is_closed or self._is_stopping:
                    raise
                await asyncio.sleep(0)
        error = reply.body.get("error")
        if error is not None:
            raise error_from_wire(error["code"], error["message"], error["exit_code"])
        return reply

    def _take(self, message: Message) -> None:
        body = message.body
        match body["op"]:
            case "reports":
                for values in body["reports"]:
                    self._report(report_from_json(values))
            case "hello":
                self._take_hello(message)
            case "slot":
                self._inherit(Heirloom.of(message), message)
            case "listener":
                _check_fds(message)
                listener, lock = message.fds
                self._bound = (body["bound"][0], body["bound"][1])
                os.close(self._lock)
                self._lock = lock
                self._take_listener(socket.socket(fileno=listener))

    def _take_hello(self, message: Message) -> None:
        body = message.body
        if body["version"] != LINK_VERSION:
            known = f"{body['version']}, and this server {LINK_VERSION}"
            raise LinkClosedError(f"the keeper speaks version {known} of the link")
        _check_fds(message)
        _close_all(fd for fd in (self.event_log, self._keeper, self._lock) if fd >= 0)
        self.event_log, self._keeper, self._lock = message.fds
        self.keeper_pid = body["pid"]
        self.replacements = body["replacements"]
        self.keeper_replacements = body["keeper_replacements"]
        self._next_slot = max(self._next_slot, body["next_slot"])
        self._next_line = max(self._next_line, body["next_line"])
        self._bound = (body["bound"][0], body["bound"][1])
        self._expected = body["slots"]
        self._hello = Greeting(
            body["pid"],
            body["next_slot"],
            self._next_line,
            body["replacements"],
            self._bound,
            tuple(Proof(*proof) for proof in body["left"]),
        )
        self._greet_when_complete()

    def _inherit(self, heirloom: Heirloom, message: Message) -> None:
        slot = heirloom.slot
        ring = self._hold(slot, message, heirloom.holdings) if heirloom.holdings else None
        for number, fd in heirloom.lines:
            self._holdings.hold_line(slot, number, fd)
        self._holdings.remember(slot, heirloom.record)
        lines = tuple(number for number, _fd in heirloom.lines)
        record = json.loads(heirloom.record)
        self._inherited.append(Inherited(slot, ring, record, lines, heirloom.is_exiting))
        self._greet_when_complete()

    def _take_listener(self, sock: socket.socket) -> None:
        if self.on_listener is None:  # it does not serve yet, but it will at this one
            if self.listener is not None:
                self.listener.close()
            self.listener = sock
        else:
            self.on_listener(sock)

    def _greet_when_complete(self) -> None:
        if len(self._inherited) >= self._expected and not self._greeting.done():
            self._linked.set()
            self._greeting.set_result(self._hello)

    def _report(self, report: Report) -> None:
        self._holdings.note(report)
        if self._on_report is None:
            self._early.append(report)
        else:
            self._on_report(report)

    def _hold(self, slot: int, message: Message, fds: Sequence[int]) -> RingBuffer:
        _check_fds(message)
        try:
            return self._holdings.hold(slot, fds)
        except PtymuxError:
            _close_all(message.fds)
            raise

    # The end of a keeper, and another --------------------------------------------------------

    def _lose(self, reason: str) -> None:
        """The link is closed: begin to look for another keeper, unless all is over."""
        self._linked.clear()
        is_young = not self._greeting.done()
        self._fail_greeting(reason)
        if self._recovery is not None and not self._recovery.done():
            return  # the one that was to take over is gone: it is tried again
        if self._is_stopping or is_young:
            self._give_up(reason)
        else:
            self._recovery = asyncio.ensure_future(self._recover(reason))

    def _fail_greeting(self, reason: str) -> None:
        if not self._greeting.done():
            self._greeting.set_exception(LinkClosedError(reason))
            self._greeting.exception()  # seen, should nobody wait for it

    def _give_up(self, reason: str) -> None:
        self._is_stopping = True
        self._linked.set()
        self._on_lost(reason)

    async def _recover(self, reason: str) -> None:
        """Start another keeper and hand everything over."""
        if not await has_ended(self._keeper, _DEATH_SECONDS):
            self._give_up(f"the keeper closed the link: {reason}")
            return
        for attempt in range(_ATTEMPTS):
            await asyncio.sleep(0.1 * attempt)
            try:
                greeting = await asyncio.wait_for(self._succeed(), _TAKE_OVER_SECONDS)
            except (PtymuxError, OSError, TimeoutError) as error:
                _log.error("no new keeper: %s", error or type(error).__name__)
                self._talk.close()
                continue
            self._linked.set()
            self.on_successor(greeting)
            return
        self._give_up("the keeper is gone, and no other came up")

    async def _succeed(self) -> Greeting:
        sock, pid = start_keeper(self._path)
        self._greeting = self._loop.create_future()
        self._talk = Conversation(sock, self._take, self._lose)
        handle = os.pidfd_open(os.getpid())
        try:
            self._hand_over(handle)
            greeting = await self._greeting
        except BaseException:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            raise
        finally:
            os.close(handle)
        return greeting

    def _hand_over(self, handle: int) -> None:
        heirlooms = self._holdings.heirlooms()
        body = {
            "op": "takeover",
            "version": LINK_VERSION,
            "pid": os.getpid(),
            "slots": len(heirlooms),
            "next_slot": self._next_slot,
            "next_line": self._next_line,
            "replacements": self.replacements,
            "keeper_replacements": self.keeper_replacements + 1,
            "bound": self._bound,
        }
        fds = [self.current_listener(), self._lock, self.event_log, handle]
        self._talk.send(body, fds=fds)
        for heirloom in heirlooms:
            self._talk.send(heirloom.body, heirloom.record, heirloom.fds)


def _check_fds(message: Message) -> None:
    """Refuse a message whose fds did not all arrive."""
    if message.fds_lost:
        _close_all(message.fds)
        raise OutOfResourcesError("open files of the server", "end some PTYs")


def _close_all(fds: Any) -> None:
    for fd in fds:
        os.close(fd)

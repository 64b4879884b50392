"""A link to an engine in a keeper process: it sends the requests of `Link` as messages.

The link outlives the keeper. If the keeper dies, the link starts another one and hands everything
over, and requests wait until that is done. A spawn that is under way is either asked for again, or
has led to a child that is taken over, but never both. Its terminal is opened on this side, and
locked until the keeper begins. So it shows how far that came.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from ptymux.core.model import SpawnOptions, WindowSize
from ptymux.core.ring import RingBuffer
from ptymux.engine.engine import SpawnedPty
from ptymux.engine.reports import Output, Report, report_from_json
from ptymux.engine.session_end import end_newborn, newborn
from ptymux.engine.terminal import PtyFds
from ptymux.errors import (
    LinkClosedError,
    OutOfResourcesError,
    PtymuxError,
    SpawnError,
    UnknownPtyError,
    error_from_json,
)
from ptymux.handover.snapshot import SnapshotStore
from ptymux.handover.wire import (
    LINK_VERSION,
    Message,
    PassedOptions,
    options_as_json,
    pack_strings,
)
from ptymux.link.candidate import end_child
from ptymux.link.interface import OnReport
from ptymux.link.keeper_channel import KeeperChannel
from ptymux.link.launch import has_ended
from ptymux.link.newborn import fds_of_newborn, stop_and_look
from ptymux.posix.process import signal_foreground, start_time
from ptymux.posix.reserve_fds import released_reserve
from ptymux.posix.spawn import PtyPair, open_pty
from ptymux.posix.tty import is_locked, lock_terminal

__all__ = ["ProcessLink", "check_fds", "close_all"]

_log = logging.getLogger("ptymux")

_DEATH_SECONDS: Final = 2.0  # for a keeper that closed the link to end
_TAKE_OVER_SECONDS: Final = 10.0  # for a new keeper to say hello
_ATTEMPTS: Final = 5  # to start a keeper, if no PTY lives
_LONGEST_PAUSE: Final = 2.0  # seconds between two attempts


class ProcessLink:
    """The manager's side of a link to a keeper.

    For each PTY it keeps what a new keeper needs: duplicates of the ring's memfd, the master, the
    pidfd and the engine's ends of lifelines.
    """

    keeps_ended = False

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._next_slot = self._next_line = 1
        self._passes_fds = False  # whether the keeper can pass more fds than stdin to a child
        self._unlocks = False  # whether the keeper unlocks a terminal before it starts a child
        self._handovers = 0  # to new keepers so far
        self._snapshots = SnapshotStore()
        self._on_report: OnReport | None = None
        self._early: list[Report] = []  # before `start`
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._keeper: int | None = None  # its pidfd, since its hello
        self._recovery: asyncio.Task[None] | None = None
        self._linked = asyncio.Event()
        self._is_closed = self._is_stopping = self._has_given_up = False
        self._channel: KeeperChannel | None = None
        self._held: list[tuple[Mapping[str, Any], bytes]] | None = None  # while keepers change
        self.keeper_pid = 0  # before the first hello
        self.keeper_replacements = 0

    # For the subclass ------------------------------------------------------------------------

    def _start_keeper(self) -> tuple[socket.socket, int]:
        """Start a keeper; return our end of the link to it, and its pid.

        Raises:
            OSError: open files, processes or memory.
        """
        raise NotImplementedError

    def _handover_extras(self) -> tuple[Mapping[str, Any], list[int]]:
        """Return more values and fds for the first message to a new keeper."""
        raise NotImplementedError

    def _use_hello(self, hello: Mapping[str, Any], fds: Sequence[int]) -> None:
        """Use the other values of a keeper's hello; its fds are ours from now on."""
        raise NotImplementedError

    def _on_other_message(self, message: Message) -> None:
        """Handle a message that only this kind of link gets."""

    async def _release_keeper(self) -> None:
        """Release the keeper, whose link is closed."""
        close_all((self._keeper,))

    def _on_keeper_replaced(self) -> None:
        """Handle that another keeper has taken over."""

    def _on_no_keeper(self, reason: str) -> None:
        """Handle, once, that no keeper can be started any more."""

    # Link ------------------------------------------------------------------------------------

    def start(self, on_report: OnReport) -> None:
        """Begin to deliver reports."""
        self._on_report = on_report
        early, self._early = self._early, []
        for report in early:
            self._loop.call_soon(on_report, report)

    async def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> SpawnedPty:
        """Start a child in a new PTY; if the keeper dies meanwhile, the next one does so.

        A child that it has started is not started again.

        Raises:
            LinkClosedError: the keeper died as it had started the child, which has ended already;
                or there is no other keeper.
            SpawnError, OutOfResourcesError: as `Engine.spawn`.
        """
        assert isinstance(options, PassedOptions)
        self._next_slot = max(self._next_slot, slot + 1)
        while True:
            await self._linked.wait()
            pty = open_pty(options.size, plain_output=options.plain_output, echo=options.echo)
            try:
                if self._unlocks:
                    lock_terminal(pty.master)
                spawned = await self._spawn_on(pty, slot, options, env)
            finally:
                os.close(pty.master)
            if spawned is not None:
                return spawned

    async def _spawn_on(
        self, pty: PtyPair, slot: int, options: PassedOptions, env: Mapping[str, str]
    ) -> SpawnedPty | None:
        """Start a child on a terminal; None: the keeper died, and nothing ever ran on it."""
        words = [*options.argv, *(f"{key}={value}" for key, value in env.items())]
        body = {
            "slot": slot,
            "options": options_as_json(options),
            "argc": len(options.argv),
            "envc": len(env),
            "slave": pty.slave_name,
            "caller": options.caller,
        }
        stdin = [] if options.stdin_fd is None else [options.stdin_fd]
        fds = [options.cwd_fd, pty.master, *stdin]
        if options.pass_fds:
            if not self._passes_fds:
                raise SpawnError("the keeper is of an older version, and passes no fds")
            body["pass_fds"] = list(options.pass_fds)
            fds += options.pass_fds.values()
        handovers = self._handovers
        self._snapshots.expect(slot)
        try:
            reply = await self._call("spawn", body, pack_strings(words), fds)
        except BaseException as error:
            self._snapshots.expect_no_more(slot)
            if not isinstance(error, LinkClosedError):
                raise
            if self._is_closed or self._has_given_up or self._channel is None:
                end_newborn(pty.master)
                raise
            is_known = handovers == self._handovers
            return self._take_newborn(pty, slot, options, env, is_known=is_known)
        try:
            check_fds(reply)
            ring = self._keep_fds(slot, reply, PtyFds(*reply.fds))
        except PtymuxError:
            self._post({"op": "abandon", "slot": slot})
            raise
        result = reply.body["result"]
        return SpawnedPty(result["pid"], ring, result["start_time"])

    def _take_newborn(
        self,
        pty: PtyPair,
        slot: int,
        options: PassedOptions,
        env: Mapping[str, str],
        *,
        is_known: bool,
    ) -> SpawnedPty | None:
        """Own what a keeper has started before it died; None: nothing, and nothing will come.

        Nothing of its output was read: that would have been after the reply. The next keeper gets
        it with all others, unless that handover is over, which leaves it not `is_known`.

        Raises:
            LinkClosedError: it was started, and has ended.
        """
        if self._unlocks and is_locked(pty.master):
            return None
        pid = newborn(pty.master)
        if pid is not None:
            try:
                has_begun = stop_and_look(pid, env)
                if has_begun and is_known:
                    return self._hold_newborn(pid, pty.master, slot, options)
            except (PtymuxError, OSError) as error:
                _log.warning("PTY %d: its child is ended: %s", slot, error)
            else:
                if not has_begun:  # it still waits for a file system, for example
                    end_newborn(pty.master)
                    return None
        end_newborn(pty.master)
        raise LinkClosedError("the keeper died as it started the command; look, then try again")

    def _hold_newborn(self, pid: int, master: int, slot: int, options: PassedOptions) -> SpawnedPty:
        fds = fds_of_newborn(pid, master, options)
        try:
            ring = self._snapshots.hold(slot, fds)
        except PtymuxError:
            close_all(fds.open)
            raise
        born = start_time(pid)
        self._snapshots.amend(slot, {"pid": pid, "start_time": born})
        return SpawnedPty(pid, ring, born)

    def cancel_spawn(self, slot: int) -> None:
        """Have a spawn fail that waits for a file system."""
        self._post({"op": "cancel", "slot": slot})

    async def open_lifeline(
        self, slot: int, *, echoes: bool = False, kept: Collection[int] = ()
    ) -> tuple[int, socket.socket]:
        """Return the number and the client's end of a new lifeline; `kept` as in the engine."""
        body = {"slot": slot, "echoes": echoes, "kept": list(kept)}
        reply = await self._call("lifeline", body)
        check_fds(reply)
        number = reply.body["result"]["number"]
        self._next_line = max(self._next_line, number + 1)
        theirs, *ours = reply.fds  # none is ours if the lifeline has ended already
        self._snapshots.hold_line(slot, number, ours[0] if ours else None)
        return number, socket.socket(fileno=theirs)

    def has_line(self, slot: int, number: int) -> bool:
        """Return whether a lifeline is open."""
        return self._snapshots.has_line(slot, number)

    async def resize(self, slot: int, size: WindowSize) -> None:
        """Set the terminal's size."""
        await self._call("resize", {"slot": slot, "cols": size.cols, "rows": size.rows})

    async def signal_foreground(self, slot: int, signum: int) -> int:
        """Send INT, QUIT or TSTP to the terminal's foreground group; return that group."""
        # By our own duplicate of the master: a keeper that dies leaves unknown whether it did it.
        master = self._snapshots.master(slot)
        if master is None:
            raise UnknownPtyError(str(slot))
        return signal_foreground(master, signum)

    async def is_canonical(self, slot: int) -> bool:
        """Return whether the terminal is in canonical mode."""
        reply = await self._call("canonical", {"slot": slot})
        return bool(reply.body["result"]["canonical"])

    async def close_pty(self, slot: int) -> None:
        """Close the terminal now."""
        await self._call("close", {"slot": slot})

    def credit_raised(self, slot: int) -> None:
        """Notify the engine that the ring's `limit` was raised."""
        self._post({"op": "credit", "slot": slot})

    def forget(self, slot: int) -> None:
        """Remove a PTY from the engine, with its record and its fds."""
        self._post({"op": "forget", "slot": slot})
        self._snapshots.drop(slot)

    async def close(self) -> None:
        """Close the link and all that it keeps; it is unusable afterwards."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
        if self._channel is not None:
            self._channel.close()
        self._snapshots.clear()
        self._fail_greeting("closed")
        self._linked.set()
        await self._release_keeper()

    # Messages --------------------------------------------------------------------------------

    def _post(self, body: Mapping[str, Any], data: bytes = b"") -> None:
        if self._held is not None:
            self._held.append((body, data))
        elif self._channel is not None:
            self._channel.send(body, data)

    def _send_held(self) -> None:
        """Send what was held back while it was not certain which keeper goes on."""
        held, self._held = self._held, None
        for body, data in held or ():
            self._post(body, data)

    async def _call(
        self, op: str, body: Mapping[str, Any], data: bytes = b"", fds: list[int] | None = None
    ) -> Message:
        while True:
            await self._linked.wait()
            if self._channel is None:
                raise LinkClosedError("there is no keeper")
            try:
                reply = await self._channel.ask(op, body, data, fds)
                break
            except LinkClosedError:
                if op == "spawn" or self._is_closed or self._has_given_up:
                    raise
                await asyncio.sleep(0)
        error = reply.body.get("error")
        if error is not None:
            raise error_from_json(error)
        return reply

    def _on_message(self, message: Message) -> None:
        body = message.body
        match body["op"]:
            case "reports":
                for values in body["reports"]:
                    self._report(report_from_json(values))
            case "hello":
                self._on_hello(message)
            case _:
                self._on_other_message(message)

    def _on_output(self, slot: int) -> None:
        self._report(Output(slot))

    def _on_hello(self, message: Message) -> None:
        body = message.body
        if body["version"] != LINK_VERSION:
            known = f"{body['version']}, and this server {LINK_VERSION}"
            raise LinkClosedError(f"the keeper speaks version {known} of the link")
        check_fds(message)
        self.keeper_pid = body["pid"]
        self.keeper_replacements = body["keeper_replacements"]
        self._unlocks = bool(body.get("unlocks"))
        self._passes_fds = bool(body.get("passes_fds"))
        self._next_slot = max(self._next_slot, body["next_slot"])
        self._next_line = max(self._next_line, body["next_line"])
        self._use_hello(body, message.fds)
        self._greet_when_complete()

    def _greet_when_complete(self) -> None:
        """Let requests begin, if the keeper's greeting is complete."""
        if not self._greeted.done():
            self._send_held()
            self._linked.set()
            self._greeted.set_result(None)

    def _report(self, report: Report) -> None:
        self._snapshots.note(report)
        if self._on_report is None:
            self._early.append(report)
        else:
            self._on_report(report)

    def _keep_fds(self, slot: int, message: Message, fds: PtyFds) -> RingBuffer:
        """Keep a PTY's fds that came with a message; return its ring."""
        try:
            return self._snapshots.hold(slot, fds)
        except PtymuxError:
            close_all(message.fds)
            raise

    # The end of a keeper, and another --------------------------------------------------------

    def _on_link_lost(self, reason: str) -> None:
        """Start another keeper, as the link is closed; but give up if there never was a hello."""
        if self._channel is not None and not self._channel.is_over:
            return  # it was the link to the keeper before
        self._linked.clear()
        is_young = not self._greeted.done()
        self._fail_greeting(reason)
        if is_young and self._held is not None:
            return  # it was the link to a candidate: who hands over to it handles that
        if self._recovery is not None and not self._recovery.done():
            return  # it was the link to a new keeper: the recovery tries again
        if is_young:
            self._give_up(reason)
        else:  # also while we stop: only a keeper can clean up
            self._recovery = asyncio.ensure_future(self._recover(reason))

    def _fail_greeting(self, reason: str) -> None:
        if not self._greeted.done():
            self._greeted.set_exception(LinkClosedError(reason))
            self._greeted.exception()  # retrieved, in case nobody awaits it

    def _give_up(self, reason: str) -> None:
        self._has_given_up = True
        self._linked.set()
        self._on_no_keeper(reason)

    async def _recover(self, reason: str) -> None:
        """Start another keeper and hand over; while a PTY lives, try again and again."""
        if not await self._keeper_has_ended(_DEATH_SECONDS):
            self._give_up(f"the keeper closed the link: {reason}")
            return
        attempt = 0
        while attempt < _ATTEMPTS or (self._snapshots.has_live and not self._is_stopping):
            await asyncio.sleep(min(0.1 * attempt, _LONGEST_PAUSE))
            attempt += 1
            try:
                with released_reserve():  # a new keeper is more urgent than anything else
                    await asyncio.wait_for(self._start_and_hand_over(), _TAKE_OVER_SECONDS)
            except (PtymuxError, OSError, TimeoutError) as error:
                _log.error("no new keeper: %s", error or type(error).__name__)
                continue
            if self._channel is None or self._channel.is_over:
                await self._keeper_has_ended(_DEATH_SECONDS)  # the new keeper died at once
                continue
            self._linked.set()
            self._on_keeper_replaced()
            return
        self._give_up("the keeper is gone, and no other came up")

    async def _keeper_has_ended(self, seconds: float) -> bool:
        return self._keeper is None or await has_ended(self._keeper, seconds)

    async def _start_and_hand_over(self) -> None:
        sock, pid = self._start_keeper()
        self._greeted = self._loop.create_future()
        self._channel = channel = KeeperChannel(
            sock, self._on_message, self._on_link_lost, self._on_output
        )
        own_pidfd: int | None = None
        try:
            own_pidfd = os.pidfd_open(os.getpid())
            self._hand_over(channel, [own_pidfd])
            await self._greeted
        except BaseException:
            channel.close()
            end_child(pid)
            raise
        finally:
            close_all((own_pidfd,))

    def _hand_over(self, channel: KeeperChannel, more_fds: list[int]) -> None:
        """Send all that a keeper needs; the fds behind those of the link begin with our pidfd."""
        self._handovers += 1
        snapshots = self._snapshots.snapshots()
        extras, fds = self._handover_extras()
        body = {
            "op": "takeover",
            "version": LINK_VERSION,
            "slots": len(snapshots),
            "next_slot": self._next_slot,
            "next_line": self._next_line,
            "keeper_replacements": self.keeper_replacements + 1,
            **extras,
        }
        channel.send(body, fds=[*fds, *more_fds])
        for snapshot in snapshots:
            channel.send_in_turn(snapshot.message)
        for message in self._snapshots.launch_messages():  # an older keeper skips them
            channel.send_in_turn(message)


def check_fds(message: Message) -> None:
    """Close the fds of a message and raise an error, if not all of them arrived.

    Raises:
        OutOfResourcesError: some are missing: there were no open files left.
    """
    if message.fds_lost:
        close_all(message.fds)
        raise OutOfResourcesError("open files", "end some PTYs")


def close_all(fds: Iterable[int | None]) -> None:
    """Close these fds, as far as there are any."""
    for fd in fds:
        if fd is not None:
            os.close(fd)

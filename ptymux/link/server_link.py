"""A server's link to its keeper; it begins with a greeting and the snapshots of all PTYs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ptymux.core.windows import Windows
from ptymux.errors import LinkClosedError, PtymuxError
from ptymux.handover.snapshot import Greeting, PtySnapshot, RestoredPty
from ptymux.handover.state_file import ChildProof
from ptymux.handover.token import await_decision, create_token, end_process, take_token
from ptymux.handover.wire import Message
from ptymux.link.candidate import Candidate
from ptymux.link.keeper_channel import KeeperChannel
from ptymux.link.launch import Installation, has_ended, start_keeper
from ptymux.link.process_link import ProcessLink, check_fds, close_all
from ptymux.posix.runtime import state_path

__all__ = ["ServerLink"]

_log = logging.getLogger("ptymux")

_TRIES: Final = 3  # to replace a keeper, if it or the new one dies meanwhile
# Parts of the window for a restart.
_WARM: Final = 0.8  # for a new keeper to be ready; who asks for it waits a little longer
_FREEZE: Final = 0.3  # for a keeper to answer at all
_TAKE_OVER: Final = 1.0  # for a new keeper that is ready to take over
_NEXT_SERVER: Final = 1.0  # for another server; the keeper gives it up sooner
_QUIET_SECONDS: Final = 1.0
_TURNS: Final = 10  # of the event loop
_LOOK_SECONDS: Final = 0.005


class ServerLink(ProcessLink):
    """The server's side of the link; for a new keeper it also keeps the lock and the event log."""

    keeps_ended = True

    def __init__(self, sock: socket.socket, path: str, on_lost: Callable[[str], None]) -> None:
        """Use the link `sock`; `on_lost` is called once if no keeper can be started any more."""
        super().__init__()
        self._path = path
        self._restart_seconds = Windows.from_environment(os.environ).restart
        self._notify_lost = on_lost
        self._hello: Greeting
        self._expected = 0  # the number of snapshots that the keeper will send
        self._restored: list[RestoredPty] = []
        self._lock: int | None = None  # fd of the lock of the socket's path
        self._bound = (0, 0)
        self._event_log: int | None = None  # fd of the event log's memory
        self._handover: list[int] = []  # the token, and the pidfd of the server before
        self._keeps_launches = False  # whether the keeper keeps how PTYs were started
        self.replacements = 0  # how often the server was replaced
        self.on_keeper_replaced: Callable[[Greeting], None] = lambda _greeting: None
        self.on_listener: Callable[[socket.socket], None] | None = None
        self.listener: socket.socket | None = None  # it came before `on_listener` was set
        self.current_listener: Callable[[], int]  # the fd to pass to a new keeper
        self._has_failed = False  # a keeper was started that has not said hello
        # Starts one without the files of the installation, which may be gone.
        self.fork_keeper: Callable[[], tuple[socket.socket, int]] | None = None
        self.fork_zygote: Callable[[int], None] = os.close  # the same for a zygote, with its socket
        self._channel = KeeperChannel(sock, self._on_message, self._on_link_lost, self._on_output)

    async def greeting(self) -> tuple[Greeting, list[RestoredPty]]:
        """Return the keeper's greeting, and the PTYs that there are already.

        Raises:
            LinkClosedError: it is gone, or of another version.
        """
        await self._greeted
        return self._hello, self._restored

    def take_place(self) -> bool:
        """End the server before, if it lives, as this one has all that it had.

        False: it has waited too long, and goes on; this process must end at once.
        """
        if not self._handover:
            return True
        token, before = self._handover
        has_token = take_token(token)
        if has_token:
            end_process(before)
        close_all(self._handover)
        self._handover = []
        return has_token

    @property
    def event_log(self) -> int:
        """The fd of the event log's memory; it came with the greeting."""
        assert self._event_log is not None
        return self._event_log

    async def close(self) -> None:
        """Close the link and all that it keeps; it is unusable afterwards."""
        if self._is_closed:
            return
        if self._is_stopping and self._recovery is not None:
            await asyncio.wait((self._recovery,))  # only a keeper can remove the socket's files
        await super().close()
        if self.listener is not None:
            self.listener.close()
        close_all((self._lock, self._event_log))

    # Requests --------------------------------------------------------------------------------

    def persist(self, slot: int, record: Mapping[str, Any]) -> None:
        """Store the state of a PTY with the keeper, for a server that replaces this one."""
        text = json.dumps(record).encode()
        self._snapshots.remember(slot, text)
        self._post({"op": "record", "slot": slot}, text)

    def keep_launch(self, slot: int, launch: bytes) -> None:
        """Store how a PTY was started."""
        self._snapshots.remember_launch(slot, launch)
        if self._keeps_launches:
            self._post({"op": "launch", "slot": slot}, launch)

    def settled(self) -> None:
        """Notify the keeper that the children of earlier keepers have been handled."""
        self._post({"op": "settled"})

    def ready(self) -> None:
        """Notify the keeper that this server serves clients now."""
        self._post({"op": "ready"})

    def stop(self) -> None:
        """Order the keeper to end when this server ends."""
        self._is_stopping = True
        self._post({"op": "stop"})

    # Messages --------------------------------------------------------------------------------

    def _on_other_message(self, message: Message) -> None:
        body = message.body
        match body["op"]:
            case "launch":
                self._snapshots.remember_launch(body["slot"], message.data)
            case "slot":
                check_fds(message)
                self._on_snapshot(PtySnapshot.of(message), message)
            case "listener":
                check_fds(message)
                listener, lock = message.fds
                self._bound = (body["bound"][0], body["bound"][1])
                close_all((self._lock,))
                self._lock = lock
                self._use_listener(socket.socket(fileno=listener))
            case "zygote":
                check_fds(message)
                self._lend_zygote(message.fds[0])

    def _lend_zygote(self, control: int) -> None:
        try:
            self.fork_zygote(control)
        except OSError as error:  # the keeper asks again
            _log.error("no zygote can be forked: %s", error.strerror)

    def _use_hello(self, hello: Mapping[str, Any], fds: Sequence[int]) -> None:
        close_all((self._event_log, self._keeper, self._lock))
        self._event_log, self._keeper, self._lock, *self._handover = fds
        self._has_failed = False
        self._keeps_launches = bool(hello.get("launches"))  # an older keeper does not
        self.replacements = hello["replacements"]
        self._bound = (hello["bound"][0], hello["bound"][1])
        self._expected = hello["slots"]
        self._hello = Greeting(
            hello["pid"],
            hello["next_slot"],
            self._next_line,
            hello["replacements"],
            self._bound,
            tuple(ChildProof(*proof) for proof in hello["left"]),
        )

    def _greet_when_complete(self) -> None:
        if len(self._restored) >= self._expected:
            super()._greet_when_complete()

    def _on_snapshot(self, snapshot: PtySnapshot, message: Message) -> None:
        slot = snapshot.slot
        ring = self._keep_fds(slot, message, snapshot.pty_fds) if snapshot.pty_fds else None
        for number, fd in snapshot.lines:
            self._snapshots.hold_line(slot, number, fd)
        self._snapshots.remember(slot, snapshot.record)
        lines = tuple(number for number, _fd in snapshot.lines)
        record = json.loads(snapshot.record)
        launch = self._snapshots.launch(slot)
        exiting = snapshot.is_exiting
        self._restored.append(RestoredPty(slot, ring, record, lines, exiting, launch))
        self._greet_when_complete()

    def _use_listener(self, sock: socket.socket) -> None:
        if self.on_listener is None:  # this server does not serve yet: keep it for then
            if self.listener is not None:
                self.listener.close()
            self.listener = sock
        else:
            self.on_listener(sock)

    # Others in the place of those that live --------------------------------------------------

    async def replace_keeper(self, installation: Installation | None = None) -> None:
        """Replace the keeper by a new process of an installation, of our own if none is given.

        The keeper before goes on until the new one is ready to be replaced itself, and has
        everything. If it dies meanwhile, it is replaced as always, and then once more.

        Raises:
            LinkClosedError: no new keeper came; the one before goes on.
        """
        chosen = installation or Installation()
        reason = "there is no keeper"
        until = self._loop.time() + _WARM * self._restart_seconds
        for _ in range(_TRIES):
            await self._linked.wait()
            before = self._channel
            if before is None or before.is_over:
                break
            try:
                candidate = Candidate(self._path, chosen, self._on_message, self._on_output)
            except OSError as error:
                reason = f"it cannot be started ({(error.strerror or str(error)).lower()})"
                break
            try:
                await candidate.await_warm(until - self._loop.time())
                await self._change_to(candidate, before)
                return
            except LinkClosedError as error:
                reason = str(error)
            finally:
                if self._channel is not candidate.channel:
                    candidate.end()
        log = state_path(self._path, "log")
        raise LinkClosedError(
            f"nothing was replaced: no keeper from {chosen.folder}: {reason}; see {log}"
        )

    async def _change_to(self, candidate: Candidate, before: KeeperChannel) -> None:
        """Pass everything to a new keeper, which ends the one before.

        Raises:
            LinkClosedError: the new one failed. The one before goes on; or it has died, and is
                being replaced.
        """
        if before.is_over or self._keeper is None:
            raise LinkClosedError("the keeper before died meanwhile")
        taking, end = create_token()
        holding: int | None = end
        own, old = os.pidfd_open(os.getpid()), os.dup(self._keeper)
        self._linked.clear()
        self._held = []
        try:
            more_fds = await self._freeze(before, candidate, [own, taking, old])
            self._hand_over(candidate.channel, more_fds)
            await asyncio.wait_for(self._greeted, _TAKE_OVER * self._restart_seconds)
            await has_ended(old, _TAKE_OVER * self._restart_seconds)
        except BaseException as error:
            candidate.end()  # first: it must not take the token any more
            close_all((holding,))
            holding = None
            self._go_on_with(before)
            if isinstance(error, TimeoutError):
                raise LinkClosedError("it took too long") from None
            raise
        finally:
            close_all((taking, holding, own, old))
        before.close()
        self._on_keeper_replaced()

    async def _freeze(
        self, before: KeeperChannel, candidate: Candidate, fds: Sequence[int]
    ) -> list[int]:
        """Have a keeper do nothing any more; return the fds for the one that takes over.

        `fds` are our pidfd, a token and the pidfd of the keeper before.
        """
        own, token, old = fds
        reply = await asyncio.wait_for(
            before.ask("freeze", {}, fds=[token]), _FREEZE * self._restart_seconds
        )
        for _ in range(_TURNS):
            if not before.is_asked:
                break
            await asyncio.sleep(0)  # for those that asked before to use their replies
        error = reply.body.get("error")
        if error is not None and error["code"] != PtymuxError.code:
            raise LinkClosedError(f"the keeper before refused: {error['message']}")
        self._greeted = self._loop.create_future()
        self._channel = candidate.channel
        candidate.on_lost = self._on_link_lost
        if error is None:
            return [own, token, old]
        before.send({"op": "retire"})  # it is older, and does not know the other way
        await has_ended(old, _TAKE_OVER * self._restart_seconds)
        return [own]

    def _go_on_with(self, before: KeeperChannel) -> None:
        """Use the keeper before as if nothing had been; if it died, start another."""
        self._channel = before
        self._fail_greeting("it failed")
        if not before.is_over:
            self._send_held()
            self._linked.set()
        elif self._recovery is None or self._recovery.done():
            self._recovery = asyncio.ensure_future(self._recover("the link is closed"))

    async def quiet(self) -> None:
        """Return once there is a keeper and no request to it waits; a second at most."""
        until = self._loop.time() + _QUIET_SECONDS
        await self._linked.wait()
        while self._channel is not None and self._channel.is_asked and self._loop.time() < until:
            await asyncio.sleep(_LOOK_SECONDS)

    def hand_over(self) -> None:
        """Have another server take the place of this one; return only if that was not possible.

        Nothing else happens in this process meanwhile.
        """
        if self._channel is None:
            return
        taking, holding = create_token()
        try:
            self._channel.send({"op": "succeed"}, fds=[taking, holding])
            self._channel.flush(_FREEZE * self._restart_seconds)
        finally:
            os.close(holding)
        await_decision(taking, _NEXT_SERVER * self._restart_seconds)
        if not take_token(taking):
            os._exit(0)  # another server has taken over, and is about to end this one
        os.close(taking)

    # A new keeper ----------------------------------------------------------------------------

    def _start_keeper(self) -> tuple[socket.socket, int]:
        if self._has_failed and self.fork_keeper is not None:
            return self.fork_keeper()
        self._has_failed = True  # until the next hello
        return start_keeper(self._path)

    def _handover_extras(self) -> tuple[Mapping[str, Any], list[int]]:
        assert self._lock is not None
        extras = {"replacements": self.replacements, "bound": self._bound}
        return extras, [self.current_listener(), self._lock, self.event_log]

    def _on_keeper_replaced(self) -> None:
        if self._is_stopping:
            self.stop()  # the keeper before may have died without the order
        self.on_keeper_replaced(self._hello)

    def _on_no_keeper(self, reason: str) -> None:
        self._notify_lost(reason)

"""A server's link to its keeper; it begins with a greeting and the snapshots of all PTYs."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ptymux.handover.snapshot import Greeting, PtySnapshot, RestoredPty
from ptymux.handover.state_file import ChildProof
from ptymux.handover.wire import Message
from ptymux.link.keeper_channel import KeeperChannel
from ptymux.link.launch import start_keeper
from ptymux.link.process_link import ProcessLink, check_fds, close_all

__all__ = ["ServerLink"]


class ServerLink(ProcessLink):
    """The server's side of the link; for a new keeper it also keeps the lock and the event log."""

    keeps_ended = True

    def __init__(self, sock: socket.socket, path: str, on_lost: Callable[[str], None]) -> None:
        """Use the link `sock`; `on_lost` is called once if no keeper can be started any more."""
        super().__init__()
        self._path = path
        self._notify_lost = on_lost
        self._hello: Greeting
        self._expected = 0  # the number of snapshots that the keeper will send
        self._restored: list[RestoredPty] = []
        self._lock: int | None = None  # fd of the lock of the socket's path
        self._bound = (0, 0)
        self._event_log: int | None = None  # fd of the event log's memory
        self.replacements = 0  # how often the server was replaced
        self.on_keeper_replaced: Callable[[Greeting], None] = lambda _greeting: None
        self.on_listener: Callable[[socket.socket], None] | None = None
        self.listener: socket.socket | None = None  # it came before `on_listener` was set
        self.current_listener: Callable[[], int]  # the fd to pass to a new keeper
        self._channel = KeeperChannel(sock, self._on_message, self._on_link_lost, self._on_output)

    async def greeting(self) -> tuple[Greeting, list[RestoredPty]]:
        """Return the keeper's greeting, and the PTYs that there are already.

        Raises:
            LinkClosedError: it is gone, or of another version.
        """
        await self._greeted
        return self._hello, self._restored

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

    def _use_hello(self, hello: Mapping[str, Any], fds: Sequence[int]) -> None:
        close_all((self._event_log, self._keeper, self._lock))
        self._event_log, self._keeper, self._lock = fds
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
        self._restored.append(RestoredPty(slot, ring, record, lines, snapshot.is_exiting))
        self._greet_when_complete()

    def _use_listener(self, sock: socket.socket) -> None:
        if self.on_listener is None:  # this server does not serve yet: keep it for then
            if self.listener is not None:
                self.listener.close()
            self.listener = sock
        else:
            self.on_listener(sock)

    # A new keeper ----------------------------------------------------------------------------

    def _start_keeper(self) -> tuple[socket.socket, int]:
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

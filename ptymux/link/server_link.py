"""A server's link to its keeper, which greets with everything that there is already."""

from __future__ import annotations

import asyncio
import json
import os
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
    """The server's side of the link; holds the lock and the event log for a new keeper too."""

    keeps_ended = True

    def __init__(self, sock: socket.socket, path: str, on_lost: Callable[[str], None]) -> None:
        """Take the link over; `on_lost` is called once when there can be no keeper any more."""
        super().__init__()
        self._path = path
        self._notify_lost = on_lost
        self._hello: Greeting
        self._expected = 0  # slots that the keeper has announced
        self._restored: list[RestoredPty] = []
        self._lock = -1  # on the socket's path
        self._bound = (0, 0)
        self.event_log = -1  # the memory of the event log
        self.replacements = 0  # of the server
        self.on_keeper_replaced: Callable[[Greeting], None] = lambda _greeting: None
        self.on_listener: Callable[[socket.socket], None] | None = None
        self.listener: socket.socket | None = None  # that came before somebody was to be told
        self.current_listener: Callable[[], int] = lambda: -1  # the fd that a new keeper gets
        self._channel = KeeperChannel(sock, self._take, self._lose, self._take_output)

    async def greeting(self) -> tuple[Greeting, list[RestoredPty]]:
        """Return what the keeper says of itself, and the PTYs it has.

        Raises:
            LinkClosedError: it is gone, or of another version.
        """
        await self._greeted
        return self._hello, self._restored

    async def close(self) -> None:
        """Let go of everything; the link is unusable afterwards."""
        if self._is_closed:
            return
        if self._is_stopping and self._recovery is not None:
            await asyncio.wait((self._recovery,))  # somebody has to tidy up
        await super().close()
        if self.listener is not None:
            self.listener.close()
        close_all((self._lock, self.event_log))

    # Requests --------------------------------------------------------------------------------

    def persist(self, slot: int, record: Mapping[str, Any]) -> None:
        """Have the keeper keep the record from which a replacement server restores a PTY."""
        data = json.dumps(record).encode()
        self._snapshots.remember(slot, data)
        self._post({"op": "record", "slot": slot}, data)

    def settled(self) -> None:
        """Tell the keeper that what an earlier one left behind was seen to."""
        self._post({"op": "settled"})

    def ready(self) -> None:
        """Tell the keeper that this server serves."""
        self._post({"op": "ready"})

    def stop(self) -> None:
        """Tell the keeper to end with this server."""
        self._is_stopping = True
        self._post({"op": "stop"})

    # Messages --------------------------------------------------------------------------------

    def _take_more(self, message: Message) -> None:
        body = message.body
        match body["op"]:
            case "slot":
                self._take_snapshot(PtySnapshot.of(message), message)
            case "listener":
                check_fds(message)
                listener, lock = message.fds
                self._bound = (body["bound"][0], body["bound"][1])
                os.close(self._lock)
                self._lock = lock
                self._take_listener(socket.socket(fileno=listener))

    def _take_facts(self, hello: Mapping[str, Any], fds: Sequence[int]) -> None:
        close_all((self.event_log, self._keeper, self._lock))
        self.event_log, self._keeper, self._lock = fds
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

    def _take_snapshot(self, snapshot: PtySnapshot, message: Message) -> None:
        slot = snapshot.slot
        ring = self._hold(slot, message, snapshot.pty_fds) if snapshot.pty_fds else None
        for number, fd in snapshot.lines:
            self._snapshots.hold_line(slot, number, fd)
        self._snapshots.remember(slot, snapshot.record)
        lines = tuple(number for number, _fd in snapshot.lines)
        record = json.loads(snapshot.record)
        self._restored.append(RestoredPty(slot, ring, record, lines, snapshot.is_exiting))
        self._greet_when_complete()

    def _take_listener(self, sock: socket.socket) -> None:
        if self.on_listener is None:  # it does not serve yet, but it will at this one
            if self.listener is not None:
                self.listener.close()
            self.listener = sock
        else:
            self.on_listener(sock)

    # A successor -----------------------------------------------------------------------------

    def _start_keeper(self) -> tuple[socket.socket, int]:
        return start_keeper(self._path)

    def _handover_facts(self) -> tuple[Mapping[str, Any], list[int]]:
        facts = {"replacements": self.replacements, "bound": self._bound}
        return facts, [self.current_listener(), self._lock, self.event_log]

    def _on_keeper_replaced(self) -> None:
        if self._is_stopping:
            self.stop()  # the one before may have taken that with it
        self.on_keeper_replaced(self._hello)

    def _on_lost(self, reason: str) -> None:
        self._notify_lost(reason)

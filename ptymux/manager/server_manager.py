"""The manager of a server: what clients may ask besides, and what a successor must know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from ptymux.core.escalation import END_TIMING, EndTiming
from ptymux.core.event_log import EventEnvelope, EventLog, Topic
from ptymux.core.lifecycle import LifecycleEvent, State
from ptymux.core.model import (
    CorrelationId,
    Limits,
    OnFull,
    PtyId,
    PtyRecord,
    SpawnOptions,
    WindowSize,
    check_name,
)
from ptymux.errors import PtymuxError
from ptymux.handover.snapshot import Greeting, RestoredPty
from ptymux.link.server_link import ServerLink
from ptymux.manager.attachments import LifelineAttachment
from ptymux.manager.description import describe
from ptymux.manager.managed_pty import ManagedPty
from ptymux.manager.manager import PtyManager
from ptymux.manager.persistence import as_memory, from_memory, recall, replay
from ptymux.manager.publisher import cause_of, new_id
from ptymux.manager.signalling import hang_up

__all__ = ["ServerManager"]

_log = logging.getLogger("ptymux")

_NUDGE_SECONDS: Final = 0.05
_RETURN_SECONDS: Final = 10.0  # for the clients of a server that died to come back


class ServerManager(PtyManager):
    """A PtyManager over a keeper; whatever changes about a PTY is told to the keeper to keep."""

    def __init__(
        self,
        link: ServerLink,
        socket_path: str,
        limits: Limits | None = None,
        event_log: EventLog | None = None,
        timing: EndTiming = END_TIMING,
    ) -> None:
        super().__init__(link=link, limits=limits, log=event_log, timing=timing)
        self._keeper_link = link
        self._spawner.socket_path = socket_path
        self._spawner.on_change = self._remember
        self._spawner.on_orphaned = self._on_orphaned
        self._background: set[asyncio.Task[object]] = set()
        self._nudging: set[PtyId] = set()
        link.on_keeper_replaced = self._on_keeper_replaced
        self.on_keeper_replaced: Callable[[Greeting], None] = lambda _greeting: None

    @property
    def epoch(self) -> str:
        """The random id of the event log."""
        return self._bus.epoch

    @property
    def last_seq(self) -> int:
        """The seq of the newest event."""
        return self._bus.last_seq

    @property
    def live_count(self) -> int:
        """How many PTYs have not ended."""
        return self._roster.registry.live_count

    def knows(self, pty_id: PtyId) -> bool:
        """Whether there is such a PTY."""
        return pty_id in self._roster.registry

    def is_gone(self, pty_id: PtyId) -> bool:
        """Whether a PTY has ended for good, its terminal closed."""
        return self._roster.get(pty_id).gone.is_set()

    def find(
        self, reference: str, *, past_names: bool = False, prefixes: bool = False
    ) -> PtyRecord:
        """Return the PTY that an id, a number or a name means; as `Registry.find`.

        Raises:
            UnknownPtyError, AmbiguousPtyError: nothing fits, or too much.
        """
        return self._roster.registry.find(reference, past_names=past_names, prefixes=prefixes)

    def describe(self, pty_id: PtyId, *, full: bool = False) -> dict[str, Any]:
        """Return a PTY as JSON values; `full` adds its history and its signals."""
        return describe(self._roster.get(pty_id), full=full)

    def describer(self, pty_id: PtyId) -> Callable[[], dict[str, Any]]:
        """Return what tells of a PTY as `describe` does, also once it was removed."""
        pty = self._roster.get(pty_id)
        return lambda: describe(pty)

    async def is_canonical(self, pty_id: PtyId) -> bool:
        """Whether a live PTY's terminal collects lines, and cuts one above 4,095 bytes."""
        return await self._link.is_canonical(self._live(pty_id, "input needs one that runs").slot)

    def rename(self, pty_id: PtyId, name: str) -> PtyRecord:
        """Give a PTY another name.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidValueError: it cannot be a name.
            InvalidStateError: it has ended; an ended one has no name to give.
        """
        pty = self._live(pty_id, "only a live one has a name")
        pty.update(name=check_name(name))
        pty.note_change()
        return pty.record

    def set_on_full(self, pty_id: PtyId, on_full: OnFull) -> int:
        """Change what happens when the ring is full; return the offset from which it holds."""
        offset = super().set_on_full(pty_id, on_full)
        self._roster.get(pty_id).note_change()
        return offset

    async def nudge(self, pty_id: PtyId) -> None:
        """Have the program draw itself again: another size for a moment; nobody is told.

        Raises:
            UnknownPtyError, InvalidStateError: as `resize`.
        """
        pty = self._live(pty_id, "only a live one can draw")
        if pty_id in self._nudging:
            return
        self._nudging.add(pty_id)
        try:
            size = pty.record.size
            rows = size.rows - 1 if size.rows > 1 else 2
            await self._link.resize(pty.slot, WindowSize(size.cols, rows))
            await asyncio.sleep(_NUDGE_SECONDS)  # a shell looks at the size when it gets to it
            await self._link.resize(pty.slot, pty.record.size)
        finally:
            self._nudging.discard(pty_id)

    # Attachments -----------------------------------------------------------------------------

    async def open_line(
        self,
        pty_id: PtyId,
        attached: LifelineAttachment,
        *,
        types: bool,
        echoes: bool,
        hangs_up: bool,
    ) -> tuple[int, socket.socket]:
        """Return the number and the client's end of a lifeline that stands for an attachment.

        With `hangs_up` its end is the end of the PTY, unless the client takes leave before. With
        `echoes` it carries the answers to keys.

        Raises:
            UnknownPtyError, InvalidStateError, LimitReachedError: as `open_input`.
        """
        pty = self._live(pty_id, "input needs one that runs")
        pty.typed |= types
        number, sock = await self._link.open_lifeline(pty.slot, echoes=echoes)
        if self._keeper_link.has_line(pty.slot, number):  # otherwise the child has ended meanwhile
            pty.attach_line(number, attached, hangs_up=hangs_up)
        return number, sock

    def come_back(self, pty_id: PtyId, number: int | None) -> int | None:
        """Note another reader of the attachment that lives by a lifeline; None: there is none."""
        pty = self._roster.get(pty_id)
        if number is None or number not in pty.attached:
            return None
        pty.attached[number].readers += 1
        pty.expect(wait=pty.output.is_waiting)
        return number

    def go_away(self, pty_id: PtyId, number: int) -> None:
        """Note that a reader lost its connection; while the lifeline is open there is another."""
        attached = self._roster.get(pty_id).attached.get(number) if self.knows(pty_id) else None
        if attached is not None:
            attached.readers -= 1
            self._roster.get(pty_id).expect()

    def detach(self, pty_id: PtyId, number: int | None) -> None:
        """Note that a client took leave."""
        if number is not None and self.knows(pty_id):
            self._roster.get(pty_id).detach_line(number)

    async def spawn_once(
        self, request: CorrelationId | None, options: SpawnOptions, *, owned: bool
    ) -> PtyRecord:
        """Do as `spawn`, unless what this request, by its id, asks for was done already.

        One that is `owned` is hung up unless somebody attaches who hangs it up.
        """

        def prepare(pty: ManagedPty) -> None:
            pty.owner = 0 if owned else None

        self._check_open()
        if request is not None:
            for pty in self._roster:
                if pty.cause == request and pty.has_run:
                    return pty.record
        return await self._spawner.spawn(options, cause_of(request), prepare)

    def note_owner_notified(self, pty_id: PtyId, number: int) -> None:
        """Note that a client has the lifeline whose end hangs the PTY up."""
        if self.knows(pty_id) and (pty := self._roster.get(pty_id)).owner == number:
            pty.is_owner_notified = True
            pty.note_change()

    def disown(self, pty_id: PtyId) -> None:
        """Hang a PTY up if nobody has attached who would."""
        if self.knows(pty_id) and self._roster.get(pty_id).owner == 0:
            self._on_orphaned(self._roster.get(pty_id))

    def remove_when_gone(self, pty_id: PtyId, until: asyncio.Task[None] | None = None) -> None:
        """Forget a PTY once it has ended, and this task too."""
        pty = self._roster.get(pty_id)
        pty.is_removed_at_end = True
        pty.note_change()
        self._in_background(self._remove_at_end(pty_id, until))

    async def _remove_at_end(self, pty_id: PtyId, until: asyncio.Task[None] | None = None) -> None:
        with contextlib.suppress(PtymuxError):  # somebody removed it before
            await self.wait_gone(pty_id)
            if until is not None:
                await asyncio.wait([until])
            self.remove(pty_id)

    async def _remove_later(self, pty_id: PtyId) -> None:
        """Forget a PTY once it has ended and its clients had the time to come back for its end."""
        await asyncio.sleep(_RETURN_SECONDS)
        await self._remove_at_end(pty_id)

    async def hang_up(self, pty_id: PtyId) -> None:
        """End a PTY as a terminal that goes away would, then more firmly; return once it is gone.

        HUP and CONT to its session, a moment to act upon that, then as `terminate`. It
        waits for no consumer any more.

        Raises:
            UnknownPtyError: there is none with this id.
        """
        pty = self._roster.get(pty_id)
        if pty.is_live and pty.has_run:
            cause = CorrelationId(new_id("req"))
            await hang_up(self._link, pty, cause, self._timing.hangup_seconds)
            await self.terminate(pty_id)

    def _on_orphaned(self, pty: ManagedPty) -> None:
        if self._closing is None:
            self._in_background(self._hang_up(pty.pty_id))

    async def _hang_up(self, pty_id: PtyId) -> None:
        with contextlib.suppress(PtymuxError):
            await self.hang_up(pty_id)

    def _in_background(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # Succession ------------------------------------------------------------------------------

    def restore(self, restored: Sequence[RestoredPty], greeting: Greeting) -> int:
        """Go on with the PTYs that were there before this manager; return how many live.

        Called once, before anything else.
        """
        self._spawner.reserve(greeting.next_slot)
        unsettled = self._log.unsettled()
        # In the order in which they ended, in which they age out.
        for each in sorted(restored, key=lambda each: float(each.record["updated_at"])):
            try:
                self._restore_pty(each, [e for e in unsettled if e.pty_id == each.record["pty_id"]])
            except (LookupError, TypeError, ValueError, PtymuxError):
                _log.exception("PTY %s cannot be taken over", each.slot)
        self._bus.settle()
        return self.live_count

    def _restore_pty(self, restored: RestoredPty, told: Sequence[EventEnvelope]) -> None:
        memory = restored.record
        record, options, cause = from_memory(memory)
        assert record.number == restored.slot
        pty = self._spawner.register(record, options, cause)
        recall(pty, memory, restored.lines)
        pty.resume(restored.ring, exited=memory["exited"], gone=memory["gone"])
        if pty.is_removed_at_end:
            self._in_background(self._remove_later(pty.pty_id))
        for event in told:
            replay(pty, event)
        self._complete_spawn(pty)
        if pty.gone.is_set():
            return
        pty.expect(wait=True)
        asyncio.get_running_loop().call_later(_RETURN_SECONDS, self._stop_waiting, pty)
        pty.flow.refresh()
        if pty.terminating:
            grace = pty.options.grace_seconds
            self._terminations.begin(pty, grace, pty.end_cause or pty.cause)
        elif pty.owner and pty.owner not in restored.lines and not restored.is_exiting:
            if pty.is_owner_notified:
                self._on_orphaned(pty)
            else:  # the lifeline died with the reply that had it; its client asks again
                pty.owner = 0

    def _complete_spawn(self, pty: ManagedPty) -> None:
        """Bring a spawn to its end that a predecessor had begun."""
        if pty.state is State.IDLE:
            pty.step(LifecycleEvent.SPAWN)
        if pty.state is not State.SPAWNING:
            return
        if pty.has_run:
            pty.step(LifecycleEvent.SPAWNED)
            pid = pty.record.pid
            pty.publish(Topic.SPAWNED, {"pid": pid, "spawn_ms": None})
        else:
            pty.step(
                LifecycleEvent.SPAWN_FAILED, reason="the server was killed while it was started"
            )
            pty.publish_error("the server was killed while it was started", code="link-closed")
            pty.publish_end()

    def publish_reconciled(self, found: int, reattached: int, terminated: int) -> None:
        """Publish what became of PTYs that were there before this server."""
        payload = {"found": found, "reattached": reattached, "terminated": terminated}
        self._bus.publish(Topic.RECONCILED, id=new_id("evt"), at=time.time(), payload=payload)
        self._bus.settle()

    def _stop_waiting(self, pty: ManagedPty) -> None:
        """Judge what was lost without those who did not come back; hang up what nobody took."""
        pty.expect()
        if pty.owner == 0 and pty.is_live:
            self._on_orphaned(pty)

    def _on_keeper_replaced(self, greeting: Greeting) -> None:
        """Another keeper has taken over: it may not have been told what is to be told."""
        _log.warning("the keeper is gone; another has taken over, as process %d", greeting.pid)
        for pty in self._roster:
            if not pty.gone.is_set():
                pty.refresh()
        self.on_keeper_replaced(greeting)

    def _remember(self, pty: ManagedPty) -> None:
        if not pty.is_removed:
            self._keeper_link.remember(pty.slot, as_memory(pty))
            self._bus.settle()

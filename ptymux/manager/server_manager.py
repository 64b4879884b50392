"""`ServerManager`: the manager in a server, with attachments and restoring after a replacement."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from typing import Any

from ptymux.core.circles import Shows
from ptymux.core.event_log import EventEnvelope, EventLog, Topic
from ptymux.core.launch import launch_of, with_present
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
from ptymux.core.windows import Windows
from ptymux.errors import PtymuxError, ServerStoppingError
from ptymux.handover.snapshot import Greeting, RestoredPty
from ptymux.link.server_link import ServerLink
from ptymux.manager.attachments import LifelineAttachment, NoOwner, OwnedBy, OwnerExpected
from ptymux.manager.description import describe
from ptymux.manager.managed_pty import ManagedPty
from ptymux.manager.manager import PtyManager
from ptymux.manager.persistence import (
    apply_published,
    pty_as_json,
    registration_from_json,
    restore_modes,
    restore_state,
)
from ptymux.manager.publisher import cause_of, new_id
from ptymux.manager.signalling import hang_up
from ptymux.posix.procfs import read_stat

__all__ = ["ServerManager"]

_log = logging.getLogger("ptymux")


class ServerManager(PtyManager):
    """A manager whose PTYs outlive it: a keeper has them, and a record of each.

    After each change of a PTY its record is written to the keeper. A replacement of this manager
    calls `restore`.
    """

    def __init__(
        self,
        link: ServerLink,
        socket_path: str,
        limits: Limits | None = None,
        event_log: EventLog | None = None,
        windows: Windows | None = None,
    ) -> None:
        super().__init__(link=link, limits=limits, log=event_log, windows=windows)
        self._keeper_link = link
        self._spawner.socket_path = socket_path
        self._spawner.host.on_change = self._persist
        self._spawner.host.on_orphaned = self._on_orphaned
        self._spawner.host.on_size = self._on_size
        self._spawner.host.answer = self._answer
        self._background: set[asyncio.Task[object]] = set()
        self._nudging: set[PtyId] = set()
        self.shows = Shows()
        link.on_keeper_replaced = self._on_keeper_replaced
        self.on_keeper_replaced: Callable[[Greeting], None] = lambda _greeting: None

    def _check_open(self) -> None:
        if self._closing is not None:
            raise ServerStoppingError

    @property
    def epoch(self) -> str:
        """The random id of the event log, which its seqs belong to."""
        return self._bus.epoch

    @property
    def last_seq(self) -> int:
        """The seq of the newest event."""
        return self._bus.last_seq

    @property
    def live_count(self) -> int:
        """The number of PTYs that have not ended."""
        return self._roster.registry.live_count

    def knows(self, pty_id: PtyId) -> bool:
        """Return whether there is such a PTY."""
        return pty_id in self._roster.registry

    def is_gone(self, pty_id: PtyId) -> bool:
        """Return whether a PTY has ended and its terminal is closed."""
        return self._roster.get(pty_id).is_gone

    def is_unseen_failure(self, pty_id: PtyId) -> bool:
        """Return whether a PTY ended badly, and nobody has looked at it since."""
        return self._roster.get(pty_id).is_unseen_failure

    def note_looked_at(self, pty_id: PtyId) -> None:
        """Note that somebody looks at a PTY; one that was removed meanwhile is nobody's news."""
        if self.knows(pty_id):
            self._roster.get(pty_id).note_looked_at()

    def check_ended(self, pty_id: PtyId) -> None:
        """Check that a PTY's child has ended, so that it can be removed once it is gone.

        Raises:
            UnknownPtyError, InvalidStateError: as `remove`.
        """
        pty = self._roster.get(pty_id)
        if pty.is_live:
            raise pty.refusal("end it first, with `ptymux kill`")

    def find(
        self, reference: str, *, past_names: bool = False, prefixes: bool = False
    ) -> PtyRecord:
        """Return the PTY that an id, a number or a name means, as `Registry.find` does.

        Raises:
            UnknownPtyError, AmbiguousPtyError: nothing fits, or too much.
        """
        return self._roster.registry.find(reference, past_names=past_names, prefixes=prefixes)

    def describe(self, pty_id: PtyId, *, full: bool = False) -> dict[str, Any]:
        """Return a PTY as JSON values; `full` adds its history and its signals."""
        return describe(self._roster.get(pty_id), full=full)

    def describer(self, pty_id: PtyId) -> Callable[[], dict[str, Any]]:
        """Return a function that does as `describe` for this PTY, also once it was removed."""
        pty = self._roster.get(pty_id)
        return lambda: describe(pty)

    def launch(self, pty_id: PtyId) -> dict[str, Any]:
        """Return how a PTY was started, with its environment, to start the same again.

        Raises:
            UnknownPtyError: there is none with this id.
            PtymuxError: that is not kept: it was too long, or an older server started it.
        """
        pty = self._roster.get(pty_id)
        if pty.launch is None:
            raise PtymuxError(
                f"how PTY {pty.record.called} was started is not kept: its command and environment "
                "are too long, or an older server started it; use `ptymux run`"
            )
        on_full = pty.output.on_full if pty.has_run else pty.options.on_full
        record = pty.record
        launch = with_present(
            pty.launch, pty.options, name=record.name, size=record.size, on_full=on_full
        )
        return launch | {"ttl": 0.0 if pty.is_removed_at_end else launch["ttl"]}

    def modes(self, pty_id: PtyId) -> tuple[int, str]:
        """Return how long a PTY's output is, and what switches on the terminal modes as of there.

        A flood may be longer by now; a reader that begins at that offset has missed nothing.
        """
        pty = self._roster.get(pty_id)
        pty.refresh()
        offset, redo = pty.flow.modes_now()
        return offset, redo.decode("latin-1")

    def ender(self, pty_id: PtyId) -> Callable[[], dict[str, Any]]:
        """Return a function that tells what of a PTY's processes was not ended with it."""
        pty = self._roster.get(pty_id)
        return lambda: {
            "pty_id": pty.pty_id,
            "number": pty.record.number,
            "left": [{"pid": pid, "error": error} for pid, error in pty.end.left.items()],
            "escaped": list(pty.end.escaped),
        }

    def unended(self) -> list[dict[str, Any]]:
        """Return the processes that outlived their PTY, although it was to end, and still live."""
        found = []
        for record in self.list():
            for pid, error in self._roster.get(record.pty_id).end.left.items():
                if (stat := read_stat(pid)) is not None and stat.sid == record.pid:
                    found.append({"pid": pid, "number": record.number, "error": error})
        return found

    async def is_canonical(self, pty_id: PtyId) -> bool:
        """Return whether a live PTY's terminal collects lines, and cuts those above 4,095 bytes."""
        return await self._link.is_canonical(self._live(pty_id, "input needs one that runs").slot)

    def rename(self, pty_id: PtyId, name: str) -> PtyRecord:
        """Give a PTY another name.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidValueError: it cannot be a name.
            NameTakenError: another live one has it.
            InvalidStateError: it has ended; an ended one has no name to give.
        """
        pty = self._live(pty_id, "only a live one has a name")
        pty.rename(check_name(name))
        return pty.record

    def set_on_full(self, pty_id: PtyId, on_full: OnFull) -> int:
        """Change what happens when the ring is full; return the offset from which it holds."""
        offset = super().set_on_full(pty_id, on_full)
        self._roster.get(pty_id).note_change()
        return offset

    async def nudge(self, pty_id: PtyId) -> None:
        """Have the program draw itself again, by another size for a moment that no event reports.

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
            await asyncio.sleep(self.windows.nudge)  # a shell looks at the size when it gets to it
            await self._link.resize(pty.slot, pty.record.size)
        finally:
            self._nudging.discard(pty_id)

    async def show(self, pty_id: PtyId, size: WindowSize, line: int | None = None) -> None:
        """Give a PTY the size of the terminal that shows it; if it has it, have it drawn again.

        `line` is the lifeline of that terminal's attachment.

        Raises:
            UnknownPtyError, InvalidStateError: as `resize`.
        """
        self.note_size(pty_id, line, size)
        if self.get(pty_id).size == size:
            await self.nudge(pty_id)
        else:
            await self.resize(pty_id, size)

    def note_size(self, pty_id: PtyId, line: int | None, size: WindowSize | None = None) -> None:
        """Note that a PTY has the size of the terminal of an attachment; by default its own."""
        pty = self._roster.get(pty_id)
        if line is not None:
            pty.attachments.note_size(line, size or pty.record.size)

    def _on_size(self, pty: ManagedPty, size: WindowSize) -> None:
        if pty.is_live and self._closing is None:
            self._in_background(self._give_size(pty.pty_id, size))

    def _answer(self, pty: ManagedPty, answer: bytes) -> None:
        if self._closing is None:
            self._in_background(self._type(pty, answer))

    async def _type(self, pty: ManagedPty, answer: bytes) -> None:
        with contextlib.suppress(PtymuxError, OSError):  # it has ended
            _line, sock = await self._link.open_lifeline(pty.slot)
            with sock:
                sock.setblocking(False)
                sock.send(answer)

    async def _give_size(self, pty_id: PtyId, size: WindowSize) -> None:
        with contextlib.suppress(PtymuxError):  # it has ended
            await self.resize(pty_id, size)

    # Attachments -----------------------------------------------------------------------------

    async def open_line(
        self,
        pty_id: PtyId,
        attachment: LifelineAttachment,
        *,
        types: bool,
        echoes: bool,
        hangs_up: bool,
    ) -> tuple[int, socket.socket]:
        """Return the number and the client's end of a new lifeline, on which an attachment lives.

        With `hangs_up` its end is the end of the PTY, unless the client detaches before. With
        `echoes` it carries the answers to keys.

        Raises:
            UnknownPtyError, InvalidStateError, LimitReachedError: as `open_input`.
        """
        pty = self._live(pty_id, "input needs one that runs")
        pty.end.is_typed_into |= types
        pty.attachments.check_room(attachment)
        kept = pty.attachments.kinds
        line, sock = await self._link.open_lifeline(pty.slot, echoes=echoes, kept=kept)
        if self._keeper_link.has_line(pty.slot, line):  # otherwise the child has ended meanwhile
            pty.attachments.add(line, attachment, hangs_up=hangs_up)
        return line, sock

    def come_back(self, pty_id: PtyId, line: int | None) -> int | None:
        """Add a reader to the attachment of a lifeline; return the lifeline if there is one."""
        return self._roster.get(pty_id).attachments.come_back(line)

    def sent_away(self, pty_id: PtyId, line: int | None) -> asyncio.Event:
        """Return what is set once somebody wants the client with this lifeline to detach."""
        return self._roster.get(pty_id).attachments.sent_away(line)

    def send_away(self, pty_id: PtyId, but: int | None = None, by: int | None = None) -> int:
        """Have the terminals of a PTY detach, but for one; return how many they are.

        `by` is the pid of who wants that.
        """
        return self._roster.get(pty_id).attachments.send_away(but, by)

    def go_away(self, pty_id: PtyId, line: int) -> None:
        """Note that a reader lost its connection; its client may come back."""
        if self.knows(pty_id):
            self._roster.get(pty_id).attachments.go_away(line)

    def detach(self, pty_id: PtyId, line: int | None) -> None:
        """Note that a client detached."""
        if line is not None and self.knows(pty_id):
            self._roster.get(pty_id).attachments.detach(line)

    async def spawn_once(
        self,
        request: CorrelationId | None,
        options: SpawnOptions,
        *,
        owned: bool,
        watched: bool = False,
        replaces: bool = False,
        removes: bool = False,
        held: ExitStack | None = None,
    ) -> PtyRecord:
        """Do as `spawn`; or return the PTY that a request with this id had spawned already.

        One that the request could not start is replaced by the one that it starts now. An `owned`
        one is hung up unless its client attaches and becomes its owner. The client of a `watched`
        one waits for it, so that a start that fails is no news to anybody. With `replaces` the
        live PTY that has its name is ended first. One that `removes` is forgotten once it has
        ended if the spawn fails or is cancelled, or the next server learns of it; else its caller
        calls `remove_when_gone`. `held` as in `Spawner.spawn`.
        """
        begun: list[PtyId] = []

        def prepare(pty: ManagedPty) -> None:
            pty.attachments.owner = OwnerExpected() if owned else NoOwner()
            pty.is_end_seen = watched
            pty.is_removed_at_end = removes
            begun.append(pty.pty_id)
            self._in_background(self._keep_launch(pty, pty.options))

        self._check_open()
        for pty in [each for each in self._roster if each.cause == request]:
            await pty.milestones.settled.wait()
            if pty.has_run:
                return pty.record
            if pty.is_gone and not pty.is_removed:
                self.remove(pty.pty_id)
        cause = cause_of(request)
        if replaces and options.name is not None:
            await self._free_name(options.name, cause)
        try:
            return await self._spawner.spawn(options, cause, prepare, held)
        except BaseException:  # it may be cancelled
            if removes and begun and self.knows(begun[0]):
                self.remove_when_gone(begun[0])
            raise

    async def _keep_launch(self, pty: ManagedPty, options: SpawnOptions) -> None:
        """Keep how a PTY is started; the request to start it goes first, as a caller waits."""
        await asyncio.sleep(0)
        launch = launch_of(options)
        if launch is not None and self.knows(pty.pty_id):
            pty.launch = launch
            self._keeper_link.keep_launch(pty.slot, launch)

    async def _free_name(self, name: str, cause: CorrelationId) -> None:
        """End who has a name, and who has taken it meanwhile; it is free until we wait again."""
        holder_of = self._roster.registry.holder
        while (holder := holder_of(name)) is not None and not self.is_gone(holder.pty_id):
            await self.terminate(holder.pty_id, correlation_id=cause)

    def note_owner_notified(self, pty_id: PtyId, line: int) -> None:
        """Note that a client has its end of a lifeline; this matters if the PTY is owned by it."""
        if self.knows(pty_id):
            self._roster.get(pty_id).attachments.note_owner_notified(line)

    def hang_up_unowned(self, pty_id: PtyId) -> None:
        """Hang a PTY up if its owner was expected and cannot attach any more."""
        if self.knows(pty_id) and self._is_owner_expected(pty := self._roster.get(pty_id)):
            self._on_orphaned(pty)

    def _is_owner_expected(self, pty: ManagedPty) -> bool:
        return isinstance(pty.attachments.owner, OwnerExpected)

    def remove_when_gone(self, pty_id: PtyId, until: asyncio.Task[None] | None = None) -> None:
        """Forget a PTY once it has ended and the task `until` is done."""
        pty = self._roster.get(pty_id)
        pty.is_removed_at_end = True
        pty.note_change()
        self._in_background(self._remove_at_end(pty_id, until))

    def keep_for(self, pty_id: PtyId, client: asyncio.Task[None]) -> None:
        """Keep a PTY, whatever its time to live, until the task of a client is done."""
        pty = self._roster.get(pty_id)
        pty.is_watched = True

        def let_go(_task: asyncio.Task[None]) -> None:
            pty.is_watched = False
            self._lifetimes.look_soon()

        client.add_done_callback(let_go)

    async def _remove_at_end(self, pty_id: PtyId, until: asyncio.Task[None] | None = None) -> None:
        with contextlib.suppress(PtymuxError):  # somebody removed it before
            await self.wait_gone(pty_id)
            if until is not None:
                await asyncio.wait([until])
            self.remove(pty_id)

    async def _remove_later(self, pty_id: PtyId) -> None:
        """Forget a PTY once it has ended and its clients had the time to read how."""
        await asyncio.sleep(self.windows.clients_return)
        await self._remove_at_end(pty_id)

    async def hang_up(self, pty_id: PtyId) -> None:
        """End a PTY as if its terminal window was closed; return once it is gone.

        Its session gets HUP and CONT and a moment to act upon that. Then as `terminate`, which
        waits for no consumer.

        Raises:
            UnknownPtyError: there is none with this id.
        """
        pty = self._roster.get(pty_id)
        if pty.is_live and pty.has_run:
            cause = CorrelationId(new_id("req"))
            await hang_up(self._link, pty, cause, self.windows.hangup)
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

    # A replacement ---------------------------------------------------------------------------

    def restore(self, restored: Sequence[RestoredPty], greeting: Greeting) -> int:
        """Go on with the PTYs of the server before this one; return how many live.

        Called once, before anything else.
        """
        self._spawner.reserve(greeting.next_slot)
        self._lifetimes.keep_all(self.windows.clients_return)
        replayed = self._log.after_checkpoint()
        # In the order in which they ended, in which they age out.
        for each in sorted(restored, key=lambda each: float(each.record["updated_at"])):
            try:
                self._restore_pty(each, [e for e in replayed if e.pty_id == each.record["pty_id"]])
            except (LookupError, TypeError, ValueError, PtymuxError):
                _log.exception("PTY %s cannot be taken over", each.slot)
        self._bus.set_checkpoint()
        return self.live_count

    def _restore_pty(self, restored: RestoredPty, replayed: Sequence[EventEnvelope]) -> None:
        values = restored.record
        record, options, cause = registration_from_json(values)
        assert record.number == restored.slot
        pty = self._spawner.register(record, options, cause, restored=True)
        restore_state(pty, values, restored.lines)
        pty.launch = restored.launch
        pty.resume(restored.ring, exited=values["exited"], gone=values["gone"])
        restore_modes(pty, values)
        if pty.is_removed_at_end:
            self._in_background(self._remove_later(pty.pty_id))
        for event in replayed:
            apply_published(pty, event)
        self._complete_spawn(pty)
        if pty.is_gone:
            return
        pty.attachments.end_lost(restored.lines)
        if pty.has_run:
            pty.lifetime.begin(self._spawner.host.clock())  # if it came while there was no server
            self._lifetimes.note_begun(pty)
        seconds = self.windows.clients_return
        pty.attachments.expect_readers(until=time.monotonic() + seconds)
        asyncio.get_running_loop().call_later(seconds, self._hang_up_if_unowned, pty)
        pty.flow.refresh()
        if pty.end.is_terminating:
            grace = pty.options.grace_seconds
            self._terminations.begin(pty, grace, pty.end.cause or pty.cause)
        elif not restored.is_exiting:
            self._restore_owner(pty, restored.lines)

    def _restore_owner(self, pty: ManagedPty, open_lines: Sequence[int]) -> None:
        """Hang a PTY up whose owner left while there was no server."""
        owner = pty.attachments.owner
        if not isinstance(owner, OwnedBy) or owner.line in open_lines:
            return
        if owner.is_notified:
            self._on_orphaned(pty)
        else:  # the lifeline died with the reply that had it; its client asks again
            pty.attachments.owner = OwnerExpected()

    def _complete_spawn(self, pty: ManagedPty) -> None:
        """Finish a spawn that was under way when the server before this one died."""
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
        """Publish how many PTYs were there before this server, and what became of them."""
        payload = {"found": found, "reattached": reattached, "terminated": terminated}
        self._bus.publish(Topic.RECONCILED, id=new_id("evt"), at=time.time(), payload=payload)
        self._bus.set_checkpoint()

    def _hang_up_if_unowned(self, pty: ManagedPty) -> None:
        """Hang a PTY up whose owner was a client of the server before and did not come."""
        if self._is_owner_expected(pty) and pty.is_live:
            self._on_orphaned(pty)

    def _on_keeper_replaced(self, greeting: Greeting) -> None:
        """Look at all output: the keeper before may have died before it reported some."""
        _log.warning("the keeper is gone; another has taken over, as process %d", greeting.pid)
        for pty in self._roster:
            if not pty.is_gone:
                pty.refresh()
        self.on_keeper_replaced(greeting)

    def _persist(self, pty: ManagedPty) -> None:
        if not pty.is_removed:
            self._keeper_link.persist(pty.slot, pty_as_json(pty))
            self._bus.set_checkpoint()

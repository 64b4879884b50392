"""`PtyManager`, the public asyncio API: everything that can be asked of PTYs."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Final

from ptymux.core.escalation import SignalEnvelope, check_grace
from ptymux.core.events import KEPT, Bus, Envelope, EventLog, Topic
from ptymux.core.lifecycle import Event, State, Transition
from ptymux.core.model import (
    CorrelationId,
    LaneId,
    Limits,
    OnFull,
    PtyId,
    PtyRecord,
    SessionId,
    SpawnOptions,
    TerminalId,
    WindowSize,
    child_environment,
)
from ptymux.core.output import BufferStats, ReaderKind
from ptymux.core.registry import Registry
from ptymux.core.ring import Part, ring_size
from ptymux.errors import (
    InvalidStateError,
    LinkClosedError,
    OutOfResourcesError,
    PtymuxError,
    UnknownPtyError,
)
from ptymux.keeper.link import InProcessLink, Link
from ptymux.keeper.reports import LifelineEnded, Report
from ptymux.manager.announcer import Announcer, new_id
from ptymux.manager.input import type_in
from ptymux.manager.pty import ManagedPty
from ptymux.manager.reader import OutputReader
from ptymux.manager.signalling import deliver
from ptymux.manager.stream import EventStream
from ptymux.manager.termination import SessionScanner, Termination
from ptymux.posix.memory import available_memory

__all__ = ["PtyManager"]

_log = logging.getLogger("ptymux")

_MEMORY_WARN: Final = 0.50  # of what the machine has, when every ring is full
_MEMORY_REFUSE: Final = 0.90


class PtyManager:
    """PTYs, their output and their events; made and used within one running event loop.

    Ended PTYs stay, with their output and final statistics, until they are removed or aged out.
    `close` ends everything; `async with` does it at the end of the block.
    """

    def __init__(self, *, limits: Limits | None = None, link: Link | None = None) -> None:
        self.limits = limits or Limits()
        self._link = link or InProcessLink()
        self._registry = Registry(self.limits.ptys)
        epoch = os.urandom(8).hex()
        self._log = EventLog(self.limits.event_log, epoch=epoch)
        self._bus = Bus(epoch, self._log, self.limits)
        self._announcer = Announcer(self._bus)
        self._scanner = SessionScanner()
        self._ptys: dict[PtyId, ManagedPty] = {}
        self._slots: dict[int, ManagedPty] = {}
        self._ended: dict[PtyId, None] = {}  # oldest end first
        self._terminations: dict[PtyId, Termination] = {}
        self._next_number = 1
        self._is_open = True
        self._link.start(self._on_report)

    async def __aenter__(self) -> PtyManager:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    # Spawning --------------------------------------------------------------------------------

    async def spawn(
        self, options: SpawnOptions, *, correlation_id: CorrelationId | None = None
    ) -> PtyRecord:
        """Start a command in a PTY of its own and return its record once the child runs.

        Raises:
            SpawnError, OutOfResourcesError: it could not be started; the PTY is known as
                `errored`, with the reason, and nothing else is left of it.
            LimitReachedError: too many live PTYs, or their rings could exhaust the memory;
                nothing was changed.
            LinkClosedError: the manager is closed.
        """
        self._check_open()
        self._check_memory(options)
        cause = correlation_id or CorrelationId(new_id("req"))
        pty = self._register(options, cause)
        pty.step(Event.SPAWN)
        env = child_environment(options, os.environ, pty_id=pty.pty_id, socket=None)
        started = time.perf_counter()
        try:
            spawned = await self._link.spawn(pty.slot, options, env)
        except PtymuxError as error:
            pty.fail(str(error), error.code)
            raise
        except asyncio.CancelledError:
            pty.cancel()
            raise
        spawn_ms = 1000 * (time.perf_counter() - started)
        pty.begin(spawned.pid, spawned.ring, spawn_ms)
        return pty.record

    def _register(self, options: SpawnOptions, cause: CorrelationId) -> ManagedPty:
        now = time.time()
        record = PtyRecord(
            pty_id=PtyId(new_id("pty")),
            number=self._next_number,
            name=options.name,
            lane_id=options.lane,
            session_id=options.session or SessionId(new_id("ses")),
            terminal_id=options.terminal or TerminalId(new_id("ter")),
            command=options.argv,
            cwd=options.cwd or os.readlink("/proc/self/cwd"),  # also of one that was removed
            size=options.size,
            state=State.IDLE.value,
            created_at=now,
            updated_at=now,
            env_names=tuple(sorted(os.environ if options.env is None else options.env)),
        )
        self._registry.register(record)
        self._next_number += 1
        pty = ManagedPty(
            record,
            options,
            cause,
            registry=self._registry,
            link=self._link,
            announcer=self._announcer,
            on_gone=self._on_gone,
        )
        self._ptys[pty.pty_id] = self._slots[pty.slot] = pty
        return pty

    def _check_memory(self, options: SpawnOptions) -> None:
        rings = [ring_size(p.options.buffer_size) - p.ring.total for p in self._ptys.values()]
        needed = sum(max(0, size) for size in rings) + ring_size(options.buffer_size)
        available = available_memory()
        if needed > _MEMORY_REFUSE * available:
            raise OutOfResourcesError(
                "memory",
                f"rings could grow by {needed} bytes and {available} are available; "
                "use a smaller --buffer-size or end some PTYs",
            )
        if needed > _MEMORY_WARN * available:
            _log.warning("rings could grow by %d of the %d bytes available", needed, available)

    # Looking ---------------------------------------------------------------------------------

    def get(self, pty_id: PtyId) -> PtyRecord:
        """Return what is known of a PTY.

        Raises:
            UnknownPtyError: there is none with this id.
        """
        return self._registry.get(pty_id)

    def find(self, reference: str) -> PtyRecord:
        """Return the PTY that an id, a number or a name means.

        Raises:
            UnknownPtyError: nothing fits.
        """
        return self._registry.find(reference)

    def get_by_lane(self, lane_id: LaneId) -> tuple[PtyRecord, ...]:
        """Return the PTYs of a lane, oldest first."""
        return self._registry.by_lane(lane_id)

    def get_by_session(self, session_id: SessionId) -> tuple[PtyRecord, ...]:
        """Return the PTYs of a session, oldest first."""
        return self._registry.by_session(session_id)

    def list(self) -> tuple[PtyRecord, ...]:
        """Return all PTYs, live and ended, oldest first."""
        return tuple(self._registry)

    def get_buffer_stats(self, pty_id: PtyId) -> BufferStats:
        """Return the numbers of a PTY's buffer, live or final.

        Raises:
            UnknownPtyError: there is none with this id.
        """
        pty = self._get(pty_id)
        if not pty.gone.is_set():
            pty.refresh()
        return pty.output.stats()

    def history(self, pty_id: PtyId) -> tuple[Transition, ...]:
        """Return a PTY's recent transitions, oldest first."""
        return self._get(pty_id).lifecycle.history

    def signals(self, pty_id: PtyId) -> tuple[SignalEnvelope, ...]:
        """Return a PTY's recent signal deliveries, oldest first."""
        return tuple(self._get(pty_id).envelopes)

    # Output ----------------------------------------------------------------------------------

    def reader(
        self, pty_id: PtyId, kind: ReaderKind = ReaderKind.CONSUMER, *, offset: int | None = None
    ) -> OutputReader:
        """Attach a reader at `offset`, or at the oldest byte held; its owner closes it.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidValueError: the offset lies beyond what was written.
            LimitReachedError: the PTY has as many readers as it may.
        """
        return OutputReader.attach(self._get(pty_id), kind, offset)

    def read(self, pty_id: PtyId, max_bytes: int | None = None) -> Part:
        """Return the oldest retained output, all of it by default, as one that only looks."""
        pty = self._get(pty_id)
        with self.reader(pty_id, ReaderKind.OBSERVER) as reader:
            return reader.read(pty.ring.capacity if max_bytes is None else max_bytes)

    def consume(self, pty_id: PtyId, max_bytes: int | None = None) -> Part:
        """Return the oldest output that nobody was handed yet, and count it as handed.

        Raises:
            UnknownPtyError: there is none with this id.
        """
        pty = self._get(pty_id)
        start = pty.output.account.first_unread
        with self.reader(pty_id, ReaderKind.ONE_SHOT, offset=start) as reader:
            return reader.consume(pty.ring.capacity if max_bytes is None else max_bytes)

    def clear(self, pty_id: PtyId) -> None:
        """Throw away a PTY's retained output; what nobody had read counts as dropped."""
        pty = self._get(pty_id)
        pty.change(pty.output.clear)

    def set_on_full(self, pty_id: PtyId, on_full: OnFull) -> int:
        """Change what happens when the ring is full; return the offset from which it holds.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidValueError: `block` is asked of a ring without capacity.
        """
        pty = self._get(pty_id)
        offset = pty.output.set_on_full(on_full)
        self._link.credit_raised(pty.slot)
        return offset

    # Input and control -----------------------------------------------------------------------

    async def write_input(self, pty_id: PtyId, data: bytes) -> int:
        """Return once the PTY took all of `data`; the number of its bytes.

        Calls for one PTY are served in the order they were made.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidStateError: its child does not run.
            LineTooLongError: the terminal collects lines and would cut one of these.
            InputCutError: the PTY ended first; `taken` says how much it took.
        """
        pty = self._live(pty_id, "input needs one that runs")
        if not data:
            return 0
        async with pty.input_lock:
            self._live(pty_id, "input needs one that runs")
            pty.typed = True
            return await type_in(self._link, pty, data)

    async def open_input(self, pty_id: PtyId) -> socket.socket:
        """Return a stream socket whose bytes are typed into the PTY; its owner closes it.

        It pushes back while the PTY takes nothing. Whichever side ends it (`shutdown` tells that
        no more is coming), the last thing to read from it is how many bytes the PTY took, as 8
        bytes, little-endian.

        Raises:
            UnknownPtyError, InvalidStateError: as `write_input`.
            LimitReachedError: as many are open as may be.
        """
        pty = self._live(pty_id, "input needs one that runs")
        pty.typed = True
        return (await self._link.open_lifeline(pty.slot))[1]

    async def resize(
        self, pty_id: PtyId, size: WindowSize, *, correlation_id: CorrelationId | None = None
    ) -> PtyRecord:
        """Set a terminal's size; the kernel sends WINCH to its foreground group.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidStateError: it has ended.
        """
        pty = self._live(pty_id, "only a live one has a size to change")
        if correlation_id is not None:
            pty.cause = correlation_id
        old = pty.record.size
        await self._link.resize(pty.slot, size)
        record = pty.update(size=size)
        pty.tell(
            Topic.RESIZED,
            {
                "old": {"cols": old.cols, "rows": old.rows},
                "new": {"cols": size.cols, "rows": size.rows},
            },
        )
        return record

    async def signal(
        self,
        pty_id: PtyId,
        signum: int | str,
        *,
        session: bool = False,
        correlation_id: CorrelationId | None = None,
    ) -> tuple[SignalEnvelope, ...]:
        """Send a signal and return what became of each delivery.

        INT, QUIT and TSTP go to the terminal's foreground group, others to the processes of the
        leader's group; with `session` to every process of the session.

        Raises:
            UnknownPtyError: there is none with this id.
            UnknownSignalError: there is no such signal.
        """
        pty = self._get(pty_id)
        if correlation_id is not None:
            pty.cause = correlation_id
        return await deliver(self._link, pty, signum, session=session)

    async def terminate(
        self,
        pty_id: PtyId,
        *,
        grace_seconds: float | None = None,
        correlation_id: CorrelationId | None = None,
    ) -> PtyRecord:
        """End a PTY with all processes of its session; return once it is gone.

        TERM at once, KILL after the grace; the default is the PTY's own. On an ended PTY it does
        nothing; a second call may shorten the grace of the first.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidValueError: the grace is negative or no finite number.
        """
        pty = self._get(pty_id)
        grace = pty.options.grace_seconds if grace_seconds is None else check_grace(grace_seconds)
        if pty.gone.is_set():
            return pty.record
        termination = self._terminations.get(pty_id)
        if termination is None:
            if correlation_id is not None:
                pty.cause = correlation_id
            termination = Termination(pty, self._link, self._scanner, grace)
            self._terminations[pty_id] = termination
        elif grace_seconds is not None:
            termination.shorten(grace)
        await asyncio.shield(termination.task)
        return pty.record

    async def wait_exited(self, pty_id: PtyId) -> PtyRecord:
        """Return the record once the child is gone and its own output is complete."""
        pty = self._get(pty_id)
        await pty.exited.wait()
        return pty.record

    async def wait_gone(self, pty_id: PtyId) -> PtyRecord:
        """Return the record once the terminal is closed and the statistics are final."""
        pty = self._get(pty_id)
        await pty.gone.wait()
        return pty.record

    def remove(self, pty_id: PtyId) -> PtyRecord:
        """Forget an ended PTY with its output.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidStateError: it has not ended.
        """
        pty = self._get(pty_id)
        if not pty.gone.is_set():
            raise InvalidStateError(pty_id, pty.state.value, "end it first, with `ptymux kill`")
        if pty.state is State.ERRORED:
            pty.step(Event.CLEANED_UP)
        self._ended.pop(pty_id, None)
        self._terminations.pop(pty_id, None)
        del self._ptys[pty_id], self._slots[pty.slot]
        return pty.remove()

    # Events ----------------------------------------------------------------------------------

    def subscribe(
        self, topics: Iterable[Topic] | None = None, *, pty_id: PtyId | None = None
    ) -> EventStream:
        """Return a stream of events from now on, of these topics, of this PTY.

        The default is every PTY and every topic but `pty.output`, which has to be asked for.

        Raises:
            LimitReachedError: as many subscribe as may.
        """
        wanted = KEPT if topics is None else topics
        queue = self.limits.subscriber_queue
        stream = EventStream(lambda ready: self._bus.subscribe(wanted, pty_id, queue, ready))
        for pty in self._ptys.values():
            if not pty.gone.is_set():
                pty.refresh()  # somebody may want to know of output now
        return stream

    def events_since(self, seq: int) -> tuple[int, Sequence[Envelope]]:
        """Return how many events after `seq` are gone, and those that are kept."""
        return self._log.since(seq)

    # The end ---------------------------------------------------------------------------------

    async def close(self, *, grace_seconds: float | None = None) -> None:
        """Terminate everything and let go of it; again is no error."""
        if not self._is_open:
            return
        self._is_open = False
        live = [pty.pty_id for pty in self._ptys.values() if not pty.gone.is_set()]
        await asyncio.gather(
            *(self.terminate(pty_id, grace_seconds=grace_seconds) for pty_id in live)
        )
        await self._link.close()
        for pty in self._ptys.values():
            pty.release()

    def _on_report(self, report: Report) -> None:
        pty = self._slots.get(report.slot)
        if pty is None or isinstance(report, LifelineEnded):
            return
        try:
            pty.handle(report)
        except Exception:  # one PTY's trouble is not another's
            _log.exception("PTY %s: while handling %s", pty.pty_id, report)

    def _on_gone(self, pty: ManagedPty) -> None:
        self._ended[pty.pty_id] = None
        kept = sum(self._ptys[pty_id].retained for pty_id in self._ended)
        for pty_id in list(self._ended):
            if len(self._ended) <= self.limits.ended_ptys and kept <= self.limits.ended_bytes:
                return
            if pty_id != pty.pty_id:
                kept -= self._ptys[pty_id].retained
                self.remove(pty_id)

    def _check_open(self) -> None:
        if not self._is_open:
            raise LinkClosedError("this manager is closed; make another")

    def _get(self, pty_id: PtyId) -> ManagedPty:
        if pty_id not in self._ptys:
            raise UnknownPtyError(pty_id)
        return self._ptys[pty_id]

    def _live(self, pty_id: PtyId, wanted: str) -> ManagedPty:
        pty = self._get(pty_id)
        if pty.state not in (State.ACTIVE, State.THROTTLED):
            raise InvalidStateError(pty_id, pty.state.value, wanted)
        return pty

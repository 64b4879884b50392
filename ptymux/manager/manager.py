"""`PtyManager`, the public asyncio API to spawn PTYs and to do everything with them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Final
from weakref import WeakSet

from ptymux.core import given_values as given
from ptymux.core.bus import Bus
from ptymux.core.escalation import SignalEnvelope, check_grace
from ptymux.core.event_log import KEPT, EventEnvelope, EventLog, Topic
from ptymux.core.lifecycle import State, Transition
from ptymux.core.model import (
    CorrelationId,
    LaneId,
    Limits,
    OnFull,
    PtyId,
    PtyRecord,
    SessionId,
    SpawnOptions,
    WindowSize,
)
from ptymux.core.notifications import BufferStats
from ptymux.core.reader import ReaderKind
from ptymux.core.ring import Part
from ptymux.core.time_index import Times
from ptymux.core.windows import Windows
from ptymux.engine.reports import Report
from ptymux.errors import LinkClosedError
from ptymux.link.interface import Link
from ptymux.link.private_link import PrivateLink
from ptymux.manager.event_stream import EventStream
from ptymux.manager.input_writer import type_in
from ptymux.manager.lifetimes import Lifetimes
from ptymux.manager.managed_pty import ManagedPty
from ptymux.manager.output_reader import OutputReader
from ptymux.manager.publisher import Publisher, cause_of
from ptymux.manager.roster import Roster
from ptymux.manager.signalling import deliver
from ptymux.manager.spawner import Spawner
from ptymux.manager.termination import Terminations

__all__ = ["PtyManager"]

_log = logging.getLogger("ptymux")

_CLOSED: Final = "this manager is closed; make another"


class PtyManager:
    """PTYs, their output and their events; made and used within one running event loop.

    The first spawn starts a keeper, a child process of the program, which has all PTYs. When the
    program ends, even by a kill, the keeper ends them. With `link` another process has them.
    Ended PTYs stay, with their output and final statistics, until they are removed or aged out.
    `close` ends everything; `async with` does that at the end of the block. `windows` is for
    tests: how long to wait where only time can tell.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        link: Link | None = None,
        log: EventLog | None = None,
        windows: Windows | None = None,
    ) -> None:
        given.instance_of("limits", limits, Limits | None, "Limits(ptys=50)")
        self.limits = limits or Limits()
        self._link = link or PrivateLink()
        self._roster = Roster(self.limits)
        self._log = log or EventLog(self.limits.event_log, epoch=os.urandom(8).hex())
        self._bus = Bus(self._log.epoch, self._log, self.limits)
        self._publisher = Publisher(self._bus)
        self.windows = windows or Windows.from_environment(os.environ)
        self._terminations = Terminations(self._link, self.windows)
        self._spawner = Spawner(self._roster, self._link, self._publisher, self._terminations)
        self._lifetimes = Lifetimes(self._roster, self._terminations, self._spawner.host)
        self._spawner.host.on_begun = self._lifetimes.note_begun
        self._spawner.host.on_gone = self._on_gone
        self._streams: WeakSet[EventStream] = WeakSet()
        self._closing: asyncio.Task[None] | None = None
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
            NameTakenError: another live PTY has its name; nothing was changed.
            LimitReachedError: too many live PTYs, or their rings could exhaust the memory;
                nothing was changed.
            InvalidValueError: `options` are no SpawnOptions.
            LinkClosedError: the manager is closed.
        """
        given.instance_of("options", options, SpawnOptions, "SpawnOptions(argv=['ls', '-la'])")
        self._check_open()
        return await self._spawner.spawn(options, cause_of(correlation_id))

    # Looking ---------------------------------------------------------------------------------

    def get(self, pty_id: PtyId) -> PtyRecord:
        """Return the record of a PTY.

        Raises:
            UnknownPtyError: there is none with this id.
        """
        return self._roster.registry.get(pty_id)

    def find(self, reference: str) -> PtyRecord:
        """Return the PTY that an id, a number or a name means.

        Raises UnknownPtyError when nothing fits.
        """
        return self._roster.registry.find(reference)

    def get_by_lane(self, lane_id: LaneId) -> tuple[PtyRecord, ...]:
        """Return the PTYs of a lane, oldest first."""
        return self._roster.registry.by_lane(lane_id)

    def get_by_session(self, session_id: SessionId) -> tuple[PtyRecord, ...]:
        """Return the PTYs of a session, oldest first."""
        return self._roster.registry.by_session(session_id)

    def list(self) -> tuple[PtyRecord, ...]:
        """Return all PTYs, live and ended, oldest first."""
        return tuple(self._roster.registry)

    def get_buffer_stats(self, pty_id: PtyId) -> BufferStats:
        """Return the statistics of a PTY's output, which are final once it is gone.

        Raises:
            UnknownPtyError: there is none with this id.
        """
        pty = self._roster.get(pty_id)
        pty.refresh()
        return pty.output.stats()

    def history(self, pty_id: PtyId) -> tuple[Transition, ...]:
        """Return a PTY's recent transitions, oldest first."""
        return self._roster.get(pty_id).lifecycle.history

    def signals(self, pty_id: PtyId) -> tuple[SignalEnvelope, ...]:
        """Return a PTY's recent signal deliveries, oldest first."""
        return tuple(self._roster.get(pty_id).envelopes)

    # Output ----------------------------------------------------------------------------------

    def reader(
        self, pty_id: PtyId, kind: ReaderKind = ReaderKind.CONSUMER, *, offset: int | None = None
    ) -> OutputReader:
        """Attach a reader at `offset`, or at the oldest retained byte; the caller closes it.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidStateError: its spawn is in progress.
            InvalidValueError: the offset lies beyond what was written.
            LimitReachedError: the PTY has as many readers as it may.
            LinkClosedError: the manager is closed.
        """
        return OutputReader.attach(self._readable(pty_id), kind, offset)

    def read(self, pty_id: PtyId, max_bytes: int | None = None) -> Part:
        """Return the oldest retained output, by default all of it; nothing counts as read."""
        pty = self._readable(pty_id)
        with self.reader(pty_id, ReaderKind.OBSERVER) as reader:
            return reader.read(pty.ring.capacity if max_bytes is None else max_bytes)

    def consume(self, pty_id: PtyId, max_bytes: int | None = None) -> Part:
        """Return the oldest output that no consumer was handed yet, and count it as handed.

        Raises:
            UnknownPtyError: there is none with this id.
        """
        pty = self._readable(pty_id)
        start = pty.output.account.first_unread
        with self.reader(pty_id, ReaderKind.ONE_SHOT, offset=start) as reader:
            return reader.consume(pty.ring.capacity if max_bytes is None else max_bytes)

    def times(self, pty_id: PtyId) -> Times:
        """Return when a PTY's output came: its `since` gives the offset to read from.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidStateError: its spawn is in progress.
        """
        return self._readable(pty_id).ring.times

    def clear(self, pty_id: PtyId) -> None:
        """Discard a PTY's retained output; what no consumer had read counts as dropped."""
        pty = self._readable(pty_id)
        pty.flow.change(pty.output.clear)

    def set_on_full(self, pty_id: PtyId, on_full: OnFull) -> int:
        """Change what happens when the ring is full; return the offset from which it holds.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidStateError: its spawn is in progress.
            InvalidValueError: `block` is asked of a ring without capacity.
        """
        return self._readable(pty_id).flow.set_on_full(OnFull.of(on_full))

    # Input and control -----------------------------------------------------------------------

    async def write_input(self, pty_id: PtyId, data: bytes) -> int:
        """Type all of `data`; return the number of its bytes once the terminal took them.

        Calls for one PTY are served in the order in which they were made.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidStateError: its child does not run.
            LineTooLongError: the terminal collects lines and would cut one of these.
            InputCutError: the PTY ended before it took all; `taken` says how much it took.
            ConnectionClosedError: its keeper died; how much it took is unknown.
            InvalidValueError: `data` are no bytes.
        """
        given.instance_of("data", data, bytes | bytearray | memoryview, "b'ls\\r'")
        pty = self._live(pty_id, "input needs one that runs")
        if not data:
            return 0
        async with pty.input_lock:
            self._live(pty_id, "input needs one that runs")
            return await type_in(self._link, pty, data)

    async def open_input(self, pty_id: PtyId) -> socket.socket:
        """Return a stream socket whose bytes are typed into the PTY; the caller closes it.

        While the terminal takes nothing, the socket does not either. To end the input, shut the
        socket down for sending. Whichever side ends it, the last thing to read from it is how many
        bytes the terminal took: 8 bytes, little-endian; nothing if the keeper died, as that is
        unknown then.

        Raises:
            UnknownPtyError, InvalidStateError: as `write_input`.
            LimitReachedError: as many are open as may be.
        """
        pty = self._live(pty_id, "input needs one that runs")
        pty.end.is_typed_into = True
        return (await self._link.open_lifeline(pty.slot, kept=pty.attachments.kinds))[1]

    async def resize(
        self, pty_id: PtyId, size: WindowSize, *, correlation_id: CorrelationId | None = None
    ) -> PtyRecord:
        """Set the size of a terminal; the kernel sends WINCH to its foreground group.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidStateError: it has ended.
            InvalidValueError, InvalidDimensionsError: `size` is none.
        """
        size = given.window_size(size)
        pty = self._live(pty_id, "only a live one has a size to change")
        old = pty.record.size
        await self._link.resize(pty.slot, size)
        return pty.note_resized(old, size, cause_of(correlation_id))

    async def signal(
        self,
        pty_id: PtyId,
        signum: int | str,
        *,
        session: bool = False,
        correlation_id: CorrelationId | None = None,
    ) -> tuple[SignalEnvelope, ...]:
        """Send a signal; return an envelope for each delivery.

        INT, QUIT and TSTP go to the terminal's foreground group, others to the processes of the
        leader's group; with `session` to every process of the session.

        Raises:
            UnknownPtyError: there is none with this id.
            UnknownSignalError: there is no such signal.
        """
        pty = self._roster.get(pty_id)
        cause = cause_of(correlation_id)
        return await deliver(self._link, pty, signum, session=session, cause=cause)

    async def terminate(
        self,
        pty_id: PtyId,
        *,
        grace_seconds: float | None = None,
        correlation_id: CorrelationId | None = None,
    ) -> PtyRecord:
        """End a PTY with all processes of its session; return its record once it is gone.

        They get TERM at once, and KILL after the grace, by default the PTY's own. An ended PTY is
        left alone. A second call can shorten the grace of the first.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidValueError: the grace is negative or no finite number.
        """
        pty = self._roster.get(pty_id)
        grace = pty.options.grace_seconds if grace_seconds is None else check_grace(grace_seconds)
        if pty.is_gone:
            return pty.record
        termination = self._terminations.of(pty)
        if termination is None:
            termination = self._terminations.begin(pty, grace, cause_of(correlation_id))
        elif grace_seconds is not None:
            termination.shorten(grace)
        await asyncio.shield(termination.task)
        return pty.record

    async def wait_exited(self, pty_id: PtyId) -> PtyRecord:
        """Return the record once the child has exited and its own output is complete."""
        pty = self._roster.get(pty_id)
        await pty.milestones.exited.wait()
        return pty.record

    async def wait_gone(self, pty_id: PtyId) -> PtyRecord:
        """Return the record once the terminal is closed and the statistics are final."""
        pty = self._roster.get(pty_id)
        await pty.milestones.gone.wait()
        return pty.record

    def remove(self, pty_id: PtyId) -> PtyRecord:
        """Remove an ended PTY with its output; return its last record.

        Raises:
            UnknownPtyError: there is none with this id.
            InvalidStateError: it has not ended.
        """
        pty = self._roster.get(pty_id)
        if not pty.is_gone:
            raise pty.refusal("end it first, with `ptymux kill`")
        return self._roster.remove(pty)

    # Events ----------------------------------------------------------------------------------

    def subscribe(
        self, topics: Iterable[Topic] | None = None, *, pty_id: PtyId | None = None
    ) -> EventStream:
        """Return a stream of events from now on, of these topics, of this PTY.

        The default is every PTY, and every topic but `pty.output`, which must be asked for.

        Raises:
            LimitReachedError: as many subscribe as may.
            LinkClosedError: the manager is closed.
        """
        self._check_open()
        wanted = KEPT if topics is None else topics
        stream = EventStream(lambda ready: self._bus.subscribe(wanted, pty_id, on_ready=ready))
        self._streams.add(stream)
        for pty in self._roster:
            pty.refresh()  # the stream may want `pty.output`, which is looked for only then
        return stream

    def events_since(
        self, seq: int, most: int | None = None
    ) -> tuple[int, Sequence[EventEnvelope]]:
        """Return how many events after `seq` are lost, and the others; at most `most` of them."""
        return self._log.since(seq, most)

    # The end ---------------------------------------------------------------------------------

    async def close(self, *, grace_seconds: float | None = None) -> None:
        """Terminate all PTYs and release everything; a second call can shorten the grace.

        It does not wait for consumers. Event streams end. Readers keep what is retained until they
        are closed.

        Raises:
            InvalidValueError: the grace is negative or no finite number; nothing was done.
        """
        if grace_seconds is not None:
            check_grace(grace_seconds)
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(grace_seconds))
        elif grace_seconds is not None:
            self._terminations.shorten(grace_seconds)
        await asyncio.shield(self._closing)

    async def _close(self, grace_seconds: float | None) -> None:
        self._lifetimes.close()
        for pty in self._roster:
            if not pty.is_gone and self._terminations.of(pty) is None:
                self._terminations.begin(pty, pty.options.grace_seconds, cause_of(None))
        if grace_seconds is not None:
            self._terminations.shorten(grace_seconds)
        await self._terminations.finish()
        await self._link.close()
        for pty in self._roster:
            pty.flow.release()
        for stream in list(self._streams):
            stream.close()

    def _on_gone(self, pty: ManagedPty) -> None:
        self._roster.note_end(pty)
        self._lifetimes.note_gone(pty)

    def _on_report(self, report: Report) -> None:
        pty = self._roster.in_slot(report.slot)
        if pty is None:
            return
        try:
            pty.handle(report)
        except Exception:  # a bug that concerns one PTY must not hurt the others
            _log.exception("PTY %s: while handling %s", pty.pty_id, report)
        self._roster.leave_slot(pty)

    def _check_open(self) -> None:
        if self._closing is not None:
            raise LinkClosedError(_CLOSED)

    def _readable(self, pty_id: PtyId) -> ManagedPty:
        pty = self._roster.get(pty_id)
        if not pty.milestones.settled.is_set():
            raise pty.refusal("it has output once it runs")
        if not pty.flow.is_readable:
            raise LinkClosedError(_CLOSED)
        return pty

    def _live(self, pty_id: PtyId, wanted: str) -> ManagedPty:
        pty = self._roster.get(pty_id)
        if pty.state not in (State.ACTIVE, State.THROTTLED):
            raise pty.refusal(wanted)
        return pty

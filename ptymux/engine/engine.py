"""The engine: owns PTYs, copies their output into rings, reaps their children.

Theory of operation. Everything hangs on one epoll, and its fd can be polled in turn. The host adds
`fileno()` to its own loop and calls `run_once`, which handles what is ready and returns reports.
Each call reads for one *turn*. In a turn the PTYs that are ready share eight reads, round after
round, until no output is left or a fifth of a millisecond is over. So a flood delays nobody, and
several reads share the cost of asking the kernel what is ready. A read goes straight into the
ring, and never beyond the ring's `limit`. At its limit a PTY is *paused*: it is not read until
`credit_raised`.

Typing has priority. While somebody types, turns are short. After a key other PTYs are not read for
a moment, because the answer usually comes at once. The PTY that was typed into is read when its
event arrives, before all turns. Its answer is sent at once to the client that typed (`input.py`),
and reported a little later, once for several keys; until then the engine waits for the next key
without returning to its host. The other PTYs get half of the time, and the next turn is theirs. So
nobody starves if somebody types without end, or types into a flood.

Source: measured against a C loop that blocks in read, at 210 MB/s: one read per epoll event 0.81,
in rounds 0.96; at 80 MB/s there is no difference. Eight PTYs: four reads of each in a row 0.47 of
one C thread with epoll, one of each 0.78, most of the rest first writes into fresh rings.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from mmap import mmap
from time import time as wall_time
from typing import Final

from ptymux.core.model import OnFull, SpawnOptions, WindowSize
from ptymux.core.pattern import PERIOD, Pattern
from ptymux.core.ring import RingBuffer, ring_size
from ptymux.core.windows import Windows
from ptymux.engine.input import Handler
from ptymux.engine.pending_spawn import PendingSpawn
from ptymux.engine.reports import Report, Suspended
from ptymux.engine.terminal import PtyFds, Terminal
from ptymux.errors import PtymuxError, SpawnError, UnknownPtyError
from ptymux.posix.caller import CallerWorld
from ptymux.posix.memory import create_ring_memory, map_ring_memory
from ptymux.posix.process import is_stopped, signal_foreground, start_time
from ptymux.posix.resource_errors import resource_error
from ptymux.posix.spawn import PtyPair, SpawnedChild, spawn
from ptymux.posix.tty import is_canonical, set_size

__all__ = ["Engine", "SpawnedPty"]

_Ring = tuple[int, mmap, RingBuffer]  # memfd, mapping, ring

_TURN_SECONDS: Final = 0.0002  # reading time of one turn
_READS: Final = 8  # in one round, for all PTYs together
_BRIEF_SECONDS: Final = 0.00003  # reading time of one turn while somebody types
_UNREPORTED_SECONDS: Final = 0.002  # from an echo to the report of that output
_ANSWER_SECONDS: Final = 0.0001  # most programs answer a key within this time


@dataclass(frozen=True, slots=True)
class SpawnedPty:
    """A running child, and a mapping of its output ring, which the caller releases."""

    pid: int
    ring: RingBuffer
    start_time: int | None = None  # clock ticks since boot; pid and start time are unique


class Engine:
    """Any number of PTYs behind one epoll fd; single-threaded; never blocks.

    A PTY is identified by its `slot`, a number that the caller chooses and never reuses.
    """

    def __init__(self, windows: Windows | None = None) -> None:
        self.windows = windows or Windows()
        self.pattern = Pattern.from_seed(os.urandom(PERIOD))
        self.reports: list[Report] = []
        self.second = int(wall_time())
        self.deadlines: dict[int, float] = {}
        self.busy: dict[Terminal, None] = {}
        self.typing_until = 0.0
        self._answer_until = 0.0  # until then only PTYs that were typed into are read
        self._next_answer = 0.0  # not again before this, so that others have their share
        self.unreported: dict[Terminal, None] = {}
        self._report_at: float | None = None  # when the unreported ones are reported
        self._served_typing = False  # the turn before read PTYs that were typed into
        try:
            self._epoll = select.epoll()
        except OSError as error:
            raise resource_error(error) or error from error
        self._handlers: dict[int, Handler] = {}
        self._terminals: dict[int, Terminal] = {}
        self._pending: dict[int, PendingSpawn] = {}
        self.next_lifeline = 1  # the next lifeline's number; never reused

    def fileno(self) -> int:
        """Return the fd that is readable while `run_once` has something to do."""
        return self._epoll.fileno()

    @property
    def deadline(self) -> float | None:
        """When to call `run_once` even if nothing is ready, on `time.monotonic`; 0: at once."""
        if self.busy or self.reports:
            return 0.0
        due = min(self.deadlines.values()) if self.deadlines else None
        if self._report_at is None:
            return due
        return self._report_at if due is None else min(due, self._report_at)

    def run_once(self, timeout: float = 0.0) -> list[Report]:
        """Wait up to `timeout` seconds for something to do, do it, and return the reports.

        Keys and their answers do not end the wait: they are handled within it.
        """
        until = time.monotonic() + timeout
        while self._take_events(timeout) and not (self.busy or self.reports):
            due = until
            if self.unreported:
                self._report_echoes()
                due = min(until, self._report_at or 0.0)
            timeout = due - time.monotonic()
            if timeout <= 0:
                break
        if self.deadlines:
            now = time.monotonic()
            for slot in [slot for slot, due in self.deadlines.items() if now >= due]:
                (self._pending.get(slot) or self._terminals[slot]).expire()
        if self.busy:
            if self.typing_until and self._is_typing():
                self._read_briefly()
            else:
                self._read_in_rounds()
        if self.unreported:
            self._report_echoes()
        reports, self.reports = self.reports, []
        return reports

    def _take_events(self, timeout: float) -> bool:
        """Handle the events that are ready; return whether all were keys and their answers."""
        events = self._epoll.poll(timeout)
        self.second = int(wall_time())
        is_typing = bool(events)
        for fd, event in events:
            handler = self._handlers.get(fd)  # None: an event before it closed that fd
            is_typing = handler is not None and handler(event) is True and is_typing
        return is_typing

    def note_typing(self) -> float:
        """Record that a terminal took input; return until when it counts as typed into."""
        now = time.monotonic()
        if now >= self._next_answer:
            self._answer_until = now + _ANSWER_SECONDS
            self._next_answer = now + 2 * _ANSWER_SECONDS
        self.typing_until = now + self.windows.typing
        return self.typing_until

    def _report_echoes(self) -> None:
        now = time.monotonic()
        if self._report_at is None:
            self._report_at = now + _UNREPORTED_SECONDS
        elif now >= self._report_at:
            self._report_at = None
            unreported, self.unreported = self.unreported, {}
            for terminal in unreported:
                terminal.report_output()

    def _read_in_rounds(self) -> None:
        read, self.busy = list(self.busy), {}
        busy = read
        # A single PTY is read several times in a row: that costs less per read. With many, a second
        # read in a row mostly finds nothing yet, while others have output.
        reads = max(1, _READS // len(busy))
        until = time.monotonic() + _TURN_SECONDS
        while busy:
            busy = [terminal for terminal in busy if terminal.master >= 0 and terminal.read(reads)]
            if time.monotonic() >= until:
                break
        for terminal in read:
            terminal.report_output()
        # For a running PTY epoll reports the rest. The end of a PTY is not an event: stay busy.
        self.busy |= {terminal: None for terminal in busy if terminal.status is not None}

    def _is_typing(self) -> bool:
        if time.monotonic() < self.typing_until:
            return True
        self.typing_until = 0.0
        return False

    def _read_briefly(self) -> None:
        """Read the PTYs that were typed into once, or else others for a little while."""
        now = time.monotonic()
        typed = [terminal for terminal in self.busy if terminal.typed_until > now]
        if len(typed) == len(self.busy):  # no other PTY competes
            self._read_in_rounds()
            return
        if not typed and now < self._answer_until:
            return
        if self._served_typing:
            typed = []
        self._served_typing = bool(typed)
        until = now + _BRIEF_SECONDS
        for terminal in typed or list(self.busy):
            del self.busy[terminal]
            if terminal.master >= 0 and terminal.read(1) and terminal.status is not None:
                self.busy[terminal] = None  # the end of a PTY is not an event
            terminal.report_output()
            if not typed and time.monotonic() >= until:
                break

    # Requests --------------------------------------------------------------------------------

    def spawn(
        self, slot: int, options: SpawnOptions, env: Mapping[str, str], pty: PtyPair | None = None
    ) -> SpawnedPty:
        """Start a child on a new PTY, or on `pty`, with a ring for its output.

        Raises:
            SpawnError, OutOfResourcesError: as `posix.spawn.spawn`; nothing is left behind.
        """
        with ExitStack() as undo:
            made = self._make_ring(slot, options, undo)
            child = spawn(options, env, pty)
            undo.callback(_abandon, child)
            spawned = self._enter(slot, child, made, undo)
            undo.pop_all()
        return spawned

    def launch(
        self,
        slot: int,
        options: SpawnOptions,
        env: Mapping[str, str],
        directory: int,
        pty: PtyPair,
        world: CallerWorld | None,
        *,
        begin: Callable[[], None],
        on_end: Callable[[Callable[[], SpawnedPty]], None],
    ) -> None:
        """Start a child in the directory, an fd, that may have to wait for a file system.

        It has what `world` says, as far as it may. `begin` is called in the child before anything
        else is done there; `on_end` here, later, with a function that returns or raises as `spawn`
        does. The process may have no other threads.

        Raises:
            SpawnError, OutOfResourcesError: it cannot begin; `on_end` will not be called.
        """
        with ExitStack() as stack:
            made = self._make_ring(slot, options, stack)
            undo = ExitStack()

            def end(child: SpawnedChild | PtymuxError) -> None:
                del self._pending[slot]
                with undo:
                    on_end(lambda: self._finish(slot, child, made, undo))

            self._pending[slot] = PendingSpawn(
                self, slot, options, env, directory, pty, world, begin=begin, on_end=end
            )
            undo.push(stack.pop_all())

    def _finish(
        self, slot: int, child: SpawnedChild | PtymuxError, made: _Ring, undo: ExitStack
    ) -> SpawnedPty:
        if isinstance(child, PtymuxError):
            raise child
        undo.callback(_abandon, child)
        spawned = self._enter(slot, child, made, undo)
        undo.pop_all()
        return spawned

    def cancel_spawns(self, slot: int | None = None) -> None:
        """Have the spawn of a PTY fail if it waits for a file system; or all that do."""
        for pending, spawn_ in list(self._pending.items()):
            if slot is None or pending == slot:
                spawn_.cancel()

    @property
    def launching(self) -> list[int]:
        """The pids of children whose spawn is pending."""
        return [spawn_.pid for spawn_ in self._pending.values()]

    def _make_ring(self, slot: int, options: SpawnOptions, undo: ExitStack) -> _Ring:
        assert slot not in self._terminals
        memfd, memory = create_ring_memory(ring_size(options.buffer_size))
        undo.callback(os.close, memfd)
        undo.callback(memory.close)
        ring = RingBuffer(options.buffer_size, memory)
        undo.callback(ring.release)
        ring.begin_marks(self.pattern)
        ring.wake_at = 1
        if options.on_full is OnFull.BLOCK:
            ring.limit = options.buffer_size
        return memfd, memory, ring

    def _enter(self, slot: int, child: SpawnedChild, made: _Ring, undo: ExitStack) -> SpawnedPty:
        memfd, memory, ring = made
        born = start_time(child.pid)
        undo.callback(self._unwatch, child.master, child.pidfd)
        try:
            terminal = Terminal(self, slot, PtyFds(memfd, child.master, child.pidfd), ring)
        except OSError as error:  # of epoll
            raise resource_error(error) or SpawnError(str(error)) from error
        self._terminals[slot] = terminal
        return SpawnedPty(child.pid, RingBuffer.attach(memory), born)

    def restore(
        self, slot: int, fds: PtyFds, lines: Sequence[tuple[int, socket.socket]]
    ) -> dict[int, int]:
        """Continue a PTY of an engine that was killed.

        The engine then owns the fds, and its ends of the lifelines. Returns, by lifeline, how many
        bytes may or may not have been typed; most have none.

        Raises:
            InvalidValueError: the memfd contains no ring; the fds stay the caller's.
            OutOfResourcesError: memory or open files; the fds stay the caller's.
        """
        ring = RingBuffer.attach(map_ring_memory(fds.memfd))
        terminal = Terminal.restore(self, slot, fds, ring)
        self._terminals[slot] = terminal
        unknown = {}
        for number, sock in lines:
            self.next_lifeline = max(self.next_lifeline, number + 1)
            unknown[number] = terminal.input.restore(number, sock)
        if terminal.status is not None or fds.master is None:
            terminal.input.close()
        return {number: size for number, size in unknown.items() if size}

    def number_lifelines_from(self, number: int) -> None:
        """Begin the numbers of new lifelines at `number` at least: earlier ones were used."""
        self.next_lifeline = max(self.next_lifeline, number)

    def lifelines(self, slot: int) -> list[tuple[int, int]]:
        """Return number and fd (of the engine's end) of each open lifeline of a PTY."""
        return self._get(slot).input.open_lines

    def is_exiting(self, slot: int) -> bool:
        """Return whether a PTY's child has exited; more of its output may still come."""
        terminal = self._get(slot)
        return terminal.status is not None or terminal.master < 0

    def open_lifeline(
        self, slot: int, *, echoes: bool = False, kept: Collection[int] = ()
    ) -> tuple[int, socket.socket]:
        """Return number and client's end of a new input channel; the caller owns the socket.

        If the child has exited, the lifeline has ended already. One that `echoes` also carries the
        program's answers to keys. If there are `Limits.LIFELINES` of them, the one that was used
        least lately ends, if it has no input that waits and is none of those `kept`.

        Raises:
            LimitReachedError: there is none that can give way.
        """
        terminal = self._get(slot)
        number = self.next_lifeline
        self.next_lifeline += 1
        sock = terminal.input.open(number, echoes=echoes, kept=kept)
        if terminal.status is not None or terminal.master < 0:
            terminal.input.close()
        return number, sock

    def resize(self, slot: int, size: WindowSize) -> None:
        """Set the terminal's size; the kernel sends WINCH to its foreground group."""
        set_size(self._open(slot).master, size)

    def signal_foreground(self, slot: int, signum: int) -> int:
        """Send INT, QUIT or TSTP to the terminal's foreground group; return that group."""
        return signal_foreground(self._open(slot).master, signum)

    def is_canonical(self, slot: int) -> bool:
        """Return whether the terminal is in canonical mode; it cuts lines above 4,095 bytes."""
        return is_canonical(self._open(slot).master)

    def credit_raised(self, slot: int) -> None:
        """Continue a paused PTY: its ring's `limit` was raised."""
        terminal = self._terminals.get(slot)
        if terminal is not None:
            terminal.credit_raised()

    def check_stopped(self) -> None:
        """Report each child that a signal has stopped or continued since the last call."""
        for terminal in self._terminals.values():
            if terminal.pidfd >= 0 and is_stopped(terminal.pidfd) != terminal.suspended:
                terminal.suspended = not terminal.suspended
                self.reports.append(Suspended(terminal.slot, terminal.suspended))

    def pty_fds(self, slot: int) -> PtyFds:
        """Return the fds of a PTY, which a handover passes; they stay the engine's."""
        return self._get(slot).fds

    def close_pty(self, slot: int) -> None:
        """Close a PTY's terminal now; processes that still have it open get HUP."""
        self._get(slot).close()

    def forget(self, slot: int) -> None:
        """Remove a PTY and close its fds; the ring's memory lives while somebody maps it."""
        self._get(slot).release()
        del self._terminals[slot]

    def close(self) -> None:
        """Remove all PTYs and close the epoll."""
        self.cancel_spawns()
        for slot in list(self._terminals):
            self.forget(slot)
        self._epoll.close()

    def _get(self, slot: int) -> Terminal:
        if slot not in self._terminals:
            raise UnknownPtyError(str(slot))
        return self._terminals[slot]

    def _open(self, slot: int) -> Terminal:
        terminal = self._get(slot)
        if terminal.master < 0:
            raise UnknownPtyError(str(slot))
        return terminal

    def _unwatch(self, *fds: int) -> None:
        for fd in fds:
            self.watch(fd, 0, lambda _events: None)

    def watch(self, fd: int, mask: int, handler: Handler) -> None:
        """Call `handler` for the events of `mask` on `fd`; mask 0 ends that.

        A handler returns True if it handled a key or its answer and there is nothing else to do.
        """
        if not mask:
            if self._handlers.pop(fd, None) is not None:
                self._epoll.unregister(fd)
        elif fd in self._handlers:
            self._handlers[fd] = handler
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
            self._handlers[fd] = handler


def _abandon(child: SpawnedChild) -> None:
    """Kill and reap a child whose spawn has not been reported."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
    os.close(child.pidfd)
    os.close(child.master)

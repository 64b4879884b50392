"""The engine: owns PTYs, drains them into rings, reaps their children, behind one pollable fd.

Theory of operation. Everything hangs on one epoll, which is itself pollable: a host adds
`fileno()` to its loop and calls `run_once`, which takes what is ready and returns what to report.
In a turn the PTYs that are ready share eight reads, round after round, until nobody has more or
the turn's fifth of a millisecond is up; so no flood delays anybody, and the cost of asking the
kernel who is ready is shared by several reads. A read goes straight into the ring and never beyond
the ring's `limit`: a PTY at its limit is *held*, not watched until `credit_raised`.

While somebody types, turns are short, others are not read for the moment in which a key is
answered, and the PTY that was typed into is read before all turns, at its event: what it answers
is echoed at once to the client that typed (`lifeline.py`), and reported a little later, once for
several keys; until then the engine waits for the next key without returning to its host.
Others have half of the time, and come in the turn after that, so that nobody starves where
somebody types without end or into a flood.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ptymux.core.model import OnFull, SpawnOptions, WindowSize
from ptymux.core.ring import RingBuffer, ring_size
from ptymux.core.windows import Windows
from ptymux.engine.input import Handler
from ptymux.engine.reports import Report, Suspended
from ptymux.engine.terminal import Terminal
from ptymux.errors import SpawnError, UnknownPtyError
from ptymux.posix.memory import create_ring_memory, map_ring_memory
from ptymux.posix.process import is_stopped, signal_foreground, start_time
from ptymux.posix.resource_errors import resource_error
from ptymux.posix.spawn import PtyPair, SpawnedChild, spawn
from ptymux.posix.tty import is_canonical, set_size

__all__ = ["Engine", "SpawnedPty"]

_TURN_SECONDS: Final = 0.0002  # that reading may take in one turn
_READS: Final = 8  # in a round, of all PTYs together
_BRIEF_SECONDS: Final = 0.00003  # that reading may take in one turn while somebody types
_UNREPORTED_SECONDS: Final = 0.002  # from an echo to the report of that output
_ANSWER_SECONDS: Final = 0.0001  # in which a key is mostly answered


@dataclass(frozen=True, slots=True)
class SpawnedPty:
    """A child that runs, and a mapping of its output's ring, which the caller releases."""

    pid: int
    ring: RingBuffer
    start_time: int | None = (
        None  # clock ticks since boot; with the pid it names the child for good
    )


class Engine:
    """Any number of PTYs behind one epoll fd; single-threaded; never blocks.

    PTYs are named by a `slot`, a number that the caller chooses and never reuses.
    """

    def __init__(self, windows: Windows | None = None) -> None:
        self.windows = windows or Windows()
        self.reports: list[Report] = []
        self.deadlines: dict[int, float] = {}
        self.busy: dict[Terminal, None] = {}
        self.typing_until = 0.0
        self._answer_until = 0.0  # no flood is read meanwhile
        self._next_answer = 0.0  # when that may be again, so that others have their share
        self.unreported: dict[Terminal, None] = {}
        self._report_at: float | None = None  # when they are told of
        self._served_typing = False  # in the turn before
        try:
            self._epoll = select.epoll()
        except OSError as error:
            raise resource_error(error) or error from error
        self._handlers: dict[int, Handler] = {}
        self._terminals: dict[int, Terminal] = {}
        self.next_lifeline = 1  # its number; none is given out twice

    def fileno(self) -> int:
        """The fd that is readable while `run_once` has something to do."""
        return self._epoll.fileno()

    @property
    def deadline(self) -> float | None:
        """When `run_once` is due on `time.monotonic` even if nothing is ready; 0: at once."""
        if self.busy or self.reports:
            return 0.0
        due = min(self.deadlines.values()) if self.deadlines else None
        if self._report_at is None:
            return due
        return self._report_at if due is None else min(due, self._report_at)

    def run_once(self, timeout: float = 0.0) -> list[Report]:
        """Take what is ready, waiting up to `timeout` seconds for it; return what to report.

        Keys and their answers are dealt with on the way: it goes on waiting.
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
                self._terminals[slot].expire()
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
        """Have what is ready dealt with; return whether only keys and their answers were."""
        events = self._epoll.poll(timeout)
        is_typing = bool(events)
        for fd, event in events:
            handler = self._handlers.get(fd)  # none: closed by an event before it
            is_typing = handler is not None and handler(event) is True and is_typing
        return is_typing

    def note_typing(self) -> float:
        """Take notice that a terminal took input; return until when it counts as typed into."""
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
        # One alone is read several times in a row, for less around each read; among many a second
        # read finds nothing yet and waits for the kernel, while others have something.
        reads = max(1, _READS // len(busy))
        until = time.monotonic() + _TURN_SECONDS
        while busy:
            busy = [terminal for terminal in busy if terminal.master >= 0 and terminal.read(reads)]
            if time.monotonic() >= until:
                break
        for terminal in read:
            terminal.report_output()
        # A running one is reported by epoll again; the end of one is not an event.
        self.busy |= {terminal: None for terminal in busy if terminal.status is not None}

    def _is_typing(self) -> bool:
        if time.monotonic() < self.typing_until:
            return True
        self.typing_until = 0.0
        return False

    def _read_briefly(self) -> None:
        """Read those once that are typed into, or else others for a little while."""
        now = time.monotonic()
        typed = [terminal for terminal in self.busy if terminal.typed_until > now]
        if len(typed) == len(self.busy):  # nobody else to be kept from
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
                self.busy[terminal] = None  # the end of one is not an event
            terminal.report_output()
            if not typed and time.monotonic() >= until:
                break

    # Requests --------------------------------------------------------------------------------

    def spawn(
        self, slot: int, options: SpawnOptions, env: Mapping[str, str], pty: PtyPair | None = None
    ) -> SpawnedPty:
        """Start a child with a ring of its own in a new PTY, or in `pty`, as `posix.spawn`.

        Raises:
            SpawnError, OutOfResourcesError: as `posix.spawn`; nothing is left of it.
        """
        assert slot not in self._terminals
        with contextlib.ExitStack() as undo:
            memfd, memory = create_ring_memory(ring_size(options.buffer_size))
            undo.callback(os.close, memfd)
            undo.callback(memory.close)
            child = spawn(options, env, pty)
            undo.callback(_abandon, child)
            born = start_time(child.pid)
            ring = RingBuffer(options.buffer_size, memory)
            undo.callback(ring.release)
            ring.wake_at = 1
            if options.on_full is OnFull.BLOCK:
                ring.limit = options.buffer_size
            undo.callback(self._unwatch, child.master, child.pidfd)
            try:
                terminal = Terminal(self, slot, child.master, child.pidfd, memfd, ring)
            except OSError as error:  # of epoll
                raise resource_error(error) or SpawnError(str(error)) from error
            undo.pop_all()
        self._terminals[slot] = terminal
        return SpawnedPty(child.pid, RingBuffer.attach(memory), born)

    def restore(
        self, slot: int, fds: Sequence[int], lines: Sequence[tuple[int, socket.socket]]
    ) -> dict[int, int]:
        """Go on with a PTY of an engine that died: its memfd, master and pidfd, -1 where closed.

        Takes over the fds and the engine's ends of the lifelines. Returns the lifelines of which
        it is unknown how much was typed, and how much that is.

        Raises:
            InvalidValueError: the memfd is no ring; nothing was taken over.
            OutOfResourcesError: memory or open files; nothing was taken over.
        """
        memfd, master, pidfd = fds
        ring = RingBuffer.attach(map_ring_memory(memfd))
        terminal = Terminal.restore(self, slot, master, pidfd, memfd, ring)
        self._terminals[slot] = terminal
        unknown = {}
        for number, sock in lines:
            self.next_lifeline = max(self.next_lifeline, number + 1)
            unknown[number] = terminal.input.restore(number, sock)
        if terminal.status is not None or master < 0:
            terminal.input.close()
        return {number: size for number, size in unknown.items() if size}

    def number_lifelines_from(self, number: int) -> None:
        """Give no lifeline a number below this one: they were given out."""
        self.next_lifeline = max(self.next_lifeline, number)

    def lifelines(self, slot: int) -> list[tuple[int, int]]:
        """Return the number and the engine's fd of each lifeline of a PTY that is open."""
        return self._get(slot).input.open_lines

    def is_exiting(self, slot: int) -> bool:
        """Whether a PTY's child is gone, whatever of its output is still to come."""
        terminal = self._get(slot)
        return terminal.status is not None or terminal.master < 0

    def open_lifeline(self, slot: int, *, echoes: bool = False) -> tuple[int, socket.socket]:
        """Return the number and the client's end of a new lifeline; the caller owns the socket.

        Of a PTY whose child is gone the lifeline has ended already. One that `echoes` carries the
        answers to keys.

        Raises:
            LimitReachedError: the PTY has as many as it may.
        """
        terminal = self._get(slot)
        number = self.next_lifeline
        self.next_lifeline += 1
        sock = terminal.input.open(number, echoes=echoes)
        if terminal.status is not None or terminal.master < 0:
            terminal.input.close()
        return number, sock

    def resize(self, slot: int, size: WindowSize) -> None:
        """Set the terminal's size; the kernel tells its foreground group by WINCH."""
        set_size(self._open(slot).master, size)

    def signal_foreground(self, slot: int, signum: int) -> int:
        """Send INT, QUIT or TSTP to the terminal's foreground group; return that group."""
        return signal_foreground(self._open(slot).master, signum)

    def is_canonical(self, slot: int) -> bool:
        """Whether the terminal collects lines; it then cuts a line above 4,095 bytes."""
        return is_canonical(self._open(slot).master)

    def credit_raised(self, slot: int) -> None:
        """Go on with a PTY that was held, now that its ring's `limit` was raised."""
        terminal = self._terminals.get(slot)
        if terminal is not None:
            terminal.credit_raised()

    def check_stopped(self) -> None:
        """Report the children that a signal stopped or continued since the last call."""
        for terminal in self._terminals.values():
            if terminal.pidfd >= 0 and is_stopped(terminal.pidfd) != terminal.suspended:
                terminal.suspended = not terminal.suspended
                self.reports.append(Suspended(terminal.slot, terminal.suspended))

    def pty_fds(self, slot: int) -> list[int]:
        """Return what a successor would need: memfd, master and pidfd, -1 where it was closed."""
        terminal = self._get(slot)
        return [terminal.memfd, terminal.master, terminal.pidfd]

    def close_pty(self, slot: int) -> None:
        """Close a PTY's terminal now, whoever still holds it; they get HUP from the kernel."""
        self._get(slot).close()

    def forget(self, slot: int) -> None:
        """Let go of a PTY and of its ring's fd; the memory lives as long as somebody maps it."""
        self._get(slot).release()
        del self._terminals[slot]

    def close(self) -> None:
        """Let go of everything."""
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
        """Have `handler` called with the events of `mask`; mask 0: no more.

        It returns True when a key or its answer was all, and nobody else has to look for more.
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
    """End a child that nobody was told of."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
    os.close(child.pidfd)
    os.close(child.master)

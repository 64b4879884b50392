"""The engine: owns PTYs, drains them into rings, reaps their children, behind one pollable fd.

Theory of operation. Everything hangs on one epoll, which is itself pollable: a host adds
`fileno()` to its loop and calls `run_once`, which takes what is ready and returns what to report.
Each readiness event gets one read, so that no flood delays anybody. A read goes straight into the
ring and never beyond the ring's `limit`: a PTY at its limit is *held*, its master no longer watched
until `credit_raised`.

The end of a PTY (a child may exit while others hold its terminal, and the other way round):

    RUNNING --pidfd fires--> DRAINING --EAGAIN--> TAIL --200 ms of silence, 1 s at most--> closed
                                |  \\--EIO---------------------------------------------^
                                '--held: waits for the consumer, 10 s at most

The kernel flushes what the child wrote into the master's buffer before a read says EAGAIN
(n_tty_read in Linux), so at the first EAGAIN after the exit the child's own output is complete.
"""

from __future__ import annotations

import enum
import os
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from ptymux.core.model import OnFull, SpawnOptions, WindowSize
from ptymux.core.ring import SLACK, RingBuffer, ring_size
from ptymux.errors import UnknownPtyError
from ptymux.keeper.lifeline import Input
from ptymux.keeper.reports import Closed, Exited, LifelineEnded, Output, Report, Suspended
from ptymux.posix.ending import ExitStatus, is_stopped, reap
from ptymux.posix.memory import create_ring_memory
from ptymux.posix.process import signal_foreground
from ptymux.posix.spawn import spawn
from ptymux.posix.tty import is_canonical, set_size

__all__ = ["HELD_END_SECONDS", "TAIL_SECONDS", "TAIL_SILENCE_SECONDS", "Engine", "Spawned"]

TAIL_SILENCE_SECONDS: Final = 0.2
TAIL_SECONDS: Final = 1.0
HELD_END_SECONDS: Final = 10.0  # that an ended PTY in `block` waits for its consumer
_READS_AT_END: Final = 16  # in one go; more wait for their turn

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_HUP: Final = select.EPOLLHUP


class _Phase(enum.Enum):
    RUNNING = enum.auto()
    DRAINING = enum.auto()  # the child is gone, its own output is not complete yet
    TAIL = enum.auto()  # complete and reported; something else still holds the terminal


@dataclass(frozen=True, slots=True)
class Spawned:
    """A child that runs and the ring of its output; the engine keeps owning both."""

    pid: int
    ring: RingBuffer


class _Pty:
    __slots__ = (
        "ended_at",
        "held_since",
        "input",
        "limitless",
        "mask",
        "master",
        "memfd",
        "memory",
        "phase",
        "pidfd",
        "ring",
        "slot",
        "status",
        "suspended",
    )

    def __init__(self, slot: int, master: int, pidfd: int, memfd: int, memory: mmap) -> None:
        self.slot = slot
        self.master = master  # -1 once closed
        self.pidfd = pidfd  # -1 once reaped
        self.memfd = memfd
        self.memory = memory
        self.ring: RingBuffer
        self.input: Input
        self.phase = _Phase.RUNNING
        self.status: ExitStatus | None = None
        self.suspended = False
        self.mask = 0
        self.held_since: float | None = None
        self.limitless = False  # an ended PTY waited long enough for its consumer
        self.ended_at = 0.0


class Engine:
    """Any number of PTYs behind one epoll fd; single-threaded; never blocks.

    PTYs are named by a `slot`, a number that the caller chooses and never reuses.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._ptys: dict[int, _Pty] = {}
        self._deadlines: dict[int, float] = {}  # by slot
        self._reports: list[Report] = []
        self._next_lifeline = 1

    def fileno(self) -> int:
        """The fd that is readable while `run_once` has something to do."""
        return self._epoll.fileno()

    @property
    def deadline(self) -> float | None:
        """When `run_once` is due on `time.monotonic` even if nothing is ready."""
        return min(self._deadlines.values(), default=None)

    def run_once(self, timeout: float = 0.0) -> list[Report]:
        """Take what is ready, waiting up to `timeout` seconds for it; return what to report."""
        for fd, events in self._epoll.poll(timeout):
            handler = self._handlers.get(fd)
            if handler is not None:  # else closed by an event before it
                handler(events)
        if self._deadlines:
            self._expire(time.monotonic())
        reports, self._reports = self._reports, []
        return reports

    # Requests --------------------------------------------------------------------------------

    def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> Spawned:
        """Start a child in a new PTY with a ring of its own.

        Raises:
            SpawnError, OutOfResourcesError: as `posix.spawn`; nothing is left of it.
        """
        assert slot not in self._ptys
        memfd, memory = create_ring_memory(ring_size(options.buffer_size))
        try:
            child = spawn(options, env)
        except BaseException:
            memory.close()
            os.close(memfd)
            raise
        pty = _Pty(slot, child.master, child.pidfd, memfd, memory)
        pty.ring = RingBuffer(options.buffer_size, memory)
        pty.ring.wake_at = 1
        if options.on_full is OnFull.BLOCK:
            pty.ring.limit = options.buffer_size
        pty.input = Input(
            child.master,
            self._watch,
            lambda: self._watch_master(pty),
            lambda number: self._reports.append(LifelineEnded(slot, number)),
        )
        self._ptys[slot] = pty
        self._watch_master(pty)
        self._watch(child.pidfd, _IN, lambda _events: self._on_exit(pty))
        return Spawned(child.pid, pty.ring)

    def open_lifeline(self, slot: int) -> tuple[int, socket.socket]:
        """Return the number and the client's end of a new lifeline; the caller owns the socket.

        Of a PTY whose child is gone the lifeline has ended already.
        """
        pty = self._get(slot)
        number = self._next_lifeline
        self._next_lifeline += 1
        sock = pty.input.open(number)
        if pty.status is not None:
            pty.input.close()
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
        pty = self._ptys.get(slot)
        if pty is not None and pty.held_since is not None:
            self._release(pty)

    def check_stopped(self) -> None:
        """Report the children that a signal stopped or continued since the last call."""
        for pty in self._ptys.values():
            if pty.pidfd >= 0 and is_stopped(pty.pidfd) != pty.suspended:
                pty.suspended = not pty.suspended
                self._reports.append(Suspended(pty.slot, pty.suspended))

    @property
    def has_reports(self) -> bool:
        """Whether a request left something for the next `run_once` to report."""
        return bool(self._reports)

    def close_pty(self, slot: int) -> None:
        """Close a PTY's terminal now, whoever still holds it; they get HUP from the kernel."""
        self._close(self._get(slot))

    def forget(self, slot: int) -> None:
        """Let go of a PTY and of its ring's fd; the memory lives as long as somebody maps it."""
        pty = self._get(slot)
        self._close(pty)
        if pty.pidfd >= 0:
            self._watch(pty.pidfd, 0, _ignore)
            os.close(pty.pidfd)
        os.close(pty.memfd)
        del self._ptys[slot]

    def close(self) -> None:
        """Let go of everything."""
        for slot in list(self._ptys):
            self.forget(slot)
        self._epoll.close()

    def _get(self, slot: int) -> _Pty:
        if slot not in self._ptys:
            raise UnknownPtyError(str(slot))
        return self._ptys[slot]

    def _open(self, slot: int) -> _Pty:
        pty = self._get(slot)
        if pty.master < 0:
            raise UnknownPtyError(str(slot))
        return pty

    # Output ----------------------------------------------------------------------------------

    def _on_master(self, pty: _Pty, events: int) -> None:
        if events & _OUT:
            pty.input.feed()
            self._watch_master(pty)
        if events & (_IN | _HUP) and pty.master >= 0:
            if pty.held_since is not None:
                # Hung up while held: a watched master would be reported again and again.
                self._watch(pty.master, 0, _ignore)
                pty.mask = 0
            elif pty.phase is _Phase.RUNNING:
                self._read(pty)
            else:
                self._drain(pty)

    def _read(self, pty: _Pty) -> bool:
        """Read once into the ring, within the credit; return whether there may be more."""
        ring = pty.ring
        room = SLACK
        if not pty.limitless:
            room = min(SLACK, ring.limit - ring.total)
            if room <= 0:
                self._reach_limit(pty)
                return False
        try:
            size = os.readv(pty.master, ring.prepare(room))
        except BlockingIOError:
            ring.commit(0)
            if pty.phase is _Phase.DRAINING:
                self._complete(pty, tail_pending=True)
            return False
        except OSError:  # EIO: nobody has the terminal open
            ring.commit(0)
            self._hang_up(pty)
            return False
        total = ring.commit(size)
        ring.zero_ahead(size)
        if total >= ring.wake_at:
            self._reports.append(Output(pty.slot))
        if pty.mask & select.EPOLLET:  # somebody opened the terminal again
            self._watch_master(pty)
        if pty.phase is _Phase.TAIL:
            silence = time.monotonic() + TAIL_SILENCE_SECONDS
            self._deadlines[pty.slot] = min(silence, pty.ended_at + TAIL_SECONDS)
        return True

    def _drain(self, pty: _Pty) -> None:
        for _ in range(_READS_AT_END):
            if not self._read(pty):
                return

    def _hang_up(self, pty: _Pty) -> None:
        """Nobody has the terminal open; the child may be alive and open it again."""
        if pty.phase is _Phase.RUNNING:
            # Edge-triggered from here on: a level would be reported for ever.
            self._watch_master(pty, extra=select.EPOLLET)
            return
        if pty.phase is _Phase.DRAINING:
            self._complete(pty, tail_pending=False)
        self._close(pty)

    def _reach_limit(self, pty: _Pty) -> None:
        """Hold a PTY that has no credit, if there is something to read."""
        poll = select.poll()
        poll.register(pty.master, select.POLLIN)
        ready = dict(poll.poll(0)).get(pty.master, 0)
        if ready & select.POLLIN:
            pty.held_since = time.monotonic()
            if pty.phase is not _Phase.RUNNING:
                self._deadlines[pty.slot] = pty.ended_at + HELD_END_SECONDS
            self._watch_master(pty)
        elif ready & select.POLLHUP:
            self._hang_up(pty)
        elif pty.phase is _Phase.DRAINING:
            self._complete(pty, tail_pending=True)

    def _release(self, pty: _Pty) -> None:
        self._count_held(pty)
        self._deadlines.pop(pty.slot, None)
        if pty.phase is _Phase.TAIL:
            self._deadlines[pty.slot] = time.monotonic() + TAIL_SILENCE_SECONDS
        self._watch_master(pty)
        if pty.phase is not _Phase.RUNNING:
            self._drain(pty)

    def _count_held(self, pty: _Pty) -> None:
        if pty.held_since is not None:
            pty.ring.held_ms += round(1000 * (time.monotonic() - pty.held_since))
            pty.held_since = None

    # The end ---------------------------------------------------------------------------------

    def _on_exit(self, pty: _Pty) -> None:
        status = reap(pty.pidfd)
        if status is None:
            return
        self._watch(pty.pidfd, 0, _ignore)
        os.close(pty.pidfd)
        pty.pidfd = -1
        pty.status = status
        pty.ended_at = time.monotonic()
        pty.phase = _Phase.DRAINING
        pty.input.close()
        if pty.held_since is not None:
            self._deadlines[pty.slot] = pty.ended_at + HELD_END_SECONDS
        elif pty.master >= 0:
            self._drain(pty)
        else:
            self._complete(pty, tail_pending=False)

    def _complete(self, pty: _Pty, *, tail_pending: bool) -> None:
        assert pty.status is not None
        pty.phase = _Phase.TAIL
        if tail_pending:
            self._deadlines[pty.slot] = time.monotonic() + TAIL_SILENCE_SECONDS
        pty.ring.end(_word(pty.status))
        self._reports.append(Exited(pty.slot, pty.status, tail_pending))

    def _close(self, pty: _Pty) -> None:
        if pty.master < 0:
            return
        self._count_held(pty)
        self._deadlines.pop(pty.slot, None)
        pty.input.close()
        self._watch(pty.master, 0, _ignore)
        os.close(pty.master)
        pty.master = -1
        if pty.phase is _Phase.DRAINING:
            self._complete(pty, tail_pending=False)
        self._reports.append(Closed(pty.slot))

    def _expire(self, now: float) -> None:
        for slot in [slot for slot, deadline in self._deadlines.items() if now >= deadline]:
            pty = self._ptys[slot]
            if pty.held_since is not None:
                # The consumer had its time. The ring takes the rest and says what it drops.
                pty.limitless = True
                self._release(pty)
            else:
                self._close(pty)

    # Watching --------------------------------------------------------------------------------

    def _watch_master(self, pty: _Pty, extra: int = 0) -> None:
        mask = extra | (0 if pty.held_since is not None else _IN)
        if pty.input.is_waiting:
            mask |= _OUT
        if mask != pty.mask:
            pty.mask = mask
            self._watch(pty.master, mask, lambda events: self._on_master(pty, events))

    def _watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        if not mask:
            if self._handlers.pop(fd, None) is not None:
                self._epoll.unregister(fd)
        elif fd in self._handlers:
            self._handlers[fd] = handler
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
            self._handlers[fd] = handler


def _word(status: ExitStatus) -> int:
    """Return how the ring's header tells an exit status."""
    if status.signal is not None:
        return 256 + status.signal
    return 512 if status.exit_code is None else status.exit_code


def _ignore(_events: int) -> None:
    """Handle nothing."""

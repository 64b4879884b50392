"""One PTY in the engine: its output is read into its ring, from the spawn to the end.

A child can exit while other processes still have its terminal open, and all can close the terminal
while the child lives. So a PTY ends in phases:

    RUNNING --pidfd fires--> DRAINING --EAGAIN--> TAIL --200 ms of silence, 1 s at most--> closed
                                |  \\--EIO---------------------------------------------^
                                '--paused: waits for the consumer, 10 s at most

When is the child's own output complete? The kernel moves all that the child wrote into the
master's buffer before a read returns EAGAIN (n_tty_read in Linux). So it is complete at the first
EAGAIN after the exit. If a flood from other processes keeps EAGAIN away, it is complete once more
was read than a terminal can hold.
"""

from __future__ import annotations

import contextlib
import enum
import os
import select
import time
from dataclasses import dataclass
from time import time as wall_time
from typing import Final, Protocol

from ptymux.core.pattern import Pattern
from ptymux.core.ring import RingBuffer
from ptymux.core.windows import Windows
from ptymux.engine.input import Handler, Input
from ptymux.engine.reports import Closed, Exited, LifelineEnded, Output, Report
from ptymux.posix.process import ExitStatus, reap

__all__ = ["Host", "PtyFds", "Terminal"]

_REAP_SECONDS: Final = 3.0  # for the parent of a child that is not ours to reap it
_SHORT: Final = 512  # a shorter read is an echo or a line; a flood gives 4 KB at a time
_READS: Final = 4  # in a row, some 16 KB, while a closing PTY is emptied
# The most that a terminal can hold of output that was not read. Source: some 8 KB of flip buffers
# (pty_common_install in linux/drivers/tty/pty.c) and 4 KB of n_tty; up to 23 KB were measured.
_TERMINAL_HOLDS: Final = 64 * 1024

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_HUP: Final = select.EPOLLHUP
_EDGE: Final = select.EPOLLET


@dataclass(frozen=True, slots=True)
class PtyFds:
    """The fds of one PTY, from which an engine in another process can continue it."""

    memfd: int  # the memory of its ring
    master: int | None  # None once the terminal was closed
    pidfd: int | None  # None once the child was reaped

    @property
    def open(self) -> list[int]:
        """Those that are open, in the order of the fields."""
        return [fd for fd in (self.memfd, self.master, self.pidfd) if fd is not None]


class Host(Protocol):
    """The part of an engine that a terminal uses."""

    windows: Windows
    second: int  # of the wall clock, as of the last events
    pattern: Pattern  # ahead of what is written to its rings
    reports: list[Report]
    deadlines: dict[int, float]  # by slot, on time.monotonic: when to call `Terminal.expire`
    busy: dict[Terminal, None]  # an ordered set: those with something to read in this turn
    unreported: dict[Terminal, None]  # an ordered set: their output was echoed, not reported yet

    def watch(self, fd: int, mask: int, handler: Handler) -> None:
        """Call `handler` for the events of `mask` on `fd`; mask 0 ends that."""
        ...

    def note_typing(self) -> float:
        """Record that input was typed; return until when that counts, on time.monotonic."""
        ...


class _Phase(enum.Enum):
    RUNNING = enum.auto()
    DRAINING = enum.auto()  # the child has exited; its own output is not complete yet
    TAIL = enum.auto()  # complete and reported; another process still has the terminal open


class Terminal:
    """One PTY: owns its master, its child's pidfd and the ring of its output."""

    __slots__ = (
        "_complete_at",
        "_ended_at",
        "_host",
        "_ignores_limit",
        "_is_echoed",
        "_mask",
        "_paused_seconds",
        "_paused_since",
        "_phase",
        "_reported",
        "_second",
        "_seen",
        "_tail_until",
        "_unreaped_until",
        "_windows",
        "input",
        "master",
        "memfd",
        "pidfd",
        "ring",
        "slot",
        "status",
        "suspended",
        "typed_until",
    )

    def __init__(self, host: Host, slot: int, fds: PtyFds, ring: RingBuffer) -> None:
        self._host = host
        self._windows = host.windows
        self.slot = slot
        # A number also once it was closed, or reaped: reading asks for it all the time.
        self.master = -1 if fds.master is None else fds.master
        self.pidfd = -1 if fds.pidfd is None else fds.pidfd
        self.memfd = fds.memfd
        self.ring = ring
        self.status: ExitStatus | None = None
        self.suspended = False
        self.typed_until = 0.0  # until when it counts as typed into
        self._phase = _Phase.RUNNING
        self._mask = 0
        self._is_echoed = False  # the last read was sent as an echo
        self._paused_since: float | None = None  # or the time of the last `_count_paused`
        self._paused_seconds = ring.held_ms / 1000
        self._unreaped_until: float | None = None  # for a child that is not ours
        self._ignores_limit = False  # ended, and its consumer had enough time
        self._ended_at = 0.0
        self._complete_at = 0  # the total at which the child's own output is surely complete
        self._tail_until = 0.0
        self._second = 0  # that was noted in the ring
        self._seen = 0  # the total at the last read of an ended PTY
        self._reported = -1  # the `wake_at` of the last output report
        self.input = Input(self.master, ring, host.watch, self._watch, self._on_lifeline_end)
        self.input.on_typed = self._note_typing
        if self.master >= 0:
            self._watch()
        if self.pidfd >= 0:
            host.watch(self.pidfd, _IN, self._on_exit)

    @classmethod
    def restore(cls, host: Host, slot: int, fds: PtyFds, ring: RingBuffer) -> Terminal:
        """Continue a PTY of an engine that was killed.

        A read that the kill interrupted is finished. An end that the ring's header contains is
        reported again.
        """
        ring.recover(host.pattern)
        terminal = cls(host, slot, fds, ring)
        word = ring.ended
        if word is not None:
            terminal._take_status(ExitStatus.of_word(word))
            terminal._close_pidfd()
        if fds.master is None:
            host.reports.append(Closed(slot))
        return terminal

    @property
    def fds(self) -> PtyFds:
        """Its fds, which stay its own."""
        master = self.master if self.master >= 0 else None
        return PtyFds(self.memfd, master, self.pidfd if self.pidfd >= 0 else None)

    # Output ----------------------------------------------------------------------------------

    def read(self, count: int) -> bool:
        """Read up to `count` times, within the ring's limit; return whether more is likely."""
        if self._host.second != self._second:
            self._note_second(self._host.second)
        try:
            got = self.ring.drain(
                self.master, os.readv, count, limited=not self._ignores_limit, short=_SHORT
            )
        except BlockingIOError:
            if self._phase is not _Phase.RUNNING:
                self._follow_end(is_empty=True)
            return False
        except OSError:  # EIO: no process has the terminal open
            self._hang_up()
            return False
        if got <= 0:
            self._pause_at_limit()
            return False
        if self.typed_until:
            self._echo(got)
        if self._mask & _EDGE:  # a process has opened the terminal again
            self._watch()
        if self._phase is not _Phase.RUNNING:
            self._follow_end(is_empty=False)
            return True
        return got >= _SHORT  # else: if there is more all the same, epoll reports it

    def _note_second(self, second: int) -> None:
        """Note the time of what is read next.

        Not of what ended without a word: its index would use memory for nothing.
        """
        self._second = second
        if self.ring.total or self._phase is _Phase.RUNNING:
            self.ring.note_time(second)

    def _echo(self, size: int) -> None:
        """Send the last read to the clients that typed, if it answers a key."""
        if time.monotonic() >= self.typed_until:
            self.typed_until = 0.0
        elif size < _SHORT:
            start = self.ring.total - size
            self._is_echoed = self.input.echo(start, self.ring.copy(start, size))

    def _follow_end(self, *, is_empty: bool) -> None:
        """After a read of an ended PTY, check whether the next phase of its end is reached."""
        total = self.ring.total
        if self._phase is _Phase.DRAINING:
            if is_empty or total >= self._complete_at:
                self._complete(tail_pending=True)
        elif total > self._seen:
            self._await_silence()
        self._seen = total

    def _await_silence(self) -> None:
        silence = time.monotonic() + self._windows.tail_silence
        self._host.deadlines[self.slot] = min(silence, self._tail_until)

    def report_output(self) -> None:
        """Report output if the ring's `wake_at` is reached; once for each value of it."""
        if self.master < 0:
            return  # `Closed` is reported, which says more
        if self._is_echoed:
            self._is_echoed = False
            self._host.unreported[self] = None
            return
        wake_at = self.ring.wake_at
        if self.ring.total >= wake_at and wake_at != self._reported:
            self._reported = wake_at
            self._host.reports.append(Output(self.slot))

    def credit_raised(self) -> None:
        """Continue if it is paused: the ring's `limit` was raised."""
        if self._paused_since is None:
            return
        self._count_paused()
        self._paused_since = None
        self._host.deadlines.pop(self.slot, None)
        if self._phase is _Phase.TAIL:
            self._await_silence()
        self._watch()
        if self._phase is not _Phase.RUNNING:
            self._host.busy[self] = None

    def _on_event(self, events: int) -> bool:
        if events & _OUT:
            self.input.feed()
            self._watch()
        if not events & (_IN | _HUP) or self.master < 0:
            return False
        if self.typed_until and events == _IN and self._can_read():
            has_more = self.read(1)  # at once: the answer to a key does not wait for a turn
            self.report_output()
            if not has_more:
                return self._can_read()
        if self._paused_since is None:
            self._host.busy[self] = None
        else:
            # Hung up while paused: epoll would report that again and again.
            self._host.watch(self.master, 0, self._on_event)
            self._mask = 0
        return False

    def _can_read(self) -> bool:
        return self._phase is _Phase.RUNNING and self._paused_since is None

    def _pause_at_limit(self) -> None:
        """Pause a PTY that has reached its ring's limit, if there is something to read."""
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        ready = dict(poll.poll(0)).get(self.master, 0)
        if ready & select.POLLIN:
            self._paused_since = time.monotonic()
            self._await_credit()
            self._watch()
        elif ready & select.POLLHUP:
            self._hang_up()
        elif self._phase is _Phase.DRAINING:
            self._complete(tail_pending=True)

    def _await_credit(self) -> None:
        due = time.monotonic() + self._windows.count_paused
        if self.status is not None:
            due = min(due, self._ended_at + self._windows.paused_end)
        self._host.deadlines[self.slot] = due

    def _count_paused(self) -> None:
        """Add the time paused so far to the ring's `held_ms`."""
        if self._paused_since is None:
            return
        now = time.monotonic()
        self._paused_seconds += now - self._paused_since
        self.ring.held_ms = round(1000 * self._paused_seconds)
        if self.status is not None:  # the time paused does not count for the tail's second
            self._tail_until += now - max(self._paused_since, self._ended_at)
        self._paused_since = now

    # The end ---------------------------------------------------------------------------------

    def _on_exit(self, _events: int) -> None:
        patient = self._unreaped_until is None or time.monotonic() < self._unreaped_until
        status = reap(self.pidfd, patient=patient)
        if status is None:
            self._await_parent()
            return
        self._unreaped_until = None
        self._close_pidfd()
        self._take_status(status)

    def _await_parent(self) -> None:
        """Wait until its parent reaps a child that is not ours; then its status can be read."""
        if self._unreaped_until is None:
            self._unreaped_until = time.monotonic() + _REAP_SECONDS
            self._host.deadlines[self.slot] = self._unreaped_until
            self._host.watch(self.pidfd, _HUP | _EDGE, self._on_exit)

    def _take_status(self, status: ExitStatus) -> None:
        self.status = status
        self._ended_at = time.monotonic()
        self._tail_until = self._ended_at + self._windows.tail
        self._complete_at = self.ring.total + _TERMINAL_HOLDS
        self._phase = _Phase.DRAINING
        self.input.close()
        if self.master < 0:
            self._complete(tail_pending=False)
        elif self._paused_since is not None:
            self._await_credit()
        else:
            self._host.busy[self] = None

    def _note_typing(self) -> None:
        self.typed_until = self._host.note_typing()

    def _on_lifeline_end(self, number: int, by_client: bool) -> None:
        self._host.reports.append(LifelineEnded(self.slot, number, by_client))

    def _hang_up(self) -> None:
        """Handle that no process has the terminal open; a living child may open it again."""
        if self._phase is _Phase.RUNNING:
            self._watch(_EDGE)  # edge-triggered: the hang-up would be reported for ever
        else:
            self.close()

    def _complete(self, *, tail_pending: bool) -> None:
        """Report the exit: the child's own output is complete in the ring."""
        assert self.status is not None
        self._phase = _Phase.TAIL
        if tail_pending:
            self._await_silence()
        self.ring.end(self.status.word)
        self._host.reports.append(Exited(self.slot, self.status, tail_pending))

    def expire(self) -> None:
        """Do what its deadline in `Host.deadlines` was set for."""
        if self._unreaped_until is not None and self.pidfd >= 0:
            self._host.deadlines.pop(self.slot, None)
            self._on_exit(0)
        elif self._paused_since is None:
            self.close()
        elif self.status is None or time.monotonic() < self._ended_at + self._windows.paused_end:
            self._count_paused()
            self._await_credit()
        else:
            # The consumer had its time. Read the rest; what the ring drops is accounted.
            self._ignores_limit = True
            self.credit_raised()

    def close(self) -> None:
        """Close the terminal, even if processes have it open; a second call does nothing.

        If the child's own output is not complete, all that is there is read first, beyond the
        ring's limit.
        """
        if self.master < 0:
            return
        self._count_paused()
        self._paused_since = None
        self._host.deadlines.pop(self.slot, None)
        self.input.close()
        if self._phase is not _Phase.TAIL:
            self._take_rest()
        self._host.watch(self.master, 0, self._on_event)
        os.close(self.master)
        self.master = -1
        if self._phase is _Phase.DRAINING:
            self._complete(tail_pending=False)
        self._host.reports.append(Closed(self.slot))

    def _take_rest(self) -> None:
        end = self.ring.total + _TERMINAL_HOLDS
        self.ring.note_time(int(wall_time()))
        with contextlib.suppress(OSError):
            while self.ring.total < end:
                self.ring.drain(self.master, os.readv, _READS, limited=False)

    def release(self) -> None:
        """Close all fds of the PTY; the ring's memory lives while somebody maps it."""
        self.close()
        if self.pidfd >= 0:
            reap(self.pidfd)  # if it died just now, it must not stay a zombie
        self._close_pidfd()
        os.close(self.memfd)
        self.ring.release()
        del self.input  # breaks a reference cycle: memory is freed now, not at a collection

    def _close_pidfd(self) -> None:
        if self.pidfd >= 0:
            self._host.watch(self.pidfd, 0, self._on_exit)
            os.close(self.pidfd)
            self.pidfd = -1

    def _watch(self, extra: int = 0) -> None:
        mask = extra | _IN * (self._paused_since is None) | _OUT * self.input.is_waiting
        if mask != self._mask:
            self._mask = mask
            self._host.watch(self.master, mask, self._on_event)

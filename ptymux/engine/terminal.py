"""One PTY as the engine sees it: its master is read into its ring, until its end.

A child may exit while others hold its terminal, and the other way round:

    RUNNING --pidfd fires--> DRAINING --EAGAIN--> TAIL --200 ms of silence, 1 s at most--> closed
                                |  \\--EIO---------------------------------------------^
                                '--held: waits for the consumer, 10 s at most

The kernel flushes what the child wrote into the master's buffer before a read says EAGAIN
(n_tty_read in Linux), so at the first EAGAIN after the exit the child's own output is complete.
Where a flood of others keeps EAGAIN away, it is complete once more was read than a terminal holds.
"""

from __future__ import annotations

import contextlib
import enum
import os
import select
import time
from typing import Final, Protocol

from ptymux.core.ring import RingBuffer
from ptymux.core.windows import Windows
from ptymux.engine.input import Handler, Input
from ptymux.engine.reports import Closed, Exited, LifelineEnded, Output, Report
from ptymux.posix.process import ExitStatus, reap

__all__ = ["Host", "Terminal"]


_REAP_SECONDS: Final = 3.0  # for the parent of a child that is not ours to reap it
_SHORT: Final = 512  # an echo, a line: a terminal gives 4 KB at a time when there is more
_READS: Final = 4  # in one go when a closing PTY is emptied, some 16 KB
# At most, of what was written and not read yet. Source: some 8 KB of flip buffers (the limit that
# pty_common_install sets in linux/drivers/tty/pty.c) and 4 KB of n_tty; up to 23 KB were measured.
_TERMINAL_HOLDS: Final = 64 * 1024

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_HUP: Final = select.EPOLLHUP
_EDGE: Final = select.EPOLLET


class Host(Protocol):
    """What a terminal needs of its engine."""

    windows: Windows
    reports: list[Report]
    deadlines: dict[int, float]  # by slot, on time.monotonic: when `Terminal.expire` is due
    busy: dict[Terminal, None]  # an ordered set: have something to read in this turn
    unreported: dict[Terminal, None]  # an ordered set: its output was echoed, to be told of soon

    def watch(self, fd: int, mask: int, handler: Handler) -> None:
        """Have `handler` called with the events of `mask`; mask 0: no more."""
        ...

    def note_typing(self) -> float:
        """Take notice that input was taken; return until when, on time.monotonic, that counts."""
        ...


class _Phase(enum.Enum):
    RUNNING = enum.auto()
    DRAINING = enum.auto()  # the child is gone, its own output is not complete yet
    TAIL = enum.auto()  # complete and reported; something else still holds the terminal


class Terminal:
    """Owns a master, a child's pidfd and a ring."""

    __slots__ = (
        "_complete_at",
        "_ended_at",
        "_host",
        "_is_echoed",
        "_limitless",
        "_mask",
        "_paused_seconds",
        "_paused_since",
        "_phase",
        "_reported",
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

    def __init__(
        self, host: Host, slot: int, master: int, pidfd: int, memfd: int, ring: RingBuffer
    ) -> None:
        self._host = host
        self._windows = host.windows
        self.slot = slot
        self.master = master  # -1 once closed
        self.pidfd = pidfd  # -1 once reaped
        self.memfd = memfd
        self.ring = ring
        self.status: ExitStatus | None = None
        self.suspended = False
        self.typed_until = 0.0  # until when it counts as being typed into
        self._phase = _Phase.RUNNING
        self._mask = 0
        self._is_echoed = False  # what was read last; whoever waits for it has it
        self._paused_since: float | None = None  # or since the last `count_held`
        self._paused_seconds = ring.held_ms / 1000
        self._unreaped_until: float | None = None  # of a child that is not ours
        self._limitless = False  # an ended PTY waited long enough for its consumer
        self._ended_at = 0.0
        self._complete_at = 0  # the total at which the child's own output is complete for sure
        self._tail_until = 0.0
        self._seen = 0  # total at the last read of an ended PTY
        self._reported = -1  # the `wake_at` that was answered last
        self.input = Input(master, ring, host.watch, self._watch, self._on_lifeline_end)
        self.input.on_typed = self._note_typing
        if master >= 0:
            self._watch()
        if pidfd >= 0:
            host.watch(pidfd, _IN, self._on_exit)

    @classmethod
    def restore(
        cls, host: Host, slot: int, master: int, pidfd: int, memfd: int, ring: RingBuffer
    ) -> Terminal:
        """Go on with a PTY of an engine that died; -1 for a master or a pidfd that was closed.

        The read that was cut is finished; an end that was published is reported again.
        """
        ring.recover()
        terminal = cls(host, slot, master, pidfd, memfd, ring)
        word = ring.ended
        if word is not None:
            terminal._take_status(ExitStatus.of_word(word))
            if pidfd >= 0:
                terminal._close_pidfd()
        if master < 0:
            host.reports.append(Closed(slot))
        return terminal

    # Output ----------------------------------------------------------------------------------

    def read(self, count: int) -> bool:
        """Read up to `count` times, within the credit; return whether there is likely more."""
        try:
            got = self.ring.drain(
                self.master, os.readv, count, limited=not self._limitless, short=_SHORT
            )
        except BlockingIOError:
            if self._phase is not _Phase.RUNNING:
                self._follow_end(is_empty=True)
            return False
        except OSError:  # EIO: nobody has the terminal open
            self._hang_up()
            return False
        if got <= 0:
            self._reach_limit()
            return False
        if self.typed_until:
            self._echo(got)
        if self._mask & _EDGE:  # somebody opened the terminal again
            self._watch()
        if self._phase is not _Phase.RUNNING:
            self._follow_end(is_empty=False)
            return True
        return got >= _SHORT  # else epoll says, should there be more all the same

    def _echo(self, size: int) -> None:
        """Send what was read last, if it answers a key, to whoever waits for it."""
        if time.monotonic() >= self.typed_until:
            self.typed_until = 0.0
        elif size < _SHORT:
            start = self.ring.total - size
            self._is_echoed = self.input.echo(start, self.ring.copy(start, size))

    def _follow_end(self, *, is_empty: bool) -> None:
        """Judge, after a read of an ended PTY, how far its end has come."""
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
        """Report output when somebody asked to be told of it; once for each time it is asked."""
        if self.master < 0:
            return  # that it closed says more
        if self._is_echoed:
            self._is_echoed = False
            self._host.unreported[self] = None
            return
        wake_at = self.ring.wake_at
        if self.ring.total >= wake_at and wake_at != self._reported:
            self._reported = wake_at
            self._host.reports.append(Output(self.slot))

    def credit_raised(self) -> None:
        """Go on when it was held, now that the ring's `limit` was raised."""
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
        if self.typed_until and events == _IN and self._is_plain():
            has_more = self.read(1)  # what answers a key waits for no turn
            self.report_output()
            if not has_more:
                return self._is_plain()
        if self._paused_since is None:
            self._host.busy[self] = None
        else:
            # Hung up while held: a watched master would be reported again and again.
            self._host.watch(self.master, 0, self._on_event)
            self._mask = 0
        return False

    def _is_plain(self) -> bool:
        return self._phase is _Phase.RUNNING and self._paused_since is None

    def _reach_limit(self) -> None:
        """Hold a PTY that has no credit, if there is something to read."""
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
        """Bring the ring's `held_ms` up to now."""
        if self._paused_since is None:
            return
        now = time.monotonic()
        self._paused_seconds += now - self._paused_since
        self.ring.held_ms = round(1000 * self._paused_seconds)
        if self.status is not None:  # what waits for a consumer is no tail that lasts too long
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
        """Wait until somebody else reaps a child that is not ours: then the kernel tells how."""
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
        """Nobody has the terminal open; a child that lives may open it again."""
        if self._phase is _Phase.RUNNING:
            self._watch(_EDGE)  # a level would be reported for ever
        else:
            self.close()

    def _complete(self, *, tail_pending: bool) -> None:
        """Report the exit, now that the child's own output is complete."""
        assert self.status is not None
        self._phase = _Phase.TAIL
        if tail_pending:
            self._await_silence()
        self.ring.end(self.status.word)
        self._host.reports.append(Exited(self.slot, self.status, tail_pending))

    def expire(self) -> None:
        """Do what the deadline was set for."""
        if self._unreaped_until is not None and self.pidfd >= 0:
            self._host.deadlines.pop(self.slot, None)
            self._on_exit(0)
        elif self._paused_since is None:
            self.close()
        elif self.status is None or time.monotonic() < self._ended_at + self._windows.paused_end:
            self._count_paused()
            self._await_credit()
        else:
            # The consumer had its time. The ring takes the rest and says what it drops.
            self._limitless = True
            self.credit_raised()

    def close(self) -> None:
        """Close the terminal, whoever still holds it; again is no error.

        Before the child's own output is complete the ring takes what is there, whatever its limit.
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
        with contextlib.suppress(OSError):
            while self.ring.total < end:
                self.ring.drain(self.master, os.readv, _READS, limited=False)

    def release(self) -> None:
        """Let go of everything; the ring's memory lives as long as somebody maps it."""
        self.close()
        if self.pidfd >= 0:
            reap(self.pidfd)  # one that died just now leaves no zombie
        self._close_pidfd()
        os.close(self.memfd)
        self.ring.release()
        del self.input  # a cycle with us would wait for a collection

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

"""`Flow`: follows the output of one PTY in its ring, wakes readers, and notifies a listener.

The engine writes to the ring in another process. `refresh` looks at the ring: it passes new output
to the readers that wait, then compares the ring with the last look, notifies the listener of the
difference, and arms the next look. It runs when the engine reports output and when a timer is due.
Readers come first, as somebody may be watching the terminal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from ptymux.core.event_log import Topic
from ptymux.core.model import OnFull, SpawnOptions
from ptymux.core.notifications import BufferNotification
from ptymux.core.output import OutputBuffer
from ptymux.core.reader import Reader
from ptymux.core.ring import Cursor, Part, RingBuffer
from ptymux.core.terminal_modes import TerminalModes
from ptymux.link.interface import Link
from ptymux.manager.mode_tracker import ModeTracker
from ptymux.manager.publisher import Json
from ptymux.manager.title_reports import REPORT_SECONDS, TitleReports

__all__ = ["Flow", "FlowListener"]

_NO_RING: Final = RingBuffer(0)  # of a PTY that has not begun, or whose ring was released
_RANGE_SECONDS: Final = 0.34  # between two published ranges; with the last one 4 a second at most
_LONGEST_TAIL: Final = 4096  # bytes of the newest output in which queries are looked for
_FIRST_LOOK_SECONDS: Final = 0.05
_LAST_LOOK_SECONDS: Final = 1.6
_IDLE_LOOKS: Final = 16  # looks at a busy PTY within one idle timeout
_IDLE_LOOK_SECONDS: Final = 0.01  # at least, between two of them


Take = Callable[[], bool]  # takes some output; False: it cannot now
_Waiter = tuple[Cursor, Take | None]  # where a reader stands, and how it takes what comes


class FlowListener(Protocol):
    """What a flow calls when it finds something at a look."""

    @property
    def wants_ranges(self) -> bool:
        """Whether `on_range` is to be called for all output."""
        ...

    def on_notifications(self, notifications: list[BufferNotification]) -> None:
        """Take what the buffer found: backpressure, an overflow, a reader that fell behind."""
        ...

    def on_accounted(self) -> None:
        """Take note that the ring's account includes the notifications passed before."""
        ...

    def on_output(self) -> None:
        """Take note that the child wrote something."""
        ...

    def on_silence(self, seconds: float) -> None:
        """Take note that the child wrote nothing for its idle timeout; once until it writes."""
        ...

    @property
    def answers_queries(self) -> bool:
        """Whether what the program asks its terminal is to be answered: no terminal is there."""
        ...

    def on_queries(self, output: bytes) -> int:
        """Take the newest output, which may ask something; return how much to be shown again."""
        ...

    def on_modes(self) -> None:
        """Take note that the output has switched modes of the terminal, or its title."""
        ...

    @property
    def wants_titles(self) -> bool:
        """Whether titles and bells are to be noticed soon, as somebody follows them."""
        ...

    def on_title(self, topic: Topic, payload: Mapping[str, Json]) -> None:
        """Take the event of a title or of bells."""
        ...

    def on_range(self, start: int, end: int) -> None:
        """Take note of the output from one offset to another."""
        ...


class Flow:
    """A PTY's ring and its buffer, from the spawn until its last reader is closed."""

    def __init__(self, link: Link, slot: int, listener: FlowListener) -> None:
        self.ring = _NO_RING  # until the engine gives one
        self.buffer = OutputBuffer(self.ring)
        self.has_begun = False  # the child was started
        self.is_over = False  # nothing will be written any more
        self._modes = ModeTracker(self.ring)
        self._link = link
        self._slot = slot
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[asyncio.Future[None], _Waiter] = {}
        self._is_looking = False  # in `refresh`, which arms at its end
        self._has_settled = False  # the account was brought up to date meanwhile
        self._is_due = False  # a `refresh` comes in the next turn of the loop
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timeout = 0.0  # 0: never
        self._is_released = False
        self._seen = 0  # total at the last refresh
        self._seen_at = 0.0  # when it had grown last
        self._answered_to = 0  # up to where queries were answered
        self._look_again_at: float | None = None
        self._look_again_seconds = _FIRST_LOOK_SECONDS
        self._is_quiet = False  # it had not grown at the last refresh
        self._is_silent = False  # and the listener was notified of it
        self._published_to = 0  # up to where ranges were published
        self._next_range_at = 0.0  # when the next one may be
        self._wants_ranges = False  # somebody did at the last refresh
        self._reports = TitleReports()
        self._wants_titles = False  # somebody did at the last refresh
        self._titles_at = 0.0  # when the output is to be looked at again for that

    # Begin and end ---------------------------------------------------------------------------

    def begin(self, ring: RingBuffer, options: SpawnOptions, *, resumed: bool = False) -> None:
        """Begin with the ring of a child that was started; `resumed`: and with its account."""
        self.has_begun = True
        self.ring = ring
        self.buffer = OutputBuffer(ring, options.threshold, options.on_full, resumes=resumed)
        self.buffer.notifies_first = True
        self._modes = ModeTracker(ring)
        self._answered_to = ring.total if resumed else 0  # never twice, rather not at all
        self._idle_timeout = options.idle_timeout_seconds
        self._seen_at = time.monotonic()

    def restore_modes(self, offset: int, redo: bytes) -> None:
        """Go on with the terminal modes as of `offset`, which `redo` switches on."""
        self._modes = ModeTracker(self.ring, offset, redo)

    def end_idle(self) -> None:
        """Look for silence no more, as the child is gone."""
        self._idle_timeout = 0.0

    def end(self) -> None:
        """Publish what is left to publish, as nothing will be written any more."""
        self.refresh()
        self._publish(self.buffer.finish(time.monotonic()))
        if not self._is_released:
            self._modes.catch_up()
            self._report_titles(time.monotonic(), final=True)
        if self._listener.wants_ranges and self._seen > self._published_to:
            self._listener.on_range(self._published_to, self._seen)
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def release(self) -> None:
        """Let go of the ring's memory, once the last reader is closed."""
        self._is_released = True
        self._release_unused()

    def _release_unused(self) -> None:
        if self._is_released and not self.buffer.readers and self.ring is not _NO_RING:
            ring, self.ring = self.ring, _NO_RING
            ring.release()

    @property
    def is_readable(self) -> bool:
        """Whether readers can be attached; not once it was released."""
        return not self._is_released

    @property
    def retained(self) -> int:
        """Bytes of output that are kept."""
        return self.ring.total - self.ring.edge

    @property
    def modes(self) -> TerminalModes:
        """The terminal modes that are known."""
        return self._modes.modes

    @property
    def known_modes(self) -> tuple[int, bytes]:
        """The terminal modes, as bytes that switch them on, and the offset as of which they are."""
        return self._modes.kept

    def modes_now(self) -> tuple[int, bytes]:
        """Return as `known_modes`, as of now."""
        if not self._is_released and self._modes.catch_up():
            self._listener.on_modes()
        self._report_titles(now := time.monotonic())
        if not self.is_over:
            self._arm(now)
        return self._modes.offset, self._modes.modes.redo

    @property
    def tracker(self) -> ModeTracker:
        """What is known of the modes, the title and the bells."""
        return self._modes

    def title_now(self) -> str:
        """Return the title as of now; in a flood, or when much was just read, as of before."""
        if not (self._is_released or self.is_over):
            self._modes.glance(now := time.monotonic())
            self._report_titles(now)
            self._arm(now)
        return self._modes.title.title

    def _report_titles(self, now: float, *, final: bool = False) -> None:
        for topic, payload in list(self._reports.due(self._modes, now, final=final)):
            self._listener.on_title(topic, payload)
            self._listener.on_modes()

    # Looking ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the ring: pass new output on, notify the listener, arm the next look."""
        if self.is_over:
            return
        self._is_looking = True
        try:
            now = self._look()
        finally:
            self._is_looking = False
        self._arm(now)

    def _look(self) -> float:
        grew = self.ring.total != self._seen
        self._seen = self.ring.total
        self._has_settled = False
        self._pass_on()
        now = time.monotonic()
        due = self.buffer.deadline
        if not self._has_settled or (due is not None and due <= now):
            self._publish(self.buffer.advance(now))
        if grew:
            self._seen_at = now
            self._is_silent = False
            self._listener.on_output()
            self._pass_queries()
        self._note_growth(now, grew=grew)
        self._is_quiet = not grew
        self._judge_silence(now)
        self._publish_range(now)
        if self._is_look_due(now):
            self._titles_at = now + REPORT_SECONDS
            if self._modes.look():
                self._listener.on_modes()
        self._report_titles(now)
        return now

    def _is_look_due(self, now: float) -> bool:
        self._wants_titles = self._listener.wants_titles
        if self._modes.is_due(now):
            return True
        return self._awaits_titles() and now >= max(self._titles_at, self._modes.due_at)

    def _awaits_titles(self) -> bool:
        """Whether output is to be looked at for somebody who follows titles or bells."""
        return self._wants_titles and self._modes.offset < self._seen

    def _publish(self, notifications: list[BufferNotification]) -> None:
        """Notify the listener first, then write that into the account.

        After a kill between the two a replacement server finishes the account from the event log.
        """
        if notifications:
            self._listener.on_notifications(notifications)
            self.buffer.store()
            self._listener.on_accounted()

    def _judge_silence(self, now: float) -> None:
        silent = now - self._seen_at
        if self._idle_timeout and not self._is_silent and self._is_quiet:
            self._is_silent = silent >= self._idle_timeout
            if self._is_silent:
                self._listener.on_silence(silent)

    def _pass_queries(self) -> None:
        """Pass on the newest output if nobody else answers what it asks."""
        if self._listener.answers_queries:
            start = max(self._answered_to, self._seen - _LONGEST_TAIL, self.ring.edge)
            tail = self.ring.copy(start, self._seen - start)
            self._answered_to = self._seen - self._listener.on_queries(tail)
        else:
            self._answered_to = self._seen

    def _note_growth(self, now: float, *, grew: bool) -> None:
        """Have the next look at output that grows soon, then later and later.

        Who asks something waits for the answer, so that it is seen at such a look, or at the next
        output after a silence.
        """
        if not grew or not self._listener.answers_queries:
            self._look_again_at, self._look_again_seconds = None, _FIRST_LOOK_SECONDS
        else:
            self._look_again_at = now + self._look_again_seconds
            self._look_again_seconds = min(2 * self._look_again_seconds, _LAST_LOOK_SECONDS)

    def _publish_range(self, now: float) -> None:
        self._wants_ranges = self._listener.wants_ranges
        if not self._wants_ranges:
            self._published_to = self._seen
        elif self._seen > self._published_to and now >= self._next_range_at:
            self._listener.on_range(self._published_to, self._seen)
            self._published_to = self._seen
            self._next_range_at = now + _RANGE_SECONDS

    # Readers ---------------------------------------------------------------------------------

    def hand(self, reader: Reader, part: Part, size: int | None = None) -> None:
        """Note that a reader was handed `part`, or its first `size` bytes."""
        self.change(lambda now: self.buffer.hand(reader, part, now, size))

    def change(self, operation: Callable[[float], list[BufferNotification]]) -> None:
        """Run an operation of the buffer, pass on what it found, and credit to the engine."""
        limit = self.ring.limit
        now = time.monotonic()
        self._publish(operation(now))
        self._has_settled = True
        if not self.is_over:
            if self.ring.limit > limit:
                self._link.credit_raised(self._slot)
            if not self._is_looking:
                self._arm(now)
        self._release_unused()

    def set_on_full(self, on_full: OnFull) -> int:
        """Change what happens when the ring is full; return the offset from which it holds."""
        offsets: list[int] = []

        def switch(_now: float) -> list[BufferNotification]:
            offsets.append(self.buffer.set_on_full(on_full))
            return []

        self.change(switch)
        return offsets[0]

    async def woken(self, cursor: Cursor, take: Take | None = None) -> None:
        """Return once there may be output beyond `cursor`, a reader was closed, or the PTY ended.

        `take` is called as soon as there is output. As long as it takes some and returns True this
        goes on waiting. What it raises is raised here.
        """
        if self.is_over:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting[future] = cursor, take
        self._arm(time.monotonic())
        try:
            await future
        finally:
            self._waiting.pop(future, None)

    def wake(self) -> None:
        """End all that wait in `woken`, so that they look for themselves."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _pass_on(self) -> None:
        """Have those waiters take new output that gave a `take`, and end the wait of the others."""
        for future, (cursor, take) in list(self._waiting.items()):
            if cursor.offset >= self._seen or future.done():
                continue
            try:
                if take is not None and take():
                    continue
                future.set_result(None)
            except Exception as error:  # whatever it is, the waiter raises it
                future.set_exception(error)
            self._waiting.pop(future, None)

    # The next look ---------------------------------------------------------------------------

    def _arm(self, now: float) -> None:
        """Have the engine, or the timer, cause the next `refresh` when it is needed."""
        wake_at = self.buffer.wake_at
        for cursor, _take in self._waiting.values():
            wake_at = min(wake_at, cursor.offset + 1)
        if self._modes.wake_at > self._seen:
            wake_at = min(wake_at, self._modes.wake_at)
        has_seen_titles = self._wants_titles and not self._awaits_titles()
        if self._is_quiet or self._awaits_range() or has_seen_titles:
            wake_at = min(wake_at, self._seen + 1)
        if wake_at != self.ring.wake_at:
            self.ring.wake_at = wake_at
        if self.ring.total >= wake_at:  # it came before we armed: the engine may not report it
            self._look_soon()
        self._arm_timer(now)

    def _look_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._on_due)

    def _on_due(self) -> None:
        self._is_due = False
        self.refresh()

    def _awaits_range(self) -> bool:
        """Whether the next byte is to be published; before a range is due the timer sees to it."""
        return self._wants_ranges and self._published_to == self._seen

    def _arm_timer(self, now: float) -> None:
        deadline = self._idle_deadline(now)
        due = self.buffer.deadline
        if due is not None and (deadline is None or due < deadline):
            deadline = due
        if self._seen > self._published_to and (deadline is None or self._next_range_at < deadline):
            deadline = self._next_range_at
        if self._seen >= self._modes.wake_at and (
            deadline is None or self._modes.due_at < deadline
        ):
            deadline = self._modes.due_at
        titles_at = max(self._titles_at, self._modes.due_at) if self._awaits_titles() else None
        reports_at = self._reports.deadline(self._modes)
        for again in (self._look_again_at, titles_at, reports_at):
            if again is not None and (deadline is None or again < deadline):
                deadline = again
        if deadline is None or (self._timer is not None and self._timer.when() <= deadline):
            return  # it looks too early, and arms the next look
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.refresh()

    def _idle_deadline(self, now: float) -> float | None:
        if not self._idle_timeout or self._is_silent:
            return None
        if self._is_quiet:
            return self._seen_at + self._idle_timeout
        # Output flows: look now and then, until a look finds that it stopped.
        return now + max(self._idle_timeout / _IDLE_LOOKS, _IDLE_LOOK_SECONDS)

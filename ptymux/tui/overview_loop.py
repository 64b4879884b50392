"""The loop of the live dashboard: it waits for keys, the server, signals and two timers at once."""

from __future__ import annotations

import os
import select
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from ptymux.core.units import printable
from ptymux.core.windows import Windows
from ptymux.errors import NotATerminalError, PtymuxError
from ptymux.posix.signals import ENDING, SignalInbox, stop_ourselves
from ptymux.posix.tty import raw_mode, read_size
from ptymux.tui.choice import Call, Local, Visit
from ptymux.tui.key_decoder import KeyDecoder
from ptymux.tui.overview import Overview, draw_frame
from ptymux.tui.painter import ENTER, LEAVE, Painter, color_system
from ptymux.tui.source import Source
from ptymux.tui.widgets import Glyphs

__all__ = ["OverviewLoop"]

_SAMPLE_SECONDS: Final = 0.25
_FRAME_SECONDS: Final = 0.1  # between two that no key asked for
_ESCAPE_SECONDS: Final = 0.05  # after which Esc was a key, and not the beginning of one
_MESSAGE_SECONDS: Final = 5.0
_CANCEL: Final = b"\x18"  # ends an escape sequence that was cut
_CAUGHT: Final = (*ENDING, signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP)


class OverviewLoop:
    """Shows the dashboard on the terminal until somebody quits."""

    def __init__(
        self,
        path: str,
        overview: Overview,
        glyphs: Glyphs,
        windows: Windows,
        visit: Callable[[Visit], int | None],
    ) -> None:
        """Show `overview` of the server at `path`.

        `visit` has the terminal while it shows one PTY. It returns an exit code if the dashboard
        is to end, too.
        """
        self._overview = overview
        self._visit = visit
        self._selector = selectors.DefaultSelector()
        self._windows = windows
        self._source = Source(
            path,
            self._selector,
            overview.model,
            overview.news,
            self._on_change,
            self._on_message,
            windows,
        )
        self._glyphs = glyphs
        self._painter = Painter(color_system(os.environ), self._encode)
        self._keys = KeyDecoder()
        self._size = (80, 24)
        self._status: int | None = None
        self._changed = True
        self._next_frame = self._next_sample = 0.0
        self._typed_at = self._message_at = float("-inf")
        self._pending = b""  # what the terminal has not taken yet
        self._waits_for_room = False
        self._out = 1
        self._is_shown = False
        self._stops: bool | None = None  # whether with the whole job; None: not at all
        self._visited: Visit | None = None  # what is to be shown instead of the dashboard

    def run(self) -> int:
        """Run until it is over; return the exit code, with the terminal as it was before."""
        with ExitStack() as stack:
            stack.callback(self._selector.close)
            stack.callback(self._source.close)
            stack.enter_context(self._open_output())
            stack.callback(self._close_inbox)
            self._open_inbox()
            self._selector.register(0, selectors.EVENT_READ, self._read_keys)
            while self._status is None:
                with self._screen():
                    self._loop()
                if self._status is None and self._visited is not None:
                    self._show_visited(self._visited)
                elif self._status is None:
                    self._suspend()
        return self._status

    # The loop --------------------------------------------------------------------------------

    def _loop(self) -> None:
        """Run until it is over or to be suspended."""
        self._is_shown = True
        while self._status is None and self._is_shown:
            for key, _events in self._selector.select(self._timeout()):
                if self._selector.get_map().get(key.fd) is key:  # else the one before ended it
                    key.data()
            self._on_time(time.monotonic())

    def _timeout(self) -> float:
        due = self._next_sample
        if self._changed and not self._pending:
            due = min(due, self._next_frame)
        if self._keys.is_waiting:
            due = min(due, self._typed_at + _ESCAPE_SECONDS)
        return max(0.0, due - time.monotonic())

    def _on_time(self, now: float) -> None:
        if self._keys.is_waiting and now >= self._typed_at + _ESCAPE_SECONDS:
            self._press(self._keys.flush())
        if now >= self._next_sample:
            self._next_sample = now + _SAMPLE_SECONDS
            self._source.tick()
        if self._overview.message and now >= self._message_at + _MESSAGE_SECONDS:
            self._overview.message = ""
            self._changed = True
        if self._changed and now >= self._next_frame and not self._pending:
            self._draw(now)

    def _draw(self, now: float) -> None:
        overview = self._overview
        overview.trouble, overview.hint = self._source.trouble, self._source.hint
        overview.choice.update(overview.model.rows, now)
        lines = draw_frame(overview, self._size, time.time(), self._glyphs)
        self._changed, self._next_frame = False, now + _FRAME_SECONDS
        self._write(self._painter.paint(lines, self._size))

    def _on_change(self) -> None:
        self._changed = True

    def _on_message(self, text: str) -> None:
        self._overview.message, self._message_at = printable(text), time.monotonic()
        self._changed = True

    # Keys ------------------------------------------------------------------------------------

    def _read_keys(self) -> None:
        data = self._read_typed()
        if data:
            self._typed_at = time.monotonic()
            self._press(self._keys.feed(data))

    def _read_typed(self) -> bytes:
        """Return what was typed; nothing, and it is over, if the terminal hung up."""
        try:
            data = os.read(0, 4096)
        except OSError:  # EIO: the terminal hung up
            data = b""
        if not data:
            self._note_hang_up()
        return data

    def _note_hang_up(self) -> None:
        """End as the signal for it would have us; that may come later, and must not kill us."""
        self._status = 128 + signal.SIGHUP
        self._inbox.ignore_afterwards(signal.SIGHUP)

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            self._overview.message = ""
            answer = self._overview.choice.press(key)
            if isinstance(answer, Call):
                self._source.act(answer)
            elif isinstance(answer, Visit):
                self._is_shown, self._visited = False, answer
            elif isinstance(answer, Local):
                self._do(answer)
            self._changed, self._next_frame = True, 0.0

    def _show_visited(self, visit: Visit) -> None:
        """Have one PTY shown on the terminal; keys that were typed meanwhile were for that."""
        self._visited = None
        self._source.close()  # nobody reads what it gets meanwhile
        self._read_signals()
        if self._status is not None:
            return
        self._close_inbox()  # signals end us now, as any command
        waits = not visit.is_live
        try:
            self._status = self._visit(visit)
        except PtymuxError as error:
            self._on_message(str(error))
            waits = False
        self._open_inbox()
        if self._status is None and waits:
            self._wait_for_key()
        self._next_sample = 0.0

    def _wait_for_key(self) -> None:
        """Return once a key was pressed or a signal came."""
        self._say(b"[Enter goes back to the dashboard]")
        with raw_mode(0):
            poll = select.poll()
            for fd in (0, self._inbox.fileno()):
                poll.register(fd, select.POLLIN)
            if any(fd == 0 for fd, _events in poll.poll()):
                self._read_typed()
        self._say(b"\n")

    def _say(self, words: bytes) -> None:
        with suppress(OSError):  # it takes no more just now
            os.write(self._out, words)

    def _do(self, asked: Local) -> None:
        if asked is Local.QUIT:
            self._status = 0
        elif asked is Local.INTERRUPT:
            self._status = 128 + signal.SIGINT
        elif asked is Local.SUSPEND:
            self._is_shown, self._stops = False, True
        else:
            self._painter.forget()

    # The terminal ----------------------------------------------------------------------------

    @contextmanager
    def _screen(self) -> Iterator[None]:
        """Have the alternate screen and raw mode for the block."""
        with raw_mode(0):
            self._measure()
            self._painter.forget()
            self._pending = b""
            self._write(ENTER.encode())
            self._changed, self._next_frame = True, 0.0
            try:
                yield
            finally:
                self._leave()

    def _measure(self) -> None:
        with suppress(NotATerminalError):
            size = read_size(1)
            self._size = (size.cols, size.rows) if size else (80, 24)

    def _encode(self, text: str) -> bytes:
        return text.encode(sys.stdout.encoding or "utf-8", "replace")

    @contextmanager
    def _open_output(self) -> Iterator[None]:
        """Open the terminal anew, so that only our writes do not block; else write as it is."""
        own = -1
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            own = os.open(os.ttyname(1), flags)
        self._out = own if own >= 0 else 1
        try:
            yield
        finally:
            if own >= 0:
                os.close(own)

    def _write(self, data: bytes = b"") -> None:
        """Write what the terminal takes now; the rest goes when it takes more."""
        self._pending += data
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._out, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._note_hang_up()
            self._pending = b""
        self._wait_for_room(bool(self._pending))

    def _wait_for_room(self, wanted: bool) -> None:
        if wanted != self._waits_for_room:
            self._waits_for_room = wanted
            if wanted:
                self._selector.register(self._out, selectors.EVENT_WRITE, self._write)
            else:
                self._selector.unregister(self._out)

    def _leave(self) -> None:
        """Give the screen back, even amid a frame; a terminal that is stuck is not waited for."""
        rest = (_CANCEL if self._pending else b"") + LEAVE.encode()
        self._pending = b""
        self._wait_for_room(False)
        poll = select.poll()
        poll.register(self._out, select.POLLOUT)
        deadline = time.monotonic() + self._windows.leave
        with suppress(OSError):
            while rest and poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                with suppress(BlockingIOError):
                    rest = rest[os.write(self._out, rest) :]

    # Signals ---------------------------------------------------------------------------------

    def _open_inbox(self) -> None:
        self._inbox = SignalInbox(_CAUGHT)
        self._selector.register(self._inbox, selectors.EVENT_READ, self._read_signals)

    def _close_inbox(self) -> None:
        if self._inbox.fileno() >= 0:
            self._selector.unregister(self._inbox)
            self._inbox.close()

    def _read_signals(self) -> None:
        for signum in self._inbox.take():
            self._take_signal(signum)

    def _take_signal(self, signum: int) -> None:
        if signum in ENDING:
            self._status = 128 + signum
        elif signum == signal.SIGTSTP:
            self._is_shown, self._stops = False, False
        elif signum == signal.SIGWINCH:
            self._measure()
            self._changed, self._next_frame = True, 0.0
        elif signum == signal.SIGCONT:
            # Whoever had the terminal while we were stopped left it to their liking.
            self._is_shown = False

    def _suspend(self) -> None:
        """Stop as ^Z does, until somebody continues the job."""
        if self._stops is None:
            return
        stop_ourselves(with_job=self._stops)
        self._stops = None
        self._read_signals()  # that we were continued is no news

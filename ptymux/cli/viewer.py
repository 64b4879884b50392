"""A PTY on a terminal as it is: keys go in, output comes out, nothing in between.

One wait for everything: keys, frames, room on the terminal and on the lifeline, signals. The
stream is read only while the terminal has taken all that came before; what a slow terminal cannot
take stays with the server, which drops it there and says so. The lifeline outlives the server,
so that keys go in even while there is none.

Limit: each of several terminals answers what the program asks its terminal; it gets all answers.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping
from typing import Any, Final

from ptymux.cli.keys import DetachKeys
from ptymux.cli.modes import Modes
from ptymux.cli.outlet import Outlet
from ptymux.cli.resuming import RETRY_SECONDS, Patience, resume
from ptymux.cli.signals import SignalInbox
from ptymux.cli.sizes import SizeWatch
from ptymux.client.stream import Lifeline, Stream
from ptymux.core.model import WindowSize
from ptymux.errors import ConnectionClosedError, NotATerminalError, PtymuxError
from ptymux.posix.tty import raw_mode, read_size
from ptymux.protocol.framing import Detach, Exit, Frame, Gap, Out

__all__ = ["Viewer", "terminal_size"]

_KEYS: Final = 4096
_REPAINT_SECONDS: Final = 1.0  # between two
_STALE_BYTES: Final = 16 * 1024  # that wait to be shown
_STALE_SECONDS: Final = 0.3  # after ^C, in which what was interrupted ends
_FAREWELL_SECONDS: Final = 1.0  # for a terminal to take what restores it
_SOFT_RESET: Final = b"\x1b[!p\x1b[0m\r\n"
_INTERRUPTS: Final = frozenset(b"\x03\x1a\x1c")  # ^C, ^Z and ^\, at which the kernel drops output
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT)
_SIGNALS: Final = (*_ENDING, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)


class Viewer:
    """Shows one attachment on the terminal at fds 0 and 1 until it ends; owns the stream."""

    def __init__(self, path: str, stream: Stream, keys: DetachKeys, *, read_only: bool) -> None:
        self.end: Mapping[str, Any] | None = None  # the PTY, if it ended
        self.ended_by: int | None = None  # a signal to us
        self._path = path
        self._pty_id = str(stream.pty["pty_id"])
        self._stream: Stream | None = stream
        self._offset = stream.offset
        self._lifeline, stream.lifeline = stream.lifeline, None
        self._read_only = read_only
        self._keys = keys
        self._input = b""  # typed, and not taken by the lifeline
        self._output = b""  # received, and not taken by the terminal
        self._patience: Patience | None = None  # while there is no server
        self._is_over = self._is_detached = False
        self._modes = Modes()
        self._at_line_start = True
        self._repainted_at = self._interrupted_at = float("-inf")
        self._size: WindowSize | None = None  # of the PTY, as far as is known
        self._raw = contextlib.ExitStack()

    def run(self) -> None:
        """Return after the end of the PTY, a detach or a signal; the terminal is as it was.

        Raises:
            PtymuxError: the server went away, and no other one has the PTY.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            self._outlet = Outlet(1)
            stack.callback(self._outlet.close)
            self._sizes = SizeWatch(self._path, self._pty_id)
            stack.callback(self._sizes.close)
            self._inbox = stack.enter_context(SignalInbox(_SIGNALS))
            stack.callback(self._leave_terminal)
            self._raw.enter_context(raw_mode(0))
            assert self._stream is not None
            self._size = WindowSize(self._stream.pty["cols"], self._stream.pty["rows"])
            self._fit()  # it may have been resized since we looked
            self._take_frames(self._stream.pending())
            while not self._is_done:
                self._turn()

    @property
    def _is_done(self) -> bool:
        shown = self._is_over and not self._output
        return shown or self._is_detached or self.ended_by is not None

    def _turn(self) -> None:
        """Wait until something can be done, and do it."""
        ready = self._wait()
        for signum in self._inbox.take() if self._inbox.fileno() in ready else ():
            self._on_signal(signum)
        if 0 in ready:
            self._read_keys()
        self._send_input()
        if self._sizes.fileno() in ready:
            self._note_size()
        if self._stream is None:
            self._look_for_server()
        elif not self._output and self._stream.fileno() in ready:
            self._receive()
        self._show()

    def _wait(self) -> set[int]:
        """Return the fds at which something can be done."""
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        if not self._input:
            poll.register(0, select.POLLIN)
        elif self._lifeline is not None:
            poll.register(self._lifeline, select.POLLOUT)
        if self._output:
            poll.register(self._outlet, select.POLLOUT)
        elif self._stream is not None and not self._is_over:
            poll.register(self._stream, select.POLLIN)
        if self._sizes.fileno() >= 0:
            poll.register(self._sizes, select.POLLIN)
        ready = poll.poll(1000 * RETRY_SECONDS if self._stream is None else None)
        return {fd for fd, _events in ready}

    # Output ----------------------------------------------------------------------------------

    def _receive(self) -> None:
        assert self._stream is not None
        try:
            frames = self._stream.receive()
        except ConnectionClosedError:
            self._lose_server()
            return
        self._take_frames(frames)

    def _take_frames(self, frames: list[Frame]) -> None:
        assert self._stream is not None
        pieces = []
        for frame in frames:
            if isinstance(frame, Out):
                pieces.append(frame.data)
            elif isinstance(frame, Gap):
                pieces.append(_gap_line(frame.end - frame.start))
                self._repaint()
            elif isinstance(frame, Exit):
                self.end = frame.pty
        self._output = b"".join((self._output, *pieces))
        self._offset = self._stream.offset
        self._is_over = self._stream.is_over
        if self._is_over and self.end is None and any(isinstance(f, Detach) for f in frames):
            self._is_detached = True

    def _show(self) -> None:
        if not self._output:
            return
        now = time.monotonic()
        if len(self._output) > _STALE_BYTES and now < self._interrupted_at + _STALE_SECONDS:
            self._catch_up()
        try:
            taken = self._outlet.offer(self._output)
        except OSError:  # the terminal hung up
            self.ended_by = self.ended_by or signal.SIGHUP
            return
        if taken:
            shown, self._output = self._output[:taken], self._output[taken:]
            self._modes.see(shown)
            self._at_line_start = shown.endswith(b"\n")

    def _catch_up(self) -> None:
        """After ^C on a terminal that is behind, go on with what is written now.

        The kernel has it so on any terminal: a flood would else go on for seconds after its end.
        """
        self._interrupted_at = float("-inf")
        if self._stream is None or self._is_over:
            return
        before = self._offset - len(self._output)
        with contextlib.suppress(PtymuxError):
            stream = resume(self._path, self._pty_id, "now", "consumer", wants_input=False)
            self._stream.close()
            self._stream, self._offset = stream, stream.offset
            self._output = _gap_line(max(0, self._offset - before))
            self._repaint()
            self._take_frames(stream.pending())

    def _repaint(self) -> None:
        """Have the program draw itself again, unless it has just been asked to."""
        now = time.monotonic()
        if self._stream is not None and now > self._repainted_at + _REPAINT_SECONDS:
            self._repainted_at = now
            self._stream.redraw()

    # Keys ------------------------------------------------------------------------------------

    def _read_keys(self) -> None:
        try:
            data = os.read(0, _KEYS)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal hung up
            data = b""
        if not data:
            self.ended_by = self.ended_by or signal.SIGHUP
            return
        keys, self._is_detached = self._keys.feed(data)
        if self._read_only or not keys:
            return
        self._fit()
        if not _INTERRUPTS.isdisjoint(keys):
            self._interrupted_at = time.monotonic()
        self._input += keys

    def _send_input(self) -> None:
        """Send what the lifeline takes; keys are not read while it takes no more.

        Limit: then the keys that detach are not seen either; TERM ends us.
        """
        if not self._input:
            return
        if self._lifeline is not None:
            taken = self._lifeline.offer(self._input)
            if taken is not None:
                self._input = self._input[taken:]
                return
            self._lifeline.close()
            self._lifeline = None
        if self._stream is not None:  # the PTY ended, or its keeper: which of both, it tells
            self._input = b""

    # Size ------------------------------------------------------------------------------------

    def _fit(self) -> None:
        """Give the PTY the size of this terminal, if it has another."""
        size = terminal_size()
        if self._read_only or self._stream is None or size in (None, self._size):
            return
        assert size is not None
        self._size = size
        self._stream.resize(size.cols, size.rows)

    def _note_size(self) -> None:
        """Take notice that another client gave the PTY its size; who types next has it back."""
        for size in self._sizes.take():
            self._size = size

    # The server ------------------------------------------------------------------------------

    def _lose_server(self) -> None:
        assert self._stream is not None
        self._stream.close()
        self._stream = None
        self._patience = Patience()

    def _look_for_server(self) -> None:
        assert self._patience is not None
        dead = self._lifeline is None or _has_ended(self._lifeline)
        wants_input = dead and not self._read_only
        try:
            stream = resume(
                self._path, self._pty_id, self._offset, "consumer", wants_input=wants_input
            )
        except PtymuxError as error:
            self._patience.bear(error)
            return
        if stream.lifeline is not None:
            if self._lifeline is not None:
                self._lifeline.close()
            self._lifeline, stream.lifeline = stream.lifeline, None
        self._stream, self._patience = stream, None
        self._sizes.open()
        self._size = WindowSize(stream.pty["cols"], stream.pty["rows"])
        self._take_frames(stream.pending())

    # Signals, and the terminal ---------------------------------------------------------------

    def _on_signal(self, signum: int) -> None:
        if signum in _ENDING:
            self.ended_by = self.ended_by or signum
        elif signum == signal.SIGWINCH:
            self._fit()
        elif signum == signal.SIGTSTP:
            self._stop()
        elif signum == signal.SIGCONT:
            self._take_terminal()

    def _stop(self) -> None:
        """Give the terminal back and stop; returns when we are continued."""
        self._leave_terminal()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._take_terminal()

    def _take_terminal(self) -> None:
        """Take the terminal: whoever had it meanwhile left it to their liking."""
        with contextlib.suppress(NotATerminalError):
            self._raw.enter_context(raw_mode(0))
        self._fit()
        self._repaint()

    def _leave_terminal(self) -> None:
        """Undo what the program switched on, and end raw mode, on a line of its own."""
        farewell = self._modes.undo + (b"" if self._at_line_start else b"\r\n")
        self._at_line_start = True
        self._modes = Modes()
        with contextlib.suppress(OSError):
            self._outlet.write(farewell, _FAREWELL_SECONDS)
        self._raw.close()

    def _close(self) -> None:
        if self._stream is not None:
            if not self._is_over:
                self._stream.detach()
            self._stream.close()
        if self._lifeline is not None:
            self._lifeline.close()


def terminal_size() -> WindowSize | None:
    """Return the size of the terminal that shows the output; None when it has or tells none."""
    with contextlib.suppress(NotATerminalError):
        return read_size(1)
    return None


def _gap_line(size: int) -> bytes:
    return _SOFT_RESET + f"[ptymux: {size:,} bytes not shown]\r\n".encode()


def _has_ended(lifeline: Lifeline) -> bool:
    poll = select.poll()
    poll.register(lifeline, select.POLLIN | select.POLLRDHUP)
    return bool(poll.poll(0))

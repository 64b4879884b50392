"""A PTY shown on this terminal: keys go in, output comes out, both unchanged.

One wait for everything: keys, frames, room on the terminal and on the lifeline, signals. The
stream is read only while the terminal has taken all that came before; what a slow terminal cannot
take stays with the server, which drops it there and says so. The lifeline outlives the server,
so that keys go in even while there is none; what answers a key comes there first.

Limit: each of several terminals answers what the program asks its terminal; it gets all answers.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ptymux.cli.options.detach_keys import DetachKeys
from ptymux.cli.output.exit_summary import exit_code, title
from ptymux.cli.output.gaps import ScreenGaps
from ptymux.cli.output.outlet import Outlet
from ptymux.cli.output.printing import print_message
from ptymux.cli.server_lookup import repeating
from ptymux.cli.terminal.sizes import SizeWatch, terminal_size
from ptymux.client.attachment import Attachment
from ptymux.client.reconnect import RETRY_SECONDS
from ptymux.core.model import WindowSize
from ptymux.core.terminal_modes import TerminalModes
from ptymux.core.windows import Windows
from ptymux.errors import ClosedOutputError, NotATerminalError, PtymuxError
from ptymux.posix.job_control import can_be_stopped, in_foreground, suspend_key
from ptymux.posix.signals import ENDING, SignalInbox, stop_ourselves
from ptymux.posix.tty import RawTerminal
from ptymux.protocol.framing import Exit, Frame, Gap, Out

if TYPE_CHECKING:
    from ptymux.client.stream import Stream

__all__ = ["Viewer"]

_KEYS: Final = 4096
_LOOK_SECONDS: Final = 0.2  # between two looks at the terminal's size while keys are typed
_REPAINT_SECONDS: Final = 1.0  # between two
_STALE_BYTES: Final = 16 * 1024  # that wait to be shown
_SCREENFUL: Final = 4096  # bytes of what waits that are shown all the same
_NEWLINE: Final = ord("\n")
_BLANK: Final = ord(" ")
_BELL: Final = b"\a"
_WAITS: Final = 16  # that are kept
_INTERRUPTS: Final = frozenset(b"\x03\x1a\x1c")  # ^C, ^Z and ^\, at which the kernel drops output
_SIGNALS: Final = (*ENDING, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
_FOREGROUND_SECONDS: Final = 0.2  # between two looks whether we are in the foreground again
_FULL_SCREEN: Final = re.compile(rb"\x1b\[\?(?:47|1047|1049)h")

_Handler = Callable[[], bool | None]
_Waits = tuple[select.poll, dict[int, _Handler]]


class Viewer:
    """Shows one attachment, which it owns, on the terminal at fds 0 and 1 until it ends.

    Without `fits` the PTY keeps its size, whatever that of the terminal. With `is_job` the command
    stops when we do, and when its suspend key is typed that would stop a shell's job, we do, too.
    `modes` is shown first: what the program switched on before. `title` keeps the terminal's title
    and sets another one, for as long as the terminal is ours.
    """

    def __init__(
        self,
        attachment: Attachment,
        keys: DetachKeys,
        windows: Windows,
        *,
        read_only: bool = False,
        fits: bool = True,
        is_job: bool = False,
        modes: bytes = b"",
        title: bytes = b"",
    ) -> None:
        self.end: Mapping[str, Any] | None = None  # the PTY, if it ended
        self._ended_by: int | None = None  # a signal to us
        self._attachment = attachment
        self._read_only = read_only
        self._fits = fits and not read_only
        self._keys = keys
        self._is_job = is_job
        self._is_background = False  # the terminal is another job's, such as the shell's
        self._stops = False  # a key asked for it
        self._stops_command = False  # and was for the command
        self._windows = windows
        self._input = b""  # typed, and not taken by the lifeline
        self._output: bytes | memoryview = title + modes  # received, and not taken by the terminal
        self._title = title
        self._left_out = 0  # bytes that were there before, not reported yet
        self._gaps = ScreenGaps()  # among the output that waits
        self._is_detached = False
        self._modes = TerminalModes()
        self._at_line_start = True
        self._repainted_at = self._interrupted_at = self._looked_at = float("-inf")
        self._size: WindowSize | None = None  # of the PTY, as far as is known
        self._own: WindowSize | None = None  # of the terminal, when it was last looked at
        self._raw = RawTerminal(0)
        self._redo = b""  # what a program switched on before we stopped
        self._waiting: dict[tuple[object, ...], _Waits] = {}  # what was waited for before

    def run(self) -> int:
        """Show it until its end, a detach or a signal; return the exit code to end with.

        The terminal is left as it was; after a detach a line says how to attach again.

        Raises:
            PtymuxError: the server went away, and no other one has the PTY.
        """
        self._show_all()
        if self.end is not None:
            return exit_code(self.end)
        if not self._attachment.hangup or self._is_detached:
            pty = self._attachment.pty
            print_message(
                f"[detached from {pty['number']} ({title(pty)}); ptymux attach {pty['number']}]",
                prefix="",
            )
        return 0 if self._ended_by is None else 128 + self._ended_by

    def _show_all(self) -> None:
        attachment = self._attachment
        with contextlib.ExitStack() as stack:
            stack.callback(
                lambda: attachment.close(detach=self._is_detached or not attachment.hangup)
            )
            self._outlet = Outlet(1)
            stack.callback(self._outlet.close)
            self._sizes = SizeWatch(attachment.path, attachment.pty_id)
            stack.callback(self._sizes.close)
            self._inbox = stack.enter_context(SignalInbox(_SIGNALS))
            stack.callback(self._leave_terminal)
            self._take_terminal()
            self._begin()
            while not self._is_done:
                self._turn()

    def _begin(self) -> None:
        """Go on with an attachment that has just been made."""
        pty = self._attachment.pty
        self._size = WindowSize(pty["cols"], pty["rows"])
        self._fit()  # it may have been resized since we looked
        self._take_frames(self._attachment.pending())

    @property
    def _is_done(self) -> bool:
        shown = self._attachment.is_over and not self._output
        return shown or self._is_detached or self._ended_by is not None

    @property
    def _stream(self) -> Stream | None:
        return self._attachment.stream

    def _turn(self) -> None:
        """Wait until something can be done, and do it."""
        poll, handlers = self._waits()
        is_behind = False
        for fd, _events in poll.poll(self._patience()):
            is_behind = handlers[fd]() or is_behind
        if self._stream is None and self._attachment.look_for_server():
            self._sizes.open()
            self._begin()
        if self._input:
            self._send_input()
        if self._stops:
            self._stop(with_job=True)
        elif self._is_background and in_foreground(0):
            self._take_terminal()
            self._repaint()
        if is_behind:
            self._leave_out()
        elif self._output or self._left_out:
            self._show()

    def _patience(self) -> int | None:
        """Return for how many ms to wait for something at most; None for as long as it takes."""
        if self._stream is None:
            return round(1000 * RETRY_SECONDS)
        return round(1000 * _FOREGROUND_SECONDS) if self._is_background else None

    def _waits(self) -> _Waits:
        """Return what waits for all that can be done now, and what is to be done then."""
        attachment = self._attachment
        lifeline = attachment.lifeline
        wants_more = self._wants_more
        # What is waited for depends on these alone.
        state = (
            attachment.stream,
            attachment.is_over,
            lifeline,
            lifeline is not None and lifeline.is_over,
            self._sizes.fileno(),
            not self._input,
            not self._output,
            wants_more,
            self._is_background,
        )
        waits = self._waiting.get(state)
        if waits is None:
            if len(self._waiting) == _WAITS:
                self._waiting.clear()
            waits = self._waiting[state] = select.poll(), {}
            for fd, events, handler in self._wanted(wants_more):
                waits[0].register(fd, events)
                waits[1][fd] = handler
        return waits

    def _wanted(self, wants_more: bool) -> Iterator[tuple[int, int, _Handler]]:
        """Give what is waited for, first what comes first: fds, the events of each, and why."""
        stream, lifeline = self._stream, self._attachment.lifeline
        yield self._inbox.fileno(), select.POLLIN, self._on_signals
        if self._sizes.fileno() >= 0:  # before keys: who types after a new size has theirs back
            yield self._sizes.fileno(), select.POLLIN, self._on_sizes
        if not (self._input or self._is_background):
            yield 0, select.POLLIN, self._on_keys
        if lifeline is not None:
            events = select.POLLOUT if self._input else 0
            if wants_more and not lifeline.is_over:
                events |= select.POLLIN
            if events:  # else its end would be reported again and again
                yield lifeline.fileno(), events, self._on_lifeline
        if self._output:
            yield self._outlet.fileno(), select.POLLOUT, lambda: None  # it is shown in any case
        if stream is not None and wants_more and not self._attachment.is_over:
            yield stream.fileno(), select.POLLIN, self._on_stream

    def _on_signals(self) -> None:
        for signum in self._inbox.take():
            self._on_signal(signum)

    def _on_keys(self) -> None:
        if self._read_keys():
            self._send_input()
            self._fit(patient=True)  # after the keys: they were waited for

    def _on_lifeline(self) -> None:
        if self._attachment.lifeline is not None:
            echoes = self._attachment.receive_echoes()
            self._output = b"".join((self._output, echoes)) if self._output else echoes

    def _on_sizes(self) -> None:
        """Take notice that another client gave the PTY its size; who types next has it back."""
        for size in self._sizes.take():
            self._size = size

    def _on_stream(self) -> bool:
        """Return whether more may be there already, the last of which is what is to be shown."""
        if self._stream is not None:
            self._take_frames(self._attachment.receive())
        return self._is_behind()

    # Output ----------------------------------------------------------------------------------

    @property
    def _wants_more(self) -> bool:
        return not self._output or self._is_behind()

    def _take_frames(self, frames: list[Frame]) -> None:
        pieces = [self._output] if self._output else []
        for frame in frames:
            if isinstance(frame, Out):
                pieces.append(frame.data)
            elif isinstance(frame, Gap):
                pieces.append(self._gaps.add(frame.end - frame.start))
                self._repaint()
            elif isinstance(frame, Exit):
                self.end = frame.pty
        self._output = b"".join(pieces)  # of one, without a copy
        if self._attachment.is_over and self.end is None:
            self._is_detached = True

    def _is_behind(self) -> bool:
        """Whether a key that interrupts was typed just now, and a flood still waits to be shown."""
        if self._left_out or len(self._output) > _STALE_BYTES:
            return time.monotonic() < self._interrupted_at + self._windows.stale
        return False

    def _leave_out(self) -> None:
        """Keep only the last screenful of what waits.

        The kernel has it so on any terminal: a flood would else go on for seconds after its end.
        What the program said after the interrupt is in that screenful, or comes.
        """
        if len(self._output) <= _SCREENFUL:
            return
        tail = bytes(self._output[-_SCREENFUL:])
        kept = tail[tail.find(b"\n") + 1 :] or tail
        self._left_out += len(self._output) - len(kept) + self._gaps.forget()
        self._output = kept

    def _show(self) -> None:
        if self._is_behind():
            self._leave_out()
        if self._left_out:
            self._output = b"".join((self._gaps.add(self._left_out), self._output))
            self._left_out = 0
            self._repaint()
        if not self._output:
            return
        try:
            taken = self._outlet.offer(self._output)
        except (BrokenPipeError, ClosedOutputError):
            self._note_hang_up()
            return
        if not taken:
            return
        shown, self._output = self._output, b""
        if taken == len(shown):
            self._gaps.forget()
        else:
            whole = memoryview(shown)
            shown, self._output = whole[:taken], whole[taken:]
        self._modes.see(shown)
        self._at_line_start = shown[-1] == _NEWLINE

    def _note_hang_up(self) -> None:
        """End as the signal for it would have us; that may come later, and must not kill us."""
        self._ended_by = self._ended_by or signal.SIGHUP
        self._inbox.ignore_afterwards(signal.SIGHUP)

    def _repaint(self) -> None:
        """Have the program draw itself again, unless it has just been asked to."""
        now = time.monotonic()
        if self._stream is not None and now > self._repainted_at + _REPAINT_SECONDS:
            self._repainted_at = now
            self._stream.redraw()

    # Keys ------------------------------------------------------------------------------------

    def _read_keys(self) -> bool:
        """Take what was typed; return whether some of it is for the program."""
        try:
            data = os.read(0, _KEYS)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the terminal hung up
            data = b""
        if not data:
            self._note_hang_up()
            return False
        keys, detaches, rings, self._stops = self._keys.feed(data)
        self._is_detached = self._is_detached or detaches
        if rings:
            self._output = b"".join((self._output, _BELL))
        if self._read_only or not keys:
            return False
        if not _INTERRUPTS.isdisjoint(keys):
            self._interrupted_at = time.monotonic()
        if self._is_job and min(keys) < _BLANK:  # before it is typed: then nobody has stopped yet
            pid = self._attachment.pty["pid"]
            key = None if pid is None else suspend_key(pid)
            self._stops_command = key is not None and key in keys
            self._stops = self._stops or (self._stops_command and can_be_stopped())
        self._input += keys
        return True

    def _send_input(self) -> None:
        """Send what the lifeline takes; keys are not read while it takes no more.

        Limit: then the keys that detach are not seen either; TERM ends us.
        """
        if not self._input:
            return
        lifeline = self._attachment.lifeline
        if lifeline is not None:
            taken = lifeline.offer(self._input)
            if taken is not None:
                self._input = self._input[taken:]
                return
            lifeline.close()
            self._attachment.lifeline = None
        if self._stream is not None:  # the PTY ended, or its keeper: the stream says which
            self._input = b""

    # Size ------------------------------------------------------------------------------------

    def _fit(self, *, patient: bool = False) -> None:
        """Give the PTY the size of this terminal, if it has another.

        WINCH announces a new size, but only of the terminal that we belong to. For others the size
        is looked at now and then, with `patient`.
        """
        now = time.monotonic()
        if not patient or now > self._looked_at + _LOOK_SECONDS:
            self._looked_at = now
            self._own = terminal_size() if self._fits else None
        size = self._own
        if size is None or self._stream is None or size == self._size:
            return
        self._size = size
        self._stream.resize(size.cols, size.rows)

    # Signals, and the terminal ---------------------------------------------------------------

    def _on_signal(self, signum: int) -> None:
        if signum in ENDING:
            self._ended_by = self._ended_by or signum
        elif signum == signal.SIGWINCH:
            self._fit()
        elif signum == signal.SIGTSTP:
            self._stops_command = self._is_job
            self._stop()
        elif signum == signal.SIGCONT:
            self._go_on()

    def _stop(self, *, with_job: bool = False) -> None:
        """Give the terminal back and stop; once continued, have it as it was.

        A command that stops with us does so as a shell's job would: what draws on a full screen
        does not go on in the background, any other goes on there.
        """
        self._stops, stops_command = False, self._stops_command
        self._stops_command = False
        if not can_be_stopped():
            return
        self._redo += self._title + self._modes.redo
        if stops_command:
            self._signal_command(signal.SIGSTOP)
        self._leave_terminal()
        stop_ourselves(with_job=with_job)
        while stops_command and _FULL_SCREEN.search(self._redo) and not in_foreground(0):
            stop_ourselves(signal.SIGTTOU)
        if stops_command:
            self._signal_command(signal.SIGCONT)
        self._go_on()

    def _signal_command(self, signum: signal.Signals) -> None:
        """Stop the command or continue it, by STOP: the kernel lets TSTP stop no orphaned group."""
        with contextlib.suppress(PtymuxError):  # it has ended
            repeating(
                lambda connection: connection.call(
                    "signal", pty=self._attachment.pty_id, signal=signum.name, session=True
                )
            )

    def _go_on(self) -> None:
        """Take the terminal after a stop: whoever had it meanwhile left it to their liking."""
        self._take_terminal()
        if not self._is_background:
            self._fit()
            self._repaint()

    def _take_terminal(self) -> None:
        """Have the terminal in raw mode, as the program had it; not while it is another job's."""
        self._is_background = not in_foreground(0)
        if self._is_background:
            return
        with contextlib.suppress(NotATerminalError):
            self._raw.take()
        redo, self._redo = self._redo, b""
        self._say(redo)
        self._modes.see(redo)

    def _leave_terminal(self) -> None:
        """Undo what the program switched on, and end raw mode, on a line of its own.

        What a program leaves on that ends by itself is what it wants to be on.
        """
        if not in_foreground(0):  # the terminal is another job's
            return
        wanted = self.end is not None and self.end.get("signal") is None
        undo = b"" if wanted else self._modes.undo
        farewell = undo + (b"" if self._at_line_start else b"\r\n")
        if wanted and self._title:
            farewell += self._modes.title_undo
        self._at_line_start = True
        self._modes = TerminalModes()
        self._say(farewell)
        self._raw.give_back()

    def _say(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ClosedOutputError):
            self._outlet.write(data, self._windows.last_words)

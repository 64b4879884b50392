"""A command on a terminal: keys go in and output comes out as they are.

A terminal that is too slow is told what it missed and the program is asked to repaint; the command
never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import replace
from typing import Final

from ptymux.cli.keyboard import Keyboard
from ptymux.cli.modes import Modes
from ptymux.cli.passage import Passage
from ptymux.cli.sink import Sink
from ptymux.core.model import SpawnOptions, WindowSize
from ptymux.core.output import ReaderKind
from ptymux.core.ring import Part
from ptymux.errors import ClosedOutputError, InvalidStateError, NotATerminalError
from ptymux.posix.tty import raw_mode, read_size

__all__ = ["TerminalPassage"]

_REPAINT_SECONDS: Final = 1.0  # between two
_NUDGE_SECONDS: Final = 0.1  # so that a program that looks late still sees another size
_SOFT_RESET: Final = b"\x1b[!p\x1b[0m\r\n"
_INTERRUPTS: Final = frozenset(b"\x03\x1a\x1c")  # ^C, ^Z and ^\, at which the kernel drops output
_STALE_BYTES: Final = 64 * 1024  # that wait to be shown
_STALE_SECONDS: Final = 0.3  # after such a key, in which what was interrupted ends
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class TerminalPassage(Passage):
    """Holds the terminal in raw mode meanwhile, and leaves it as it was found."""

    kind = ReaderKind.CONSUMER
    forwarded = (signal.SIGINT,)

    def __init__(self, options: SpawnOptions, *, sized: bool) -> None:
        if not sized:
            options = replace(options, size=_terminal_size() or options.size)
        super().__init__(options)
        self._sized = sized
        self._modes = Modes()
        self._repainter: asyncio.Task[None] | None = None
        self._interrupted_at = float("-inf")  # when an interrupting key was typed
        self._is_stale = False  # what is shown is not what the program drew

    async def _pass(self, sink: Sink) -> int | None:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(InvalidStateError):  # it ended at once
                lifeline = await self.manager.open_input(self.record.pty_id)
                stack.enter_context(Keyboard(0, lifeline, self._on_keys, self._on_keyboard_gone))
            stack.enter_context(raw_mode(0))
            stack.enter_context(self._signals(_ENDING, self._on_end))
            stack.enter_context(self._signals((signal.SIGWINCH,), self._on_resize))
            stack.enter_context(
                self._signals((signal.SIGCONT,), lambda _signum: self._on_continued(stack))
            )
            self._on_resize()  # it may have been resized since we looked
            status = await super()._pass(sink)
            if self._ended_by is not None or self.manager.get(self.record.pty_id).signal:
                with contextlib.suppress(BrokenPipeError, ClosedOutputError):
                    sink.write(self._modes.undo)
        return status if self._ended_by is None else 128 + self._ended_by

    async def _catch_up(self, sink: Sink) -> None:
        """After ^C, go on with what is written now, as the kernel has it on any terminal.

        A flood that is behind on a slow terminal would else go on for seconds after its end.
        """
        skipped = self.reader.backlog
        if skipped > _STALE_BYTES and time.monotonic() < self._interrupted_at + _STALE_SECONDS:
            total = self.reader.offset + skipped
            self.reader.close()
            self.reader = self.manager.reader(self.record.pty_id, self.kind, offset=total)
            await self._tell_gap(Part(total, skipped, b""), sink)

    def _show(self, data: bytes) -> None:
        self._modes.see(data)

    async def _tell_gap(self, part: Part, sink: Sink) -> None:
        line = f"[ptymux: {part.skipped:,} bytes not shown]\r\n".encode()
        await self._write_all(_SOFT_RESET + line, sink)
        self._repaint()

    def _repaint(self) -> None:
        """Have the program draw itself again, soon."""
        self._is_stale = True
        if self._repainter is None or self._repainter.done():
            self._repainter = self._start(self._nudge())

    async def _nudge(self) -> None:
        """Give the terminal another size for a moment: programs ignore one that is the same."""
        while self._is_stale:
            self._is_stale = False
            size = self.manager.get(self.record.pty_id).size
            nudged = WindowSize(size.cols, size.rows - 1 if size.rows > 1 else 2)
            await self.manager.resize(self.record.pty_id, nudged)
            await asyncio.sleep(_NUDGE_SECONDS)
            await self.manager.resize(self.record.pty_id, self._wanted_size() or size)
            await asyncio.sleep(_REPAINT_SECONDS)

    def _wanted_size(self) -> WindowSize | None:
        return self.options.size if self._sized else _terminal_size()

    def _on_resize(self, _signum: int = 0) -> None:
        size = self._wanted_size()
        if size is not None and size != self.manager.get(self.record.pty_id).size:
            self._start(self.manager.resize(self.record.pty_id, size))

    def _on_continued(self, stack: contextlib.ExitStack) -> None:
        """Take the terminal back: whoever had it meanwhile left it to their liking."""
        with contextlib.suppress(NotATerminalError):
            stack.enter_context(raw_mode(0))
        self._on_resize()
        self._repaint()

    def _on_end(self, signum: int) -> None:
        if self._ended_by is None:
            self._ended_by = signum
            self._lose_patience()
            self._start(self._hang_up())

    def _on_keys(self, keys: bytes) -> None:
        if not _INTERRUPTS.isdisjoint(keys):
            self._interrupted_at = time.monotonic()

    def _on_keyboard_gone(self) -> None:
        self._on_end(signal.SIGHUP)


def _terminal_size() -> WindowSize | None:
    """Return the size of the terminal that shows the output; None when it has or tells none."""
    with contextlib.suppress(NotATerminalError):
        return read_size(1)
    return None

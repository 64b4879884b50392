"""Runs one command in the foreground of this process: in a pipe, or on a terminal.

In a pipe the reader is lossless and the PTY blocks, so that nothing is lost however slow the next
command is. On a terminal keys go in and output comes out as they are; a terminal that is too slow
is told what it missed and is asked to repaint, the command never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from ptymux.cli.keyboard import Keyboard
from ptymux.cli.sink import Sink
from ptymux.core.model import PtyRecord, SpawnOptions, WindowSize
from ptymux.core.output import BufferStats, ReaderKind
from ptymux.core.ring import Part
from ptymux.core.units import format_duration, format_size, printable
from ptymux.errors import ClosedOutputError, PtymuxError
from ptymux.manager import OutputReader, PtyManager
from ptymux.posix.spawn import close_on_exec_from
from ptymux.posix.tty import raw_mode, read_size

__all__ = ["run_in_foreground"]

_CLOSED_PIPE: Final = 141
_FAILED: Final = 125

# Soft reset and the common modes off: what a program that was killed may have left behind.
_CALM: Final = (
    b"\x1b[?1000;1002;1003;1006l"  # mouse
    b"\x1b[?2004l"  # bracketed paste
    b"\x1b[?1047l"  # the alternate screen
    b"\x1b[?25h\x1b[0m\x1b(B"  # cursor, colours, character set
)
_SOFT_RESET: Final = b"\x1b[!p\x1b[0m\r\n"


def run_in_foreground(
    options: SpawnOptions, *, on_terminal: bool, sized: bool, summary: bool
) -> int:
    """Run a command until it ends; return the exit code to end with.

    Raises:
        PtymuxError: it could not be started, or its output has nowhere to go.
    """
    close_on_exec_from(3)
    started = time.monotonic()
    foreground = (_OnTerminal if on_terminal else _InPipe)(options, sized=sized)
    status = asyncio.run(foreground.run())
    if summary and foreground.end is not None:
        line = _summary(*foreground.end, time.monotonic() - started)
        with contextlib.suppress(OSError):
            os.write(2, line.encode(errors="replace"))
    return status


def _summary(record: PtyRecord, stats: BufferStats, seconds: float) -> str:
    command = record.command
    is_line = len(command) > 2 and command[1] == "-c"
    name = printable(command[2] if is_line else os.path.basename(command[0]))[:40]
    if record.signal is not None:
        end = f"killed by {signal.Signals(record.signal).name.removeprefix('SIG')}"
    else:
        end = f"exit {'unknown' if record.exit_code is None else record.exit_code}"
    return (
        f"[{name}: {end}, {format_duration(seconds)}, {format_size(stats.total_written)}, "
        f"{stats.total_dropped:,} dropped]\n"
    )


class _Foreground:
    """What both ways have in common: spawn, pass on, forward signals, end."""

    kind = ReaderKind.LOSSLESS
    forwarded: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self, options: SpawnOptions, *, sized: bool) -> None:
        self.options = options
        self.sized = sized
        self.end: tuple[PtyRecord, BufferStats] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.manager: PtyManager
        self.record: PtyRecord

    async def run(self) -> int:
        """Run the command; return the exit code."""
        async with PtyManager() as manager:
            self.manager = manager
            self.record = await manager.spawn(self.options)
            sink = Sink(1)
            try:
                with manager.reader(self.record.pty_id, self.kind, offset=0) as reader:
                    self._on_signals(self.forwarded, self._forward)
                    status = await self._pass(reader, sink)
            finally:
                self._on_signals(self.forwarded, None)
                sink.close()
            record = await manager.wait_gone(self.record.pty_id)
            self.end = record, manager.get_buffer_stats(record.pty_id)
            return _exit_code(record) if status is None else status

    async def _pass(self, reader: OutputReader, sink: Sink) -> int | None:
        """Pass everything on until the end; return the exit code if it is not the command's."""
        try:
            while await reader.wait():
                part = reader.read()
                if part.skipped:
                    await self._tell_gap(part, sink)
                taken = sink.write(part.data)
                reader.accept(part, taken)
                if taken < len(part.data):
                    await sink.wait()
        except (BrokenPipeError, ClosedOutputError) as error:
            await self._hang_up()
            if isinstance(error, BrokenPipeError):
                return _CLOSED_PIPE
            _complain(str(error))
            return _FAILED
        return None

    async def _tell_gap(self, part: Part, sink: Sink) -> None:
        raise NotImplementedError

    async def _hang_up(self) -> None:
        """End the command as a terminal that goes away would, then more firmly."""
        for signum in (signal.SIGHUP, signal.SIGCONT):
            await self.manager.signal(self.record.pty_id, signum, session=True)
        await self.manager.terminate(self.record.pty_id)

    def _forward(self, signum: int) -> None:
        self._start(self.manager.signal(self.record.pty_id, signum))

    def _start(self, work: Awaitable[object]) -> None:
        async def run() -> None:
            with contextlib.suppress(PtymuxError):  # it ended meanwhile
                await work

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_signals(
        self, signals: tuple[signal.Signals, ...], handler: Callable[[int], None] | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for signum in signals:
            if handler is None:
                loop.remove_signal_handler(signum)
            else:
                loop.add_signal_handler(signum, handler, signum)


class _InPipe(_Foreground):
    async def _tell_gap(self, part: Part, sink: Sink) -> None:
        start = part.offset - part.skipped
        _complain(f"{part.skipped:,} bytes of output are missing here, from offset {start:,} on")


class _OnTerminal(_Foreground):
    kind = ReaderKind.CONSUMER
    forwarded = (signal.SIGINT,)

    async def run(self) -> int:
        if not self.sized:
            self.options = replace(self.options, size=read_size(0) or self.options.size)
        self._ended_by: int | None = None
        return await super().run()

    async def _pass(self, reader: OutputReader, sink: Sink) -> int | None:
        lifeline = await self.manager.open_input(self.record.pty_id)
        with contextlib.ExitStack() as modes, Keyboard(0, lifeline, self._on_keyboard_gone):
            modes.enter_context(raw_mode(0))
            # Stopped and continued from outside, the terminal may be in any mode.
            self._on_signals((signal.SIGCONT,), lambda _: modes.enter_context(raw_mode(0)))
            self._on_signals((signal.SIGWINCH,), self._on_resize)
            self._on_signals((signal.SIGTERM, signal.SIGHUP), self._on_end)
            try:
                status = await super()._pass(reader, sink)
            finally:
                for signum in (signal.SIGCONT, signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP):
                    self._on_signals((signum,), None)
            if self._ended_by is not None or self.manager.get(self.record.pty_id).signal:
                with contextlib.suppress(BrokenPipeError, ClosedOutputError):
                    sink.write(_CALM)
        return status if self._ended_by is None else 128 + self._ended_by

    async def _tell_gap(self, part: Part, sink: Sink) -> None:
        await sink.write_all(
            _SOFT_RESET + f"[ptymux: {part.skipped:,} bytes not shown]\r\n".encode()
        )
        await self._repaint()

    async def _repaint(self) -> None:
        """Have the program draw itself again; it does when its size changes."""
        size = self.manager.get(self.record.pty_id).size
        nudged = WindowSize(size.cols, size.rows - 1 if size.rows > 1 else 2)
        with contextlib.suppress(PtymuxError):
            await self.manager.resize(self.record.pty_id, nudged)
            await self.manager.resize(self.record.pty_id, size)

    def _on_resize(self, _signum: int) -> None:
        size = read_size(0)
        if size is not None and not self.sized:
            self._start(self.manager.resize(self.record.pty_id, size))

    def _on_end(self, signum: int) -> None:
        if self._ended_by is None:
            self._ended_by = signum
            self._start(self._hang_up())

    def _on_keyboard_gone(self) -> None:
        self._on_end(signal.SIGHUP)


def _exit_code(record: PtyRecord) -> int:
    if record.signal is not None:
        return 128 + record.signal
    return _FAILED if record.exit_code is None else record.exit_code


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"ptymux: {text}\n".encode(errors="replace"))

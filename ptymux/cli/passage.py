"""The way of a command's output to our stdout, as a pipe and a terminal have it in common.

Whoever asks us to end by a signal gets it: the signal goes to the command, and once that is gone,
output that nobody takes is given up after the grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from ptymux.cli.message import tell
from ptymux.cli.sink import Sink
from ptymux.core.model import OnFull, PtyRecord, SpawnOptions
from ptymux.core.output import BufferStats, ReaderKind
from ptymux.core.ring import Part
from ptymux.errors import ClosedOutputError, PtymuxError
from ptymux.manager import OutputReader, PtyManager
from ptymux.posix.process import session_members

__all__ = ["Passage"]

_CLOSED_PIPE: Final = 141
_FAILED: Final = 125
_HANGUP_SECONDS: Final = 0.3  # to act upon HUP; TERM would end what cleans up then
_SHORTEST_PATIENCE: Final = 0.5  # seconds, for a reader of our output to take some


class _NobodyReadsError(Exception):
    """The command was ended by a signal, and nobody takes what it wrote."""


class Passage:
    """Spawns a command, passes its output on, forwards signals, and ends with it."""

    kind = ReaderKind.LOSSLESS
    forwarded: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self, options: SpawnOptions) -> None:
        self.options = options
        self.end: tuple[PtyRecord, BufferStats] | None = None
        self.manager: PtyManager
        self.record: PtyRecord
        self.reader: OutputReader
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended_by: int | None = None
        self._patience: asyncio.Timeout | None = None
        self._trouble: BaseException | None = None

    async def run(self) -> int:
        """Run the command; return the exit code."""
        asyncio.get_running_loop().set_exception_handler(self._on_trouble)
        async with PtyManager() as manager:
            self.manager = manager
            self.record = await manager.spawn(self.options)
            sink = Sink(1)
            self.reader = manager.reader(self.record.pty_id, self.kind, offset=0)
            try:
                with self._signals(self.forwarded, self._forward):
                    status = await self._pass(sink)
            finally:
                self.reader.close()
                sink.close()
            record = await manager.wait_gone(self.record.pty_id)
            self.end = record, manager.get_buffer_stats(record.pty_id)
            if self._trouble is not None:
                raise self._trouble
            return _exit_code(record) if status is None else status

    async def _pass(self, sink: Sink) -> int | None:
        """Pass everything on until the end; return the exit code if it is not the command's."""
        try:
            while await self.reader.wait():
                await self._catch_up(sink)
                part = self.reader.read()
                if part.skipped:
                    await self._tell_gap(part, sink)
                taken = sink.write(part.data)
                self.reader.accept(part, taken)
                self._show(part.data[:taken])
                if taken < len(part.data):
                    await self._wait_for_room(sink)
        except BrokenPipeError:
            await self._hang_up()
            return _CLOSED_PIPE
        except ClosedOutputError as error:
            await self._hang_up()
            tell(str(error))
            return _FAILED
        except _NobodyReadsError:
            assert self._ended_by is not None
            tell(f"nobody reads stdout; {self.reader.backlog:,} bytes of output were not written")
            await self._hang_up()
            return 128 + self._ended_by
        return None

    async def _catch_up(self, sink: Sink) -> None:
        """Leave out what is not worth showing any more."""

    async def _tell_gap(self, part: Part, sink: Sink) -> None:
        raise NotImplementedError

    def _show(self, data: bytes) -> None:
        """Take notice of what was passed on."""

    async def _wait_for_room(self, sink: Sink) -> None:
        """Return once the sink takes more.

        Raises:
            _NobodyReadsError: a signal ended the command, and the sink took nothing for the grace.
        """
        while True:
            try:
                async with asyncio.timeout(None) as self._patience:
                    if self._ended_by is not None:
                        self._lose_patience()
                    return await sink.wait()
            except TimeoutError:
                if not self._runs():
                    raise _NobodyReadsError from None
            finally:
                self._patience = None

    def _runs(self) -> bool:
        """Whether the command runs; a PTY that is held says so only once it was read."""
        pid = self.record.pid
        return pid is not None and any(member.pid == pid for member in session_members(pid))

    def _lose_patience(self) -> None:
        """Have the wait for room end after the grace."""
        if self._patience is not None and self._patience.when() is None:
            seconds = max(_SHORTEST_PATIENCE, self.options.grace_seconds)
            self._patience.reschedule(asyncio.get_running_loop().time() + seconds)

    async def _write_all(self, data: bytes, sink: Sink) -> None:
        while data := data[sink.write(data) :]:
            await self._wait_for_room(sink)

    async def _hang_up(self) -> None:
        """End the command as a terminal that goes away would, then more firmly."""
        pty_id = self.record.pty_id
        self.manager.set_on_full(pty_id, OnFull.DROP)  # it must not wait for us to say goodbye
        for signum in (signal.SIGHUP, signal.SIGCONT):
            await self.manager.signal(pty_id, signum, session=True)
        with contextlib.suppress(TimeoutError):
            seconds = min(_HANGUP_SECONDS, self.options.grace_seconds)
            await asyncio.wait_for(self.manager.wait_gone(pty_id), seconds)
        await self.manager.terminate(pty_id)

    def _forward(self, signum: int) -> None:
        if signum != signal.SIGINT:  # at ^C who reads our output got it too, and may be a pager
            self._ended_by = signum
            self._lose_patience()
        self._start(self.manager.signal(self.record.pty_id, signum))

    def _start(self, work: Awaitable[object]) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                await work
            except PtymuxError:
                return  # it ended meanwhile

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _on_trouble(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Take what a callback of the loop raised, which asyncio would show as a traceback."""
        error = context.get("exception")
        if not isinstance(error, BaseException):
            error = RuntimeError(context["message"])
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._trouble is None:
            self._trouble = error
            self._start(self._hang_up())

    @contextlib.contextmanager
    def _signals(
        self, signals: tuple[signal.Signals, ...], handler: Callable[[int], object]
    ) -> Iterator[None]:
        """Have these signals handled, but for those that we were started to ignore."""
        loop = asyncio.get_running_loop()
        heeded = [signum for signum in signals if signal.getsignal(signum) != signal.SIG_IGN]
        for signum in heeded:
            loop.add_signal_handler(signum, handler, signum)
        try:
            yield
        finally:
            for signum in heeded:
                loop.remove_signal_handler(signum)


def _exit_code(record: PtyRecord) -> int:
    if record.signal is not None:
        return 128 + record.signal
    return _FAILED if record.exit_code is None else record.exit_code

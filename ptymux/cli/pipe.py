"""A command in a pipe: its bytes as it wrote them, all of them, however slow their reader is."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Final

from ptymux.cli.message import tell
from ptymux.cli.passage import Passage
from ptymux.cli.sink import Sink
from ptymux.core.model import SpawnOptions
from ptymux.core.ring import Part

__all__ = ["PipePassage"]

_GAPS_SECONDS: Final = 1.0  # between two lines about output that is missing


class PipePassage(Passage):
    """Tells on stderr what is missing, which it may only be by request or long after the end."""

    def __init__(self, options: SpawnOptions) -> None:
        super().__init__(options)
        self._gaps = self._missing = 0  # not told yet
        self._told_at = float("-inf")

    async def _pass(self, sink: Sink) -> int | None:
        with self._signals((signal.SIGTSTP,), self._on_stop):
            status = await super()._pass(sink)
        if self._gaps:
            self._tell_gaps()
        return status

    def _on_stop(self, _signum: int) -> None:
        self._start(self._stop())

    async def _stop(self) -> None:
        """Stop, and the command with us: it may read our terminal, which is the shell's now.

        By STOP, as the kernel lets TSTP stop nobody whose parents are all in other sessions.
        """
        await self.manager.signal(self.record.pty_id, signal.SIGSTOP, session=True)
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when we are continued
        loop.add_signal_handler(signal.SIGTSTP, self._on_stop, signal.SIGTSTP)
        await self.manager.signal(self.record.pty_id, signal.SIGCONT, session=True)

    async def _tell_gap(self, part: Part, sink: Sink) -> None:
        if time.monotonic() < self._told_at + _GAPS_SECONDS:
            self._gaps += 1
            self._missing += part.skipped
            return
        if self._gaps:
            self._tell_gaps()
        start = part.offset - part.skipped
        tell(f"{part.skipped:,} bytes of output are missing here, from offset {start:,} on")
        self._told_at = time.monotonic()

    def _tell_gaps(self) -> None:
        places = f"{self._gaps:,} places" if self._gaps > 1 else "one place"
        tell(f"{self._missing:,} more bytes of output are missing, in {places}")
        self._gaps = self._missing = 0

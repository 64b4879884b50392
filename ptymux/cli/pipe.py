"""A command in a pipe: its bytes as it wrote them, all of them, however slow their reader is."""

from __future__ import annotations

import time
from typing import Final

from ptymux.cli.message import tell
from ptymux.cli.passage import Passage
from ptymux.cli.sink import Sink
from ptymux.core.model import SpawnOptions
from ptymux.core.ring import Part
from ptymux.manager import OutputReader

__all__ = ["PipePassage"]

_GAPS_SECONDS: Final = 1.0  # between two lines about output that is missing


class PipePassage(Passage):
    """Tells on stderr what is missing, which it may only be by request or long after the end."""

    def __init__(self, options: SpawnOptions) -> None:
        super().__init__(options)
        self._gaps = self._missing = 0  # not told yet
        self._told_at = float("-inf")

    async def _pass(self, reader: OutputReader, sink: Sink) -> int | None:
        status = await super()._pass(reader, sink)
        if self._gaps:
            self._tell_gaps()
        return status

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

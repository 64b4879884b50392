"""Sends one PTY's output to one client. Its state is an offset and at most one unsent frame.

Copy, check, then send: `OutputReader.read` returns bytes that the engine did not overwrite while
they were copied; what it overwrote is sent as a gap. A part counts as handed once the kernel took
its whole frame. While the client's socket is full nothing is copied, and the reader's offset stays
where it is. If the client keeps up, output is sent at once, while the engine's report is handled,
without waiting for a turn of a task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ptymux.core.reader import ReaderKind
from ptymux.core.ring import Part
from ptymux.manager import OutputReader
from ptymux.protocol.framing import Detach, Exit, Gap, out_header

__all__ = ["Offer", "pump"]

_CHUNK: Final = 64 * 1024

Offer = Callable[[bytes], Awaitable[None] | None]  # None: the kernel took all of it


async def pump(
    reader: OutputReader, offer: Offer, describe_end: Callable[[], Mapping[str, Any]]
) -> None:
    """Send all output from the position of `reader` on, with gaps, and at the end how it ended.

    A one-shot reader gets what there is by now, then a Detach if the PTY lives.
    """
    carrier = _Carrier(reader, offer)
    follows = reader.kind is not ReaderKind.ONE_SHOT
    until = reader.offset + reader.backlog
    while follows or reader.offset < until:
        if not await reader.wait(carrier.carry):
            break
        await carrier.settle()
        carrier.carry(_CHUNK if follows else until - reader.offset)
    await carrier.settle()
    end = Exit(dict(describe_end())).encode() if reader.at_end else Detach().encode()
    if (taken := offer(end)) is not None:
        await taken


class _Carrier:
    """Sends what a reader reads, part after part; keeps a part until the client took it."""

    def __init__(self, reader: OutputReader, offer: Offer) -> None:
        self._reader = reader
        self._offer = offer
        self._waiting: tuple[Part, Awaitable[None]] | None = None

    def carry(self, most: int = _CHUNK) -> bool:
        """Send up to `most` bytes of what there is; return False while the client takes none."""
        if self._waiting is not None:
            return False
        part = self._reader.read(min(most, _CHUNK))
        taken = self._offer(_frames(part))
        if taken is not None:
            self._waiting = part, taken
            return False
        self._reader.accept(part)
        return True

    async def settle(self) -> None:
        """Return once the client took the part that was offered."""
        if self._waiting is not None:
            part, taken = self._waiting
            await taken
            self._waiting = None
            self._reader.accept(part)


def _frames(part: Part) -> bytes:
    """Return a part as frames: the gap before it, if there is one, and the output."""
    frames = Gap(part.offset - part.skipped, part.offset).encode() if part.skipped else b""
    if part.data:
        frames += out_header(part.offset, len(part.data)) + part.data
    return frames

"""Carries one PTY's output to one client: an integer, at most one unsent frame, nothing else.

Copy, check, then send: `OutputReader.read` returns bytes that were not overtaken while they were
copied; what was, is a gap and is told as one. A part counts as handed once the kernel took the
whole of its frame. While the client's socket is full nothing is copied, and the reader's offset
remembers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ptymux.manager import OutputReader
from ptymux.protocol.framing import Exit, Gap, Out

__all__ = ["pump"]

_CHUNK: Final = 64 * 1024


async def pump(
    reader: OutputReader,
    send: Callable[[bytes], Awaitable[None]],
    describe_end: Callable[[], Mapping[str, Any]],
) -> None:
    """Send everything from where `reader` stands, gaps told, up to the end, then how it ended."""
    while await reader.wait():
        part = reader.read(_CHUNK)
        if part.skipped:
            await send(Gap(part.offset - part.skipped, part.offset).encode())
        if part.data:
            await send(Out(part.offset, part.data).encode())
        reader.accept(part)
    await send(Exit(dict(describe_end())).encode())

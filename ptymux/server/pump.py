"""Carries one PTY's output to one client: an integer, at most one unsent frame, nothing else.

Copy, check, then send: `OutputReader.read` returns bytes that were not overtaken while they were
copied; what was, is a gap and is told as one. A part counts as handed once the kernel took the
whole of its frame. While the client's socket is full nothing is copied, and the reader's offset
remembers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ptymux.core.output import ReaderKind
from ptymux.manager import OutputReader
from ptymux.protocol.framing import Detach, Exit, Gap, Out

__all__ = ["pump"]

_CHUNK: Final = 64 * 1024


async def pump(
    reader: OutputReader,
    send: Callable[[bytes], Awaitable[None]],
    describe_end: Callable[[], Mapping[str, Any]],
) -> None:
    """Send everything from where `reader` stands, gaps told, up to the end, then how it ended.

    To a one-shot reader: what there is by now, then a Detach if the PTY goes on.
    """
    follows = reader.kind is not ReaderKind.ONE_SHOT
    until = reader.offset + reader.backlog
    while follows or reader.offset < until:
        if not await reader.wait():
            break
        part = reader.read(_CHUNK if follows else min(_CHUNK, until - reader.offset))
        if part.skipped:
            await send(Gap(part.offset - part.skipped, part.offset).encode())
        if part.data:
            await send(Out(part.offset, part.data).encode())
        reader.accept(part)
    await send(Exit(dict(describe_end())).encode() if reader.at_end else Detach().encode())

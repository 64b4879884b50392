"""The programs that write the floods: every byte of their output follows from its offset."""

from __future__ import annotations

import enum
import sys
from typing import Final

__all__ = [
    "LARGEST_BYTES",
    "SMALLEST_BYTES",
    "ChildKind",
    "argv",
    "first_difference",
    "text",
    "written_bytes",
]

SMALLEST_BYTES: Final = 1000  # less cannot be paced
LARGEST_BYTES: Final = 100_000_000_000  # the counter has room for more, patience has not

# One line is ten digits, a blank, the filling and a newline: 80 bytes. A block is 1000 lines that
# differ from the next block in seven of the digits only, so it is made by one replace: 2 GB/s.
_FILLING: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-*/=!"
_LINES: Final = 1000
_DIGITS: Final = b"#######"
_TEMPLATE: Final = b"".join(b"%b%03d %b\n" % (_DIGITS, i, _FILLING) for i in range(_LINES))
_BLOCK: Final = len(_TEMPLATE)

# `-IS -c COUNTER filling bytes pace [wait]`; a pace of 0 is none. One that was kept off its
# processor makes up for 5 ms of it only: more would be a burst, which nobody asked for.
_COUNTER: Final = r"""
import os, sys, time
filling, left, pace = sys.argv[1].encode(), int(sys.argv[2]), float(sys.argv[3])
template = b"".join(b"#######%03d %b\n" % (i, filling) for i in range(1000))
step = max(1, min(8000, int(pace / 50)))
sys.argv[4:] and os.read(0, 1)
due, block = time.monotonic(), 0
while left:
    text = memoryview(template.replace(b"#######", b"%07d" % block))[:left]
    while text:
        size = os.write(1, text[:step] if pace else text)
        text, left = text[size:], left - size
        if pace:
            due = max(due, time.monotonic() - 0.005) + size / pace
            time.sleep(max(0.0, due - time.monotonic()))
    block += 1
"""

_YES: Final = b"y\r\n"


class ChildKind(enum.Enum):
    """The two programs."""

    COUNTER = "counter"  # numbered lines of 80 bytes; the terminal leaves them as they are
    YES = "yes"  # `yes | head -c BYTES`; the terminal makes "\r\n" of each newline


def argv(kind: ChildKind, size: int, pace: float, *, waits: bool = False) -> tuple[str, ...]:
    """Return the command that writes `size` bytes.

    A counter writes at most `pace` bytes a second, 0 for as fast as it can. With `waits` it begins
    at the end of its stdin.
    """
    if kind is ChildKind.YES:
        return ("sh", "-c", f"{'read go; ' if waits else ''}yes | head -c {size}")
    words = (_FILLING.decode(), str(size), str(pace), *(["wait"] if waits else []))
    return (sys.executable, "-ISc", _COUNTER, *words)


def written_bytes(kind: ChildKind, size: int) -> int:
    """Return how many bytes the terminal makes of `size` bytes that a child writes."""
    return size + size // 2 if kind is ChildKind.YES else size


def text(kind: ChildKind, offset: int, size: int) -> bytes:
    """Return the output that is right at `[offset, offset + size)`, as the terminal made it."""
    if kind is ChildKind.YES:
        at = offset % len(_YES)
        return (_YES * (size // len(_YES) + 2))[at : at + size]
    block, at = divmod(offset, _BLOCK)
    pieces = []
    while size > 0:
        piece = _TEMPLATE.replace(_DIGITS, b"%07d" % block)[at : at + size]
        pieces.append(piece)
        size -= len(piece)
        block, at = block + 1, 0
    return b"".join(pieces)


def first_difference(kind: ChildKind, offset: int, data: bytes) -> int | None:
    """Return the offset of the first wrong byte of `data`, None when all are right."""
    wanted = text(kind, offset, len(data))
    if wanted == data:
        return None
    return offset + next(i for i, (a, b) in enumerate(zip(wanted, data, strict=True)) if a != b)

"""The first bytes of a frame: type and size, and in some frames a number right behind them.

A module of its own because a keeper needs this much to send echoes, and nothing else of the
protocol: with the classes of `framing` it would start later and be larger.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "LARGEST_FRAME",
    "LARGEST_DATA",
    "HEADER",
    "NUMBERED_HEADER",
    "NUMBER_SIZE",
    "OUT",
    "TAKEN",
    "out_header",
    "encode_taken",
]

LARGEST_FRAME: Final = 256 * 1024  # of what follows the header

HEADER: Final = Struct(">BI")  # type, size of what follows
NUMBERED_HEADER: Final = Struct(">BIQ")  # the same, and a number of what follows
NUMBER_SIZE: Final = NUMBERED_HEADER.size - HEADER.size
LARGEST_DATA: Final = LARGEST_FRAME - NUMBER_SIZE  # of output in one frame

OUT: Final = 1  # the number is the offset of the output behind it
TAKEN: Final = 11  # the number is how many bytes of input the terminal took; nothing is behind it


def out_header(offset: int, size: int) -> bytes:
    """Return what precedes `size` bytes of output in an OUT, so that they need not be copied."""
    assert size <= LARGEST_DATA
    return NUMBERED_HEADER.pack(OUT, NUMBER_SIZE + size, offset)


def encode_taken(size: int) -> bytes:
    """Return the whole frame that says that the terminal took `size` bytes of input."""
    return NUMBERED_HEADER.pack(TAKEN, NUMBER_SIZE, size)

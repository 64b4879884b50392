"""The bytes ahead of a ring's newest one, by which the end of a read is found that a kill has cut.

The kernel writes output into a ring, and the engine then notes how much it was. A kill can come
between the two. So the engine keeps bytes there that it knows: where they begin again, the output
ends. They are random, so that no output can be taken for them on purpose, whatever it consists of;
and they are bytes that text and most other output never contains. In UTF-8 text, and in bytes that
are all NUL or all 255, the end is always found exactly. Of output with all bytes alike the last one
is overlooked with a chance of 1 in 256, of the worst output with 1 in 37; so a cut read is counted.
"""

from __future__ import annotations

from typing import Final

from ptymux.core.model import Limits

__all__ = ["PERIOD", "Pattern"]

PERIOD: Final = 256  # bytes
# Control characters that text does not use, and bytes that UTF-8 does not. Not 0 and 255, which
# fill files.
_RARE: Final = bytes(
    [*range(1, 7), *range(14, 27), *range(28, 32), 127, 192, 193, *range(245, 255)]
)


class Pattern:
    """Known bytes for each place in a ring: the byte at index i is `key[i % PERIOD]`."""

    __slots__ = ("bytes", "key")

    def __init__(self, key: bytes) -> None:
        assert len(key) == PERIOD
        self.key = key
        self.bytes: Final = memoryview(key * (Limits.SLACK // PERIOD + 1))

    @classmethod
    def from_seed(cls, seed: bytes) -> Pattern:
        """Return the pattern of `PERIOD` random bytes."""
        return cls(bytes(_RARE[byte % len(_RARE)] for byte in seed))

    def at(self, index: int, size: int) -> memoryview:
        """Return what stands at an index of a ring, and behind it: at most SLACK bytes."""
        start = index % PERIOD
        return self.bytes[start : start + size]

"""Who reads a PTY's output, and what that means to the PTY."""

from __future__ import annotations

import enum

from ptymux.core.rate_limit import RateLimitedLoss
from ptymux.core.ring import Cursor

__all__ = ["Reader", "ReaderKind"]


class ReaderKind(enum.Enum):
    """What a reader's reading means to the PTY."""

    OBSERVER = "observer"  # looks; counts for nothing
    CONSUMER = "consumer"  # its reading counts
    ONE_SHOT = "one-shot"  # a consumer that never raises an alarm, such as `logs`
    LOSSLESS = "lossless"  # a consumer that may hold the child in `block` mode


class Reader:
    """One reader of a PTY; made by `OutputBuffer.attach`."""

    __slots__ = ("burst", "counts", "cursor", "is_consumer", "kind", "reader_id")

    def __init__(self, reader_id: int, kind: ReaderKind, cursor: Cursor) -> None:
        self.reader_id = reader_id
        self.kind = kind
        self.cursor = cursor
        self.burst = RateLimitedLoss()
        self.is_consumer = kind is not ReaderKind.OBSERVER
        self.counts = False  # raises backpressure; from the first time it had caught up

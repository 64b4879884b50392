"""A reader of a PTY's output: its position, and whether its reading counts."""

from __future__ import annotations

import enum

from ptymux.core.rate_limit import RateLimitedLoss
from ptymux.core.ring import Cursor

__all__ = ["Reader", "ReaderKind"]


class ReaderKind(enum.Enum):
    """Whether a reader counts in the account, and whether the child may have to wait for it."""

    OBSERVER = "observer"  # looks only; counts for nothing
    CONSUMER = "consumer"  # the bytes it was handed count as consumed
    ONE_SHOT = "one-shot"  # a consumer that never causes backpressure, such as `logs`
    LOSSLESS = "lossless"  # a consumer that the child waits for in `block` mode


class Reader:
    """One reader of a PTY; made by `OutputBuffer.attach`."""

    __slots__ = ("burst", "counts", "cursor", "is_consumer", "kind", "reader_id")

    def __init__(self, reader_id: int, kind: ReaderKind, cursor: Cursor) -> None:
        self.reader_id = reader_id
        self.kind = kind
        self.cursor = cursor
        self.burst = RateLimitedLoss()
        self.is_consumer = kind is not ReaderKind.OBSERVER
        self.counts = False  # for backpressure: only once it had caught up for the first time

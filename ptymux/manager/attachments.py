"""Who is attached to a PTY, as far as that outlives a connection: by a lifeline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ptymux.core.reader import ReaderKind

__all__ = ["LifelineAttachment", "absent"]


@dataclass(slots=True)
class LifelineAttachment:
    """An attachment with a lifeline: it lives as long as that is open."""

    kind: ReaderKind
    readers: int = 0  # that it has at the moment; without one its client is to come back


def absent(attached: Iterable[LifelineAttachment]) -> tuple[int, int]:
    """Return how many consumers are to come back, and how many of them are lossless."""
    away = [each for each in attached if not each.readers and each.kind is not ReaderKind.OBSERVER]
    return len(away), sum(each.kind is ReaderKind.LOSSLESS for each in away)

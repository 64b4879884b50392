"""Circles of PTYs that show each other: what one writes would come back to it, without end."""

from __future__ import annotations

from collections import Counter

from ptymux.core.model import PtyId

__all__ = ["Shows"]


class Shows:
    """Which PTY's output is shown in which, as by `ptymux attach` or `logs -f` that run there."""

    def __init__(self) -> None:
        self._count: Counter[tuple[PtyId, PtyId]] = Counter()  # (shown, in which)

    def begin(self, shown: PtyId, inside: PtyId) -> None:
        """Note that the output of `shown` is written into `inside`."""
        self._count[shown, inside] += 1

    def end(self, shown: PtyId, inside: PtyId) -> None:
        """Note that one that was begun has ended."""
        self._count[shown, inside] -= 1
        if not self._count[shown, inside]:
            del self._count[shown, inside]

    def would_be_circle(self, shown: PtyId, inside: PtyId) -> bool:
        """Return whether what `inside` writes is shown in `shown`, maybe by way of others."""
        reached, new = {inside}, {inside}
        while new and shown not in reached:
            new = {where for what, where in self._count if what in new} - reached
            reached |= new
        return shown in reached

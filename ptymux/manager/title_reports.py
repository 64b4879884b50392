"""When the bells and titles that were noticed in a PTY's output are to be published.

At once, then at most once a second of each kind, so that a program that rings without end costs
little; the counts say how often it was. What is noticed late is published late.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ptymux.core.event_log import Topic
from ptymux.manager.mode_tracker import ModeTracker
from ptymux.manager.publisher import Json

__all__ = ["REPORT_SECONDS", "TitleReports"]

REPORT_SECONDS: Final = 1.0  # between two reports of a kind, and two looks for somebody who follows


class TitleReports:
    """Decides which events of bells and titles are due."""

    def __init__(self) -> None:
        self._bell_at = self._title_at = 0.0  # when the next one may be

    def deadline(self, tracker: ModeTracker) -> float | None:
        """Return when to ask for reports again; None if nothing waits to be reported."""
        times = []
        if tracker.title.bells:
            times.append(self._bell_at)
        if tracker.title.changes:
            times.append(self._title_at)
        return min(times, default=None)

    def due(
        self, tracker: ModeTracker, now: float, *, final: bool = False
    ) -> Iterator[tuple[Topic, dict[str, Json]]]:
        """Yield what is to be published, and count it as published; `final`: all that is left."""
        noticed = tracker.title
        if noticed.bells and (final or now >= self._bell_at):
            bells, skipped = noticed.bells, tracker.skipped
            noticed.bells = tracker.skipped = 0
            self._bell_at = now + REPORT_SECONDS
            payload: dict[str, Json] = {"count": bells, "skipped_since_last": skipped}
            yield Topic.BELL, payload | {"offset": tracker.offset}
        if noticed.changes and (final or now >= self._title_at):
            changes, noticed.changes = noticed.changes, 0
            self._title_at = now + REPORT_SECONDS
            if noticed.title != tracker.published_title:
                tracker.published_title = noticed.title
                said: dict[str, Json] = {"title": noticed.title, "changes": changes}
                yield Topic.TITLE, said | {"offset": tracker.offset}

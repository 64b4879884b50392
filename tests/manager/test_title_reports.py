"""Bells and titles are published at once, then at most once a second, and never twice."""

from __future__ import annotations

import pytest

from ptymux.core.event_log import Topic
from ptymux.core.ring import RingBuffer
from ptymux.manager.mode_tracker import ModeTracker
from ptymux.manager.title_reports import TitleReports

pytestmark = pytest.mark.requirement("EVENTS-TITLES")


class Reporter:
    """A ring, its tracker, and what is published of it."""

    def __init__(self, capacity: int = 4096) -> None:
        self.ring = RingBuffer(capacity)
        self.tracker = ModeTracker(self.ring)
        self.reports = TitleReports()

    def write(self, output: bytes, now: float, *, final: bool = False) -> list[tuple[object, ...]]:
        self.ring.write(output)
        self.tracker.catch_up()
        due = self.reports.due(self.tracker, now, final=final)
        return [(topic, *payload.values()) for topic, payload in due]

    def successor(self) -> None:
        """Go on as another server does, with what was kept."""
        kept, noticed = self.tracker.kept, self.tracker.noticed
        self.tracker = ModeTracker(self.ring, *kept)
        self.tracker.restore_noticed(noticed)


def test_bells_within_a_second_are_counted_and_come_as_one() -> None:
    told = Reporter()

    assert told.write(b"\x07", 10.0) == [(Topic.BELL, 1, 0, 1)]
    assert told.write(b"\x07\x07", 10.5) == told.write(b"\x07", 10.9) == []
    assert told.reports.deadline(told.tracker) == 11.0
    assert told.write(b"", 11.0) == [(Topic.BELL, 3, 0, 4)]
    assert told.reports.deadline(told.tracker) is None
    assert told.write(b"\x07", 11.1) == []
    assert told.write(b"", 11.2, final=True) == [(Topic.BELL, 1, 0, 5)]


def test_the_last_title_of_a_second_is_published_with_how_often_it_changed() -> None:
    told = Reporter()

    assert told.write(b"\x1b]2;a\x07", 10.0) == [(Topic.TITLE, "a", 1, 6)]
    assert told.write(b"\x1b]2;b\x07\x1b]2;c\x07", 10.5) == []
    assert told.write(b"", 11.0) == [(Topic.TITLE, "c", 2, 18)]
    assert told.write(b"\x1b]2;x\x07\x1b]2;c\x07", 13.0) == []  # it is what it was


def test_output_that_was_evicted_unseen_is_said() -> None:
    told = Reporter(capacity=64)
    told.ring.write(b"x" * 1000)

    assert told.write(b"\x07", 10.0) == [(Topic.BELL, 1, 937, 1001)]
    assert told.write(b"\x07", 12.0) == [(Topic.BELL, 1, 0, 1002)]


def test_another_server_goes_on_and_counts_no_bell_twice() -> None:
    told = Reporter()
    told.write(b"\x1b]2;sh\x07\x07", 10.0)
    assert told.write(b"\x07\x1b[22;2t\x1b]2;vi", 10.5) == []

    told.successor()

    assert told.write(b"m\x07", 20.0) == [(Topic.BELL, 1, 0, 24), (Topic.TITLE, "vim", 1, 24)]
    assert told.write(b"\x1b[23;2t", 30.0) == [(Topic.TITLE, "sh", 1, 31)]


def test_what_was_published_and_not_kept_is_not_published_again() -> None:
    told = Reporter()
    kept, noticed = told.tracker.kept, told.tracker.noticed
    said = told.write(b"\x07\x07\x1b]2;sh\x07", 10.0)
    assert said == [(Topic.BELL, 2, 0, 9), (Topic.TITLE, "sh", 1, 9)]

    told.tracker = ModeTracker(told.ring, *kept)
    told.tracker.restore_noticed(noticed)
    told.tracker.note_bells_published(9)
    told.tracker.note_title_published("sh")

    assert told.write(b"\x07", 20.0) == [(Topic.BELL, 1, 0, 10)]

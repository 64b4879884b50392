"""The terminal modes of a PTY whose output nobody reads."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.ring import RingBuffer
from ptymux.core.terminal_modes import TerminalModes
from ptymux.manager import mode_tracker
from ptymux.manager.mode_tracker import ModeTracker
from tests.core.test_terminal_modes import SEQUENCES


@given(st.lists(st.sampled_from(SEQUENCES), max_size=40), st.data())
def test_looks_before_the_ring_evicts_see_all(pieces: list[bytes], data: st.DataObject) -> None:
    with patch.object(mode_tracker, "_PIECE", 16):
        ring = RingBuffer(64)
        tracker = ModeTracker(ring)
        all_at_once = TerminalModes()

        for piece in pieces:
            ring.write(piece)
            all_at_once.see(piece)
            while ring.total >= tracker.wake_at:
                tracker.look()
            if data.draw(st.booleans()):
                tracker.catch_up()
                tracker = ModeTracker(ring, *tracker.kept)  # another server goes on

        tracker.catch_up()
        assert tracker.offset == ring.total
        assert tracker.modes.redo == all_at_once.redo


def test_what_was_evicted_before_a_look_leaves_what_was_known() -> None:
    ring = RingBuffer(64)
    tracker = ModeTracker(ring)
    ring.write(b"\x1b[?1049h")
    tracker.catch_up()

    ring.write(b"\x1b[?1h" + b"x" * 200 + b"\x1b[?2004h")
    tracker.catch_up()

    assert tracker.modes.redo == b"\x1b[?1049h\x1b[?2004h"


def test_question_in_a_flood_reads_its_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode_tracker, "_PIECE", 16)
    monkeypatch.setattr(mode_tracker, "_MOST_PIECES", 2)
    ring = RingBuffer(1000)
    tracker = ModeTracker(ring)

    ring.write(b"\x1b[?1h" + b"x" * 900 + b"\x1b[?2004h")
    tracker.catch_up()

    assert (tracker.offset, tracker.modes.redo) == (ring.total, b"\x1b[?2004h")


def test_ring_without_capacity_has_no_modes() -> None:
    ring = RingBuffer(0)
    tracker = ModeTracker(ring)

    ring.write(b"\x1b[?1049h")
    tracker.catch_up()

    assert (tracker.offset, tracker.modes.redo) == (8, b"")

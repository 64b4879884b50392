"""What a link holds for a next keeper."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ptymux.engine.reports import Closed, LifelineEnded
from ptymux.handover.snapshot import SnapshotStore


@pytest.fixture
def fd() -> Iterator[int]:
    fd, other = os.pipe()
    yield fd
    os.close(other)
    with pytest.raises(OSError, match="Bad file"):
        os.close(fd)


def test_a_lifeline_is_held_until_it_ends(fd: int) -> None:
    held = SnapshotStore()

    held.hold_line(1, 7, fd)
    assert held.has_line(1, 7)
    held.note(LifelineEnded(1, 7, True))

    assert not held.has_line(1, 7)


def test_a_lifeline_that_ended_before_it_was_held_is_not(fd: int) -> None:
    held = SnapshotStore()
    held.remember(1, b"{}")

    held.note(LifelineEnded(1, 7, False))
    held.hold_line(1, 7, fd)

    assert not held.has_line(1, 7)
    assert not any(held._ended_lines.values())


def test_a_lifeline_without_an_fd_has_ended() -> None:
    held = SnapshotStore()
    held.remember(1, b"{}")

    held.note(LifelineEnded(1, 7, False))
    held.hold_line(1, 7, None)

    assert not held.has_line(1, 7)
    assert not any(held._ended_lines.values())


def test_nothing_is_kept_of_a_spawn_that_failed() -> None:
    held = SnapshotStore()

    held.expect(1)
    held.note(Closed(1))
    held.expect_no_more(1)

    assert not held._early

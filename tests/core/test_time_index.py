"""The index of times: any bytes' second, within bounds, and across a kill at any store."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptymux.core.ring import RingBuffer, ring_size
from ptymux.core.time_index import AREA_SIZE, ENTRIES, Stamp, Times, thinned

START = 1_790_000_000

# How far the clock goes, and how much output comes, from one second with output to the next.
STEPS = st.lists(st.tuples(st.integers(-5, 400), st.integers(0, 9)), max_size=60)


def noted(
    steps: Sequence[tuple[int, int]], capacity: int = 1 << 20
) -> tuple[RingBuffer, list[int]]:
    """Return a ring that was written to in steps, and the second of each byte."""
    ring, second, seconds = RingBuffer(capacity), START, []
    for ahead, size in steps:
        second += ahead
        ring.note_time(second)
        ring.write(bytes(size))
        seconds += [second] * size
    return ring, seconds


@given(STEPS)
@example([(0, 0), (1, 3)])  # a read that found nothing
def test_each_byte_has_the_second_in_which_it_came(steps: list[tuple[int, int]]) -> None:
    ring, seconds = noted(steps)

    assert [ring.times.second_at(offset) for offset in range(ring.total)] == seconds


@given(STEPS, st.integers(START - 2, START + 3000))
def test_since_begins_at_the_first_byte_of_that_time_or_later(
    steps: list[tuple[int, int]], at: int
) -> None:
    ring, seconds = noted(steps)
    late = [offset for offset, second in enumerate(seconds) if second >= at]

    assert ring.times.since(at) == (late[0] if late else ring.total)


@given(STEPS, st.integers(START - 2, START + 3000))
def test_until_ends_behind_the_last_byte_of_that_time_or_earlier(
    steps: list[tuple[int, int]], at: int
) -> None:
    ring, seconds = noted(steps)
    early = [offset for offset, second in enumerate(seconds) if second <= at]

    assert ring.times.until(at) == (early[-1] + 1 if early else 0)


@pytest.mark.slow
def test_an_index_of_days_is_bounded_and_as_fine_as_the_output_is_new() -> None:
    days = 3 * 86_400
    ring, seconds = noted([(1, 1)] * days)
    times = ring.times

    assert len(times.stamps) <= ENTRIES
    assert times.stamps[0] == Stamp(0, START + 1, True)
    for offset in range(0, days, 997):
        age = days - offset
        second = times.second_at(offset)
        assert second is not None
        assert 0 <= seconds[offset] - second <= age // 16
        assert offset - age // 16 <= times.since(seconds[offset]) <= offset
    assert all(times.second_at(days - n) == seconds[days - n] for n in range(1, 60))


def test_entries_of_evicted_output_go_first() -> None:
    ring, seconds = noted([(1, 10)] * (ENTRIES + 1), capacity=1000)

    assert len(ring.times.stamps) < ENTRIES // 2
    assert not any(stamp.is_span for stamp in ring.times.stamps)
    edge = ring.edge
    assert [ring.times.second_at(n) for n in range(edge, ring.total)] == seconds[edge:]


def test_what_came_before_all_entries_begins_at_the_oldest() -> None:
    assert Times((Stamp(50, START),), 60).since(START - 1) == 0
    assert Times((), 60, is_known=False).since(START) == 0


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 1 << 40)), min_size=2, max_size=300),
    st.integers(2, 40),
)
def test_thinning_keeps_to_its_bound_whatever_the_clock_did(
    entries: list[tuple[int, int]], most: int
) -> None:
    offset, stamps = 0, []
    for size, second in entries:
        stamps.append(Stamp(offset, second))
        offset += size

    kept = thinned(stamps, 0, most)

    assert len(kept) <= max(most, 2)
    assert kept[-1] == stamps[-1]
    assert {(each.offset, each.second) for each in kept} <= {(s.offset, s.second) for s in stamps}


def test_a_kill_between_any_two_stores_leaves_the_index_as_before_or_after() -> None:
    """The area is written in full before the one word that makes the entries valid."""
    memory = bytearray(ring_size(1 << 16))
    ring = RingBuffer(1 << 16, memory)
    for second in range(ENTRIES):
        ring.note_time(START + second)
        ring.write(b"x")
    before, whole = ring.times.stamps, bytes(memory)

    ring.note_time(START + ENTRIES)  # makes it coarser, in the other area, then appends

    after = ring.times.stamps
    changed = [n for n in range(0, len(whole), 8) if whole[n : n + 8] != memory[n : n + 8]]
    rng = random.Random(7)
    for _ in range(50):
        cut = bytearray(whole)
        for at in changed:
            if at >= 8192 and rng.random() < 0.5:
                cut[at : at + 8] = memory[at : at + 8]
        assert RingBuffer.attach(cut).times.stamps == before
    assert len(after) <= ENTRIES * 3 // 4 + 1
    assert after[-1] == Stamp(ENTRIES, START + ENTRIES)


def test_a_ring_of_an_older_version_has_no_times() -> None:
    memory = bytearray(ring_size(100))
    RingBuffer(100, memory).write(b"old")

    ring = RingBuffer.attach(memory[:-AREA_SIZE])
    ring.note_time(START)
    ring.write(b"new")

    assert ring.copy(0, 6) == b"oldnew"
    assert ring.times == Times((), 6, is_known=False)
    assert ring.times.second_at(0) is None


@given(STEPS)
def test_times_come_as_they_were_sent(steps: list[tuple[int, int]]) -> None:
    times = noted(steps)[0].times

    assert Times.from_json(times.as_json()) == times

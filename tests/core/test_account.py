from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptymux.core.account import NOTES, Account
from ptymux.core.model import Limits
from ptymux.core.ring import RingBuffer, ring_size

ACTIVE_WORD = 515  # see the layout in header.py


@dataclass
class ByteByByte:
    """The truth: for each byte, whether it was handed in time, and where it went."""

    handed: list[bool] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)  # what became of the evicted ones

    @property
    def total(self) -> int:
        return len(self.handed)

    def hand(self, start: int, end: int) -> None:
        for offset in range(max(start, len(self.gone)), end):
            self.handed[offset] = True

    def evict(self, oldest: int, *, attended: bool) -> int:
        lost = 0
        for offset in range(len(self.gone), oldest):
            if self.handed[offset]:
                self.gone.append("trimmed")
            else:
                self.gone.append("attended" if attended else "unattended")
                lost += 1
        return lost

    def unread_ranges(self) -> list[tuple[int, int]]:
        """Return the runs of bytes that are kept and were not handed."""
        edges = [len(self.gone) - 1]
        edges += [o for o in range(len(self.gone), self.total) if self.handed[o]]
        edges.append(self.total)
        return [(a + 1, b) for a, b in pairwise(edges) if a + 1 < b]

    def unread(self) -> int:
        return self.handed[len(self.gone) :].count(False)

    def lost(self) -> int:
        return len(self.gone) - self.gone.count("trimmed")


def facts(account: Account) -> dict[str, object]:
    return {name: getattr(account, name) for name in Account.__slots__}


def both_laws_hold(account: Account, total: int) -> bool:
    retained = total - account.accounted
    unread, consumed = account.unread(total), account.consumed(total)
    return (
        total == retained + account.pending + account.trimmed + account.dropped
        and total == consumed + account.pending + account.dropped + unread
        and account.dropped == account.dropped_attended + account.dropped_unattended
        and min(retained, unread, consumed) >= 0
        and unread <= retained
    )


def with_holes(count: int) -> Account:
    """Return an account with holes [10n, 10n + 9), as many as asked, each with an island of 1."""
    account = Account()
    for n in range(count):
        account.hand(10 * n + 9, 10 * n + 10)
    return account


@pytest.mark.requirement("HOLES")
def test_handing_in_order_leaves_no_hole() -> None:
    account = Account()

    account.hand(0, 10)
    account.hand(10, 25)

    assert (account.handed, account.holes, account.unread(30)) == (25, [], 5)


@pytest.mark.requirement("HOLES")
def test_handing_ahead_leaves_a_hole() -> None:
    account = Account()
    account.hand(0, 10)

    account.hand(15, 20)

    assert account.holes == [(10, 15)]
    assert (account.unread(20), account.consumed(20)) == (5, 15)


@pytest.mark.requirement("HOLES")
@pytest.mark.parametrize(
    ("start", "end", "left"),
    [
        (0, 9, []),
        (0, 3, [(3, 9)]),
        (6, 9, [(0, 6)]),
        (4, 5, [(0, 4), (5, 9)]),
        (6, 10, [(0, 6)]),
        (9, 10, [(0, 9)]),
        (0, 12, []),
        (8, 12, [(0, 8)]),
        (5, 5, [(0, 9)]),
        (6, 5, [(0, 9)]),
    ],
)
def test_handing_later_cuts_the_hole(start: int, end: int, left: list[tuple[int, int]]) -> None:
    account = Account()
    account.hand(9, 10)

    account.hand(start, end)

    assert account.holes == left


@pytest.mark.requirement("LAW-PTY")
def test_handed_bytes_are_trimmed_and_the_others_dropped() -> None:
    account = Account()
    account.hand(0, 10)
    account.hand(15, 20)

    lost = account.evict(25, attended=True)

    assert lost == 10
    assert (account.trimmed, account.dropped_attended, account.dropped_unattended) == (15, 10, 0)


@pytest.mark.requirement("LAW-PTY")
def test_loss_is_classed_by_whether_somebody_was_there() -> None:
    account = Account()

    account.evict(10, attended=False)
    account.evict(13, attended=True)

    assert (account.dropped_unattended, account.dropped_attended, account.dropped) == (10, 3, 13)


@pytest.mark.requirement("LAW-PTY")
def test_evicting_the_same_bytes_again_changes_nothing() -> None:
    account = Account()
    account.evict(10, attended=True)

    lost = [account.evict(10, attended=True), account.evict(4, attended=False)]

    assert lost == [0, 0]
    assert (account.accounted, account.dropped) == (10, 10)


@pytest.mark.requirement("LAW-PTY")
def test_bytes_handed_after_they_were_counted_as_dropped_stay_dropped() -> None:
    account = Account()
    account.evict(20, attended=True)

    account.hand(5, 25)

    assert (account.dropped, account.unread(30), account.consumed(30)) == (20, 5, 5)
    assert both_laws_hold(account, 30)


@pytest.mark.requirement("HOLES")
def test_a_hole_never_reaches_below_what_was_evicted() -> None:
    account = Account()
    account.evict(20, attended=False)

    account.hand(30, 40)

    assert account.holes == [(20, 30)]


@pytest.mark.requirement("HOLES")
@pytest.mark.parametrize(
    ("oldest", "first_unread"), [(0, 0), (8, 8), (9, 10), (10, 10), (18, 18), (19, 20), (25, 25)]
)
def test_the_first_unread_byte_is_the_oldest_kept_one_that_nobody_got(
    oldest: int, first_unread: int
) -> None:
    account = with_holes(2)

    account.evict(oldest, attended=True)

    assert account.first_unread == first_unread
    assert all(start < end for start, end in account.holes)


@pytest.mark.requirement("HOLES")
def test_one_hole_too_many_joins_the_two_around_the_smallest_island() -> None:
    account = with_holes(Limits.HOLES)
    account.hand(1000, 1003)
    account.hand(2000, 2001)  # the holes around the islands of 1 are all nearer

    assert len(account.holes) == Limits.HOLES
    assert account.merged == 2
    assert account.holes[0] == (0, 29)
    assert account.holes[-1] == (1003, 2000)


@pytest.mark.requirement("HOLES")
def test_bytes_of_a_joined_island_count_as_unread_again() -> None:
    account = with_holes(Limits.HOLES)
    total = 10 * Limits.HOLES
    before = account.consumed(total)

    account.hand(total + 9, total + 10)

    # One byte was handed, one byte's island was given up: consumed may fall by what merged grew.
    assert account.merged == 1
    assert account.consumed(total + 10) == before
    assert both_laws_hold(account, total + 10)


@pytest.mark.requirement("HOLES")
def test_forty_eight_holes_are_exact() -> None:
    account = with_holes(Limits.HOLES)

    assert len(account.holes) == Limits.HOLES
    assert (account.merged, account.unread(480), account.consumed(480)) == (0, 432, 48)


SIZE = st.integers(0, 40)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), SIZE, SIZE),
        st.tuples(st.just("hand"), st.integers(0, 400), SIZE),
        st.tuples(st.sampled_from(["evict", "evict alone"]), SIZE, SIZE),
        st.tuples(st.just("clear"), SIZE, SIZE),
    ),
    max_size=40,
)


@pytest.mark.requirement("LAW-PTY", "HOLES")
@given(steps=STEPS)
def test_any_sequence_agrees_with_counting_byte_by_byte(steps: list[tuple[str, int, int]]) -> None:
    account, truth = Account(), ByteByByte()

    for verb, where, size in steps:
        if verb == "write":
            truth.handed += [False] * size
        elif verb == "hand":
            start = min(where, truth.total)
            end = min(start + size, truth.total)
            account.hand(start, end)
            truth.hand(start, end)
        else:
            oldest = min(account.accounted + where, truth.total)
            oldest = truth.total if verb == "clear" else oldest
            attended = verb != "evict alone"
            lost = account.evict(oldest, attended=attended)
            assert lost == truth.evict(oldest, attended=attended)

        assert account.merged == 0  # 40 steps make no 49 holes
        assert account.unread(truth.total) == truth.unread()
        assert account.trimmed == truth.gone.count("trimmed")
        assert account.dropped_attended == truth.gone.count("attended")
        assert account.dropped_unattended == truth.gone.count("unattended")
        # Every hole is a run of unread bytes below `handed`; what is left lies beyond it.
        known = [run for run in truth.unread_ranges() if run[1] <= account.handed]
        assert [hole for hole in account.holes if hole in known] == account.holes
        assert both_laws_hold(account, truth.total)


@pytest.mark.requirement("LAW-PTY", "HOLES")
@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 32))
def test_with_too_many_holes_loss_is_overstated_never_understated(seed: int) -> None:
    random = Random(seed)
    account, truth = Account(), ByteByByte()
    truth.handed += [False] * 1000

    for _ in range(150):
        start = random.randrange(truth.total)
        end = min(truth.total, start + random.choice([1, 2, 5]))
        account.hand(start, end)
        truth.hand(start, end)
        if random.random() < 0.1:
            oldest = min(truth.total, account.accounted + random.randrange(60))
            account.evict(oldest, attended=True)
            truth.evict(oldest, attended=True)

        missing = account.dropped + account.unread(truth.total) - truth.lost() - truth.unread()
        assert 0 <= missing <= account.merged
        assert account.dropped >= truth.lost()
        assert len(account.holes) <= Limits.HOLES
        assert account.holes == sorted(account.holes)
        assert both_laws_hold(account, truth.total)


# Stored words ----------------------------------------------------------------------------------


@pytest.mark.requirement("STATS", "HOLES")
@pytest.mark.parametrize("holes", [0, 1, 2, Limits.HOLES])
def test_words_bring_back_the_same_account(holes: int) -> None:
    account = with_holes(holes)
    account.evict(4, attended=True)
    account.evict(7, attended=False)
    account.merged = 5

    notes = [6, 1 << 40, 0, 1, 2, 3]

    again = Account.from_words(account.words(notes))

    assert facts(again[0]) == facts(account)
    assert again[1] == notes


@pytest.mark.requirement("STATS")
def test_a_full_account_fits_into_its_copy_in_the_ring() -> None:
    ring = RingBuffer(10)
    account = with_holes(Limits.HOLES)

    ring.store_account(account.words([0] * NOTES))
    stored = ring.load_account()

    assert stored is not None
    assert facts(Account.from_words(stored)[0]) == facts(account)


@pytest.mark.requirement("STATS")
@pytest.mark.parametrize("stores_before", [1, 2, 3])
def test_a_kill_before_active_is_stored_leaves_the_old_account_whole(stores_before: int) -> None:
    memory = bytearray(ring_size(10))
    ring = RingBuffer(10, memory)
    old, new = with_holes(20), with_holes(40)
    for _ in range(stores_before):
        ring.store_account(old.words([1, 2] * 3))
    words = memoryview(memory)[: ring_size(0)].cast("Q")
    before = words.tolist()
    ring.store_account(new.words([3, 4] * 3))
    after = words.tolist()
    changed = [i for i in range(len(after)) if before[i] != after[i] and i != ACTIVE_WORD]

    for cut in range(len(changed) + 1):
        words[:] = array("Q", before)
        for i in changed[:cut]:
            words[i] = after[i]
        found = RingBuffer.attach(memory).load_account()

        assert found is not None
        account, notes = Account.from_words(found)
        assert facts(account) == facts(old)
        assert notes == [1, 2] * 3

    assert changed

"""A PTY's account when servers are killed: what was on its way to clients is pending, no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from ptymux.core import output
from ptymux.core.model import OnFull
from ptymux.core.notifications import BufferNotification, Overflow
from ptymux.core.output import OutputBuffer
from ptymux.core.rate_limit import REPORT_SECONDS
from ptymux.core.reader import Reader, ReaderKind
from ptymux.core.ring import RingBuffer
from tests.core.test_output import (
    CONSUMER,
    ONE_SHOT,
    alarms,
    attached,
    laws_hold,
    of,
    produce,
    read,
    read_all,
)

pytestmark = pytest.mark.requirement("PENDING")

ON_ITS_WAY = 10  # bytes, in place of a whole part
AWAIT_SECONDS = 10.0


@pytest.fixture(autouse=True)
def _small_parts() -> Iterator[None]:
    with mock.patch.object(output, "_ON_ITS_WAY", ON_ITS_WAY):
        yield


def successor(
    killed: OutputBuffer, consumers: int = 1, now: float = 0, *, lossless: int = 0
) -> tuple[OutputBuffer, list[BufferNotification]]:
    """Return the output in the server that replaces a killed one, and what it reports at once."""
    again = OutputBuffer(killed.ring, on_full=killed.on_full, resumes=True)
    return again, again.expect(consumers, lossless, now, until=now + AWAIT_SECONDS)


def come_back(
    out: OutputBuffer, offset: int, received_from: int, now: float = 0, *, left: int = 0
) -> Reader:
    """Attach a client that has all from `received_from` to `offset`; `left` are still away."""
    reader, _ = out.attach(CONSUMER, now, offset)
    out.note_received(reader, received_from, now)
    out.expect(left, 0, now)
    return reader


def test_a_loss_is_dropped_and_reported_at_once_while_a_client_is_awaited() -> None:
    out, _ = attached(capacity=100)

    again, _ = successor(out)
    produce(again, 300)
    events = of(Overflow, again.advance(1))

    stats = again.stats()
    assert [(e.dropped_since_last, e.attended) for e in events] == [(200, True)]
    assert (stats.retained, stats.dropped_attended, stats.pending) == (100, 200, 0)


def test_what_was_on_its_way_is_pending_and_its_client_proves_it() -> None:
    out, reader = attached(capacity=100)
    produce(out, 50)
    read(out, reader, 20)
    produce(out, 50)  # the client is being sent 8 more when the server dies

    again, _ = successor(out)
    produce(again, 60)
    again.advance(0)
    before = again.stats()
    come_back(again, offset=28, received_from=0)

    stats = again.stats()
    assert (before.trimmed, before.pending, before.total_dropped) == (20, 10, 30)
    assert (stats.trimmed, stats.pending, stats.total_dropped) == (28, 0, 32)


def test_a_client_that_was_sent_nothing_more_proves_nothing() -> None:
    out, reader = attached(capacity=100)
    produce(out, 100)
    read(out, reader, 20)

    again, _ = successor(out)
    produce(again, 60)
    again.advance(0)
    come_back(again, offset=20, received_from=0)

    assert (again.stats().trimmed, again.stats().total_dropped) == (20, 40)


def test_bytes_that_came_after_the_kill_are_never_pending() -> None:
    out, reader = attached(capacity=100)
    produce(out, 100)
    read_all(out, reader)

    again, _ = successor(out)
    produce(again, 300)
    again.advance(0)

    assert (again.stats().trimmed, again.stats().pending) == (100, 0)
    assert again.stats().total_dropped == 200


def test_each_client_that_is_back_or_gone_takes_its_share_along() -> None:
    out = OutputBuffer(RingBuffer(100))
    for _ in range(3):
        out.attach(CONSUMER, 0)
    produce(out, 100)

    again, _ = successor(out, consumers=3)
    produce(again, 100)
    again.advance(0)
    pending = [again.stats().pending]
    for left in (2, 1, 0):
        again.expect(left, 0, 0)
        pending.append(again.stats().pending)

    assert pending == [30, 20, 10, 0]
    assert again.stats().total_dropped == 100
    assert again.await_until is None


def test_nothing_is_pending_without_a_client_to_come_back() -> None:
    out = OutputBuffer(RingBuffer(100))
    produce(out, 250)

    again, _ = successor(out, consumers=0)

    assert (again.stats().dropped_unattended, again.stats().pending) == (150, 0)


def test_the_time_to_prove_begins_with_the_first_kill_and_is_not_renewed() -> None:
    out, _ = attached(capacity=100)
    produce(out, 100)
    pending = []

    for kill in range(4):
        out, _ = successor(out, now=4.0 * kill)
        produce(out, 60)
        out.advance(4.0 * kill)
        pending.append((out.stats().pending, out.await_until))

    assert pending == [(10, 10.0), (10, 10.0), (10, 10.0), (10, 22.0)]
    assert out.stats().total_dropped == 240 - 10  # what the first three left was settled at 10


def test_what_is_pending_is_dropped_when_its_time_is_over() -> None:
    out, _ = attached(capacity=100)
    produce(out, 100)
    again, _ = successor(out)
    produce(again, 5)
    again.advance(0)
    assert (again.stats().pending, again.deadline) == (5, AWAIT_SECONDS)

    events = of(Overflow, again.advance(AWAIT_SECONDS))

    assert [e.dropped_since_last for e in events] == [5]
    assert (again.stats().pending, again.stats().dropped_attended) == (0, 5)
    assert again.await_until is None
    assert again.attended  # the client is still expected


def test_a_loss_that_an_event_told_before_the_kill_is_not_pending() -> None:
    out, _ = attached(capacity=100)
    produce(out, 108)  # an event told of 8, then the server was killed before it stored that

    again = OutputBuffer(out.ring, resumes=True)
    again.note_overflow_published(8, final=False)
    events = of(Overflow, again.expect(1, 0, 0, until=AWAIT_SECONDS))
    produce(again, 6)
    events += of(Overflow, again.advance(0.5))

    assert events == []
    assert (again.stats().total_dropped, again.stats().pending) == (8, 6)


def test_clear_and_the_end_leave_nothing_pending_beyond_the_share() -> None:
    out, _ = attached(capacity=100)
    produce(out, 90)
    again, _ = successor(out)

    again.clear(0)
    cleared = again.stats()
    again.finish(1)

    assert (cleared.total_dropped, cleared.pending, cleared.retained) == (80, 10, 0)
    assert (again.stats().total_dropped, again.stats().pending) == (90, 0)


def test_an_awaited_client_counts_for_backpressure_where_it_stood() -> None:
    out, _ = attached(capacity=100)
    produce(out, 80)
    told = out.advance(0)

    again, more = successor(out)
    told += more
    produce(again, 50)
    told += again.advance(1)
    reader = come_back(again, offset=0, received_from=0, now=1)
    told += again.advance(1)

    assert alarms(told) == ["on"]
    assert reader.counts
    assert alarms(read_all(again, reader, now=2)) == ["caught up"]


def test_backpressure_goes_on_while_a_client_is_awaited() -> None:
    out, reader = attached(capacity=100)
    produce(out, 30)
    read_all(out, reader)

    again, _ = successor(out)
    wake_at = again.wake_at
    produce(again, 76)

    assert wake_at == 30 + 75 + 1
    assert alarms(again.advance(1)) == ["on"]


@pytest.mark.parametrize("kind", [CONSUMER, ONE_SHOT])
def test_a_client_that_had_not_caught_up_does_not_count_when_it_is_back(kind: ReaderKind) -> None:
    out, fast = attached(capacity=100)
    produce(out, 90)
    read_all(out, fast)
    out.attach(kind, 0, offset=0)

    again, _ = successor(out, consumers=2)
    late, _ = again.attach(kind, 0, 0)
    again.note_received(late, 0, 0)

    assert not late.counts


def test_nobody_is_awaited_where_it_stood_once_it_is_gone() -> None:
    out, _ = attached(capacity=100)
    produce(out, 80)
    out.advance(0)
    again, _ = successor(out)

    told = again.expect(0, 0, 1)

    assert alarms(told) == ["unattended"]
    assert again.stats().backlog == 0


def test_the_credit_stays_for_a_lossless_client_that_is_awaited() -> None:
    out = OutputBuffer(RingBuffer(100), on_full=OnFull.BLOCK)
    out.attach(ReaderKind.LOSSLESS, 0)
    limit = out.ring.limit

    again, _ = successor(out, lossless=1)
    again.advance(99)

    assert again.ring.limit == limit == 100


def test_the_account_of_an_older_version_is_taken_as_it_is() -> None:
    out, reader = attached(capacity=100)
    produce(out, 80)
    read(out, reader, 20)
    words = out.ring.load_account()
    assert words is not None
    for _ in range(2):
        out.ring.store_account(words, [0] * 5)

    again, told = successor(out)
    produce(again, 60)
    told += again.advance(0)

    assert alarms(told) == []
    assert (again.stats().trimmed, again.stats().pending) == (20, 10)
    assert laws_hold(again.stats())


def test_events_of_a_loss_keep_their_pace_however_often_servers_are_killed() -> None:
    out, _ = attached(capacity=100)
    events = []

    for tenth in range(40):
        produce(out, 200)
        out, told = successor(out, now=tenth / 10)
        told += out.advance(tenth / 10)
        events += [(tenth, e.dropped_since_last) for e in of(Overflow, told)]

    assert [tenth for tenth, _ in events] == [0, 10, 20, 30]
    assert [size for _, size in events[1:]] == [2000, 2000, 2000]


# Any sequence ----------------------------------------------------------------------------------


@dataclass(eq=False)
class Client:
    """A client as it is in truth: it knows what it got."""

    offset: int
    received_from: int
    reader: Reader | None = None  # None while it is away
    is_unrecorded: bool = False  # it got something that no server recorded


class AnyKills(RuleBasedStateMachine):
    """One PTY's output while servers are killed, held against what its clients really got."""

    clients: Bundle[Client] = Bundle("clients")

    @initialize(capacity=st.sampled_from([0, 7, 40, 100]))
    def begin(self, capacity: int) -> None:
        self.patch = mock.patch.object(output, "_ON_ITS_WAY", ON_ITS_WAY)
        self.patch.start()
        self.out = OutputBuffer(RingBuffer(capacity))
        self.now = 0.0
        self.here: list[Client] = []
        self.got: list[bool] = []  # of each byte: some client got it in time
        self.accounted = self.lost = 0
        self.until: float | None = None
        self.is_late = False  # somebody's proof came too late, or never
        self.told = 0
        self.alarms: list[str] = []
        self.before = self.out.stats()

    @property
    def away(self) -> list[Client]:
        return [client for client in self.here if client.reader is None]

    def look(self) -> None:
        """Class in the model what was evicted by now, and end the wait for clients."""
        total = self.out.ring.total
        self.got += [False] * (total - len(self.got))
        oldest = max(self.accounted, total - self.out.ring.capacity)
        self.lost += self.got[self.accounted : oldest].count(False)
        self.accounted = oldest
        if self.until is not None and (self.now >= self.until or not self.away):
            self.until = None
            self.is_late |= any(client.is_unrecorded for client in self.away)

    def hear(self, told: list[BufferNotification]) -> None:
        self.alarms += alarms(told)
        self.told += sum(event.dropped_since_last for event in of(Overflow, told))

    def get(self, client: Client, size: int) -> None:
        """Give a client the next bytes, as if the kernel had taken them, and tell nobody."""
        assert client.reader is not None
        part = client.reader.cursor.peek(size)
        self.got += [False] * (self.out.ring.total - len(self.got))
        for offset in range(max(part.offset, self.accounted), part.end):
            self.got[offset] = True
        if part.skipped:
            client.received_from = part.offset
        client.offset = part.end
        client.is_unrecorded |= part.end > part.offset

    @rule(size=st.integers(0, 150))
    def write(self, size: int) -> None:
        produce(self.out, size)

    @rule(seconds=st.sampled_from([1 / 8, 1.0, 5.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def advance(self) -> None:
        self.look()
        self.hear(self.out.advance(self.now))

    @precondition(lambda self: len(self.here) < 4)
    @rule(target=clients, back=st.none() | st.integers(0, 100))
    def join(self, back: int | None) -> Client:
        self.look()
        offset = None if back is None else max(0, self.out.ring.total - back)
        reader, told = self.out.attach(CONSUMER, self.now, offset)
        self.hear(told)
        client = Client(reader.cursor.offset, reader.cursor.offset, reader)
        self.here.append(client)
        return client

    @rule(client=clients, size=st.integers(0, ON_ITS_WAY))
    def read(self, client: Client, size: int) -> None:
        if client.reader is None:
            return
        part = client.reader.cursor.peek(size)
        self.get(client, size)
        client.is_unrecorded = False
        self.look()
        self.hear(self.out.hand(client.reader, part, self.now))

    @rule(client=consumes(clients))
    def leave(self, client: Client) -> None:
        self.look()
        self.here.remove(client)
        if client.reader is not None:
            self.hear(self.out.detach(client.reader, self.now))
        else:
            self.is_late |= client.is_unrecorded
            self.hear(self.out.expect(len(self.away), 0, self.now))
            self.look()

    @rule(
        sizes=st.lists(st.integers(0, ON_ITS_WAY), min_size=4, max_size=4), size=st.integers(0, 50)
    )
    def kill(self, sizes: list[int], size: int) -> None:
        for client, part in zip(self.here, sizes, strict=False):
            if client.reader is not None:
                self.get(client, part)
                client.reader = None
        produce(self.out, size)
        self.look()
        if self.until is None and self.away:
            self.until = self.now + AWAIT_SECONDS
        self.out, told = successor(self.out, len(self.away), self.now)
        self.hear(told)

    @rule(client=clients)
    def come_back(self, client: Client) -> None:
        if client.reader is not None:
            return
        self.look()
        client.reader, told = self.out.attach(CONSUMER, self.now, client.offset)
        told += self.out.note_received(client.reader, client.received_from, self.now)
        self.hear(told + self.out.expect(len(self.away), 0, self.now))
        client.is_unrecorded = False
        for offset in range(max(client.received_from, self.accounted), client.offset):
            self.got[offset] = True
        self.look()

    @invariant()
    def the_laws_hold(self) -> None:
        stats = self.out.stats()
        assert laws_hold(stats)
        assert stats.pending <= ON_ITS_WAY * self.out.expected
        assert self.out.expected == len(self.away)
        assert self.out.await_until == self.until or self.until is None

    @invariant()
    def a_loss_is_never_understated_and_exact_once_nobody_is_awaited(self) -> None:
        stats = self.out.stats()
        assert self.lost <= stats.total_dropped + stats.pending
        if not self.is_late:
            assert stats.total_dropped <= self.lost
            if not self.away:
                assert stats.total_dropped == self.lost
                assert stats.trimmed == self.accounted - self.lost

    @invariant()
    def no_number_goes_backwards(self) -> None:
        stats = self.out.stats()
        for name in ("total_dropped", "dropped_attended", "trimmed", "total_consumed"):
            assert getattr(stats, name) >= getattr(self.before, name), name
        self.before = stats

    @invariant()
    def events_keep_their_pace(self) -> None:
        dropped = self.out.stats().total_dropped
        deadline = self.out.deadline
        assert self.told <= dropped
        assert self.told == dropped or (deadline or 0) <= self.now + REPORT_SECONDS
        assert self.alarms == ["on" if at % 2 == 0 else word for at, word in enumerate(self.alarms)]

    def teardown(self) -> None:
        if not hasattr(self, "out"):
            return
        self.look()
        self.is_late |= any(client.is_unrecorded for client in self.away)
        self.here.clear()
        self.hear(self.out.finish(self.now))
        assert self.told == self.out.stats().total_dropped
        assert self.out.stats().pending == 0
        self.a_loss_is_never_understated_and_exact_once_nobody_is_awaited()
        self.patch.stop()


TestAnyKills = pytest.mark.requirement("PENDING", "LAW-PTY", "OVERFLOW")(AnyKills.TestCase)
TestAnyKills.settings = settings(max_examples=60, stateful_step_count=30)

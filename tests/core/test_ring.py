from __future__ import annotations

import mmap
import random
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptymux.core.header import TOTAL
from ptymux.core.model import MIB, Limits
from ptymux.core.pattern import PERIOD, Pattern
from ptymux.core.ring import NO_LIMIT, SLACK, Cursor, Part, RingBuffer, WriteResult, ring_size
from ptymux.errors import InvalidValueError

# The byte at offset o is TEXT[o]: whatever a reader gets can be checked by its offset alone.
TEXT = random.Random(20240229).randbytes(MIB)

PATTERN = Pattern.from_seed(random.Random(7).randbytes(PERIOD))

CAPACITIES = st.sampled_from([0, 1, 2, 7, 64, 1000, SLACK - 1, SLACK, SLACK + 1])


def filled(capacity: int, total: int) -> RingBuffer:
    """Return a ring that TEXT was written to, up to `total`."""
    ring = RingBuffer(capacity)
    ring.write(TEXT[:total])
    return ring


def write_text(ring: RingBuffer, size: int) -> WriteResult:
    return ring.write(TEXT[ring.total : ring.total + size])


def read_like_an_engine(ring: RingBuffer, room: int, size: int) -> None:
    """Do what an engine does around one `readv` of `room` bytes that returns `size`."""
    data = memoryview(TEXT)[ring.total : ring.total + size]
    for piece in ring.prepare(room):
        count = min(len(piece), len(data))
        piece[:count] = data[:count]
        data = data[count:]
    ring.commit(size)
    ring.mark_ahead(size)


def marked(capacity: int, total: int = 0) -> RingBuffer:
    """Return a ring as an engine leaves it, with TEXT up to `total`."""
    ring = filled(capacity, total)
    ring.begin_marks(PATTERN)
    if not total:
        ring.mark_ahead(SLACK)  # as before the first read
    return ring


def known_ahead(ring: RingBuffer) -> bytes:
    """Return what an engine keeps in the slack of a ring."""
    size = ring.capacity + SLACK
    at = ring.total % size
    return (PATTERN.key * (size // PERIOD + 1))[:size][at : at + SLACK] + (
        PATTERN.key * (SLACK // PERIOD)
    )[: max(0, at + SLACK - size)]


def laws_hold(ring: RingBuffer) -> bool:
    return ring.total == ring.total_consumed + ring.total_dropped + ring.available


class OvertakingRing(RingBuffer):
    """A ring whose writer always gets between a reader's copy and its look at the edge."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.writes: list[int] = []  # sizes, the last goes first

    def copy(self, offset: int, size: int) -> bytes:
        data = super().copy(offset, size)
        if self.writes:
            write_text(self, self.writes.pop())
        return data


# The single consumer ---------------------------------------------------------------------------


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("capacity", [0, 1, 100])
def test_empty_ring_reads_and_consumes_nothing(capacity: int) -> None:
    ring = RingBuffer(capacity)

    seen = (ring.read(), ring.read(5), ring.consume(), ring.consume(5))

    assert seen == (b"", b"", b"", b"")
    assert (ring.available, ring.utilization, ring.total_consumed) == (0, 0.0, 0)


@pytest.mark.requirement("RING")
def test_zero_length_operations_change_nothing() -> None:
    ring = filled(8, 5)

    written = ring.write(b"")
    seen = (ring.read(0), ring.consume(0))

    assert written == WriteResult(written=0, dropped=0)
    assert seen == (b"", b"")
    assert (ring.available, ring.total, ring.total_consumed) == (5, 5, 0)


@pytest.mark.requirement("RING")
def test_negative_size_reads_nothing() -> None:
    ring = filled(8, 5)

    seen = (ring.read(-1), ring.consume(-1))

    assert seen == (b"", b"")
    assert ring.available == 5


@pytest.mark.requirement("RING")
def test_read_looks_without_removing() -> None:
    ring = filled(8, 6)

    seen = (ring.read(2), ring.read(2), ring.read())

    assert seen == (TEXT[:2], TEXT[:2], TEXT[:6])
    assert (ring.available, ring.total_consumed) == (6, 0)


@pytest.mark.requirement("RING")
def test_consume_removes_what_it_returns() -> None:
    ring = filled(8, 6)

    seen = (ring.consume(2), ring.consume(99), ring.consume())

    assert seen == (TEXT[:2], TEXT[2:6], b"")
    assert (ring.available, ring.total_consumed, ring.total_dropped) == (0, 6, 0)


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("capacity", [1, 2, 1000, SLACK - 1, SLACK, SLACK + 1, 3 * SLACK])
def test_writing_exactly_capacity_drops_nothing(capacity: int) -> None:
    ring = RingBuffer(capacity)

    result = write_text(ring, capacity)

    assert result == WriteResult(written=capacity, dropped=0)
    assert ring.read() == TEXT[:capacity]
    assert ring.utilization == 1.0


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("more", [1, 2, 999, 1000, 1001, 2 * SLACK])
def test_writing_more_than_capacity_keeps_the_newest(more: int) -> None:
    ring = RingBuffer(1000)

    result = write_text(ring, 1000 + more)

    assert result == WriteResult(written=1000 + more, dropped=more)
    assert ring.read() == TEXT[more : 1000 + more]
    assert ring.utilization == 1.0


@pytest.mark.requirement("RING")
def test_what_was_consumed_is_not_dropped_when_it_is_evicted() -> None:
    ring = filled(10, 10)
    ring.consume(4)

    result = write_text(ring, 6)

    assert result == WriteResult(written=6, dropped=2)
    assert ring.read() == TEXT[6:16]


@pytest.mark.requirement("RING")
def test_interleaved_writes_and_consumes_keep_the_order() -> None:
    ring = RingBuffer(100)
    got = b""

    for size in range(1, 60):
        write_text(ring, size)
        got += ring.consume(size // 2) + ring.consume()

    assert got == TEXT[: ring.total]
    assert ring.total_dropped == 0


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("capacity", [1, 7, 64])
def test_wrap_around_is_invisible_at_every_boundary(capacity: int) -> None:
    seam = capacity + SLACK

    for lead in range(seam - 2 * capacity - 1, seam + 2):
        for size in range(capacity + 2):
            ring = filled(capacity, lead)
            ring.consume()
            write_text(ring, size)
            assert ring.consume() == TEXT[max(lead, ring.total - capacity) : ring.total]


@pytest.mark.requirement("RING", "BACKPRESSURE")
def test_capacity_zero_drops_everything() -> None:
    ring = RingBuffer(0)

    result = write_text(ring, 2 * SLACK)

    assert result == WriteResult(written=2 * SLACK, dropped=2 * SLACK)
    assert (ring.read(), ring.consume(), ring.clear()) == (b"", b"", 0)
    assert (ring.available, ring.utilization, ring.edge) == (0, 0.0, 2 * SLACK)


@pytest.mark.requirement("RING")
def test_capacity_one_keeps_the_newest_byte() -> None:
    ring = RingBuffer(1)

    for size in (1, 1, 5, 2 * SLACK):
        write_text(ring, size)
        assert ring.read() == TEXT[ring.total - 1 : ring.total]

    assert ring.utilization == 1.0


@pytest.mark.requirement("RING")
def test_clear_drops_what_was_there_and_the_ring_goes_on() -> None:
    ring = filled(10, 8)
    ring.consume(3)

    gone = ring.clear()

    assert gone == 5
    assert (ring.available, ring.total_dropped, ring.edge) == (0, 5, 8)
    write_text(ring, 4)
    assert ring.consume() == TEXT[8:12]
    assert laws_hold(ring)


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("capacity", [-1, Limits.LARGEST_BUFFER + 1])
def test_impossible_capacity_is_refused(capacity: int) -> None:
    with pytest.raises(InvalidValueError) as refused:
        RingBuffer(capacity)

    assert refused.value.name == "capacity"


# A byte that is asked for, next to a thing that may be large: bytes, sizes up to twice the seam.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 200)),
        st.tuples(st.just("write"), st.sampled_from([SLACK - 1, SLACK, SLACK + 1, 2 * SLACK])),
        st.tuples(st.sampled_from(["read", "consume"]), st.none() | st.integers(0, 2000)),
        st.tuples(st.just("clear"), st.none()),
    ),
    max_size=12,
)


@pytest.mark.requirement("RING", "LAW-RING")
@given(capacity=CAPACITIES, lead=st.integers(0, 2 * SLACK + 2100), steps=STEPS)
def test_any_sequence_agrees_with_a_naive_model(
    capacity: int, lead: int, steps: list[tuple[str, int | None]]
) -> None:
    ring = filled(capacity, lead)
    kept = TEXT[max(0, lead - capacity) : lead]
    consumed, dropped = 0, lead - len(kept)

    for verb, size in steps:
        if verb == "write":
            new = TEXT[ring.total : ring.total + (size or 0)]
            longer = kept + new
            kept = longer[max(0, len(longer) - capacity) :]
            lost = len(longer) - len(kept)
            assert ring.write(new) == WriteResult(len(new), lost)
            dropped += lost
        elif verb == "clear":
            assert ring.clear() == len(kept)
            dropped, kept = dropped + len(kept), b""
        elif verb == "read":
            assert ring.read(size) == kept[:size]
        else:
            head, kept = kept[:size], kept[len(kept[:size]) :]
            assert ring.consume(size) == head
            consumed += len(head)

        assert ring.read() == kept
        assert (ring.total_consumed, ring.total_dropped) == (consumed, dropped)
        assert (ring.available, ring.utilization) == (
            len(kept),
            len(kept) / capacity if capacity else 0.0,
        )
        assert laws_hold(ring)


# Memory ----------------------------------------------------------------------------------------


@pytest.mark.requirement("RING", "FR-005")
def test_nothing_allocates_in_proportion_to_the_capacity() -> None:
    ring = RingBuffer(8 * MIB)
    cursor = Cursor(ring)
    chunk = bytes(SLACK)
    flood = bytes(4 * MIB)
    tracemalloc.start()

    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(3):
            ring.write(flood)
            ring.write(chunk)
            ring.consume(1000)
            cursor.read(limit=1000)
            ring.read(1000)
            ring.clear()
            for _piece in ring.prepare(SLACK):
                pass
            ring.commit(SLACK)
            ring.mark_ahead(SLACK)
            ring.store_account(range(100))
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak - before < 16_000
    assert after - before < 8_000


@pytest.mark.requirement("RING")
def test_ring_stays_within_the_memory_it_was_given() -> None:
    memory = bytearray(b"\xa5") * (ring_size(100) + 50)

    ring = RingBuffer(100, memory)
    write_text(ring, 3 * SLACK)

    assert memory[ring_size(100) :] == b"\xa5" * 50
    assert len(memory) == ring_size(100) + 50


@pytest.mark.requirement("RING")
def test_formatting_forgets_what_the_memory_held_before() -> None:
    memory = bytearray(ring_size(100))
    old = RingBuffer(100, memory)
    write_text(old, 250)
    old.clear()
    old.end(3)
    old.store_account([1, 2, 3])

    ring = RingBuffer(100, memory)

    assert (ring.total, ring.edge, ring.available, ring.ended) == (0, 0, 0, None)
    assert (ring.limit, ring.wake_at, ring.load_account()) == (NO_LIMIT, NO_LIMIT, None)


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("kind", ["bytearray", "memoryview", "mmap"])
def test_attached_ring_sees_what_another_wrote_and_is_seen(kind: str) -> None:
    size = ring_size(100)
    memory = mmap.mmap(-1, size) if kind == "mmap" else bytearray(size)
    given_memory = memoryview(memory) if kind == "memoryview" else memory
    first = RingBuffer(100, given_memory)
    write_text(first, 250)

    second = RingBuffer.attach(given_memory)
    second.limit = 999

    assert (second.capacity, second.total, second.edge) == (100, 250, 150)
    assert second.read() == TEXT[150:250]
    assert first.limit == 999
    for ring in (first, second):
        ring.release()
    if isinstance(memory, mmap.mmap):
        memory.close()


@pytest.mark.requirement("RING", "LAW-RING")
def test_attached_ring_has_consumed_nothing_and_honours_a_clear() -> None:
    memory = bytearray(ring_size(100))
    first = RingBuffer(100, memory)
    write_text(first, 90)
    first.clear()
    write_text(first, 20)

    second = RingBuffer.attach(memory)

    assert second.read() == TEXT[90:110]
    assert (second.total_consumed, second.total_dropped, second.available) == (0, 90, 20)
    assert laws_hold(second)


@pytest.mark.requirement("RING")
@pytest.mark.parametrize(
    "size", [0, 1, 5, 8, 15, 16, Limits.HEADER - 1, Limits.HEADER, Limits.HEADER + 99 + SLACK]
)
def test_memory_that_is_too_small_is_refused(size: int) -> None:
    memory = bytearray(ring_size(100))
    RingBuffer(100, memory)

    with pytest.raises(InvalidValueError):
        RingBuffer.attach(memoryview(memory)[:size])
    with pytest.raises(InvalidValueError):
        RingBuffer(100, memoryview(memory)[:size])

    assert RingBuffer.attach(memory).capacity == 100


@pytest.mark.requirement("RING")
def test_a_new_ring_has_room_for_its_times() -> None:
    memory = memoryview(bytearray(ring_size(100)))

    with pytest.raises(InvalidValueError):
        RingBuffer(100, memory[:-1])

    assert RingBuffer(100, memory).times.is_known


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("foreign", [bytes(8), b"ptymux\0\2", b"\x7fELF\2\1\1\0"])
def test_memory_of_another_layout_is_refused(foreign: bytes) -> None:
    memory = bytearray(ring_size(100))
    RingBuffer(100, memory)
    memory[:8] = int.from_bytes(foreign, "big").to_bytes(8, "little")

    with pytest.raises(InvalidValueError) as refused:
        RingBuffer.attach(memory)

    assert refused.value.name == "ring layout"


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("use", [RingBuffer.attach, partial(RingBuffer, 100)])
@pytest.mark.parametrize("size", [100, Limits.HEADER, ring_size(0)])
def test_refused_memory_can_be_closed_by_its_owner_at_once(
    use: Callable[[mmap.mmap], RingBuffer], size: int
) -> None:
    memory = mmap.mmap(-1, size)

    try:
        use(memory)
    except InvalidValueError:
        memory.close()  # BufferError while anything points into it

    assert memory.closed


@pytest.mark.requirement("RING")
def test_released_ring_lets_its_memory_be_closed() -> None:
    memory = mmap.mmap(-1, ring_size(100))
    ring = RingBuffer(100, memory)
    write_text(ring, 200)

    ring.release()

    memory.close()
    assert memory.closed


# The writer ------------------------------------------------------------------------------------


@pytest.mark.requirement("RING")
@given(
    capacity=CAPACITIES,
    reads=st.lists(
        st.tuples(st.integers(0, SLACK), st.floats(0, 1)) | st.just((SLACK, 1.0)), max_size=12
    ),
)
@example(capacity=0, reads=[(SLACK, 1.0)] * 3)
@example(capacity=1, reads=[(SLACK, 1.0), (SLACK, 0.0), (1, 1.0)])
def test_the_slack_behind_total_is_known_after_any_reads(
    capacity: int, reads: list[tuple[int, float]]
) -> None:
    ring = marked(capacity)

    for room, share in reads:
        read_like_an_engine(ring, room, round(room * share))

        assert ring.copy(ring.total, SLACK) == known_ahead(ring)
        assert ring.read() == TEXT[max(0, ring.total - capacity) : ring.total]
        assert laws_hold(ring)


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("capacity", [0, 1, 100, SLACK, 3 * SLACK])
def test_prepared_pieces_take_what_was_announced(capacity: int) -> None:
    ring = RingBuffer(capacity)

    for lead in (0, 1, SLACK // 2, SLACK - 1, SLACK, 7):
        pieces = ring.prepare(SLACK)
        sizes = [len(piece) for piece in pieces]
        ring.commit(lead)

        assert sum(sizes) == SLACK
        assert len(sizes) <= 2


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("capacity", [1, 100, SLACK, SLACK + 1])
@pytest.mark.parametrize("lead", [0, 1, SLACK - 50, SLACK, 2 * SLACK, 3 * SLACK + 77])
def test_a_write_in_progress_leaves_the_promised_window_whole(capacity: int, lead: int) -> None:
    ring = filled(capacity, capacity + lead)

    for piece in ring.prepare(SLACK):
        piece[:] = b"\xff" * len(piece)

    assert ring.edge == lead
    assert Cursor(ring).read(capacity) == Part(lead, 0, TEXT[lead : lead + capacity])


@pytest.mark.requirement("RING")
def test_a_reader_goes_by_the_announcement_where_it_reaches_further_than_the_total() -> None:
    ring = filled(100, 250)

    ring.prepare(SLACK + 30)

    assert ring.edge == 180


@pytest.mark.requirement("RING")
def test_a_read_that_brought_nothing_leaves_everything_as_it_was() -> None:
    ring = filled(100, 150)

    ring.prepare(SLACK)
    total = ring.commit(0)

    assert total == 150
    assert (ring.edge, ring.read()) == (50, TEXT[50:150])


class Terminal:
    """What `os.readv` is to an engine: gives TEXT in chunks of the sizes asked for, then EAGAIN."""

    def __init__(self, ring: RingBuffer, sizes: Iterable[int]) -> None:
        self.ring = ring
        self.sizes = list(sizes)
        self.rooms: list[int] = []

    def readv(self, fd: int, pieces: Sequence[memoryview]) -> int:
        room = sum(len(piece) for piece in pieces)
        self.rooms.append(room)
        if not self.sizes:
            raise BlockingIOError
        start = self.ring.total
        size = min(self.sizes.pop(0), room)
        data = memoryview(TEXT)[start : start + size]
        for piece in pieces:
            count = min(len(piece), len(data))
            piece[:count] = data[:count]
            data = data[count:]
        edge = max(0, start - self.ring.capacity)
        window = Cursor(self.ring, edge).peek(self.ring.capacity)
        assert window == Part(edge, 0, TEXT[edge:start])  # whole while the read is in progress
        return size


@pytest.mark.requirement("RING", "LAW-RING")
@given(
    capacity=CAPACITIES,
    sizes=st.lists(st.integers(0, 5000) | st.just(SLACK), max_size=14),
    count=st.integers(1, 5),
)
@example(capacity=0, sizes=[SLACK] * 4, count=2)
@example(capacity=1, sizes=[SLACK] * 4, count=1)
def test_draining_brings_every_byte_and_leaves_the_slack_known(
    capacity: int, sizes: list[int], count: int
) -> None:
    ring = marked(capacity)
    terminal = Terminal(ring, sizes)

    for first in range(0, len(sizes), count):
        reads = sizes[first : first + count]
        assert ring.drain(9, terminal.readv, len(reads)) == reads[-1]

        assert ring.total == sum(sizes[: first + count])
        assert ring.copy(ring.total, SLACK) == known_ahead(ring)
        assert ring.read() == TEXT[max(0, ring.total - capacity) : ring.total]
        assert laws_hold(ring)


def test_draining_does_not_ask_for_more_after_a_short_read() -> None:
    ring = RingBuffer(SLACK)
    terminal = Terminal(ring, [100, 99, 100])

    assert ring.drain(9, terminal.readv, 9, short=100) == 99

    assert ring.total == 199


@pytest.mark.requirement("BLOCK")
@pytest.mark.parametrize("limit", [0, 1, 99, 100, 101, 5000, SLACK, SLACK + 1])
def test_draining_stops_exactly_at_the_limit(limit: int) -> None:
    ring = RingBuffer(2 * SLACK)
    ring.limit = limit
    terminal = Terminal(ring, [100] * 2000)

    got = ring.drain(9, terminal.readv, 2000)

    assert got == -1
    assert ring.total == limit
    assert all(0 < room <= SLACK for room in terminal.rooms)


@pytest.mark.requirement("BLOCK")
def test_draining_without_a_limit_does_not_look_at_it() -> None:
    ring = RingBuffer(100)
    ring.limit = 0

    got = ring.drain(9, Terminal(ring, [100, 50]).readv, 2, limited=False)

    assert (got, ring.total) == (50, 150)


@pytest.mark.requirement("RING")
def test_draining_keeps_what_came_before_an_error() -> None:
    ring = marked(1000)
    terminal = Terminal(ring, [100, 50])

    with pytest.raises(BlockingIOError):
        ring.drain(9, terminal.readv, 5)

    assert (ring.total, ring.edge) == (150, 0)
    assert ring.read() == TEXT[:150]
    assert ring.copy(150, SLACK) == known_ahead(ring)


def cut_read(ring: RingBuffer, data: bytes) -> None:
    """Do what a kill leaves that comes between the kernel's write of `data` and the note of it."""
    rest = memoryview(data)
    for piece in ring.prepare(SLACK):
        count = min(len(piece), len(rest))
        piece[:count] = rest[:count]
        rest = rest[count:]


OUTPUT = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.integers(0, 9000)),
    st.builds(lambda data, size: data + bytes(size), st.binary(max_size=50), st.integers(0, 4096)),
    st.text(max_size=200).map(str.encode),
)


@pytest.mark.requirement("RING")
@given(capacity=CAPACITIES, lead=st.integers(0, 3 * SLACK), data=OUTPUT)
@example(capacity=1, lead=SLACK - 100, data=b"end" + bytes(3000))
@example(capacity=SLACK, lead=2 * SLACK - 1, data=bytes(2))
@example(capacity=0, lead=7, data=bytes(SLACK - PERIOD))
def test_the_end_of_a_cut_read_is_found_whatever_the_bytes(
    capacity: int, lead: int, data: bytes
) -> None:
    ring = marked(capacity, lead)
    known = known_ahead(ring)
    successor = Pattern.from_seed(random.Random(8).randbytes(PERIOD))

    cut_read(ring, data)
    found = ring.recover(successor)

    assert data[found:] == known[found : len(data)]  # overlooked only what stood there before
    assert len(data) - found <= 3 or len(data) < 10
    assert ring.total == lead + found
    assert ring.uncertain == 1
    kept = min(capacity, len(data[:found]))
    assert ring.copy(ring.total - kept, kept) == data[found - kept : found]
    assert ring.recover(PATTERN) == 0


@pytest.mark.requirement("RING")
@given(capacity=CAPACITIES, lead=st.integers(0, 3 * SLACK), data=OUTPUT)
@example(capacity=SLACK, lead=0, data=b"x" * 4095)
@example(capacity=SLACK, lead=SLACK, data=bytes(4095))
@example(capacity=1, lead=7, data=bytes(SLACK - PERIOD))
def test_a_kill_between_the_note_of_a_read_and_the_mark_ahead_adds_nothing(
    capacity: int, lead: int, data: bytes
) -> None:
    """Where nothing was written yet the ring has zeros then, as older engines kept there."""
    ring = marked(capacity, lead)

    cut_read(ring, data)
    ring._words[TOTAL] += len(data)

    assert ring.recover(PATTERN) == 0
    assert ring.total == lead + len(data)
    kept = min(capacity, len(data))
    assert ring.copy(ring.total - kept, kept) == data[len(data) - kept :]


@pytest.mark.requirement("RING")
@pytest.mark.parametrize(
    "byte", [0, 255, *b"\r\n\t\b\x1b\x07 aZ~", *"\u00e4\u20ac\U0001f600".encode()]
)
@pytest.mark.parametrize("lead", [0, 1, SLACK, SLACK + 1000])
def test_the_end_of_text_and_of_what_fills_files_is_always_exact(byte: int, lead: int) -> None:
    for size in (1, 2, 3, 4095):
        ring = marked(1000, lead)

        cut_read(ring, bytes([byte]) * size)

        assert ring.recover(PATTERN) == size


@pytest.mark.requirement("RING")
def test_output_can_be_taken_for_the_pattern_only_by_chance() -> None:
    seeds = [random.Random(number).randbytes(PERIOD) for number in range(400)]
    keys = [Pattern.from_seed(seed).key for seed in seeds]

    assert len(set(keys)) == len(keys)
    each = b"".join(keys)
    assert max(each.count(byte) for byte in range(256)) < len(each) / 25


@pytest.mark.requirement("RING")
def test_nothing_is_uncertain_where_no_read_was_cut() -> None:
    ring = marked(100, 250)

    assert ring.recover(PATTERN) == 0

    assert (ring.total, ring.uncertain) == (250, 0)
    assert ring.copy(250, SLACK) == known_ahead(ring)


@pytest.mark.requirement("RING")
@pytest.mark.parametrize("had_pattern", [False, True])
def test_a_read_cut_under_an_engine_that_kept_zeros_is_recovered(had_pattern: bool) -> None:
    ring = marked(100) if had_pattern else RingBuffer(100)
    for piece in ring.prepare(SLACK):
        piece[:] = bytes(len(piece))
    ring.commit(0)

    cut_read(ring, b"abc")

    assert ring.recover(PATTERN) == 3
    assert ring.read() == b"abc"


@pytest.mark.requirement("RING")
def test_the_engines_words_are_seen_by_the_manager() -> None:
    memory = bytearray(ring_size(10))
    engine = RingBuffer(10, memory)
    manager = RingBuffer.attach(memory)
    unended = manager.ended

    engine.held_ms = 1234
    manager.wake_at = 77
    engine.end(256 + 9)

    assert unended is None
    assert (manager.ended, manager.held_ms, engine.wake_at) == (265, 1234, 77)


@pytest.mark.requirement("STATS")
def test_the_account_stored_last_is_the_one_loaded() -> None:
    ring = RingBuffer(10)
    loaded = [ring.load_account()]

    for number in (1, 2, 3):
        ring.store_account([number, number])
        loaded.append(ring.load_account())

    assert [words and words[:2] for words in loaded] == [None, [1, 1], [2, 2], [3, 3]]


# Readers ---------------------------------------------------------------------------------------


@pytest.mark.requirement("LAW-READER")
def test_reader_that_falls_behind_learns_what_it_lost() -> None:
    ring = RingBuffer(capacity=4)
    reader = Cursor(ring)

    ring.write(b"abcdef")

    assert reader.read(limit=9) == Part(offset=2, skipped=2, data=b"cdef")
    assert (reader.delivered, reader.skipped, reader.backlog) == (4, 2, 0)


@pytest.mark.requirement("RING")
def test_peek_does_not_move_the_reader() -> None:
    ring = filled(100, 130)
    reader = Cursor(ring, 0)

    first, second = reader.peek(50), reader.peek(50)

    assert first == second == Part(30, 30, TEXT[30:80])
    assert (reader.offset, reader.backlog, first.end) == (0, 130, 80)


@pytest.mark.requirement("RING")
def test_reader_at_the_end_gets_an_empty_part() -> None:
    ring = filled(100, 50)

    part = Cursor(ring, 50).read()

    assert part == Part(50, 0, b"")


@pytest.mark.requirement("LAW-READER")
def test_reader_of_a_ring_without_capacity_is_told_the_gap() -> None:
    ring = filled(0, 20)

    part = Cursor(ring, 5).read()

    assert part == Part(20, 15, b"")


@pytest.mark.requirement("LAW-READER")
def test_cleared_bytes_are_a_gap_to_a_reader() -> None:
    ring = filled(100, 50)
    reader = Cursor(ring, 10)

    ring.clear()
    write_text(ring, 5)

    assert reader.read() == Part(50, 40, TEXT[50:55])


@pytest.mark.requirement("LAW-READER")
def test_part_taken_in_two_halves_counts_once() -> None:
    ring = filled(100, 130)
    reader = Cursor(ring, 0)
    part = reader.peek()

    reader.advance(part, 60)
    reader.advance(part)

    assert (reader.skipped, reader.delivered, reader.offset) == (30, 100, 130)


@pytest.mark.requirement("LAW-READER")
def test_part_that_arrives_after_its_reader_was_moved_on_does_not_move_it_back() -> None:
    ring = filled(100, 80)
    reader = Cursor(ring, 0)
    part = reader.peek(50)
    reader.advance(Part(80, 80, b""))

    reader.advance(part)

    assert (reader.offset, reader.skipped, reader.delivered, reader.backlog) == (80, 80, 0, 0)


@pytest.mark.requirement("RING", "LAW-READER")
def test_an_overtaken_copy_is_a_gap_and_never_used() -> None:
    ring = OvertakingRing(160)
    write_text(ring, 160)
    reader = Cursor(ring)
    ring.writes = [30]

    part = reader.read(50)

    # A sixteenth of the capacity behind the new edge, so that the next copy has time.
    assert part == Part(40, 40, TEXT[40:90])
    assert reader.skipped == 40


@pytest.mark.requirement("RING", "LAW-READER")
def test_a_reader_overtaken_again_and_again_still_gets_true_bytes() -> None:
    ring = OvertakingRing(160)
    write_text(ring, 160)
    reader = Cursor(ring)
    ring.writes = [5, 2 * SLACK, 11, 200, 1]

    part = reader.read(1000)

    assert part.data == TEXT[part.offset : part.end]
    assert part.end <= ring.total
    assert part.skipped == part.offset
    assert ring.total == reader.delivered + reader.skipped + reader.backlog


@pytest.mark.requirement("RING")
def test_a_copy_that_was_not_overtaken_is_used_though_the_ring_went_on() -> None:
    ring = OvertakingRing(160)
    write_text(ring, 200)
    reader = Cursor(ring, 100)
    ring.writes = [60]

    part = reader.read(50)

    assert part == Part(100, 0, TEXT[100:150])


@pytest.mark.requirement("LAW-READER")
@given(
    capacity=st.sampled_from([0, 1, 7, 100, SLACK]),
    start=st.integers(0, 300),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["write", "read", "half", "overtake", "clear"]), st.integers(0, 300)
        ),
        max_size=25,
    ),
)
def test_end_less_start_is_delivered_skipped_and_backlog(
    capacity: int, start: int, steps: list[tuple[str, int]]
) -> None:
    ring = OvertakingRing(capacity)
    write_text(ring, 300)
    reader = Cursor(ring, start)

    for verb, size in steps:
        if verb == "write":
            write_text(ring, size)
        elif verb == "overtake":
            ring.writes.append(size)
        elif verb == "clear":
            ring.clear()
        else:
            part = reader.peek(size)
            assert part.data == TEXT[part.offset : part.end]
            assert part.offset == reader.offset + part.skipped
            reader.advance(part, len(part.data) // 2 if verb == "half" else None)

        assert ring.total - start == reader.delivered + reader.skipped + reader.backlog
        assert reader.backlog >= 0


def test_a_ring_without_output_uses_no_memory_for_it() -> None:
    ring = RingBuffer(MIB)

    ring.begin_marks(PATTERN)
    assert not any(ring.copy(0, SLACK))

    assert ring.drain(0, lambda _fd, _pieces: 0, 1) == 0
    assert ring.copy(0, SLACK) == known_ahead(ring)

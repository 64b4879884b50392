"""Events: envelopes, the log under a cut anywhere, and a bus that never fails its publisher."""

from __future__ import annotations

import dataclasses
import json
import logging
import mmap
from collections import Counter
from typing import cast
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptymux.core import event_log
from ptymux.core.bus import Bus, MissedEvents, Subscription
from ptymux.core.event_log import HEADER_SIZE, KEPT, EventEnvelope, EventLog, Topic
from ptymux.core.model import CorrelationId, LaneId, Limits, PtyId, SessionId, TerminalId
from ptymux.errors import InvalidValueError, LimitReachedError

EPOCH = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
ONE, TWO = PtyId("pty_1"), PtyId("pty_2")

# Which topic, and how many bytes of payload.
HAPPENINGS = st.lists(
    st.tuples(st.sampled_from(sorted(KEPT)), st.integers(0, 300)), min_size=1, max_size=25
)


def publish(
    bus: Bus, topic: Topic = Topic.SPAWNED, pty_id: PtyId | None = ONE, **payload: object
) -> EventEnvelope:
    return bus.publish(topic, id=f"evt_{bus.last_seq}", at=1.5, pty_id=pty_id, payload=payload)


def seqs(taken: list[EventEnvelope | MissedEvents]) -> list[int | MissedEvents | None]:
    return [each if isinstance(each, MissedEvents) else each.seq for each in taken]


def full_envelope() -> EventEnvelope:
    return EventEnvelope(
        id="evt_1",
        topic=Topic.RESIZED,
        seq=3,
        sequence=2,
        epoch=EPOCH,
        timestamp=1.25,
        pty_id=ONE,
        lane_id=LaneId("main"),
        session_id=SessionId("ses_1"),
        terminal_id=TerminalId("ter_1"),
        correlation_id=CorrelationId("cor_1"),
        payload={"old": [80, 24], "new": [100, 30], "who": "größe\n\udcff"},
    )


@pytest.mark.requirement("EVENTS", "FR-006")
def test_the_topics_are_those_of_the_specification() -> None:
    names = (
        "pty.spawned pty.state.changed pty.output pty.error pty.stopped pty.resized "
        "pty.signal.delivered pty.terminating pty.force_killed pty.idle_timeout "
        "pty.backpressure.on pty.backpressure.off pty.buffer.overflow pty.reader.skipped "
        "pty.reconciled pty.attached pty.detached pty.renamed pty.bell pty.title"
    )

    assert {topic.value for topic in Topic} == set(names.split())
    assert set(Topic) - KEPT == {Topic.OUTPUT}


@pytest.mark.requirement("EVENTS")
def test_an_envelope_survives_json_as_one_line() -> None:
    envelope = full_envelope()

    line = envelope.encode()

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert EventEnvelope.from_json(json.loads(line)) == envelope


@pytest.mark.requirement("EVENTS")
def test_the_json_of_an_envelope_has_every_field_also_those_without_a_value() -> None:
    bare = Bus(EPOCH).publish(Topic.OUTPUT, id="evt_1", at=1.5)

    assert bare.as_json() == {
        "id": "evt_1",
        "topic": "pty.output",
        "seq": None,
        "sequence": None,
        "epoch": EPOCH,
        "timestamp": 1.5,
        "pty_id": None,
        "lane_id": None,
        "session_id": None,
        "terminal_id": None,
        "correlation_id": None,
        "payload": {},
    }


@pytest.mark.requirement("EVENTS")
def test_fields_of_a_newer_version_are_skipped() -> None:
    values = full_envelope().as_json() | {"colour": "red"}

    assert EventEnvelope.from_json(values) == full_envelope()


@pytest.mark.requirement("EVENTS")
@pytest.mark.parametrize(
    "wrong",
    [
        {"id": None},
        {"topic": "pty.unheard"},
        {"topic": 3},
        {"seq": "3"},
        {"timestamp": None},
        {"pty_id": 7},
        {"payload": []},
        {"epoch": None},
    ],
)
def test_what_is_no_envelope_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidValueError, match="event"):
        EventEnvelope.from_json(full_envelope().as_json() | wrong)


@pytest.mark.requirement("EVENTS")
def test_a_missing_field_is_refused() -> None:
    values = full_envelope().as_json()
    del values["payload"]

    with pytest.raises(InvalidValueError):
        EventEnvelope.from_json(values)


@pytest.mark.requirement("EVENT-LOG")
def test_the_log_returns_what_came_after_a_seq() -> None:
    log = EventLog(100_000, epoch=EPOCH)
    bus = Bus(EPOCH, log)
    events = [publish(bus, number=number) for number in range(5)]

    assert log.since(0) == (0, events)
    assert log.since(3) == (0, events[3:])
    assert log.since(1, most=2) == (0, events[1:3])
    assert log.since(3, most=99) == (0, events[3:])
    assert log.since(5) == (0, [])
    assert log.since(99) == (0, [])
    assert log.since(-99) == (0, events)


@pytest.mark.requirement("EVENT-LOG")
def test_an_empty_log_has_nothing_and_missed_nothing() -> None:
    log = EventLog(1000, epoch=EPOCH)

    assert log.since(0) == (0, [])
    assert log.last_seq == 0
    assert EventLog.recover(log._bytes).last_seq == 0


@pytest.mark.requirement("EVENT-LOG")
@given(HAPPENINGS, st.integers(0, 2000))
@example([(Topic.SPAWNED, 0)] * 9, 0)
def test_a_full_log_holds_the_longest_tail_that_fits_and_counts_the_rest(
    happenings: list[tuple[Topic, int]], capacity: int
) -> None:
    log = EventLog(capacity, epoch=EPOCH)
    bus = Bus(EPOCH, log)

    events = [publish(bus, topic, x="x" * size) for topic, size in happenings]

    room, fitting = capacity, 0
    for event in reversed(events):
        room -= len(event.encode())
        if room < 0:
            break
        fitting += 1
    for seq in range(len(events) + 1):
        missed, found = log.since(seq)
        assert found == events[max(seq, len(events) - fitting) :]
        assert missed + len(found) == len(events) - seq


@pytest.mark.requirement("EVENT-LOG")
def test_events_that_fill_the_log_to_its_last_byte_are_all_held() -> None:
    size = len(publish(Bus(EPOCH), number=1).encode())
    log = EventLog(3 * size, epoch=EPOCH)
    bus = Bus(EPOCH, log)

    events = [publish(bus, number=number) for number in range(4)]

    assert log.since(0) == (1, events[1:])


@pytest.mark.requirement("EVENT-LOG")
def test_the_log_keeps_to_its_memory() -> None:
    memory = bytearray(b"\xaa" * (HEADER_SIZE + 1000 + 64))
    bus = Bus(EPOCH, EventLog(memoryview(memory)[: HEADER_SIZE + 1000], epoch=EPOCH))

    for number in range(100):
        publish(bus, number=number)

    assert memory[-64:] == b"\xaa" * 64


@pytest.mark.requirement("EVENT-LOG")
def test_the_next_event_must_follow_the_last_one() -> None:
    log = EventLog(1000, epoch=EPOCH)

    with pytest.raises(AssertionError):
        log.append(full_envelope())


class KilledError(BaseException):
    """The process is gone, here and now."""


class MortalLog(EventLog):
    """A log whose process is killed after some changes of its memory; a copy is cut midway."""

    lives = 10**9

    def _change(self) -> None:
        self.lives -= 1
        if self.lives < 0:
            raise KilledError

    def _store(self, word: int, value: int) -> None:
        self._change()
        super()._store(word, value)

    def _copy(self, at: int, data: bytes) -> None:
        half = len(data) // 2
        super()._copy(at, data[:half])
        self._change()
        super()._copy(at + half, data[half:])


@pytest.mark.requirement("EVENT-LOG")
@given(HAPPENINGS, st.integers(0, 2000), st.integers(0, 130))
def test_a_log_cut_anywhere_is_a_whole_tail_and_its_numbers_go_on_without_a_gap(
    happenings: list[tuple[Topic, int]], capacity: int, lives: int
) -> None:
    memory = bytearray(HEADER_SIZE + capacity)
    log = MortalLog(memory, epoch=EPOCH)
    log.lives = lives
    bus = Bus(EPOCH, log)
    done: list[EventEnvelope] = []
    watch = bus.subscribe()
    try:
        for topic, size in happenings:
            done.append(publish(bus, topic, x="x" * size))
    except KilledError:
        pass
    assert seqs(watch.take()) == [event.seq for event in done]

    successor = EventLog.recover(memory)

    assert successor.epoch == EPOCH
    assert successor.last_seq in (len(done), len(done) + 1)  # the one in hand, or not
    missed, found = successor.since(0)
    assert missed + len(found) == successor.last_seq
    known = [event for event in found if event.seq is not None and event.seq <= len(done)]
    assert known == done[missed : missed + len(known)]
    topics = Counter(topic for topic, _ in happenings[: successor.last_seq])
    assert {topic: n for topic, n in successor.sequences.items() if n} == topics
    topic = Topic.STOPPED
    following = publish(Bus(EPOCH, successor), topic)
    assert following.seq == successor.last_seq
    assert following.sequence == topics[topic] + 1
    assert EventLog.recover(memory).last_seq == following.seq


@pytest.mark.requirement("EVENT-LOG")
def test_a_successor_reads_what_a_dead_process_left_in_shared_memory() -> None:
    with mmap.mmap(-1, HEADER_SIZE + 4096) as memory:
        bus = Bus(EPOCH, EventLog(memory, epoch=EPOCH))
        events = [publish(bus, number=number) for number in range(3)]
        del bus

        log = EventLog.recover(memory)

        assert log.since(0) == (0, events)
        del log


@pytest.mark.requirement("EVENT-LOG")
def test_a_log_without_any_record_left_still_knows_its_numbers() -> None:
    memory = bytearray(HEADER_SIZE + 300)
    bus = Bus(EPOCH, EventLog(memory, epoch=EPOCH))
    publish(bus)
    publish(bus, x="x" * 1000)

    log = EventLog.recover(memory)

    assert log.since(0) == (2, [])
    assert log.sequences[Topic.SPAWNED] == 2
    assert publish(Bus(EPOCH, log)).seq == 3


@pytest.mark.requirement("EVENT-LOG")
def test_log_of_a_version_with_fewer_topics_is_continued() -> None:
    memory = bytearray(HEADER_SIZE + 1000)
    with mock.patch.object(event_log, "_WORDS", dict(list(event_log._WORDS.items())[:15])):
        publish(Bus(EPOCH, EventLog(memory, epoch=EPOCH)))

    bus = Bus(EPOCH, EventLog.recover(memory))

    event = publish(bus, Topic.RENAMED)
    assert (event.seq, event.sequence) == (2, 1)
    assert EventLog.recover(memory).last_seq == 2


@pytest.mark.requirement("EVENT-LOG")
def test_formatting_again_begins_a_new_log() -> None:
    memory = bytearray(HEADER_SIZE + 1000)
    publish(Bus(EPOCH, EventLog(memory, epoch=EPOCH)))

    EventLog(memory, epoch="other")

    log = EventLog.recover(memory)
    assert (log.epoch, log.last_seq, log.since(0)) == ("other", 0, (0, []))


@pytest.mark.requirement("EVENT-LOG")
def test_a_log_cut_while_it_is_formatted_is_none() -> None:
    memory = bytearray(HEADER_SIZE + 1000)
    EventLog(memory, epoch=EPOCH)

    class Stillborn(MortalLog):
        lives = 5

    with pytest.raises(KilledError):
        Stillborn(memory, epoch=EPOCH)

    with pytest.raises(InvalidValueError):
        EventLog.recover(memory)


def damaged(word: int, value: int) -> bytearray:
    memory = bytearray(HEADER_SIZE + 1000)
    bus = Bus(EPOCH, EventLog(memory, epoch=EPOCH))
    publish(bus)
    publish(bus)
    words = memoryview(memory).cast("B")[:HEADER_SIZE].cast("Q")
    words[word] = value
    return memory


@pytest.mark.requirement("EVENT-LOG")
@pytest.mark.parametrize(
    "memory",
    [
        bytearray(HEADER_SIZE + 1000),
        bytearray(HEADER_SIZE - 8),
        damaged(0, 1),  # magic
        damaged(1, 999),  # capacity
        damaged(2, 10),  # start: in the middle of a record
        damaged(2, 5000),  # start behind end
        damaged(3, 100_000),  # end beyond the capacity
        damaged(3, 100),  # end: in the middle of a record
        damaged(9, 7),  # a sequence of pty.state.changed that no record bears out
        damaged(0, 0)[:-8],
    ],
)
def test_memory_that_holds_no_whole_log_is_refused(memory: bytearray) -> None:
    with pytest.raises(InvalidValueError):
        EventLog.recover(memory)


@pytest.mark.requirement("EVENT-LOG")
@pytest.mark.parametrize(
    "changes",
    [
        {2: (1 << 64) - 1, 3: (1 << 64) - 1},  # start and end
        {8: (1 << 64) - 1},  # a sequence
        {63: 1 << 63},  # settled
    ],
)
def test_counts_that_none_can_reach_are_refused(changes: dict[int, int]) -> None:
    """Not the next event is what fails."""
    memory = bytearray(HEADER_SIZE + 1000)
    EventLog(memory, epoch=EPOCH)
    words = memoryview(memory).cast("B")[:HEADER_SIZE].cast("Q")
    for word, value in changes.items():
        words[word] = value

    with pytest.raises(InvalidValueError):
        EventLog.recover(memory)


@pytest.mark.requirement("EVENT-LOG")
@pytest.mark.parametrize("sequence", [-1, 1 << 64])
def test_a_record_with_a_sequence_that_none_can_reach_is_refused(sequence: int) -> None:
    memory = bytearray(HEADER_SIZE + 1000)
    event = publish(Bus(EPOCH, EventLog(memory, epoch=EPOCH)))
    record = dataclasses.replace(event, sequence=sequence).encode()
    memory[HEADER_SIZE : HEADER_SIZE + len(record)] = record
    memoryview(memory).cast("B")[:HEADER_SIZE].cast("Q")[3] = len(record)

    with pytest.raises(InvalidValueError, match="sequence"):
        EventLog.recover(memory)


@pytest.mark.requirement("EVENT-LOG")
@pytest.mark.parametrize("epoch", ["x" * 33, "größe"])
def test_an_epoch_that_the_header_cannot_hold_is_refused(epoch: str) -> None:
    with pytest.raises(InvalidValueError, match="epoch"):
        EventLog(100, epoch=epoch)


@pytest.mark.requirement("EVENT-LOG")
def test_a_memory_without_room_for_the_header_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="512"):
        EventLog(bytearray(8))


@pytest.mark.requirement("EVENTS", "FR-006")
def test_events_are_numbered_in_all_and_per_topic_from_1_without_a_gap() -> None:
    bus = Bus(EPOCH)

    topics = [Topic.SPAWNED, Topic.STATE_CHANGED, Topic.SPAWNED, Topic.OUTPUT, Topic.STOPPED]
    events = [publish(bus, topic) for topic in topics]

    assert [(event.seq, event.sequence) for event in events] == [
        (1, 1),
        (2, 1),
        (3, 2),
        (None, None),
        (4, 1),
    ]
    assert {event.epoch for event in events} == {EPOCH}


@pytest.mark.requirement("EVENTS")
def test_an_event_says_whom_it_concerns_and_which_request_caused_it() -> None:
    bus = Bus(EPOCH)

    event = bus.publish(
        Topic.RESIZED,
        id="evt_1",
        at=1.25,
        pty_id=ONE,
        lane_id=LaneId("main"),
        session_id=SessionId("ses_1"),
        terminal_id=TerminalId("ter_1"),
        correlation_id=CorrelationId("cor_1"),
        payload=full_envelope().payload,
    )

    assert event == dataclasses.replace(full_envelope(), seq=1, sequence=1)


@pytest.mark.requirement("EVENTS", "EVENT-LOG")
def test_output_is_announced_and_never_kept() -> None:
    log = EventLog(1000, epoch=EPOCH)
    bus = Bus(EPOCH, log)
    watch = bus.subscribe()

    event = publish(bus, Topic.OUTPUT, start=0, end=10)

    assert watch.take() == [event]
    assert log.since(0) == (0, [])


@pytest.mark.requirement("EVENTS")
def test_what_the_publisher_does_to_its_payload_later_is_not_seen() -> None:
    bus = Bus(EPOCH)
    payload: dict[str, object] = {"n": 1}

    event = bus.publish(Topic.SPAWNED, id="evt_1", at=1.5, payload=payload)
    payload["n"] = 2

    assert event.payload == {"n": 1}


@pytest.mark.requirement("EVENTS")
def test_a_subscriber_gets_what_it_asked_for_in_order() -> None:
    bus = Bus(EPOCH)
    everything = bus.subscribe()
    stops = bus.subscribe(topics=[Topic.STOPPED])
    second = bus.subscribe(pty_id=TWO)

    publish(bus, Topic.SPAWNED, ONE)
    publish(bus, Topic.STOPPED, ONE)
    publish(bus, Topic.STOPPED, TWO)
    publish(bus, Topic.RECONCILED, None)

    assert seqs(everything.take()) == [1, 2, 3, 4]
    assert seqs(stops.take()) == [2, 3]
    assert seqs(second.take()) == [3]
    assert everything.take() == []


@pytest.mark.requirement("EVENTS")
def test_a_slow_subscriber_is_told_how_many_it_missed_where_they_are_missing() -> None:
    bus = Bus(EPOCH)
    slow, quick = bus.subscribe(max_queue=3), bus.subscribe()

    for _ in range(10):
        publish(bus)

    assert seqs(slow.take()) == [MissedEvents(7), 8, 9, 10]
    assert seqs(quick.take()) == list(range(1, 11))
    publish(bus)
    assert seqs(slow.take()) == [11]


def test_queue_is_as_long_as_the_limits_say() -> None:
    bus = Bus("epoch", limits=Limits(subscriber_queue=2))
    watch = bus.subscribe()

    for _ in range(3):
        publish(bus, Topic.SPAWNED)

    assert [type(each) for each in watch.take()] == [MissedEvents, EventEnvelope, EventEnvelope]


@pytest.mark.requirement("EVENTS")
@given(
    max_queue=st.integers(1, 5),
    steps=st.lists(st.sampled_from(["publish", "other", "take"]), max_size=60),
)
def test_what_a_subscriber_took_and_missed_is_all_there_was_in_order(
    max_queue: int, steps: list[str]
) -> None:
    bus = Bus(EPOCH)
    watch = bus.subscribe(topics=[Topic.SPAWNED], max_queue=max_queue)
    position = 0  # of the last event told or taken

    for step in [*steps, "take"]:
        if step != "take":
            publish(bus, Topic.SPAWNED if step == "publish" else Topic.STOPPED)
            continue
        taken = watch.take()
        assert len(taken) <= max_queue + 1
        for each in taken:
            position += each.count if isinstance(each, MissedEvents) else 1
            assert isinstance(each, MissedEvents) or each.sequence == position

    assert position == steps.count("publish")


@pytest.mark.requirement("EVENTS")
def test_a_subscriber_is_woken_only_when_its_empty_queue_got_something() -> None:
    bus = Bus(EPOCH)
    woken: list[int] = []
    watch = bus.subscribe(topics=[Topic.STOPPED], max_queue=2, on_ready=lambda: woken.append(1))

    publish(bus, Topic.SPAWNED)
    assert len(woken) == 0
    for _ in range(5):
        publish(bus, Topic.STOPPED)
    assert len(woken) == 1
    watch.take()
    publish(bus, Topic.STOPPED)
    assert len(woken) == 2


@pytest.mark.requirement("EVENTS")
def test_a_queue_of_one_wakes_its_subscriber_once_too() -> None:
    bus = Bus(EPOCH)
    woken: list[int] = []
    watch = bus.subscribe(max_queue=1, on_ready=lambda: woken.append(1))

    publish(bus)
    publish(bus)

    assert len(woken) == 1
    assert seqs(watch.take()) == [MissedEvents(1), 2]


@pytest.mark.requirement("EVENTS", "SC-002")
def test_a_subscriber_that_fails_is_logged_and_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = Bus(EPOCH)
    bus.subscribe(on_ready=lambda: cast(None, 1 // 0))
    other = bus.subscribe()

    with caplog.at_level(logging.ERROR):
        publish(bus)

    assert seqs(other.take()) == [1]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.requirement("EVENTS")
def test_a_subscriber_that_publishes_in_turn_does_not_change_the_order_for_others() -> None:
    bus = Bus(EPOCH)
    bus.subscribe(topics=[Topic.SPAWNED], on_ready=lambda: cast(None, publish(bus, Topic.STOPPED)))
    last = bus.subscribe()

    publish(bus, Topic.SPAWNED)

    assert seqs(last.take()) == [1, 2]


@pytest.mark.requirement("EVENTS")
def test_a_subscriber_that_another_one_closed_is_not_woken() -> None:
    bus = Bus(EPOCH)
    woken: list[int] = []
    both: list[Subscription] = []
    both.append(bus.subscribe(on_ready=lambda: both[1].close()))
    both.append(bus.subscribe(on_ready=lambda: woken.append(1)))

    publish(bus)

    assert woken == []


@pytest.mark.requirement("EVENTS")
def test_a_closed_subscription_gets_and_holds_nothing() -> None:
    bus = Bus(EPOCH)
    watch = bus.subscribe(max_queue=1)
    publish(bus)
    publish(bus)

    watch.close()
    watch.close()
    publish(bus)

    assert watch.take() == []
    assert not bus.has_subscribers(Topic.SPAWNED)


@pytest.mark.requirement("EVENTS")
def test_the_bus_tells_whether_anybody_wants_a_topic() -> None:
    bus = Bus(EPOCH)
    bus.subscribe(topics=[Topic.OUTPUT], pty_id=ONE)

    assert bus.has_subscribers(Topic.OUTPUT)
    assert bus.has_subscribers(Topic.OUTPUT, ONE)
    assert not bus.has_subscribers(Topic.OUTPUT, TWO)
    assert not bus.has_subscribers(Topic.STOPPED)


@pytest.mark.requirement("EVENTS")
@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_a_payload_that_is_no_json_is_omitted_and_never_raised(
    value: object, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog(1000, epoch=EPOCH)
    bus = Bus(EPOCH, log)

    event = publish(bus, wrong=value)

    assert event.payload == {"omitted": "no JSON"}
    assert log.since(0) == (0, [event])
    assert "pty.spawned" in caplog.text


@pytest.mark.requirement("EVENTS")
def test_a_payload_that_contains_itself_is_omitted_and_never_raised() -> None:
    circle: list[object] = []
    circle.append(circle)

    assert publish(Bus(EPOCH), circle=circle).payload == {"omitted": "no JSON"}


@pytest.mark.requirement("EVENTS")
def test_a_payload_beyond_the_size_of_an_event_is_omitted() -> None:
    bus = Bus(EPOCH, limits=Limits(event_size=1000))

    event = publish(bus, x="x" * 1000)

    assert str(event.payload["omitted"]).endswith(" bytes")
    assert publish(bus, x="x" * 100).payload == {"x": "x" * 100}


@pytest.mark.requirement("EVENTS")
def test_subscribers_are_limited_and_those_that_left_make_room() -> None:
    bus = Bus(EPOCH, limits=Limits(subscribers=2))
    first = bus.subscribe()
    bus.subscribe()

    with pytest.raises(LimitReachedError):
        bus.subscribe()

    first.close()
    bus.subscribe()


@pytest.mark.requirement("EVENTS")
def test_a_queue_without_room_for_one_event_is_refused() -> None:
    with pytest.raises(InvalidValueError):
        Bus(EPOCH).subscribe(max_queue=0)


@pytest.mark.requirement("EVENT-LOG")
def test_a_log_of_another_epoch_is_not_gone_on_with() -> None:
    with pytest.raises(AssertionError):
        Bus("other", EventLog(1000, epoch=EPOCH))

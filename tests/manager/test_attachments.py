"""Who is attached to a PTY, who owns it, and whose readers are expected back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ptymux.core.event_log import Topic
from ptymux.core.model import Limits, SpawnOptions, WindowSize
from ptymux.core.reader import ReaderKind
from ptymux.core.ring import RingBuffer
from ptymux.errors import LimitReachedError
from ptymux.manager.attachments import (
    Attachments,
    LifelineAttachment,
    NoOwner,
    OwnedBy,
    Owner,
    OwnerExpected,
)
from ptymux.manager.flow import Flow
from tests.manager.fake_engine import FakeEngine
from tests.manager.test_flow import Silent

pytestmark = pytest.mark.requirement("FR-008")


def run(test: Callable[[Attachments, Flow, list[None]], None], *, begun: bool = True) -> None:
    """Call `test` with attachments, their flow, and a list that grows with each change."""

    async def whole() -> None:
        flow = Flow(FakeEngine(), 1, Silent())
        if begun:
            flow.begin(RingBuffer(4096), SpawnOptions(argv=("true",), env={}))
        changes: list[None] = []
        test(Attachments(flow, lambda: changes.append(None)), flow, changes)
        flow.is_over = True

    asyncio.run(whole())


def owner_of(attachments: Attachments) -> Owner:
    return attachments.owner


def viewer(kind: ReaderKind = ReaderKind.CONSUMER) -> LifelineAttachment:
    return LifelineAttachment(kind, readers=1)


def test_an_attachment_that_hangs_up_becomes_the_owner_and_its_end_says_so() -> None:
    def test(attachments: Attachments, _flow: Flow, changes: list[None]) -> None:
        attachments.add(1, viewer(), hangs_up=False)
        assert owner_of(attachments) == NoOwner()
        attachments.add(2, viewer(), hangs_up=True)
        assert owner_of(attachments) == OwnedBy(2, is_notified=False)

        assert not attachments.end(1)
        assert attachments.end(2)
        assert attachments.kinds == {}
        assert len(changes) == 4

    run(test)


def test_only_the_owner_is_noted_to_be_notified() -> None:
    def test(attachments: Attachments, _flow: Flow, changes: list[None]) -> None:
        attachments.add(1, viewer(), hangs_up=True)
        attachments.note_owner_notified(2)
        assert owner_of(attachments) == OwnedBy(1)

        attachments.note_owner_notified(1)

        assert owner_of(attachments) == OwnedBy(1, is_notified=True)
        assert len(changes) == 2

    run(test)


def test_an_owner_that_detaches_leaves_the_pty_to_itself() -> None:
    def test(attachments: Attachments, _flow: Flow, _changes: list[None]) -> None:
        attachments.add(1, viewer(), hangs_up=True)
        attachments.add(2, viewer(), hangs_up=False)

        attachments.detach(2)
        assert owner_of(attachments) == OwnedBy(1)
        attachments.detach(1)

        assert owner_of(attachments) == NoOwner()
        assert not attachments.end(1)

    run(test)


def test_the_end_of_a_lifeline_that_is_no_attachment_changes_nothing() -> None:
    def test(attachments: Attachments, _flow: Flow, changes: list[None]) -> None:
        attachments.owner = OwnerExpected()

        assert not attachments.end(7)
        assert changes == []

    run(test)


def test_consumers_without_a_reader_are_expected_until_they_are_back_or_gone() -> None:
    def test(attachments: Attachments, flow: Flow, _changes: list[None]) -> None:
        kinds = {1: ReaderKind.CONSUMER, 2: ReaderKind.LOSSLESS, 3: ReaderKind.OBSERVER}
        attachments.restore({n: LifelineAttachment(kind) for n, kind in kinds.items()}, NoOwner())
        attachments.expect_readers(until=1e9)
        assert (flow.buffer.expected, flow.buffer.await_until) == (2, 1e9)

        assert attachments.come_back(1) == 1
        assert (flow.buffer.expected, flow.buffer.await_until) == (1, 1e9)
        attachments.end(2)

        assert (flow.buffer.expected, flow.buffer.await_until) == (0, None)
        assert attachments.kinds == {1: ReaderKind.CONSUMER, 3: ReaderKind.OBSERVER}

    run(test)


def test_a_reader_that_lost_its_connection_is_expected_back() -> None:
    def test(attachments: Attachments, flow: Flow, _changes: list[None]) -> None:
        attachments.add(1, viewer(), hangs_up=False)

        attachments.go_away(1)
        assert flow.buffer.expected == 1
        assert attachments.come_back(1) == 1

        assert flow.buffer.expected == 0
        assert attachments.come_back(None) is attachments.come_back(2) is None

    run(test)


def test_nobody_is_expected_by_a_pty_without_output() -> None:
    def test(attachments: Attachments, flow: Flow, _changes: list[None]) -> None:
        attachments.restore({1: LifelineAttachment(ReaderKind.CONSUMER)}, OwnerExpected())

        attachments.expect_readers(until=1e9)

        assert flow.buffer.expected == 0

    run(test, begun=False)


def test_one_client_leaves_room_for_the_attachments_of_others() -> None:
    def test(attachments: Attachments, _flow: Flow, _changes: list[None]) -> None:
        for line in range(Limits.LIFELINES // 2):
            attachments.check_room(LifelineAttachment(ReaderKind.CONSUMER, pid=7))
            attachments.add(line, LifelineAttachment(ReaderKind.CONSUMER, pid=7), hangs_up=False)

        with pytest.raises(LimitReachedError):
            attachments.check_room(LifelineAttachment(ReaderKind.CONSUMER, pid=7))
        attachments.check_room(LifelineAttachment(ReaderKind.CONSUMER, pid=8))

    run(test)


Told = list[tuple[str, int, str | None]]  # topic, line, reason


def told(test: Callable[[Attachments], None]) -> Told:
    """Return what was published while `test` ran."""
    published: Told = []

    async def whole() -> None:
        flow = Flow(FakeEngine(), 1, Silent())
        flow.begin(RingBuffer(4096), SpawnOptions(argv=("true",), env={}))

        def publish(topic: Topic, payload: Mapping[str, Any], _cause: object) -> None:
            published.append((topic.value[4:], payload["line"], payload.get("reason")))

        test(Attachments(flow, lambda: None, publish=publish))
        flow.is_over = True

    asyncio.run(whole())
    return published


def ended(how: Callable[[Attachments], object]) -> str | None:
    """Return the reason that is published if this happens to an attachment."""

    def test(attachments: Attachments) -> None:
        attachments.add(1, viewer(), hangs_up=False)
        how(attachments)

    attached, *rest = told(test)
    assert attached == ("attached", 1, None)
    return rest[0][2] if rest else None


@pytest.mark.requirement("EVENTS-CLIENTS")
def test_why_an_attachment_ended_is_published_once() -> None:
    def goes(*steps: str) -> str | None:
        def how(attachments: Attachments) -> None:
            for step in steps:
                getattr(attachments, step)(1)
            attachments.end(1)

        return ended(how)

    # Its lifeline may be seen to end before its last word is read, and before it is disconnected.
    assert goes("detach") == goes("end", "detach") == "detached"
    assert goes("go_away") == goes("end", "go_away") == "client-ended"
    assert goes() is None  # it is connected
    assert ended(lambda attachments: attachments.end_all()) == "pty-ended"
    assert ended(lambda attachments: attachments.end_lost([])) == "client-ended"
    assert ended(lambda attachments: attachments.end_lost([1])) is None


@pytest.mark.requirement("EVENTS-CLIENTS")
def test_who_was_sent_away_by_another_did_not_detach_by_itself() -> None:
    def how(attachments: Attachments) -> None:
        attachments.note_size(1, WindowSize(80, 24))
        assert attachments.send_away(by=7) == 1
        attachments.detach(1)

    assert ended(how) == "sent-away"


def test_attachment_whose_lifeline_ended_is_neither_written_off_nor_expected_back() -> None:
    def test(attachments: Attachments, flow: Flow, _changes: list[None]) -> None:
        attachments.add(1, viewer(), hangs_up=False)
        attachments.note_size(1, WindowSize(80, 24))

        attachments.end(1)

        assert (attachments.kinds, list(attachments.all)) == ({}, [1])
        assert not attachments.are_shown
        assert attachments.come_back(1) is None
        assert flow.buffer.expected == 0
        assert attachments.send_away() == 0

    run(test)

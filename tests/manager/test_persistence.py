"""What a server writes of a PTY is what its replacement reads; the format is that of 0.1.0."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from ptymux.core.escalation import Outcome, SignalEnvelope
from ptymux.core.event_log import Topic
from ptymux.core.lifecycle import LifecycleEvent, State
from ptymux.core.model import CorrelationId, PtyRecord, SpawnOptions, TerminalId, WindowSize
from ptymux.core.reader import ReaderKind
from ptymux.manager import PtyManager
from ptymux.manager.attachments import (
    LifelineAttachment,
    NoOwner,
    OwnedBy,
    Owner,
    OwnerExpected,
)
from ptymux.manager.managed_pty import ManagedPty
from ptymux.manager.persistence import (
    apply_published,
    pty_as_json,
    registration_from_json,
    restore_state,
)
from tests.integration.conftest import Events, asynchronous, command
from tests.manager.conftest import QUICK
from tests.manager.fake_engine import FakeEngine

pytestmark = pytest.mark.requirement("FR-008")

_OPTIONS = command("cat", name="kept", idle_timeout_seconds=7.0, terminal=TerminalId("ter_1"))


def _managed(manager: PtyManager, record: PtyRecord) -> ManagedPty:
    return manager._roster.get(record.pty_id)


def _restored(values: dict[str, Any], *lines: int) -> ManagedPty:
    """Return what another manager makes of a PTY that was written; it has no child."""
    values = json.loads(json.dumps(values))
    record, options, cause = registration_from_json(values)
    pty = PtyManager(link=FakeEngine())._spawner.register(record, options, cause)
    restore_state(pty, values, lines)
    return pty


async def _spawned(manager: PtyManager, options: SpawnOptions = _OPTIONS) -> ManagedPty:
    record = await manager.spawn(options, correlation_id=CorrelationId("req_1"))
    return _managed(manager, record)


@asynchronous
async def test_what_is_written_of_a_restored_pty_is_what_it_was_restored_from(
    engine: FakeEngine,
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        pty = await _spawned(manager)
        await manager.signal(pty.pty_id, "INT")
        pty.note(SignalEnvelope(pty.pty_id, 1, 15, 2.0, Outcome.FAILED, "gone"), None)
        pty.end.ask(signal.SIGTERM, CorrelationId("req_2"))
        pty.end.escaped = (5, 6)
        pty.end.is_typed_into = True
        pty.attachments.add(3, LifelineAttachment(ReaderKind.LOSSLESS), hangs_up=True)
        written = pty_as_json(pty)

        restored = _restored(written, 3)

        assert pty_as_json(restored) == written


@asynchronous
@pytest.mark.parametrize(
    ("owner", "number", "told"),
    [
        (NoOwner(), None, True),
        (OwnerExpected(), 0, True),
        (OwnedBy(3), 3, False),
        (OwnedBy(3, is_notified=True), 3, True),
    ],
)
async def test_the_owner_is_written_as_none_0_or_the_number_of_its_lifeline(
    engine: FakeEngine, owner: Owner, number: int | None, told: bool
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        pty = await _spawned(manager)
        pty.attachments.owner = owner
        written = pty_as_json(pty)

        assert (written["owner"], written["owner_told"]) == (number, told)
        assert _restored(written).attachments.owner == owner


@asynchronous
async def test_an_owner_of_a_record_that_does_not_say_so_was_notified(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        pty = await _spawned(manager)
        written = pty_as_json(pty) | {"owner": 3}
        del written["owner_told"]

        assert _restored(written).attachments.owner == OwnedBy(3, is_notified=True)


@asynchronous
async def test_only_attachments_whose_lifeline_is_open_are_restored(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        pty = await _spawned(manager)
        for line in (1, 2):
            attachment = LifelineAttachment(ReaderKind.CONSUMER, readers=1)
            pty.attachments.add(line, attachment, hangs_up=False)
        written = pty_as_json(pty)
        assert written["attached"] == [[1, "consumer"], [2, "consumer"]]

        assert _restored(written, 2).attachments.kinds == {2: ReaderKind.CONSUMER}


@asynchronous
@pytest.mark.requirement("EVENTS-CLIENTS")
async def test_who_attached_and_left_without_being_written_is_known_all_the_same(
    engine: FakeEngine,
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        pty = await _spawned(manager)
        for line in (1, 2):
            attachment = LifelineAttachment(ReaderKind.CONSUMER, pid=40 + line, is_terminal=True)
            pty.attachments.add(line, attachment, hangs_up=False)
        written = pty_as_json(pty)
        pty.attachments.detach(1)
        pty.attachments.add(3, LifelineAttachment(ReaderKind.LOSSLESS, pid=43), hangs_up=False)
        pty.rename("other")
        restored = _restored(written, 1, 2, 3)

        for event in [each for each in events.all if each.seq is not None][-3:]:
            apply_published(restored, event)

        assert restored.record.name == "other"
        assert restored.attachments.kinds == {2: ReaderKind.CONSUMER, 3: ReaderKind.LOSSLESS}
        assert [each.pid for each in restored.attachments.all.values()] == [42, 43]


@asynchronous
async def test_an_event_that_was_published_and_not_written_is_applied_once(
    engine: FakeEngine,
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        pty = await _spawned(manager)
        written = pty_as_json(pty)
        pty.step(LifecycleEvent.IDLE_TIMEOUT)
        await manager.resize(pty.pty_id, WindowSize(99, 24))
        pty.end.begin_termination(CorrelationId("req_3"))
        pty.publish(Topic.TERMINATING, {"grace_seconds": 1.0}, pty.end.cause)
        pty.publish_error("it failed")
        published = [event for event in events.all if event.seq is not None][-4:]
        restored = _restored(written)

        for _ in range(2):
            for event in published:
                apply_published(restored, event)

        assert restored.state is State.THROTTLED
        assert restored.record.size.cols == 99
        assert restored.end.is_terminating
        assert restored.end.cause == "req_3"
        assert restored.published_before == {Topic.ERROR}
        restored.publish_error("it failed")  # not again
        assert restored.published_before == set()
        assert restored._host.publisher.bus.last_seq == 0


@asynchronous
async def test_the_deadlines_of_a_pty_go_on_where_they_were(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        pty = await _spawned(manager, command("cat", timeout_seconds=60.0, ttl_seconds=7.0))
        began = pty.lifetime.began_at
        assert began is not None
        pty.lifetime.ended_at = began + 5.0
        written = pty_as_json(pty)

        restored = _restored(written)

        assert restored.lifetime == pty.lifetime
        assert restored.lifetime.removal_at == began + 12.0
        for name in ("timeout", "ttl", "began_at", "ended_at", "timed_out"):
            del written[name]  # as an older server leaves it
        older = _restored(written)
        assert (older.lifetime.timeout_at, older.lifetime.removal_at) == (None, None)
        assert not older.record.timed_out


@asynchronous
async def test_a_timeout_that_was_published_and_not_written_is_applied(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        pty = await _spawned(manager)
        written = pty_as_json(pty)
        payload = {"grace_seconds": 1.0, "timed_out": True}
        pty.publish(Topic.TERMINATING, payload, CorrelationId("req_3"))
        (event,) = (each for each in events.all if each.topic is Topic.TERMINATING)

        restored = _restored(written)
        apply_published(restored, event)

        assert restored.record.timed_out
        assert restored.end.is_terminating

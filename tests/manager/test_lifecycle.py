"""Spawning, ending and the order in which it is told, with scripted children."""

from __future__ import annotations

import asyncio
import logging
import signal

import pytest

from ptymux.core.escalation import Outcome
from ptymux.core.event_log import Topic
from ptymux.core.lifecycle import State
from ptymux.core.model import CorrelationId, LaneId, Limits, PtyId, SessionId, SpawnOptions
from ptymux.core.reader import ReaderKind
from ptymux.engine.reports import Closed
from ptymux.errors import (
    CommandNotFoundError,
    InvalidStateError,
    InvalidValueError,
    LimitReachedError,
    LinkClosedError,
    OutOfResourcesError,
    UnknownPtyError,
    UnknownSignalError,
)
from ptymux.manager import PtyManager
from ptymux.manager.managed_pty import ManagedPty
from tests.integration.conftest import Events, asynchronous, command, in_time
from tests.manager.conftest import QUICK
from tests.manager.fake_engine import FakeEngine
from tests.timing import wait_until_async

_CAT = command("cat")


@pytest.mark.requirement("FR-003", "FR-006", "SC-004")
@asynchronous
async def test_every_step_of_a_good_life_is_told_once_and_in_order(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(_CAT, correlation_id=CorrelationId("req_1"))
        assert record.state == "active"
        assert record.spawn_ms is not None

        engine.exit(record.number, 0)
        record = await manager.wait_gone(record.pty_id)

        assert events.topics(record) == [
            Topic.STATE_CHANGED,
            Topic.STATE_CHANGED,
            Topic.SPAWNED,
            Topic.STATE_CHANGED,
            Topic.STOPPED,
        ]
        assert events.steps(record) == ["idle", "spawning", "active", "stopped"]
        assert {event.correlation_id for event in events.all} == {"req_1"}
        assert events.one(record, Topic.STOPPED).payload["final_state"] == "stopped"
        assert (record.state, record.exit_code, record.signal) == ("stopped", 0, None)
        assert engine.forgotten == [record.number]


@pytest.mark.requirement("FR-012", "FR-006")
@pytest.mark.parametrize(("code", "signum"), [(3, None), (None, signal.SIGSEGV), (None, None)])
@asynchronous
async def test_a_bad_end_is_told_with_its_error(
    engine: FakeEngine, code: int | None, signum: int | None
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(_CAT)

        engine.exit(record.number, code, signum)
        record = await manager.wait_gone(record.pty_id)

        assert events.topics(record)[-3:] == [Topic.STATE_CHANGED, Topic.ERROR, Topic.STOPPED]
        error = events.one(record, Topic.ERROR).payload
        assert (error["exit_code"], error["signal"]) == (code, signum)
        assert events.one(record, Topic.STOPPED).payload["final_state"] == "errored"
        assert (record.state, record.exit_code, record.signal) == ("errored", code, signum)

        removed = manager.remove(record.pty_id)

        assert removed.state == "stopped"
        assert events.topics(record)[-2:] == [Topic.STOPPED, Topic.STATE_CHANGED]
        with pytest.raises(UnknownPtyError):
            manager.get(record.pty_id)


@pytest.mark.requirement("FR-003", "FR-012")
@pytest.mark.parametrize(
    "failure", [CommandNotFoundError("nope"), OutOfResourcesError("open files", "x"), OSError("y")]
)
@asynchronous
async def test_failed_spawn_is_told_like_any_end(engine: FakeEngine, failure: Exception) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        engine.failures.append(failure)

        with pytest.raises(type(failure)):
            await manager.spawn(_CAT)

        (record,) = manager.list()
        assert (record.state, record.reason, record.pid) == ("errored", str(failure), None)
        assert events.steps(record) == ["idle", "spawning", "errored"]
        assert events.topics(record)[-2:] == [Topic.ERROR, Topic.STOPPED]
        assert events.one(record, Topic.ERROR).payload["error"] == str(failure)
        assert events.one(record, Topic.STOPPED).payload["final_state"] == "errored"
        assert await in_time(manager.terminate(record.pty_id)) == record
        assert await in_time(manager.wait_exited(record.pty_id)) == record
        assert manager.read(record.pty_id).data == b""
        assert manager.get_buffer_stats(record.pty_id).total_written == 0
        assert (await manager.spawn(_CAT)).state == "active"


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_terminate_waits_for_a_spawn_in_progress(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        engine.gate = asyncio.Event()
        spawning = asyncio.create_task(manager.spawn(_CAT))
        await wait_until_async(manager.list)
        (record,) = manager.list()
        assert record.state == "spawning"
        ending = asyncio.create_task(
            manager.terminate(record.pty_id, correlation_id=CorrelationId("req_kill"))
        )
        await asyncio.sleep(0)
        assert Topic.TERMINATING not in events.topics(record)

        engine.gate.set()
        ended = await in_time(ending)

        assert (await spawning).pid == ended.pid
        assert events.steps(record) == ["idle", "spawning", "active", "stopped"]
        told = events.topics(record)
        assert told.index(Topic.SPAWNED) < told.index(Topic.TERMINATING) < told.index(Topic.STOPPED)
        assert events.one(record, Topic.TERMINATING).correlation_id == "req_kill"
        assert events.one(record, Topic.STOPPED).correlation_id == "req_kill"


@pytest.mark.requirement("FR-007", "FR-001")
@asynchronous
async def test_spawn_that_fails_while_it_is_terminated_never_ran(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        engine.gate = asyncio.Event()
        engine.failures.append(CommandNotFoundError("nope"))
        spawning = asyncio.create_task(manager.spawn(_CAT))
        await wait_until_async(manager.list)
        (record,) = manager.list()
        ending = asyncio.create_task(manager.terminate(record.pty_id))
        await asyncio.sleep(0)

        engine.gate.set()
        with pytest.raises(CommandNotFoundError):
            await spawning

        assert (await in_time(ending)).state == "stopped"
        assert events.steps(record) == ["idle", "spawning", "stopped"]
        assert len(events.of(record, Topic.STOPPED)) == 1
        assert not events.of(record, Topic.ERROR)


@pytest.mark.requirement("FR-003")
@asynchronous
async def test_what_a_cancelled_spawn_starts_ends_as_soon_as_it_runs(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        engine.gate = asyncio.Event()
        spawning = asyncio.create_task(manager.spawn(_CAT))
        await wait_until_async(manager.list)
        (record,) = manager.list()

        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
        engine.gate.set()
        record = await in_time(manager.wait_gone(record.pty_id))

        assert record.state == "stopped"
        assert len(events.of(record, Topic.STOPPED)) == 1
        await wait_until_async(lambda: engine.forgotten == [record.number])


@pytest.mark.requirement("FR-006")
@asynchronous
async def test_reports_that_overtake_the_answer_to_a_spawn_wait_for_it(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        engine.reports_first = True

        record = await manager.spawn(_CAT)
        record = await in_time(manager.wait_gone(record.pty_id))

        assert events.steps(record) == ["idle", "spawning", "active", "errored"]
        assert record.exit_code == 3
        assert manager.read(record.pty_id).data == b"early"


@pytest.mark.requirement("FR-012")
@asynchronous
async def test_the_exit_is_announced_first_and_the_end_when_the_terminal_is_closed(
    engine: FakeEngine,
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(_CAT)

        engine.write(record.number, b"own")
        engine.exit(record.number, 0, tail=True)
        record = await manager.wait_exited(record.pty_id)

        assert (record.state, record.tail_pending) == ("stopped", True)
        assert not events.of(record, Topic.STOPPED)
        with pytest.raises(InvalidStateError):
            manager.remove(record.pty_id)

        engine.write(record.number, b" and the tail")
        engine.close_terminal(record.number)
        record = await manager.wait_gone(record.pty_id)

        assert not record.tail_pending
        assert manager.read(record.pty_id).data == b"own and the tail"
        assert events.one(record, Topic.STOPPED).payload["total_written"] == 16


@pytest.mark.requirement("FR-001", "FR-004")
@asynchronous
async def test_an_end_that_was_asked_for_is_not_alarming(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        typed = await manager.spawn(_CAT)
        signalled = await manager.spawn(_CAT)
        other = await manager.spawn(_CAT)
        await manager.write_input(typed.pty_id, b"\x03")
        (envelope,) = await manager.signal(
            signalled.pty_id, "QUIT", correlation_id=CorrelationId("req_quit")
        )
        assert envelope.outcome is Outcome.DELIVERED
        assert engine.children[signalled.number].signals == [signal.SIGQUIT]
        events = Events(manager)

        engine.exit(typed.number, None, signal.SIGINT)
        engine.exit(signalled.number, None, signal.SIGQUIT)
        engine.exit(other.number, None, signal.SIGINT)

        assert (await manager.wait_gone(typed.pty_id)).state == "stopped"
        assert (await manager.wait_gone(signalled.pty_id)).state == "stopped"
        assert (await manager.wait_gone(other.pty_id)).state == "errored"
        assert events.one(signalled, Topic.STOPPED).correlation_id == "req_quit"


@pytest.mark.requirement("FR-004")
@asynchronous
async def test_signal_that_reached_nobody_does_not_excuse_a_death(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(_CAT)

        (envelope,) = await manager.signal(record.pty_id, "KILL")  # it has no process
        engine.exit(record.number, None, signal.SIGKILL)

        assert envelope.outcome is Outcome.FAILED
        assert (await manager.wait_gone(record.pty_id)).state == "errored"


@pytest.mark.requirement("FR-004")
@asynchronous
async def test_signal_to_an_ended_pty_is_a_failed_envelope_with_the_reason(
    engine: FakeEngine,
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(_CAT)
        engine.exit(record.number, 1)
        await manager.wait_gone(record.pty_id)

        (envelope,) = await manager.signal(record.pty_id, "TERM")

        assert envelope.outcome is Outcome.FAILED
        assert envelope.error
        assert "errored" in envelope.error
        assert manager.signals(record.pty_id) == (envelope,)
        assert events.one(record, Topic.SIGNAL_DELIVERED).payload["outcome"] == "failed"
        with pytest.raises(UnknownSignalError):
            await manager.signal(record.pty_id, "NOPE")


@pytest.mark.requirement("FR-004")
@asynchronous
async def test_fifty_envelopes_are_kept(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(_CAT)

        for _ in range(60):
            await manager.signal(record.pty_id, "INT")

        assert len(manager.signals(record.pty_id)) == Limits.ENVELOPES


@pytest.mark.requirement("SC-004")
@asynchronous
async def test_what_the_child_does_by_itself_goes_back_to_its_spawn(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(
            command("cat", buffer_size=100), correlation_id=CorrelationId("req_spawn")
        )
        size = type(record.size)(100, 50)
        await manager.resize(record.pty_id, size, correlation_id=CorrelationId("req_size"))
        await manager.signal(record.pty_id, "INT", correlation_id=CorrelationId("req_int"))

        engine.write(record.number, b"x" * 300)
        await wait_until_async(lambda: events.of(record, Topic.BUFFER_OVERFLOW))
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)

        causes = {topic: {e.correlation_id for e in events.of(record, topic)} for topic in Topic}
        assert causes[Topic.RESIZED] == {"req_size"}
        assert causes[Topic.SIGNAL_DELIVERED] == {"req_int"}
        assert causes[Topic.BUFFER_OVERFLOW] == {"req_spawn"}
        assert causes[Topic.STATE_CHANGED] == causes[Topic.STOPPED] == {"req_spawn"}
        assert all(event.correlation_id for event in events.all)


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_terminate_is_idempotent_and_shared(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(_CAT)

        first, second = await asyncio.gather(
            manager.terminate(record.pty_id), manager.terminate(record.pty_id, grace_seconds=0)
        )
        third = await manager.terminate(record.pty_id)

        assert first == second == third
        assert len(events.of(record, Topic.TERMINATING)) == 1
        assert len(events.of(record, Topic.STOPPED)) == 1
        with pytest.raises(InvalidValueError):
            await manager.terminate(record.pty_id, grace_seconds=-1)
        with pytest.raises(UnknownPtyError):
            await manager.terminate(PtyId("pty_none"))


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_terminate_whose_caller_left_goes_on(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(_CAT)

        ending = asyncio.create_task(manager.terminate(record.pty_id))
        await asyncio.sleep(0)
        ending.cancel()

        assert (await in_time(manager.wait_gone(record.pty_id))).state == "stopped"


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_pty_closed_by_force_says_so_and_may_be_removed_before_its_child_ends(
    engine: FakeEngine,
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        record = await manager.spawn(_CAT)
        engine.children[record.number].survives_close = True
        await manager.terminate(record.pty_id)

        assert events.one(record, Topic.STOPPED).payload["forced"] is True
        assert engine.forgotten == []
        manager.remove(record.pty_id)
        engine.exit(record.number, None, signal.SIGKILL)

        await wait_until_async(lambda: engine.forgotten == [record.number])
        assert len(events.of(record, Topic.STOPPED)) == 1


@pytest.mark.requirement("FR-012")
@asynchronous
async def test_status_of_a_child_that_outlived_its_terminal_is_kept(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(_CAT)
        engine.children[record.number].survives_close = True
        await manager.terminate(record.pty_id)

        engine.exit(record.number, 9)

        assert (await manager.wait_exited(record.pty_id)).exit_code == 9
        assert engine.forgotten == [record.number]


@pytest.mark.requirement("FR-004")
@asynchronous
async def test_suspended_is_a_flag_that_ends_with_the_child(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(_CAT)

        engine.suspend(record.number, True)
        await wait_until_async(lambda: manager.get(record.pty_id).suspended)
        assert manager.get(record.pty_id).state == "active"
        engine.suspend(record.number, False)
        await wait_until_async(lambda: not manager.get(record.pty_id).suspended)
        engine.suspend(record.number, True)
        await wait_until_async(lambda: manager.get(record.pty_id).suspended)
        engine.exit(record.number, None, signal.SIGKILL)

        assert not (await manager.wait_gone(record.pty_id)).suspended


@pytest.mark.requirement("FR-002")
@asynchronous
async def test_ptys_are_found_by_id_number_name_lane_and_session(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        web = await manager.spawn(
            command("cat", name="web", lane=LaneId("a"), session=SessionId("s1"))
        )
        job = await manager.spawn(command("cat", lane=LaneId("b"), session=SessionId("s1")))

        assert manager.find("web") == manager.find("1") == manager.find(web.pty_id) == web
        assert manager.get_by_lane(LaneId("a")) == (web,)
        assert manager.get_by_session(SessionId("s1")) == (web, job)
        assert manager.list() == (web, job)
        assert engine.children[1].env["PTYMUX_ID"] == web.pty_id
        for unknown in ("nope", "99"):
            with pytest.raises(UnknownPtyError):
                manager.find(unknown)
        for ask in (manager.get, manager.get_buffer_stats, manager.history, manager.signals):
            with pytest.raises(UnknownPtyError):
                ask(PtyId("pty_none"))


@pytest.mark.requirement("FR-002", "NFR-003")
@asynchronous
async def test_capacity_is_that_of_live_ptys(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK, limits=Limits(ptys=2)) as manager:
        first = await manager.spawn(_CAT)
        await manager.spawn(_CAT)

        with pytest.raises(LimitReachedError):
            await manager.spawn(_CAT)
        assert len(manager.list()) == 2
        engine.exit(first.number, 0)
        await manager.wait_gone(first.pty_id)

        third = await manager.spawn(_CAT)
        assert third.number == 3


@pytest.mark.requirement("FR-012")
@asynchronous
async def test_ended_ptys_age_out_by_their_count(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK, limits=Limits(ended_ptys=3)) as manager:
        live = await manager.spawn(_CAT)
        ended = []
        for _ in range(5):
            record = await manager.spawn(_CAT)
            engine.exit(record.number, 1)
            ended.append((await manager.wait_gone(record.pty_id)).pty_id)

        assert [record.pty_id for record in manager.list()] == [live.pty_id, *ended[2:]]


@pytest.mark.requirement("FR-012")
@asynchronous
async def test_ended_ptys_age_out_by_their_output_and_the_last_one_stays(
    engine: FakeEngine,
) -> None:
    async with PtyManager(link=engine, windows=QUICK, limits=Limits(ended_bytes=1000)) as manager:
        for size in (400, 400, 400, 2000):
            record = await manager.spawn(_CAT)
            engine.write(record.number, b"x" * size)
            engine.exit(record.number, 0)
            await manager.wait_gone(record.pty_id)
            kept = [manager.get_buffer_stats(r.pty_id).retained for r in manager.list()]
            assert sum(kept) <= 1000 or kept == [2000]

        assert [each.number for each in manager.list()] == [4]
        assert manager.read(record.pty_id).data == b"x" * 2000


@pytest.mark.requirement("FR-003")
@asynchronous
async def test_memory_that_rings_could_need_is_held_against_what_there_is(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ptymux.manager.roster.available_memory", lambda: 10_000_000)
    async with PtyManager(link=engine, windows=QUICK) as manager:
        first = await manager.spawn(_CAT)
        assert not caplog.records
        await manager.spawn(_CAT)
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        with pytest.raises(OutOfResourcesError, match="buffer-size"):
            await manager.spawn(_CAT)
        assert len(manager.list()) == 2

        engine.exit(first.number, 0)  # what has ended does not grow
        await manager.wait_gone(first.pty_id)

        assert (await manager.spawn(_CAT)).state == "active"


@pytest.mark.requirement("SC-002")
@asynchronous
async def test_exception_of_one_pty_touches_no_sibling(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = ManagedPty.handle

    def failing(pty: ManagedPty, report: object) -> None:
        if pty.slot == 1:
            raise RuntimeError("a bug")
        real(pty, report)  # type: ignore[arg-type]

    async with PtyManager(link=engine, windows=QUICK) as manager:
        broken = await manager.spawn(_CAT)
        sibling = await manager.spawn(_CAT)
        monkeypatch.setattr(ManagedPty, "handle", failing)

        engine.exit(broken.number, 0)
        engine.exit(sibling.number, 0)

        assert (await manager.wait_gone(sibling.pty_id)).state == "stopped"
        assert "a bug" in caplog.text
        assert manager.get(broken.pty_id).state == "active"
        monkeypatch.undo()
        manager._on_report(Closed(broken.number))  # which the bug had lost


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_close_ends_everything_and_again_is_no_error(engine: FakeEngine) -> None:
    manager = PtyManager(link=engine, windows=QUICK)
    events = Events(manager)
    records = [await manager.spawn(_CAT) for _ in range(5)]
    engine.exit(records[0].number, 0)
    await manager.wait_gone(records[0].pty_id)

    await asyncio.gather(manager.close(), manager.close(grace_seconds=0))
    await manager.close()

    assert all(len(events.of(record, Topic.STOPPED)) == 1 for record in records)
    assert engine.is_closed
    assert {record.state for record in manager.list()} == {"stopped"}
    assert manager.get_buffer_stats(records[0].pty_id).total_written == 0
    with pytest.raises(LinkClosedError):
        await manager.spawn(_CAT)
    with pytest.raises(LinkClosedError):
        manager.subscribe()
    with pytest.raises(LinkClosedError):
        manager.read(records[0].pty_id)


@asynchronous
async def test_close_with_a_bad_grace_does_nothing(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        with pytest.raises(InvalidValueError):
            await manager.close(grace_seconds=-1)

        assert (await manager.spawn(_CAT)).state == "active"


@asynchronous
async def test_close_waits_for_a_spawn_in_progress(engine: FakeEngine) -> None:
    manager = PtyManager(link=engine, windows=QUICK)
    engine.gate = asyncio.Event()
    spawning = asyncio.create_task(manager.spawn(_CAT))
    await wait_until_async(manager.list)
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(0)
    assert not closing.done()

    engine.gate.set()
    await in_time(closing)

    assert (await spawning).state in ("active", "stopped")
    assert manager.list()[0].state == "stopped"


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_close_goes_on_when_one_pty_cannot_be_ended(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager = PtyManager(link=engine, windows=QUICK)
    records = [await manager.spawn(_CAT) for _ in range(3)]
    real = engine.close_pty

    async def failing(slot: int) -> None:
        if slot == records[0].number:
            raise LinkClosedError("no answer")
        await real(slot)

    monkeypatch.setattr(engine, "close_pty", failing)

    await in_time(manager.close())

    assert "no answer" in caplog.text
    assert engine.is_closed
    assert [record.state for record in manager.list()] == ["active", "stopped", "stopped"]


@asynchronous
async def test_termination_that_failed_can_be_asked_for_again(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(_CAT)
        with monkeypatch.context() as patch:

            async def failing(_slot: int) -> None:
                raise LinkClosedError("no answer")

            patch.setattr(engine, "close_pty", failing)
            with pytest.raises(LinkClosedError):
                await manager.terminate(record.pty_id)

        assert (await manager.terminate(record.pty_id)).state == "stopped"


@pytest.mark.requirement("FR-006", "EVENTS")
@asynchronous
async def test_close_ends_event_streams_after_their_last_event(engine: FakeEngine) -> None:
    manager = PtyManager(link=engine, windows=QUICK)
    stream = manager.subscribe([Topic.STOPPED])
    record = await manager.spawn(_CAT)

    async def follow() -> list[object]:
        return [event async for event in stream]

    following = asyncio.create_task(follow())
    await manager.close()
    got = await in_time(following)

    assert [getattr(event, "pty_id", None) for event in got] == [record.pty_id]


@pytest.mark.requirement("EVENTS")
@asynchronous
async def test_closed_stream_gives_what_is_left_then_ends(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        stream = manager.subscribe()
        await manager.spawn(_CAT)

        stream.close()
        left = [event async for event in stream]

        assert len(left) == 3
        assert [event async for event in stream] == []


@pytest.mark.requirement("EVENT-LOG")
@asynchronous
async def test_past_events_can_be_asked_for(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(_CAT)

        missed, events = manager.events_since(1)

        assert missed == 0
        assert [event.seq for event in events] == [2, 3]
        assert {event.pty_id for event in events} == {record.pty_id}


@pytest.mark.requirement("FR-010")
@asynchronous
async def test_input_is_typed_in_the_order_of_the_calls(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(_CAT)

        sizes = await asyncio.gather(
            *(manager.write_input(record.pty_id, b"%d," % number) for number in range(20))
        )

        typed = b"".join(b"%d," % number for number in range(20))
        assert bytes(engine.children[record.number].typed) == typed
        assert await manager.write_input(record.pty_id, b"") == 0
        assert len(sizes) == 20


@pytest.mark.requirement("FR-010", "FR-011")
@asynchronous
async def test_what_needs_a_running_child_is_refused_without_one(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        engine.gate = asyncio.Event()
        spawning = asyncio.create_task(manager.spawn(_CAT))
        await wait_until_async(manager.list)
        (record,) = manager.list()

        async def refused() -> None:
            with pytest.raises(InvalidStateError):
                await manager.write_input(record.pty_id, b"x")
            with pytest.raises(InvalidStateError):
                await manager.open_input(record.pty_id)
            with pytest.raises(InvalidStateError):
                await manager.resize(record.pty_id, record.size)

        await refused()
        with pytest.raises(InvalidStateError):
            manager.reader(record.pty_id, ReaderKind.LOSSLESS)
        with pytest.raises(InvalidStateError):
            manager.remove(record.pty_id)
        engine.gate.set()
        await spawning
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)
        await refused()


@pytest.mark.requirement("FR-001")
@asynchronous
async def test_history_tells_the_steps(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        record = await manager.spawn(_CAT)
        engine.exit(record.number, 0)
        await manager.wait_gone(record.pty_id)

        states = [step.to_state for step in manager.history(record.pty_id)]

        assert states == [State.SPAWNING, State.ACTIVE, State.STOPPED]


@pytest.mark.requirement("FR-002", "FR-003")
@asynchronous
async def test_names_of_the_environment_are_kept_and_no_value(engine: FakeEngine) -> None:
    async with PtyManager(link=engine, windows=QUICK) as manager:
        events = Events(manager)
        options = SpawnOptions(argv=("cat",), env={"SECRET": "hush-hush", "A": "1"})

        record = await manager.spawn(options)

        assert record.env_names == ("A", "SECRET")
        assert engine.children[record.number].env["SECRET"] == "hush-hush"
        assert "hush-hush" not in repr(record) + repr(events.all)

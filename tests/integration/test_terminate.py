"""Ending real sessions: politely, then not, wholly, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from ptymux.core.escalation import Outcome
from ptymux.core.event_log import Topic
from ptymux.core.model import KIB, OnFull, PtyRecord, SpawnOptions
from ptymux.core.reader import ReaderKind
from ptymux.errors import SignalForbiddenError
from ptymux.manager import PtyManager
from ptymux.posix.process import SessionMember, session_members
from tests.gate import Gate, gate
from tests.integration.conftest import (
    LONG,
    Events,
    RingLink,
    asynchronous,
    command,
    in_time,
    managed,
    output_of,
    set_windows,
    shell,
)
from tests.processes import is_alive, kill
from tests.timing import wait_until_async

__all__ = ["gate"]  # the fixture

_BASH_ENV = {"PATH": os.environ["PATH"], "PS1": "$ ", "HOME": "/", "HISTFILE": ""}


def _bash(*words: str) -> SpawnOptions:
    return command("bash", "--norc", "--noprofile", *words, env=_BASH_ENV)


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_interactive_bash_ends_long_before_the_grace() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(_bash("-i"))
        await output_of(manager, record, b"$ ")

        record = await in_time(manager.terminate(record.pty_id, grace_seconds=LONG))

        assert (record.state, record.signal) == ("stopped", signal.SIGHUP)
        assert not events.of(record, Topic.FORCE_KILLED)


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_program_that_handles_term_gets_to_clean_up(gate: Gate) -> None:
    script = (
        "import os, signal, sys, time\n"
        "def clean(*_):\n    os.write(1, b'cleaning')\n    open(sys.argv[1]).readline()\n"
        "    os.write(1, b'clean.')\n    sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, clean)\nos.write(1, b'ready')\ntime.sleep(60)\n"
    )
    async with managed() as (manager, events):
        record = await manager.spawn(command(sys.executable, "-c", script, gate.path))
        await output_of(manager, record, b"ready")

        ending = asyncio.create_task(manager.terminate(record.pty_id, grace_seconds=LONG))
        await output_of(manager, record, b"cleaning")
        gate.open()
        record = await in_time(ending)

        assert (record.state, record.exit_code, record.signal) == ("stopped", 7, None)
        assert b"clean." in manager.read(record.pty_id).data
        assert not events.of(record, Topic.FORCE_KILLED)


@pytest.mark.requirement("FR-007", "FR-004")
@asynchronous
async def test_who_ignores_everything_is_killed_after_the_grace() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(shell("trap '' TERM HUP; echo ready; sleep 60; sleep 60"))
        await output_of(manager, record, b"ready")

        began = time.monotonic()
        record = await in_time(manager.terminate(record.pty_id, grace_seconds=0.2))

        assert time.monotonic() - began >= 0.2
        assert (record.state, record.signal) == ("stopped", signal.SIGKILL)
        order = [
            topic
            for topic in events.topics(record)
            if topic in (Topic.TERMINATING, Topic.FORCE_KILLED, Topic.STOPPED)
        ]
        assert order == [Topic.TERMINATING, Topic.FORCE_KILLED, Topic.STOPPED]
        kills = [each for each in manager.signals(record.pty_id) if each.signal == signal.SIGKILL]
        assert {each.outcome for each in kills} == {Outcome.ESCALATED}
        assert len({each.pid for each in kills}) == len(kills)


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_grace_of_zero_kills_at_once_and_the_leader_first() -> None:
    async with managed() as (manager, _events):
        script = "trap '' TERM HUP; echo ready; sleep 60; echo it went on; sleep 60"
        records = [await manager.spawn(shell(script)) for _ in range(20)]
        for record in records:
            await output_of(manager, record, b"ready")

        ends = [manager.terminate(record.pty_id, grace_seconds=0) for record in records]
        ended = await in_time(asyncio.gather(*ends))

        # A shell that outlived its child would exit with 137, or run the next command.
        assert {record.signal for record in ended} == {signal.SIGKILL}
        assert {manager.read(record.pty_id).data for record in records} == {b"ready\r\n"}


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_background_jobs_of_a_shell_end_with_it() -> None:
    async with managed() as (manager, _events):
        record = await manager.spawn(_bash("-i"))
        await output_of(manager, record, b"$ ")
        jobs = b"sleep 61 & nohup sleep 62 >/dev/null 2>&1 & sleep 63 &\n"
        await manager.write_input(record.pty_id, jobs)
        assert record.pid is not None
        await wait_until_async(lambda: len(session_members(record.pid or 0)) == 4)

        record = await in_time(manager.terminate(record.pty_id, grace_seconds=LONG))

        assert not session_members(record.pid or 0)


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_jobs_that_outlived_their_shell_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    set_windows(monkeypatch, tail_silence=LONG, tail=LONG)
    async with managed() as (manager, events):
        record = await manager.spawn(shell("trap '' HUP; sleep 60 & sleep 60 & echo bye"))
        record = await manager.wait_exited(record.pty_id)
        assert record.tail_pending
        assert record.pid is not None

        record = await in_time(manager.terminate(record.pty_id))

        assert (record.state, record.exit_code) == ("stopped", 0)
        assert not session_members(record.pid or 0)
        assert events.topics(record)[-1] is Topic.STOPPED


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_process_that_left_by_setsid_is_left_alone_and_reported(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    async with managed() as (manager, events):
        record = await manager.spawn(
            shell(f"setsid sh -c 'echo $$ >{pidfile}; exec sleep 60' & wait; echo woke; exec cat")
        )
        await wait_until_async(lambda: pidfile.exists() and pidfile.read_text().endswith("\n"))
        escaped = int(pidfile.read_text())

        record = await in_time(manager.terminate(record.pty_id))

        assert is_alive(escaped)
        kill(escaped)
        assert events.one(record, Topic.STOPPED).payload["escaped"] == [escaped]
        assert escaped not in [each.pid for each in manager.signals(record.pty_id)]


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_terminate_at_every_moment_is_no_error() -> None:
    async with managed() as (manager, events):
        records = []
        for number in range(50):
            spawning = asyncio.create_task(manager.spawn(command("/bin/cat")))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            if number % 2:
                await spawning
            await _until_count(manager, number + 1)
            pty_id = manager.list()[-1].pty_id
            records.append(await in_time(manager.terminate(pty_id)))
            await spawning

        assert {record.state for record in records} == {"stopped"}
        for record in records:
            assert len(events.of(record, Topic.STOPPED)) == 1


async def _until_count(manager: PtyManager, count: int) -> None:
    await wait_until_async(lambda: len(manager.list()) == count)


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_terminate_races_with_the_exit() -> None:
    async with managed() as (manager, events):
        for number in range(30):
            record = await manager.spawn(shell("exit 0"))
            for _ in range(number % 10):
                await asyncio.sleep(0.0005)  # another moment each time
            record = await in_time(manager.terminate(record.pty_id))

            assert record.state == "stopped"
            assert await manager.terminate(record.pty_id) == record
            assert len(events.of(record, Topic.STOPPED)) == 1


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_second_call_shortens_the_grace_of_the_first() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(shell("trap '' TERM HUP; echo ready; sleep 60; sleep 60"))
        await output_of(manager, record, b"ready")
        first = asyncio.create_task(manager.terminate(record.pty_id, grace_seconds=LONG))
        await wait_until_async(lambda: events.of(record, Topic.TERMINATING))

        await in_time(manager.terminate(record.pty_id, grace_seconds=0.1))

        assert (await first).signal == signal.SIGKILL
        assert len(events.of(record, Topic.TERMINATING)) == 1


@pytest.mark.requirement("FR-007", "NFR-003")
@asynchronous
async def test_a_hundred_ptys_end_at_once() -> None:
    async with managed() as (manager, events):
        cat = command("/bin/cat", buffer_size=64 * KIB)
        records = [await manager.spawn(cat) for _ in range(100)]
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        ends = [manager.terminate(record.pty_id, grace_seconds=LONG) for record in records]
        await in_time(asyncio.gather(*ends))
        ticking.cancel()

        assert {record.state for record in manager.list()} == {"stopped"}
        assert ticks > 2  # others have their turns meanwhile
        order = [event.topic for event in events.all]
        last_begin = max(i for i, topic in enumerate(order) if topic is Topic.TERMINATING)
        assert last_begin < order.index(Topic.STOPPED)  # none waits for the end of another


@pytest.mark.requirement("FR-007")
@asynchronous
async def test_stopped_child_is_continued_to_be_ended() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(command("/bin/cat"))
        await manager.signal(record.pty_id, "STOP")

        record = await in_time(manager.terminate(record.pty_id, grace_seconds=LONG))

        assert record.signal == signal.SIGTERM
        assert not events.of(record, Topic.FORCE_KILLED)


@pytest.mark.requirement("FR-007", "FR-004")
@asynchronous
async def test_stranger_with_the_session_id_of_an_ended_child_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_windows(monkeypatch, tail_silence=LONG, tail=LONG, close=0.05)
    sent = []

    async def reused(_scanner: object, sid: int) -> tuple[SessionMember, ...]:
        return (SessionMember(sid, 1, sid, False, "S"),)

    async with managed() as (manager, _events):
        record = await manager.spawn(shell("trap '' HUP; sleep 60 & echo bye"))
        await manager.wait_exited(record.pty_id)
        assert record.pid is not None
        with monkeypatch.context() as patch:
            patch.setattr("ptymux.manager.termination.SessionScanner.members", reused)
            patch.setattr("ptymux.manager.termination.send", lambda *each: sent.append(each))
            await in_time(manager.terminate(record.pty_id))

        assert sent == []
        for member in session_members(record.pid):
            os.kill(member.pid, signal.SIGKILL)
        await wait_until_async(lambda: not session_members(record.pid or 0))


@pytest.mark.requirement("FR-007", "FR-012")
@asynchronous
async def test_process_that_nothing_ends_is_given_up_and_said_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As with a process of another user, which may not be signalled.
    def forbidden(process: SessionMember, _signum: int) -> None:
        raise SignalForbiddenError(process.pid)

    async with managed() as (manager, events):
        record = await manager.spawn(shell("trap '' HUP; echo ready; while :; do sleep 1; done"))
        await output_of(manager, record, b"ready")
        assert record.pid is not None
        with monkeypatch.context() as patch:
            patch.setattr("ptymux.manager.termination.send", forbidden)
            record = await in_time(manager.terminate(record.pty_id, grace_seconds=0.1))

        error = events.one(record, Topic.ERROR).payload
        assert record.pid in error["left"]  # type: ignore[operator]
        assert error["envelope"]["outcome"] == "failed"  # type: ignore[index]
        assert events.one(record, Topic.STOPPED).payload["forced"] is True
        failed = [e for e in manager.signals(record.pty_id) if e.pid == record.pid]
        assert {e.outcome for e in failed} == {Outcome.FAILED}
        assert len(failed) == 3  # TERM, CONT and KILL: each noted once, however often it was tried
        assert "another user" in manager._roster.get(record.pty_id).end.left[record.pid or 0]
        manager.remove(record.pty_id)
        for member in session_members(record.pid or 0):
            os.kill(member.pid, signal.SIGKILL)
        await wait_until_async(lambda: not os.path.exists(f"/proc/{record.pid}"))  # it was reaped


@pytest.mark.requirement("FR-007", "BLOCK")
@asynchronous
async def test_kill_of_a_held_pty_loses_nothing_of_a_consumer_that_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_windows(monkeypatch, paused_end=LONG, count_paused=0.01)
    link = RingLink()
    async with managed(link=link) as (manager, events):
        record = await manager.spawn(
            shell("seq 1 100000", buffer_size=8192, on_full=OnFull.BLOCK, plain_output=True)
        )
        (ring,) = link.rings
        got = bytearray()
        with manager.reader(record.pty_id, ReaderKind.LOSSLESS) as reader:
            await wait_until_async(lambda: ring.held_ms, "output for which the ring has no room")
            ending = asyncio.create_task(manager.terminate(record.pty_id))
            await wait_until_async(lambda: events.of(record, Topic.SIGNAL_DELIVERED))
            while await in_time(reader.wait()):
                part = reader.consume(500)
                assert not part.skipped
                got += part.data
            await in_time(ending)

        assert len(got) > 8192
        assert b"".join(b"%d\n" % n for n in range(1, 100_001)).startswith(got)


@pytest.mark.requirement("FR-007", "NFR-003")
@asynchronous
async def test_close_ends_every_session() -> None:
    manager = PtyManager()
    events = Events(manager)
    records: list[PtyRecord] = [
        await manager.spawn(shell("trap '' TERM HUP; sleep 60 & echo ready; sleep 60"))
        for _ in range(5)
    ]
    for record in records:
        await output_of(manager, record, b"ready")

    await in_time(manager.close(grace_seconds=0.1))

    for record in records:
        await wait_until_async(lambda pid=record.pid or 0: not session_members(pid))  # type: ignore[misc]
        assert events.steps(record)[-1] == "stopped"

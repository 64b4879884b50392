"""Whole lives of real children, every event of them."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import signal
import sys

import pytest

from ptymux.core.escalation import Outcome
from ptymux.core.event_log import Topic
from ptymux.core.model import KIB, MIB, CorrelationId, LaneId, WindowSize
from ptymux.errors import InputCutError, InvalidStateError, LineTooLongError
from ptymux.link.private_link import PrivateLink
from ptymux.posix.memory import resident_memory
from ptymux.posix.process import send, session_members
from tests.gate import Gate, gate
from tests.integration.conftest import (
    LONG,
    asynchronous,
    command,
    in_time,
    managed,
    output_of,
    set_windows,
    shell,
)
from tests.processes import fd_count, fds_of
from tests.timing import wait_until_async

__all__ = ["gate"]  # the fixture


@pytest.mark.requirement("FR-001", "FR-003", "FR-006", "FR-012", "SC-004")
@asynchronous
async def test_echo_lives_and_stops() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(
            command("/bin/echo", "hello"), correlation_id=CorrelationId("req_echo")
        )
        pid = record.pid
        record = await manager.wait_gone(record.pty_id)

        assert manager.read(record.pty_id).data == b"hello\r\n"
        assert events.topics(record) == [
            Topic.STATE_CHANGED,
            Topic.STATE_CHANGED,
            Topic.SPAWNED,
            Topic.STATE_CHANGED,
            Topic.STOPPED,
        ]
        assert events.steps(record) == ["idle", "spawning", "active", "stopped"]
        spawned = events.one(record, Topic.SPAWNED).payload
        assert spawned["pid"] == pid
        assert spawned["spawn_ms"] == record.spawn_ms
        assert events.one(record, Topic.STOPPED).payload == {
            "final_state": "stopped",
            "exit_code": 0,
            "signal": None,
            "forced": False,
            "timed_out": False,
            "escaped": [],
            "total_written": 7,
            "total_dropped": 0,
        }
        for event in events.of(record):
            assert (event.lane_id, event.session_id, event.terminal_id, event.correlation_id) == (
                record.lane_id,
                record.session_id,
                record.terminal_id,
                "req_echo",
            )


@pytest.mark.requirement("FR-010", "FR-007")
@asynchronous
async def test_cat_gives_back_what_is_typed_until_it_is_terminated() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(command("/bin/cat"))

        assert await manager.write_input(record.pty_id, b"meow\n") == 5
        await output_of(manager, record, b"meow\r\nmeow\r\n")
        record = await manager.terminate(record.pty_id)

        assert (record.state, record.signal) == ("stopped", signal.SIGTERM)
        first, *_continued = manager.signals(record.pty_id)
        assert (first.signal, first.outcome) == (signal.SIGTERM, Outcome.DELIVERED)
        assert events.topics(record)[3:5] == [Topic.TERMINATING, Topic.SIGNAL_DELIVERED]
        assert events.topics(record)[-2:] == [Topic.STATE_CHANGED, Topic.STOPPED]
        assert not events.of(record, Topic.ERROR, Topic.FORCE_KILLED)


@pytest.mark.requirement("FR-011")
@asynchronous
async def test_resize_is_seen_by_the_registry_the_kernel_and_the_child() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(
            shell(
                "trap 'echo; echo winch' WINCH; echo ready; while :; do read x && stty size; done"
            )
        )
        await output_of(manager, record, b"ready")

        resized = await manager.resize(record.pty_id, WindowSize(120, 40))
        await output_of(manager, record, b"winch")
        await manager.write_input(record.pty_id, b"\n")
        await output_of(manager, record, b"40 120")

        assert manager.get(record.pty_id).size == resized.size == WindowSize(120, 40)
        assert events.one(record, Topic.RESIZED).payload == {
            "old": {"cols": 80, "rows": 24},
            "new": {"cols": 120, "rows": 40},
        }


@pytest.mark.requirement("FR-006", "FR-012", "SC-002")
@asynchronous
async def test_child_killed_from_outside_is_errored_with_its_signal() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(command("sleep", "60"))
        assert record.pid is not None

        os.kill(record.pid, signal.SIGKILL)
        record = await in_time(manager.wait_gone(record.pty_id))

        assert (record.state, record.exit_code, record.signal) == ("errored", None, signal.SIGKILL)
        assert events.topics(record)[-3:] == [Topic.STATE_CHANGED, Topic.ERROR, Topic.STOPPED]
        error = events.one(record, Topic.ERROR).payload
        assert (error["exit_code"], error["signal"]) == (None, signal.SIGKILL)
        assert error["error"] == "killed (KILL)"
        stopped = events.one(record, Topic.STOPPED).payload
        assert (stopped["final_state"], stopped["signal"]) == ("errored", signal.SIGKILL)


@pytest.mark.requirement("SC-002", "FR-002")
@asynchronous
async def test_end_of_one_pty_touches_no_other() -> None:
    async with managed() as (manager, events):
        lanes = [LaneId(f"lane-{number}") for number in range(5)]
        records = [await manager.spawn(command("/bin/cat", lane=lane)) for lane in lanes]
        assert records[1].pid is not None

        await manager.terminate(records[0].pty_id)
        os.kill(records[1].pid, signal.SIGKILL)
        await manager.wait_gone(records[1].pty_id)

        states = [manager.get_by_lane(lane)[0].state for lane in lanes]
        assert states == ["stopped", "errored", "active", "active", "active"]
        for record in records[2:]:
            await manager.write_input(record.pty_id, b"still here\n")
            await output_of(manager, record, b"still here\r\nstill here")
            assert events.steps(record) == ["idle", "spawning", "active"]


@pytest.mark.requirement("FR-001", "FR-012")
@pytest.mark.parametrize(
    ("script", "state", "code", "signum"),
    [
        ("exit 0", "stopped", 0, None),
        ("exit 1", "errored", 1, None),
        ("kill -SEGV $$", "errored", None, signal.SIGSEGV),
    ],
)
@asynchronous
async def test_every_kind_of_end_is_kept(
    script: str, state: str, code: int | None, signum: int | None
) -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(shell(script))
        record = await in_time(manager.wait_gone(record.pty_id))

        assert (record.state, record.exit_code, record.signal) == (state, code, signum)
        assert len(events.of(record, Topic.ERROR)) == (state == "errored")


@pytest.mark.slow
@pytest.mark.requirement("FR-012", "FR-005")
@asynchronous
async def test_output_of_children_that_die_at_once_is_complete() -> None:
    async with managed() as (manager, _events):
        for number in range(200):
            text = f"{number}-" + "x" * (number * 20)
            record = await manager.spawn(command("printf", text))
            await in_time(manager.wait_exited(record.pty_id))

            assert manager.read(record.pty_id).data == text.encode()


@pytest.mark.requirement("FR-012")
@asynchronous
async def test_grandchild_that_keeps_the_terminal_delays_the_end_and_not_the_exit(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_windows(monkeypatch, tail_silence=LONG, tail=LONG)
    async with managed() as (manager, events):
        record = await manager.spawn(
            shell(f"trap '' HUP; ({gate.wait}; echo tail; exec sleep 60) & echo own")
        )

        record = await in_time(manager.wait_exited(record.pty_id))
        assert (record.state, record.tail_pending) == ("stopped", True)
        gate.open()
        await output_of(manager, record, b"tail\r\n")
        assert not events.of(record, Topic.STOPPED)
        await _end_session_of(record.pid)
        record = await in_time(manager.wait_gone(record.pty_id))

        assert not record.tail_pending
        assert manager.read(record.pty_id).data == b"own\r\ntail\r\n"


@pytest.mark.requirement("FR-012")
@asynchronous
async def test_grandchild_that_keeps_the_terminal_and_says_nothing_delays_the_end_for_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_windows(monkeypatch, tail_silence=0.01)
    async with managed() as (manager, _events):
        record = await manager.spawn(shell("trap '' HUP; sleep 60 & echo own"))

        record = await in_time(manager.wait_gone(record.pty_id))

        assert (record.state, record.tail_pending) == ("stopped", False)
        assert session_members(record.pid or 0)
        await _end_session_of(record.pid)


async def _end_session_of(pid: int | None) -> None:
    assert pid is not None
    for member in session_members(pid):
        send(member, signal.SIGKILL)
    await wait_until_async(lambda: not session_members(pid))


@pytest.mark.requirement("FR-004")
@asynchronous
async def test_stopped_child_is_suspended_until_it_goes_on() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(command("/bin/cat"))

        await manager.signal(record.pty_id, "STOP")
        await wait_until_async(lambda: manager.get(record.pty_id).suspended)
        assert manager.get(record.pty_id).state == "active"
        await manager.signal(record.pty_id, "CONT")
        await wait_until_async(lambda: not manager.get(record.pty_id).suspended)

        delivered = events.of(record, Topic.SIGNAL_DELIVERED)
        assert [e.payload["signal"] for e in delivered] == [signal.SIGSTOP, signal.SIGCONT]
        assert {e.payload["outcome"] for e in delivered} == {"delivered"}


@pytest.mark.requirement("FR-001", "FR-010")
@pytest.mark.parametrize(("key", "signum"), [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)])
@asynchronous
async def test_death_by_a_typed_key_is_not_alarming(key: bytes, signum: int) -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(shell("echo ready; exec cat"))
        await output_of(manager, record, b"ready")

        await manager.write_input(record.pty_id, key)
        record = await in_time(manager.wait_gone(record.pty_id))

        assert (record.state, record.signal) == ("stopped", signum)
        assert not events.of(record, Topic.ERROR)


@pytest.mark.requirement("FR-004")
@asynchronous
async def test_signals_go_to_the_foreground_the_group_or_the_session() -> None:
    async with managed() as (manager, _events):
        env = {"PATH": os.environ["PATH"], "PS1": "$ ", "HISTFILE": ""}
        record = await manager.spawn(command("bash", "--norc", "--noprofile", "-i", env=env))
        await output_of(manager, record, b"$ ")
        await manager.write_input(record.pty_id, b"exec 2>/dev/null; cat\n")
        await output_of(manager, record, b"cat\r\n")
        await manager.write_input(record.pty_id, b"here\n")
        await output_of(manager, record, b"here\r\nhere")  # a ^C before the exec would be lost
        assert _has_foreground_other_than(record.pid)

        (interrupt,) = await manager.signal(record.pty_id, "INT")
        await wait_until_async(lambda: not _has_foreground_other_than(record.pid))
        hangup = await manager.signal(record.pty_id, "HUP", session=True)
        record = await in_time(manager.wait_gone(record.pty_id))

        assert (interrupt.outcome, interrupt.pid != record.pid) == (Outcome.DELIVERED, True)
        assert record.pid in [each.pid for each in hangup]
        assert record.state == "stopped"


def _has_foreground_other_than(pid: int | None) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[5]) != pid  # tpgid


@pytest.mark.requirement("FR-004")
@asynchronous
async def test_signal_to_an_exited_pty_fails_with_the_reason() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(shell("exit 0"))
        await manager.wait_gone(record.pty_id)

        (envelope,) = await manager.signal(record.pty_id, "TERM")

        assert (envelope.outcome, envelope.error) == (Outcome.FAILED, "the PTY is stopped")
        assert events.one(record, Topic.SIGNAL_DELIVERED).payload["error"] == envelope.error


@pytest.mark.requirement("FR-009")
@asynchronous
async def test_silent_child_is_throttled_and_output_wakes_it() -> None:
    async with managed() as (manager, events):
        record = await manager.spawn(command("/bin/cat", idle_timeout_seconds=0.2))

        await wait_until_async(lambda: events.of(record, Topic.IDLE_TIMEOUT))
        assert manager.get(record.pty_id).state == "throttled"
        await manager.write_input(record.pty_id, b"hey\n")
        await wait_until_async(lambda: events.steps(record)[:5][-1] == "active")


@pytest.mark.requirement("FR-010")
@asynchronous
async def test_long_input_to_a_raw_terminal_arrives_whole() -> None:
    data = os.urandom(1 << 20)
    script = (
        "import hashlib, os, sys, tty\ntty.setraw(0)\nos.write(1, b'ready')\nleft = 1 << 20\n"
        "sha = hashlib.sha256()\n"
        "while left:\n    got = os.read(0, 65536)\n    sha.update(got)\n    left -= len(got)\n"
        "os.write(1, sha.hexdigest().encode())\n"
    )
    async with managed() as (manager, _events):
        record = await manager.spawn(command(sys.executable, "-c", script))
        await output_of(manager, record, b"ready")

        assert await in_time(manager.write_input(record.pty_id, data)) == len(data)
        await in_time(manager.wait_gone(record.pty_id))

        assert hashlib.sha256(data).hexdigest().encode() in manager.read(record.pty_id).data


@pytest.mark.requirement("FR-010")
@asynchronous
async def test_input_that_cannot_arrive_is_refused_or_counted() -> None:
    async with managed() as (manager, _events):
        lines = await manager.spawn(command("/bin/cat"))
        with pytest.raises(LineTooLongError):
            await manager.write_input(lines.pty_id, b"x" * 4096)
        assert await manager.write_input(lines.pty_id, b"x" * 4095 + b"\n") == 4096
        await output_of(manager, lines, b"x\r\n" + b"x" * 4095)

        ends = await manager.spawn(shell("stty raw -echo; echo ready; head -c 10000 >/dev/null"))
        await output_of(manager, ends, b"ready")
        with pytest.raises(InputCutError) as cut:
            await in_time(manager.write_input(ends.pty_id, b"x" * 1_000_000))
        assert 10_000 <= cut.value.taken < 1_000_000
        await manager.wait_gone(ends.pty_id)
        with pytest.raises(InvalidStateError):
            await manager.write_input(ends.pty_id, b"x")


@pytest.mark.requirement("SC-001", "FR-003")
@asynchronous
async def test_how_long_a_spawn_takes_is_measured() -> None:
    async with managed() as (manager, events):
        records = [await manager.spawn(command("sleep", "60")) for _ in range(20)]

        told = [events.one(record, Topic.SPAWNED).payload["spawn_ms"] for record in records]
        assert told == [record.spawn_ms for record in records]
        assert all(record.spawn_ms is not None and record.spawn_ms > 0 for record in records)


@pytest.mark.slow
@pytest.mark.requirement("NFR-003")
@asynchronous
async def test_three_hundred_ptys_live_at_once() -> None:
    async with managed() as (manager, _events):
        # Rings for which any machine has the memory.
        cat = command("/bin/cat", buffer_size=64 * KIB)
        records = [await manager.spawn(cat) for _ in range(300)]

        for record in records[::50]:
            await manager.write_input(record.pty_id, b"here\n")
            await output_of(manager, record, b"here\r\nhere")
        await manager.terminate(records[0].pty_id)

        assert [record.state for record in manager.list()].count("active") == 299


@asynchronous
async def test_children_of_the_host_program_are_left_to_it() -> None:
    async with managed() as (manager, _events):
        foreign = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
        for _ in range(5):
            record = await manager.spawn(shell("exit 4"))
            assert (await manager.wait_gone(record.pty_id)).exit_code == 4

        assert await foreign.wait() == 3


@pytest.mark.requirement("FR-003")
@asynchronous
async def test_fds_are_flat_over_lives_and_nothing_waits_for_the_garbage_collector() -> None:
    link = PrivateLink()
    async with managed(link=link) as (manager, _events):
        standing = await manager.spawn(command("/bin/cat"))

        async def files() -> tuple[dict[int, str], int]:
            # The keeper answers in order: it has done all that it was asked for before.
            await link.is_canonical(standing.number)
            return fds_of(os.getpid()), fd_count(link.keeper_pid)

        gc.collect()
        gc.disable()
        try:
            before = await files()
            for _ in range(100):
                record = await manager.spawn(command("/bin/echo", "x"))
                with manager.reader(record.pty_id) as reader:
                    parts = [part.data async for part in reader.follow()]
                    assert b"".join(parts) == b"x\r\n"
                await manager.wait_gone(record.pty_id)
                manager.remove(record.pty_id)
            after = await files()
        finally:
            gc.enable()

        assert after == before


@pytest.mark.slow
@pytest.mark.requirement("NFR-003", "NFR-004")
@asynchronous
async def test_twenty_five_busy_terminals_fit_in_their_memory() -> None:
    link = PrivateLink()
    async with managed(link=link) as (manager, _events):
        flood = shell("head -c 4500000 /dev/zero; exec sleep 60", plain_output=True)
        records = [await manager.spawn(flood) for _ in range(25)]

        def are_full() -> bool:
            stats = [manager.get_buffer_stats(record.pty_id) for record in records]
            written = {(each.total_written, each.retained) for each in stats}
            return written == {(4_500_000, 4 * MIB)}

        await wait_until_async(are_full, "4.5 MB from each", units=4)
        memory = resident_memory(shared=False) + resident_memory(link.keeper_pid)
        assert memory < 500_000_000

"""A program's own keeper: nothing of the program is touched, and nothing outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ptymux.core.event_log import Topic
from ptymux.core.model import MIB
from ptymux.errors import (
    ArgumentsTooLongError,
    BadDirectoryError,
    CommandNotFoundError,
    SpawnError,
)
from ptymux.link.private_link import PrivateLink
from ptymux.manager import PtyManager
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
from tests.processes import children_of, fds_of, parts_of_session
from tests.timing import deadline_seconds, wait_until, wait_until_async

# Starts a PTY with the script in argv, forks a worker that holds whatever is open, and says who
# is who once the PTY has said that it is ready.
_PROGRAM = """
import asyncio, os, sys, time
from ptymux import PtyManager, SpawnOptions
from ptymux.link.private_link import PrivateLink

async def main():
    link = PrivateLink()
    async with PtyManager(link=link) as manager:
        pty = await manager.spawn(SpawnOptions(argv=("/bin/sh", "-c", sys.argv[1])))
        while b"ready" not in manager.read(pty.pty_id).data:
            await asyncio.sleep(0.01)
        worker = os.fork()
        if not worker:
            os.close(1)
            time.sleep(60)
            os._exit(0)
        print(link.keeper_pid, pty.pid, worker, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@contextlib.contextmanager
def _program(script: str) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Run the program; give it, the pid of its keeper and that of its PTY's child."""
    words = [sys.executable, "-c", _PROGRAM, script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as program:
        worker = 0
        try:
            assert program.stdout is not None
            assert select.select([program.stdout], [], [], deadline_seconds())[0]
            keeper, child, worker = map(int, program.stdout.readline().split())
            yield program, keeper, child
        finally:
            program.kill()
            if worker:
                os.kill(worker, signal.SIGKILL)


@pytest.mark.requirement("FR-007")
def test_killed_program_leaves_no_process_not_even_one_that_ignores_signals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_windows(monkeypatch, hangup=0.05, grace=0.1)
    stubborn = "trap '' HUP TERM INT; sleep 99 & echo ready; while :; do sleep 1; done"
    with _program(stubborn) as (program, keeper, child):
        assert len(parts_of_session(child)) > 1

        program.kill()

        wait_until(lambda: not parts_of_session(keeper) | parts_of_session(child))


@pytest.mark.requirement("FR-007")
def test_killed_program_hangs_up_and_what_obeys_may_clean_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_windows(monkeypatch, hangup=LONG)
    proof = tmp_path / "proof"
    script = f"trap 'echo bye >{proof}; exit' HUP; echo ready; while :; do sleep 0.01; done"
    with _program(script) as (program, keeper, child):
        program.kill()

        wait_until(lambda: not parts_of_session(keeper) | parts_of_session(child))
    assert proof.read_text() == "bye\n"


@asynchronous
async def test_killed_keeper_is_replaced_and_the_ptys_do_not_notice() -> None:
    link = PrivateLink()
    async with managed(link=link) as (manager, events):
        cat = await manager.spawn(command("/bin/cat"))
        flood = await manager.spawn(
            shell("seq 1000000; exit 7", buffer_size=8 * MIB, plain_output=True)
        )
        first = link.keeper_pid

        os.kill(first, signal.SIGKILL)
        await manager.write_input(cat.pty_id, b"here\n")

        await output_of(manager, cat, b"here\r\nhere")
        assert link.keeper_pid != first
        assert (await in_time(manager.wait_gone(flood.pty_id))).exit_code == 7
        data = manager.read(flood.pty_id).data
        assert data == b"".join(b"%d\n" % number for number in range(1, 1_000_001))
        assert (await manager.spawn(command("/bin/cat"))).state == "active"
        assert manager.get(cat.pty_id).state == "active"
        assert not events.of(cat, Topic.ERROR)


class _Murderous(PrivateLink):
    """Kills as many keepers as it is told as soon as they say hello."""

    kills = 0

    def _use_hello(self, hello: Mapping[str, Any], fds: Sequence[int]) -> None:
        super()._use_hello(hello, fds)
        if self.kills:
            self.kills -= 1
            os.kill(hello["pid"], signal.SIGKILL)


@asynchronous
async def test_keepers_may_die_as_soon_as_they_come() -> None:
    link = _Murderous()
    async with managed(link=link) as (manager, _events):
        record = await manager.spawn(command("/bin/cat"))
        for kills in range(3):
            link.kills = kills
            os.kill(link.keeper_pid, signal.SIGKILL)

            await in_time(manager.write_input(record.pty_id, b"%d\n" % kills))

            await output_of(manager, record, b"%d\r\n%d" % (kills, kills))


@pytest.mark.requirement("FR-003")
@asynchronous
async def test_child_has_what_the_program_has_at_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = PrivateLink()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)  # which may not see another directory or umask
    thread.start()
    async with managed(link=link) as (manager, _events):
        await link.begin()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WORD", "given")
        before = os.umask(0o027)
        resource.setrlimit(resource.RLIMIT_NOFILE, (517, hard))
        try:
            record = await manager.spawn(
                command("/bin/sh", "-c", "pwd; umask; ulimit -n; echo $WORD$OLDPWD", env=None)
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            os.umask(before)
            stop.set()
            thread.join()
        await manager.wait_gone(record.pty_id)

        words = manager.read(record.pty_id).data.decode().split()
        assert words[:3] == [str(tmp_path), "0027", "517"]
        assert words[3] == "given" + os.environ.get("OLDPWD", "")  # no shell has entered it
        assert record.cwd == str(tmp_path)


@pytest.mark.requirement("FR-003")
@asynchronous
async def test_stdin_of_the_program_reaches_the_child_and_nothing_else_does() -> None:
    link = PrivateLink()
    theirs, ours = os.pipe()
    leaked = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    passed = os.open("/dev/full", os.O_WRONLY)
    try:
        async with managed(link=link) as (manager, _events):
            record = await manager.spawn(
                shell(
                    "read x; echo got $x; ls -l /proc/$$/fd",
                    stdin_fd=theirs,
                    pass_fds={63: passed},
                )
            )
            os.write(ours, b"words\n")
            output = await output_of(manager, record, b"got words")
            await manager.wait_gone(record.pty_id)

            output += manager.read(record.pty_id).data
            assert b"/dev/zero" not in output
            assert b" 63 -> /dev/full" in output
            files = set(fds_of(link.keeper_pid).values())
            assert not files & {"/dev/zero", "/dev/full"}
            own = fds_of(os.getpid())
            assert not files & {own[1], own[2]} - {"/dev/null"}
    finally:
        for fd in (theirs, ours, leaked, passed):
            os.close(fd)


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize(
    ("interpreter", "reason"),
    [
        ("", "there is no Python interpreter"),
        ("/bin/true", "it ended at once"),
        ("/no/such/python", "No such file or directory"),
    ],
)
@asynchronous
async def test_program_without_an_interpreter_is_told_so_and_may_try_again(
    interpreter: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with managed() as (manager, events):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", interpreter)
            with pytest.raises(SpawnError, match=reason):
                await in_time(manager.spawn(command("/bin/cat")))

        (record,) = manager.list()
        assert (record.state, events.topics(record)[-1]) == ("errored", Topic.STOPPED)
        assert (await manager.spawn(command("/bin/cat"))).state == "active"


@pytest.mark.requirement("FR-007", "FR-012")
@asynchronous
async def test_ptys_end_also_while_no_keeper_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ptymux.link.private_link._WAIT_SECONDS", 0.05)
    link = PrivateLink()
    async with managed(link=link) as (manager, _events):
        record = await manager.spawn(command("/bin/cat"))
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        os.kill(link.keeper_pid, signal.SIGKILL)

        record = await in_time(manager.terminate(record.pty_id, grace_seconds=0.1))

        assert record.state == "stopped"


@asynchronous
async def test_ptys_wait_for_a_keeper_that_cannot_be_started_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = PrivateLink()
    async with managed(link=link) as (manager, _events):
        record = await manager.spawn(command("/bin/cat"))
        first = link.keeper_pid
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/no/such/python")
            os.kill(first, signal.SIGKILL)
            typing = asyncio.create_task(manager.write_input(record.pty_id, b"here\n"))
            await wait_until_async(lambda: caplog.text.count("no new keeper") > 1)
            assert not typing.done()

        await in_time(typing)

        await output_of(manager, record, b"here\r\nhere")
        assert link.keeper_pid != first


@pytest.mark.requirement("FR-003")
@asynchronous
async def test_errors_of_a_spawn_keep_their_facts() -> None:
    async with managed() as (manager, _events):
        with pytest.raises(CommandNotFoundError) as missing:
            await manager.spawn(command("no-such-command"))
        with pytest.raises(BadDirectoryError) as nowhere:
            await manager.spawn(command("/bin/cat", cwd="/no/such/place"))
        with pytest.raises(ArgumentsTooLongError) as long:
            await manager.spawn(command("/bin/cat", *["x" * 100_000] * 100))

    assert missing.value.command == "no-such-command"
    assert nowhere.value.directory == "/no/such/place"
    assert long.value.command == "/bin/cat"


@asynchronous
async def test_manager_without_a_pty_starts_nothing() -> None:
    before = fds_of(os.getpid())
    async with PtyManager() as manager:
        assert manager.list() == ()
        assert fds_of(os.getpid()) == before


@asynchronous
async def test_spawns_at_once_share_one_keeper() -> None:
    link = PrivateLink()
    async with managed(link=link) as (manager, _events):
        records = await asyncio.gather(*(manager.spawn(command("/bin/cat")) for _ in range(8)))

        assert children_of(os.getpid()) == [link.keeper_pid]
        for record in records:
            await manager.write_input(record.pty_id, b"x\n")
            await wait_until_async(lambda pty=record: b"x\r\nx" in manager.read(pty.pty_id).data)  # type: ignore[misc]

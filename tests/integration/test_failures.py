"""Spawns that fail: each with its reason, nothing left, the lane as useful as before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptymux.core.event_log import Topic
from ptymux.core.model import LaneId, SpawnOptions
from ptymux.errors import (
    ArgumentsTooLongError,
    BadDirectoryError,
    CommandNotFoundError,
    NotExecutableError,
    PtymuxError,
)
from ptymux.link.private_link import PrivateLink
from tests.integration.conftest import asynchronous, command, managed
from tests.processes import fds_of
from tests.timing import deadline_seconds

_LANE = LaneId("work")


def _not_found(path: Path) -> SpawnOptions:
    return command("no-such-command-anywhere", lane=_LANE)


def _directory(path: Path) -> SpawnOptions:
    return command(str(path), lane=_LANE)


def _not_executable(path: Path) -> SpawnOptions:
    (path / "plain").write_text("text")
    return command(str(path / "plain"), lane=_LANE)


def _bad_interpreter(path: Path) -> SpawnOptions:
    (path / "script").write_text("#!/no/such/interpreter\n")
    (path / "script").chmod(0o755)
    return command(str(path / "script"), lane=_LANE)


def _bad_cwd(path: Path) -> SpawnOptions:
    return command("true", cwd=str(path / "missing"), lane=_LANE)


def _too_long(path: Path) -> SpawnOptions:
    return command("true", "x" * 3_000_000, lane=_LANE)


@pytest.mark.requirement("FR-003", "SC-002")
@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (_not_found, CommandNotFoundError),
        (_directory, NotExecutableError),
        (_not_executable, NotExecutableError),
        (_bad_interpreter, NotExecutableError),
        (_bad_cwd, BadDirectoryError),
        (_too_long, ArgumentsTooLongError),
    ],
)
@asynchronous
async def test_failed_spawn_is_errored_with_its_reason(
    prepare: object, error: type[PtymuxError], tmp_path: Path
) -> None:
    assert callable(prepare)
    link = PrivateLink()
    async with managed(link=link) as (manager, events):
        standing = await manager.spawn(command("/bin/cat"))

        async def files() -> tuple[dict[int, str], dict[int, str]]:
            # The keeper answers in order: it has done all that it was asked for before.
            await link.is_canonical(standing.number)
            return fds_of(os.getpid()), fds_of(link.keeper_pid)

        before = await files()

        with pytest.raises(error) as raised:
            await manager.spawn(prepare(tmp_path))

        assert await files() == before
        (record,) = manager.get_by_lane(_LANE)
        assert (record.state, record.reason, record.pid) == ("errored", str(raised.value), None)
        assert events.topics(record) == [
            Topic.STATE_CHANGED,
            Topic.STATE_CHANGED,
            Topic.ERROR,
            Topic.STOPPED,
        ]
        assert events.steps(record) == ["idle", "spawning", "errored"]
        payload = events.one(record, Topic.ERROR).payload
        assert (payload["error"], payload["code"]) == (record.reason, error.code)
        assert events.one(record, Topic.STOPPED).payload["final_state"] == "errored"

        good = await manager.spawn(command("/bin/echo", "fine", lane=_LANE))
        assert (await manager.wait_gone(good.pty_id)).state == "stopped"
        assert [each.state for each in manager.get_by_lane(_LANE)] == ["errored", "stopped"]


_OUT_OF_FILES = """
import asyncio, os, resource
from ptymux.core.model import SpawnOptions
from ptymux.errors import OutOfResourcesError
from ptymux.manager import PtyManager
from ptymux.manager.termination import SessionScanner

async def main():
    async with PtyManager() as manager:
        options = SpawnOptions(argv=("cat",))
        first = await manager.spawn(options)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        fds = sorted(map(int, os.listdir("/proc/self/fd")))
        for room in range(1, 12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (fds[-1] + room, hard))
            try:
                record = await manager.spawn(options)
            except OutOfResourcesError as error:
                assert "open files" in str(error), error
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert sorted(map(int, os.listdir("/proc/self/fd"))) == fds, room
            else:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                await manager.terminate(record.pty_id)
                manager.remove(record.pty_id)
        states = [record.state for record in manager.list()]
        assert states[0] == "active" and set(states[1:]) == {"errored"} and len(states) > 3, states
        assert (await manager.spawn(options)).state == "active"

        # Whoever cannot look for processes waits until it can, and then closes by force.
        blind = []

        async def members(scanner, sid):
            try:
                return await look(scanner, sid)
            except OutOfResourcesError:
                blind.append(sid)
                if len(blind) == 2:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                raise

        look, SessionScanner.members = SessionScanner.members, members
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        assert (await manager.terminate(first.pty_id, grace_seconds=3600)).signal == 15
        assert len(blind) == 2, blind
        SessionScanner.members = look
        third = await manager.spawn(options)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        record = await manager.terminate(third.pty_id, grace_seconds=0.1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert record.state == "stopped", record
        await manager.wait_exited(third.pty_id)

asyncio.run(main())
print("done")
"""


@pytest.mark.requirement("FR-003", "FR-007")
def test_out_of_open_files_is_a_clear_error_and_hurts_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _OUT_OF_FILES],
        capture_output=True,
        text=True,
        timeout=deadline_seconds(),
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")

"""Where the keeper or the server may open few files: what is refused, and what goes on."""

from __future__ import annotations

import itertools
import operator
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from ptymux.client import stream
from ptymux.client.server_connection import ServerConnection
from ptymux.core.model import Limits, SpawnOptions
from ptymux.errors import OutOfResourcesError
from tests.processes import fd_count, fds_of, is_alive
from tests.serving import Serving
from tests.timing import deadline_text, wait_until
from tests.world import PTYMUX

FEW = 256
PER_PTY = 4  # in the keeper and in the server, at least
ENOUGH = 12  # more than a spawn takes at any moment in either


def spawn(connection: ServerConnection, *argv: str) -> dict[str, Any]:
    options = SpawnOptions(argv=argv, env={"PATH": os.environ["PATH"]}, cwd="/")
    pty: dict[str, Any] = connection.spawn(options)["pty"]
    return pty


def spawn_or_lack(connection: ServerConnection) -> dict[str, Any] | None:
    """Return a new PTY, or None when it was refused for lack of open files."""
    try:
        return spawn(connection, "sleep", "1000")
    except OutOfResourcesError as error:
        if "open files" not in str(error):
            raise
        return None


def spawn_until_refused(connection: ServerConnection) -> list[dict[str, Any]]:
    ptys: list[dict[str, Any]] = []
    while (pty := spawn_or_lack(connection)) is not None:
        ptys.append(pty)
    return ptys


def settled(connection: ServerConnection) -> dict[str, Any]:
    """Return the status of a server that has closed whatever is to be closed."""
    wait_until(lambda: connection.call("status")["connections"] == 1)
    return connection.call("status")


@contextmanager
def room_for(pid: int, count: int) -> Iterator[None]:
    """Let a process open so many files and no more; one that it is about to close comes on top."""
    used = fds_of(pid)
    free = (number for number in itertools.count() if number not in used)
    limit = next(itertools.islice(free, count, None))  # what is opened has a number below it
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
@pytest.mark.requirement("FR-003", "SC-002")
def test_at_a_low_limit_spawns_are_refused_and_everything_else_goes_on(no_server: Serving) -> None:
    line = f"ulimit -n {FEW}; exec {PTYMUX} server start"
    assert no_server.world.run("/bin/sh", "-c", line).returncode == 0
    with no_server.connect() as connection:
        status = settled(connection)
        before = fd_count(status["keeper_pid"]), fd_count(status["pid"])
        echo = spawn(connection, "cat")
        ptys = spawn_until_refused(connection)
        assert FEW // 2 < PER_PTY * len(ptys) < FEW

        code, words = no_server.refused("run", "-d", "--name", "late", "sleep", "1000")
        assert code == 125
        assert words.startswith("ptymux: out of open files")
        assert "end some PTYs" in words
        assert len(no_server.live()) == 1 + len(ptys)
        assert no_server.get("2")["shown"] == "running"
        offset = stream.send(connection, "1", b"still here\n")
        no_server.ok(
            "wait", "1", "--text", "still here", "--from", str(offset), "--timeout", deadline_text()
        )
        assert connection.call("get", pty="1")["pty"]["pty_id"] == echo["pty_id"]

        connection.call("kill", ptys=[pty["pty_id"] for pty in ptys[:3]])
        connection.call("remove", all=True)
        no_server.run("--name", "late", "sleep", "1000")
        assert no_server.get("late")["shown"] == "running"

        connection.call("kill", all=True)
        assert not any(is_alive(pty["pid"]) for pty in ptys)
        connection.call("remove", all=True)
        wait_until(lambda: fd_count(status["keeper_pid"]) <= before[0])
        wait_until(lambda: fd_count(status["pid"]) <= before[1])


@pytest.mark.requirement("FR-003", "FR-007")
@pytest.mark.parametrize("which", ["keeper_pid", "pid"])
def test_whichever_file_is_one_too_many_a_spawn_is_whole_or_nothing(
    own_server: Serving, which: str
) -> None:
    with own_server.connect() as connection:
        status = settled(connection)
        pids = status["keeper_pid"], status["pid"]
        first = spawn(connection, "sleep", "1000")
        before = [fd_count(pid) for pid in pids]
        refused = []
        for spare in range(ENOUGH):
            with room_for(status[which], spare):
                pty = spawn_or_lack(connection)
                if pty is None:
                    refused.append(spare)
                else:
                    connection.call("kill", ptys=[pty["pty_id"]])
                    assert not is_alive(pty["pid"])
            connection.call("remove", all=True)
            wait_until(lambda: all(map(operator.le, map(fd_count, pids), before)))
            assert connection.call("get", pty="1")["pty"]["pid"] == first["pid"]

    assert refused == list(range(len(refused)))
    assert 0 < len(refused) < ENOUGH


@pytest.mark.requirement("FR-004", "FR-007")
def test_without_a_single_open_file_left_a_server_still_ends_ptys(own_server: Serving) -> None:
    with own_server.connect() as connection:
        pid = settled(connection)["pid"]
        ptys = [spawn(connection, "sh", "-c", "sleep 1000 & wait") for _ in range(3)]
        wait_until(lambda: [*own_server.processes().values()].count("sleep 1000 ") == 3)
        with room_for(pid, 0):
            told = connection.call("signal", pty="1", signal="CONT")["envelopes"]
            killed = connection.call("kill", all=True)["ptys"]

    assert [each["outcome"] for each in told] == ["delivered"] * 2
    assert [pty["shown"] for pty in killed] == ["killed (TERM)"] * 3
    assert not any(is_alive(pty["pid"]) for pty in ptys)


def test_a_keeper_without_a_single_open_file_left_still_starts_another_server(
    own_server: Serving,
) -> None:
    with own_server.connect() as connection:
        status = settled(connection)
        pty = spawn(connection, "sleep", "1000")
    with room_for(status["keeper_pid"], 0):
        os.kill(status["pid"], signal.SIGKILL)
        wait_until(lambda: not is_alive(status["pid"]))

        found = own_server.get("1")
        own_server.ok("kill", "1")

    assert found["pid"] == pty["pid"]
    assert not is_alive(pty["pid"])


def test_a_client_for_which_no_open_file_is_left_is_told_so(own_server: Serving) -> None:
    with own_server.connect() as known:
        pid = settled(known)["pid"]

        def refused() -> subprocess.CompletedProcess[bytes] | None:
            with room_for(pid, 0):
                done = own_server.world.run("ls")
                assert known.call("list")["ptys"] == []
            return done if done.returncode else None  # a file had just been closed

        done = wait_until(refused, "a client that is refused")
        assert done is not None
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (125, b"", 1)
        assert done.stderr.startswith(b"ptymux: out of open files of the server")
    assert own_server.live() == []


@pytest.mark.slow
@pytest.mark.requirement("FR-003", "SC-002")
def test_either_process_is_replaced_with_no_open_file_left(no_server: Serving) -> None:
    line = f"ulimit -n {FEW}; exec {PTYMUX} server start"
    assert no_server.world.run("/bin/sh", "-c", line).returncode == 0
    with no_server.connect() as connection:
        ptys = spawn_until_refused(connection)
    pids = sorted(pty["pid"] for pty in ptys)

    for which in ("pid", "keeper_pid", "pid", "keeper_pid"):
        before = no_server.status()
        os.kill(before[which], signal.SIGKILL)
        wait_until(partial(is_replaced, no_server, which, before[which]))

        assert sorted(pty["pid"] for pty in no_server.live()) == pids


def is_replaced(server: Serving, which: str, before: int) -> bool:
    status: dict[str, Any] = server.status()
    return bool(status[which] != before)


@pytest.mark.requirement("SC-002")
def test_client_beyond_the_last_one_is_told_so_and_the_others_are_served(
    own_server: Serving,
) -> None:
    most = Limits().connections
    with own_server.connect() as first, ExitStack() as stack:
        for _ in range(most - 1):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            silent.connect(own_server.path)

        code, words = own_server.refused("ls")

        assert code == 125
        assert f"the number of clients is limited to {most}" in words
        assert first.call("status")["connections"] == most
    wait_until(lambda: own_server.world.run("ls").returncode == 0)

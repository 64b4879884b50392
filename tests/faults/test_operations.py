"""Kills in the middle of what clients ask for: it was done, or it was refused, and all agree."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from ptymux.client.attach_request import AttachRequest
from ptymux.client.stream import attach
from ptymux.errors import PtymuxError
from ptymux.posix.tty import read_size
from tests.faults.laws import EventFollower, Watch
from tests.processes import children_of, fd_count, is_alive, kill, resident, state_of
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

VICTIMS = ("pid", "keeper_pid")
FEW_OR_MANY = pytest.mark.parametrize("rounds", [1, pytest.param(200, marks=pytest.mark.faults)])


class Asking(threading.Thread):
    """Asks again and again until it is stopped; a refusal is fine, anything else is not."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.done = self.refused = 0
        self.wrong: list[BaseException] = []
        self._ask = ask
        self._is_stopping = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                self._ask()
                self.done += 1
            except PtymuxError:
                self.refused += 1
            except BaseException as error:
                self.wrong.append(error)
                return

    def stop(self) -> None:
        self._is_stopping.set()
        self.join(deadline_seconds())
        assert not self.is_alive()
        assert not self.wrong, self.wrong
        print(f"done {self.done}, refused {self.refused}")


def killing(server: Serving, moments: random.Random, rounds: int) -> None:
    """Kill one of the three again and again, each time once another is there."""
    for _ in range(rounds):
        time.sleep(moments.uniform(0, 0.1))
        which = moments.choice((*VICTIMS, "zygote"))
        before = server.pid_of(which)
        kill(before)
        wait_until(lambda which=which, before=before: server.pid_of(which) != before)  # type: ignore[misc]


def size_of(pid: int) -> tuple[int, int]:
    fd = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NOCTTY)
    try:
        size = read_size(fd)
        assert size is not None
    finally:
        os.close(fd)
    return size.cols, size.rows


@FEW_OR_MANY
def test_registry_and_kernel_agree_on_a_size(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    pty = own_server.sh("exec sleep 3600")

    def ask() -> None:
        own_server.call(
            "resize",
            pty=pty["pty_id"],
            cols=moments.randint(1, 500),
            rows=moments.randint(1, 500),
        )

    asking = Asking(ask)
    killing(own_server, moments, rounds)
    asking.stop()

    def agree() -> bool:
        told = own_server.get(pty)
        return (told["cols"], told["rows"]) == size_of(pty["pid"])

    wait_until(agree)
    events = EventFollower(own_server)
    events.check()
    resized = [event["payload"] for event in events.of["pty.resized"]]
    for before, after in pairwise(resized):
        assert before["new"] == after["old"]


@FEW_OR_MANY
def test_lives_are_whole_whatever_is_killed(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    """Spawn, attach, signal, kill, remove: each PTY has one beginning and one end in the events."""
    watch = Watch(own_server)

    def ask() -> None:
        pty = own_server.sh(moments.choice(("exit 3", "sleep 3600", "trap '' TERM; sleep 3600")))
        with suppress(PtymuxError), own_server.connect() as connection:
            attach(connection, AttachRequest(pty["pty_id"])).close()
        own_server.call("signal", pty=pty["pty_id"], signal="WINCH")
        own_server.call("kill", ptys=[pty["pty_id"]], grace=0.05)
        watch.look(pty)

    asking = Asking(ask)
    killing(own_server, moments, rounds)
    asking.stop()
    own_server.call("kill", all=True, grace=0.0)
    wait_until(lambda: own_server.call("list")["ptys"] == [])
    every = own_server.call("list", all=True)["ptys"]
    events = EventFollower(own_server)
    events.check()
    ended = {event["pty_id"] for event in events.of["pty.stopped"]}
    assert ended >= {pty["pty_id"] for pty in every}
    for pty in every:
        assert pty["state"] in ("stopped", "errored")
        if pty["pid"]:
            assert not is_alive(pty["pid"])
            stats = own_server.call("stats", pty=pty["pty_id"])["pty"]
            steps = [(step["from"], step["to"]) for step in stats["history"]]
            assert steps[:2] == [("idle", "spawning"), ("spawning", "active")], steps
            for before, after in pairwise(steps):
                assert before[1] == after[0]
    wait_until(lambda: set(own_server.processes()) == own_server.own())


@FEW_OR_MANY
def test_restart_while_something_is_killed(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    """Restarts one after the other, without a pause: they are answered or refused, and no more."""
    pty = own_server.sh("while read x; do echo got-$x; done")
    for _ in range(rounds):
        status = own_server.status()
        asking = Asking(lambda: own_server.call("restart"))
        time.sleep(moments.uniform(0, 0.4))
        with suppress(ProcessLookupError):
            kill(status[moments.choice(VICTIMS)])
        asking.stop()
        assert is_alive(pty["pid"])
        with own_server.attach(pty) as stream:
            assert stream.lifeline is not None
            before = own_server.get(pty)["buffer"]["total_written"]
            stream.lifeline.send_all(b"it\n")
            wait_until(lambda: own_server.get(pty)["buffer"]["total_written"] > before + 5)  # noqa: B023
        EventFollower(own_server).check()


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def zombies_of(pid: int) -> list[int]:
    return [child for child in children_of(pid) if state_of(child) == "Z"]


@pytest.mark.requirement("SC-001")
@pytest.mark.parametrize("cycles", [40, pytest.param(10_000, marks=pytest.mark.faults)])
def test_lives_in_a_row_leave_nothing(own_server: Serving, cycles: int) -> None:
    from ptymux.core.model import MIB, SpawnOptions

    status = own_server.status()
    pids = [status[name] for name in VICTIMS]
    options = SpawnOptions(argv=("/bin/true",), cwd="/", env={"SECRET": own_server.secret})
    figures: list[list[tuple[int, int, int]]] = []
    with own_server.connect() as connection:
        most_fds = [fd_count(pid) + 1 for pid in pids]

        def live() -> dict[str, Any]:
            pty: dict[str, Any] = connection.spawn(options, remove=True)["pty"]
            return pty

        def look() -> None:
            wait_until(lambda: not connection.call("list", all=True)["ptys"])
            wait_until(lambda: not zombies_of(status["keeper_pid"]))
            for pid, most in zip(pids, most_fds, strict=True):
                wait_until(lambda pid=pid, most=most: fd_count(pid) <= most)  # type: ignore[misc]
            figures.append([(fd_count(pid), threads_of(pid), resident(pid) // MIB) for pid in pids])

        for number in range(cycles):
            pty = live()
            if number % 10 == 0:
                with suppress(PtymuxError):
                    connection.call("wait", pty=pty["pty_id"], until="gone")
            if number in (cycles // 2, cycles - 1):
                look()
    print(f"{cycles} lives: fds, threads, MB of server and keeper: {figures}")
    half, whole = figures
    for before, after in zip(half, whole, strict=True):
        assert after[1] == before[1]
        assert after[2] <= before[2] + 4
    EventFollower(own_server).check()

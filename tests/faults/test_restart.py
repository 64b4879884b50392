"""Restarts at once, and kills in the middle of one: every PTY lives on, whatever happens."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any

import pytest

from tests.faults.laws import EventFollower, Watch
from tests.processes import is_alive
from tests.program import Program
from tests.serving import Serving
from tests.timing import wait_until

_OURS = ("ptymux.keeper.daemon", "ptymux.server.zygote")


def processes_of(server: Serving) -> list[int]:
    """Return the keepers, zygotes and servers that run at this moment, old and new ones."""
    lines = server.processes().items()
    return sorted(pid for pid, line in lines if any(name in line for name in _OURS))


def restarting(server: Serving) -> Program:
    return server.world.start("server", "restart", stdout=subprocess.DEVNULL)


def check_life(server: Serving, ptys: list[dict[str, Any]], watch: Watch) -> None:
    """Each PTY is there, with the child that it had, and answers what is typed."""
    assert {pty["pty_id"] for pty in server.call("list")["ptys"]} == {p["pty_id"] for p in ptys}
    for pty in ptys:
        assert is_alive(pty["pid"])
        before = server.get(pty)["buffer"]["total_written"]
        with server.attach(pty) as stream:
            assert stream.lifeline is not None
            stream.lifeline.send_all(b"it\n")
            wait_until(lambda: server.get(pty)["buffer"]["total_written"] > before + 5)  # noqa: B023
    watch.look(*ptys)
    EventFollower(server).check()


@pytest.mark.parametrize("rounds", [1, pytest.param(50, marks=pytest.mark.faults)])
def test_restarts_at_once_lose_no_pty(own_server: Serving, rounds: int) -> None:
    ptys = [own_server.sh("while read x; do echo got-$x; done") for _ in range(3)]
    watch = Watch(own_server)
    for number in range(rounds):
        before = own_server.status()
        restarts = [
            own_server.world.start("server", "restart", stdout=subprocess.DEVNULL)
            for _ in range(4 - number % 4)
        ]
        assert [restart.wait() for restart in restarts] == [0] * len(restarts)
        after = own_server.status()
        assert after["pid"] != before["pid"]
        assert after["keeper_pid"] != before["keeper_pid"]
        check_life(own_server, ptys, watch)
    wait_until(lambda: set(processes_of(own_server)) == own_server.own())


@pytest.mark.parametrize("rounds", [2, pytest.param(200, marks=pytest.mark.faults)])
def test_one_kill_during_a_restart_loses_no_pty(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    ptys = [own_server.sh("while read x; do echo got-$x; done") for _ in range(3)]
    watch = Watch(own_server)
    failed, took = 0, 1.0
    for number in range(rounds + 1):
        began = time.monotonic()
        restart = restarting(own_server)
        if number:  # the first one only shows how long it takes
            time.sleep(moments.uniform(0, took))
            with suppress(ProcessLookupError):
                os.kill(moments.choice(processes_of(own_server)), signal.SIGKILL)
        has_failed = restart.wait() != 0
        failed += has_failed
        if not has_failed:
            took = time.monotonic() - began
        check_life(own_server, ptys, watch)
        wait_until(lambda: set(processes_of(own_server)) == own_server.own())
    print(f"{failed} of {rounds} restarts said that they failed")

"""A clock that is set, forwards and back, while everything runs.

`libfaketime` gives the keeper and what it starts a wall clock that follows a file of the test's.
The children have the clock of the machine.
"""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from ptymux.client import autostart
from tests.faults.laws import EventFollower, Watch
from tests.faults.streams import goes_on, streaming
from tests.processes import is_alive, kill
from tests.serving import Serving
from tests.timing import wait_until

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
DAY = 86_400
JUMPS = (400 * DAY, -400 * DAY, 3600, -3600, 2, -2, 0)

pytestmark = [
    pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime"),
    pytest.mark.slow,  # seconds have to pass on a clock that is wrong
]


class Clock:
    """The wall clock of all that a keeper starts, `offset` seconds from that of the machine."""

    def __init__(self, server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = Path(f"{server.folder}-clock")
        self.offset = 0
        self.set(0)
        for name, value in {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }.items():
            monkeypatch.setenv(name, value)
            monkeypatch.setattr(autostart, "_KEPT_VARIABLES", (*autostart._KEPT_VARIABLES, name))

    def set(self, offset: int) -> None:
        text = f"{offset:+}s"
        new = self._file.with_suffix(".new")
        new.write_text(text)
        new.replace(self._file)
        self.offset = offset

    def shows(self, at: float) -> bool:
        """Whether a time of the keeper's or server's making is of now."""
        return abs(at - time.time() - self.offset) < 60

    def remove(self) -> None:
        self._file.unlink()
        for left in Path("/dev/shm").glob("*faketime_*_*"):  # of processes that were killed
            if not is_alive(int(left.name.rpartition("_")[2])):
                left.unlink(missing_ok=True)


@pytest.fixture
def clock(no_server: Serving, monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = Clock(no_server, monkeypatch)
    yield clock
    no_server.stop()
    clock.remove()


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.faults)])
def test_nothing_but_what_is_shown_follows_the_clock(
    no_server: Serving, clock: Clock, moments: random.Random, rounds: int
) -> None:
    no_server.start()
    pty, client = streaming(no_server)
    watch = Watch(no_server)
    for jump in moments.sample(JUMPS, len(JUMPS)) * rounds:
        clock.set(jump)
        goes_on(client)
        (told,) = watch.look(pty)
        assert told["state"] == "active"
        assert 0 < no_server.status()["uptime_seconds"] < 600
        victim = moments.choice(("", "pid", "keeper_pid"))
        if victim:
            kill(no_server.status()[victim])
            goes_on(client)
            watch.look(pty)
        other = no_server.sh("exit 3")
        assert clock.shows(no_server.get(other)["created_at"])
        with no_server.connect() as connection:
            waited = connection.call("wait", pty=other["pty_id"], exit=True)
        assert waited["pty"]["exit_code"] == 3
        stubborn = no_server.sh("trap '' HUP TERM; while :; do sleep 0.1; done", grace_seconds=0.3)
        no_server.ok("kill", stubborn["pty_id"])
    client.stop()
    client.check()
    EventFollower(no_server).check()
    no_server.call("kill", all=True)


@pytest.mark.parametrize("jump", [400 * DAY, -400 * DAY])
def test_a_clock_that_is_set_ends_no_server(
    no_server: Serving, clock: Clock, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    monkeypatch.setenv("PTYMUX_LEAVE_SECONDS", "4")
    no_server.start()
    keeper = no_server.status()["keeper_pid"]
    began = time.monotonic()  # before the last client left, or a stall would count as too early
    with socket.socket(socket.AF_UNIX) as last_client:
        last_client.connect(no_server.path)
        last_client.shutdown(socket.SHUT_WR)
        assert last_client.recv(1) == b""
    clock.set(jump)
    wait_until(lambda: not Path(f"/proc/{keeper}").exists())
    assert time.monotonic() - began >= 4


@pytest.mark.requirement("FR-007", "FR-012")
@pytest.mark.parametrize("jump", [400 * DAY, -400 * DAY])
def test_a_clock_that_is_set_neither_ends_a_pty_nor_lets_it_run_on(
    no_server: Serving, clock: Clock, jump: int
) -> None:
    no_server.start()
    long = no_server.sh("sleep 1000", timeout_seconds=3600.0)
    kept = no_server.sh("true", ttl_seconds=3600.0)
    short = no_server.sh("sleep 1000", timeout_seconds=1.0)
    clock.set(jump)
    for which in ("pid", "keeper_pid"):
        kill(no_server.status()[which])
        assert no_server.get(long)["state"] == "active"

    wait_until(lambda: no_server.get(short)["timed_out"])

    assert no_server.get(long)["state"] == "active"
    assert no_server.get(kept)["ttl_seconds"] == 3600.0
    no_server.call("kill", all=True)

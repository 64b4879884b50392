"""Keystrokes, while the server or the keeper is killed under them."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from typing import Any

import pytest

from ptymux.client.stream import Lifeline
from ptymux.errors import ConnectionClosedError
from tests.faults.test_keeper_killed import kill_keeper
from tests.processes import kill
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until


class Typist(threading.Thread):
    """Types numbered lines into a PTY, a piece of each at a time, as fast as it takes them."""

    def __init__(self, lifeline: Lifeline, pause: float) -> None:
        super().__init__(daemon=True)
        self.lines = 0
        self.is_cut = False
        self._pause = pause
        self._lifeline = lifeline
        self._is_stopping = threading.Event()
        self.start()

    def run(self) -> None:
        while not (self._is_stopping.is_set() or self.is_cut):
            line = b"%08d\n" % self.lines
            self.is_cut = not (
                self._lifeline.send_all(line[:5]) and self._lifeline.send_all(line[5:])
            )
            self.lines += 1
            time.sleep(self._pause)  # a typist is not that fast

    def stop(self) -> int:
        """Return how many bytes the terminal took."""
        self._is_stopping.set()
        self.join(deadline_seconds())
        return self._lifeline.finish()


def typed_in(server: Serving, seconds: float, pause: float, kills: Any) -> tuple[bytes, int, int]:
    """Type while `kills` does what it does; return what arrived, the lines, and what was taken."""
    got = f"{server.folder}/../{os.path.basename(server.folder)}.got"
    pty = server.sh(f"stty -icanon -echo min 1; echo ready; exec cat > {got}")
    try:
        wait_until(lambda: server.get(pty)["buffer"]["total_written"])
        with server.attach(pty) as stream:
            assert stream.lifeline is not None
            typist = Typist(stream.lifeline, pause)
            until_when = time.monotonic() + seconds
            while time.monotonic() < until_when:
                kills()
            try:
                taken = typist.stop()
            except ConnectionClosedError:
                taken = -1
            if taken < 0:  # nobody knows: it may be less by what is told as unknown
                taken = 9 * typist.lines - sum(unknown_of(server))
            wait_until(lambda: os.path.getsize(got) >= taken)
            with open(got, "rb") as file:
                return file.read(), typist.lines, taken
    finally:
        server.call("kill", all=True)
        os.unlink(got)


def unknown_of(server: Serving) -> list[int]:
    return [int(n) for n in re.findall(r"whether (\d+) bytes of input", server.log())]


def numbered(lines: int) -> bytes:
    return b"".join(b"%08d\n" % number for number in range(lines))


@pytest.mark.requirement("FR-010")
@pytest.mark.parametrize(
    ("seconds", "kills"), [(2.5, 4), pytest.param(60, 30, marks=pytest.mark.faults)]
)
@pytest.mark.parametrize(
    "pause", [0.0, pytest.param(0.002, marks=pytest.mark.faults)], ids=["fast", "steady"]
)
def test_every_keystroke_arrives_once_across_kills_of_the_server(
    own_server: Serving, moments: random.Random, pause: float, seconds: float, kills: int
) -> None:
    done = 0

    def kill_server() -> None:
        nonlocal done
        time.sleep(moments.uniform(0, 2 * seconds / kills))
        kill(own_server.status()["pid"])
        done += 1

    data, lines, taken = typed_in(own_server, seconds, pause, kill_server)

    assert done >= kills // 2
    assert data == numbered(lines)
    assert taken == len(data)
    print(f"{lines} lines, {done} kills of the server")


@pytest.mark.requirement("FR-010")
@pytest.mark.parametrize(
    ("seconds", "kills"), [(2.5, 4), pytest.param(60, 30, marks=pytest.mark.faults)]
)
@pytest.mark.parametrize(
    "pause", [pytest.param(0.0, marks=pytest.mark.faults), 0.002], ids=["fast", "steady"]
)
def test_no_keystroke_is_doubled_across_kills_of_the_keeper(
    own_server: Serving, moments: random.Random, pause: float, seconds: float, kills: int
) -> None:
    done = 0

    def kill_one() -> None:
        nonlocal done
        time.sleep(moments.uniform(0, 2 * seconds / kills))
        kill_keeper(own_server)
        done += 1

    data, lines, _taken = typed_in(own_server, seconds, pause, kill_one)

    unknown = unknown_of(own_server)
    whole, at = numbered(lines), 0
    missing = []
    while data and (same := _common(data, whole[at:])) < len(data):
        data, at = data[same:], at + same
        # What is missing is one piece, no longer than a chunk.
        skip = next((n for n in range(1, 4097) if whole[at + n : at + n + 18] == data[:18]), 0)
        assert skip, (data[:40], whole[at : at + 40])
        missing.append(skip)
        at += skip
    print(f"{lines} lines, {done} kills of the keeper, unknown {unknown}, missing {missing}")
    assert len(whole) - at - len(data) <= sum(unknown)
    assert len(missing) <= len(unknown)
    assert sum(missing) <= sum(unknown)
    assert len(unknown) <= done


def _common(a: bytes, b: bytes) -> int:
    """Return how long a beginning two texts share."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle - 1)
    return low

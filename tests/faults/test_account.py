"""kill -9 of the server again and again beside a stopped client: no number is ever false."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from ptymux.core.model import KIB, Limits
from tests.faults.laws import EventFollower, Watch
from tests.faults.streams import FLOOD, PACED, Client
from tests.processes import kill
from tests.program import Program
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

_CAPACITY = 256 * KIB
_LOOK_SECONDS = 0.1


def stopped_follower(server: Serving, pty: dict[str, Any]) -> Program:
    """Return a `logs -f` that reads, and is then stopped by a signal."""
    follower = server.world.start("logs", "-f", pty["pty_id"], stdout=-3, stderr=-3)
    wait_until(lambda: server.get(pty)["clients"] == 1)
    wait_until(lambda: server.get(pty)["buffer"]["total_consumed"] > 0)
    os.kill(follower.pid, signal.SIGSTOP)
    return follower


def goes_on_dropping(look: Callable[[], int]) -> None:
    """Return once more was dropped than when this was called."""
    before = look()
    wait_until(lambda: look() > before)


@pytest.mark.requirement("PENDING", "LAW-PTY", "OVERFLOW")
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.faults)])
@pytest.mark.parametrize(
    "argv", [PACED, pytest.param(FLOOD, marks=pytest.mark.faults)], ids=["paced", "flood"]
)
def test_every_number_is_true_all_the_time_beside_a_stopped_follower(
    own_server: Serving, argv: tuple[str, ...], rounds: int
) -> None:
    pty = own_server.spawn(*argv, plain_output=True, buffer_size=_CAPACITY)
    other = own_server.spawn(*PACED, plain_output=True, buffer_size=_CAPACITY)
    follower = stopped_follower(own_server, pty)
    reader = Client(own_server, other, types=True)
    watch = Watch(own_server)

    def look() -> int:
        stopped, followed = (each["buffer"] for each in watch.look(pty, other))
        assert max(stopped["pending"], followed["pending"]) <= Limits.CHUNK  # one client each
        return int(stopped["total_dropped"])

    wait_until(lambda: own_server.get(pty)["buffer"]["backpressure"])
    for _ in range(rounds):
        kill(own_server.status()["pid"])
        for _ in range(10):
            look()
            time.sleep(_LOOK_SECONDS)  # between two looks
        goes_on_dropping(look)

    assert own_server.get(pty)["buffer"]["backpressure"]
    os.kill(follower.pid, signal.SIGCONT)
    own_server.call("kill", all=True)
    follower.wait()
    reader.join(deadline_seconds())
    reader.stop()
    ends = watch.look(pty, other)
    events = EventFollower(own_server)
    events.check()
    for end in ends:
        assert events.overflow_of(end) == end["buffer"]["total_dropped"]
        assert end["buffer"]["pending"] == 0
    told = [e["payload"] for e in events.of["pty.buffer.overflow"] if e["pty_id"] == pty["pty_id"]]
    assert all(later["total_dropped"] >= event["total_dropped"] for event, later in pairwise(told))
    assert reader.offset == ends[1]["buffer"]["total_written"]
    assert sum(e["pty_id"] == pty["pty_id"] for e in events.of["pty.backpressure.on"]) == 1

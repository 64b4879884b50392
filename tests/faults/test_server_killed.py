"""kill -9 of the server: no byte, no number and no event goes with it."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence

import pytest

from ptymux.core.model import OnFull
from tests.faults.laws import EventFollower, Watch, memfds_of
from tests.faults.streams import FLOOD, PACED, Client
from tests.processes import kill
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

FEW_OR_MANY = pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=pytest.mark.faults)])


def report(name: str, seconds: Sequence[float]) -> None:
    """Print how long it took: for a person to read, as it depends on what else is running."""
    ordered = sorted(1000 * each for each in seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    print(
        f"{name}: p50 {statistics.median(ordered):.0f}, p95 {p95:.0f}, worst {ordered[-1]:.0f} ms"
    )


def back_after(client: Client, server: int) -> float:
    """Kill the server; return how long after that a client had a byte from another one."""
    before = client.attachments
    began = time.monotonic()
    kill(server)
    wait_until(lambda: client.attachments > before and client.first_byte_at)
    return client.first_byte_at - began


@FEW_OR_MANY
@pytest.mark.parametrize(
    "argv", [FLOOD, pytest.param(PACED, marks=pytest.mark.faults)], ids=["flood", "paced"]
)
@pytest.mark.parametrize(
    "on_full",
    [OnFull.BLOCK, pytest.param(OnFull.DROP, marks=pytest.mark.faults)],
    ids=["block", "drop"],
)
def test_kills_of_the_server_cost_no_byte(
    no_server: Serving,
    moments: random.Random,
    argv: tuple[str, ...],
    on_full: OnFull,
    rounds: int,
) -> None:
    no_server.start(quick=0)
    pty = no_server.spawn(*argv, plain_output=True, on_full=on_full)
    watch = Watch(no_server)
    raw = Client(no_server, pty, types=True)
    pipe = Client(no_server, pty, "lossless", lifeline=True)
    clients = [raw, pipe, Client(no_server, pty), Client(no_server, pty, "observer")]
    took = []
    try:
        for _ in range(rounds):
            time.sleep(moments.uniform(0, 0.2))
            took.append(back_after(raw, no_server.status()["pid"]))
            watch.look(pty)
        wait_until(lambda: pipe.attachments > rounds)
    finally:
        no_server.call("kill", ptys=[pty["pty_id"]])
        for client in clients:
            client.join(deadline_seconds())
    for client in clients:
        client.stop()
    (end,) = watch.look(pty)
    buffer = end["buffer"]
    events = EventFollower(no_server)
    events.check()
    assert events.overflow_of(pty) == buffer["total_dropped"]
    for client in clients:
        assert client.end is not None
        assert client.offset == buffer["total_written"]
    if on_full is OnFull.BLOCK:
        assert pipe.skipped == 0
        assert buffer["total_written"] == pipe.delivered == buffer["total_consumed"]
        assert buffer["total_dropped"] == buffer["unread"] == 0
    report(f"back, {rounds} kills, {buffer['total_written']} bytes", took)


@pytest.mark.parametrize("rounds", [3, pytest.param(200, marks=pytest.mark.faults)])
def test_kills_in_a_row_cost_no_number(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    pty = own_server.spawn(*FLOOD, plain_output=True, on_full=OnFull.BLOCK, buffer_size=256 * 1024)
    lossy = own_server.spawn(*PACED, plain_output=True, buffer_size=64 * 1024)
    watch = Watch(own_server)
    pipe = Client(own_server, pty, "lossless", lifeline=True)
    reader = Client(own_server, lossy, types=True)
    status = own_server.status()
    before = [memfds_of(status[name]) for name in ("keeper_pid", "pid")]
    for _ in range(rounds):
        time.sleep(moments.uniform(0, 0.05))
        kill(own_server.status()["pid"])
        watch.look(pty, lossy)
    own_server.call("kill", all=True)
    for client in (pipe, reader):
        client.join(deadline_seconds())
        client.stop()
    end, lossy_end = watch.look(pty, lossy)
    assert pipe.delivered == end["buffer"]["total_written"] == end["buffer"]["total_consumed"]
    assert end["buffer"]["total_dropped"] == 0
    events = EventFollower(own_server)
    events.check()
    assert events.overflow_of(lossy) == lossy_end["buffer"]["total_dropped"]
    assert len(events.of["pty.stopped"]) == 2
    status = own_server.status()
    assert status["server_replaced"] == rounds
    wait_until(lambda: [memfds_of(status[name]) for name in ("keeper_pid", "pid")] == before)

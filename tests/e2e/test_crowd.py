"""Three hundred PTYs at once: all there, all listed, cheap, and gone without a trace."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ptymux.client.server_connection import ServerConnection
from ptymux.core.model import MIB, LaneId, Limits, SpawnOptions
from ptymux.errors import LimitReachedError
from tests.processes import children_of, fd_count, is_alive, proportional
from tests.serving import Serving
from tests.timing import is_measured, wait_until

CROWD = Limits().ptys
# Of keeper, zygote and server together, in proportional shares: for the crowd, and without it.
MOST_MEMORY_OF_CROWD, MOST_MEMORY_AT_REST = 14 * MIB, 36 * MIB


class Processes:
    """The processes that serve somewhere, as the system sees them."""

    def __init__(self, server: Serving) -> None:
        status = server.status()
        self.keeper, self.server = int(status["keeper_pid"]), int(status["pid"])
        self.zygote = server.zygote()

    def fds(self) -> tuple[int, int]:
        return fd_count(self.keeper), fd_count(self.server)

    def children(self) -> list[int]:
        return children_of(self.keeper)

    def memory(self) -> int:
        """Return their proportional shares of memory in bytes."""
        return sum(proportional(pid) for pid in (self.keeper, self.zygote, self.server))


def spawn_crowd(connection: ServerConnection) -> list[dict[str, Any]]:
    env = {"PATH": os.environ["PATH"]}
    return [
        connection.spawn(
            SpawnOptions(argv=("sleep", "1000"), env=env, lane=LaneId(f"lane{number % 3}"))
        )["pty"]
        for number in range(CROWD)
    ]


def check_all_gone(server: Serving, pids: list[int], its: Processes, fds: tuple[int, int]) -> None:
    """Check that nothing of the crowd is left but what `ls -a` tells, and then not even that."""
    assert server.live() == []
    assert not any(is_alive(pid) for pid in pids)
    wait_until(lambda: its.children() == [its.zygote])
    assert len(server.json("ls", "-a")["ptys"]) == Limits().ended_ptys
    server.world.run("rm", "--all")
    wait_until(lambda: all(now <= then for now, then in zip(its.fds(), fds, strict=True)))


@pytest.mark.slow
@pytest.mark.requirement("NFR-003", "FR-002")
def test_three_hundred_live_at_once_the_next_is_refused_and_all_end_together(
    own_server: Serving,
) -> None:
    its = Processes(own_server)
    before = its.fds()
    at_rest = its.memory()
    with own_server.connect() as connection:
        ptys = spawn_crowd(connection)
        memory = its.memory()
        with pytest.raises(LimitReachedError) as refusal:
            connection.spawn(SpawnOptions(argv=("true",), env={}, cwd="/"))

        first = connection.call("list")
        second = connection.call("list", after=first["next"])
    listed = own_server.live()
    lane = own_server.ok("ls", "-q", "--lane", "lane1").split()
    pids = [pty["pid"] for pty in ptys]
    code, words = own_server.refused("run", "-d", "true")
    done = own_server.world.run("kill", "--all")

    assert [pty["number"] for pty in listed] == list(range(1, CROWD + 1))
    pages = [*first["ptys"], *second["ptys"]]
    assert [pty["number"] for pty in pages] == list(range(1, CROWD + 1))
    assert (first["next"], second["next"]) == (first["ptys"][-1]["number"], None)
    assert {pty["pid"] for pty in listed} == set(pids)
    assert {pty["shown"] for pty in listed} == {"running"}
    assert lane == [pty["pty_id"] for pty in ptys[1::3]]
    assert f"limited to {CROWD}" in str(refusal.value)
    assert (code, words) == (125, f"ptymux: {refusal.value}\n")
    assert done.stderr.decode() == f"{CROWD} PTYs ended\n"
    assert is_measured() or memory - at_rest < MOST_MEMORY_OF_CROWD
    assert is_measured() or at_rest < MOST_MEMORY_AT_REST
    check_all_gone(own_server, pids, its, before)


@pytest.mark.stress
def test_three_hundred_can_be_started_by_the_command(own_server: Serving) -> None:
    its = Processes(own_server)
    before = its.fds()

    ids = [own_server.run("sleep", "1000") for _ in range(CROWD)]

    listed = own_server.live()
    assert [pty["pty_id"] for pty in listed] == ids
    assert own_server.refused("run", "-d", "true")[0] == 125
    own_server.world.run("kill", "--all")
    check_all_gone(own_server, [pty["pid"] for pty in listed], its, before)

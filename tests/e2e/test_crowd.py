"""Three hundred PTYs at once: all there, all listed, cheap, and gone without a trace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ptymux.client.autostart import start_server
from ptymux.client.server_connection import ServerConnection
from ptymux.core.model import MIB, LaneId, Limits, SpawnOptions
from ptymux.errors import LimitReachedError
from tests.e2e.serving import Served
from tests.processes import is_alive
from tests.timing import wait_until

CROWD = Limits().ptys
MOST_MEMORY = 40 * MIB  # of keeper, zygote and server together, in proportional shares
IS_MEASURED = "COVERAGE_PROCESS_CONFIG" in os.environ  # commands and servers carry the tracer then


class Processes:
    """The processes that serve somewhere, as the system sees them."""

    def __init__(self, served: Served) -> None:
        status = served.json("server", "status")
        self.keeper, self.server = int(status["keeper_pid"]), int(status["pid"])
        (self.zygote,) = self.children()

    def fds(self) -> tuple[int, int]:
        keeper, server = (len(os.listdir(f"/proc/{pid}/fd")) for pid in (self.keeper, self.server))
        return keeper, server

    def children(self) -> list[int]:
        path = f"/proc/{self.keeper}/task/{self.keeper}/children"
        return [int(word) for word in Path(path).read_text().split()]

    def memory(self) -> int:
        """Return their proportional shares of memory in bytes."""
        return sum(_proportional(pid) for pid in (self.keeper, self.zygote, self.server))


def _proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def spawn_crowd(connection: ServerConnection) -> list[dict[str, Any]]:
    env = {"PATH": os.environ["PATH"]}
    return [
        connection.spawn(
            SpawnOptions(argv=("sleep", "1000"), env=env, lane=LaneId(f"lane{number % 3}"))
        )["pty"]
        for number in range(CROWD)
    ]


def check_all_gone(served: Served, pids: list[int], its: Processes, fds: tuple[int, int]) -> None:
    """Check that nothing of the crowd is left but what `ls -a` tells, and then not even that."""
    assert served.live() == []
    assert not any(is_alive(pid) for pid in pids)
    assert its.children() == [its.zygote]
    assert len(served.json("ls", "-a")["ptys"]) == Limits().ended_ptys
    served.world.run("rm", "--all")
    wait_until(lambda: all(now <= then for now, then in zip(its.fds(), fds, strict=True)))


@pytest.mark.requirement("NFR-003", "FR-002")
def test_three_hundred_live_at_once_the_next_is_refused_and_all_end_together(
    served: Served,
) -> None:
    start_server(served.path)
    its = Processes(served)
    before = its.fds()
    with ServerConnection(served.path) as connection:
        ptys = spawn_crowd(connection)
        memory = its.memory()
        with pytest.raises(LimitReachedError) as refusal:
            connection.spawn(SpawnOptions(argv=("true",), env={}, cwd="/"))

        first = connection.call("list")
        second = connection.call("list", after=first["next"])
    listed = served.live()
    lane = served.ok("ls", "-q", "--lane", "lane1").split()
    pids = [pty["pid"] for pty in ptys]
    code, words = served.refused("run", "-d", "true")
    done = served.world.run("kill", "--all")

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
    assert IS_MEASURED or memory < MOST_MEMORY
    check_all_gone(served, pids, its, before)


@pytest.mark.stress
def test_three_hundred_can_be_started_by_the_command(served: Served) -> None:
    start_server(served.path)
    its = Processes(served)
    before = its.fds()

    ids = [served.start("sleep", "1000") for _ in range(CROWD)]

    listed = served.live()
    assert [pty["pty_id"] for pty in listed] == ids
    assert served.refused("run", "-d", "true")[0] == 125
    served.world.run("kill", "--all")
    check_all_gone(served, [pty["pid"] for pty in listed], its, before)

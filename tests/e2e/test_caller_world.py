"""A command has the limits and priorities of who asked for it, whoever started the server."""

from __future__ import annotations

import pytest

from tests.serving import Serving
from tests.world import PTYMUX

SHOW = "ulimit -St; ulimit -Sf; ulimit -Ss; nice"


@pytest.mark.requirement("FR-003")
def test_a_server_does_not_pass_on_the_limits_that_it_was_started_with(no_server: Serving) -> None:
    world = no_server.world
    limits = "ulimit -S -t 2; ulimit -S -f 100; ulimit -S -v 4000000"
    assert world.run("/bin/sh", "-c", f"{limits}; exec {PTYMUX} run true").returncode == 0

    told = world.run("run", "/bin/sh", "-c", SHOW).stdout.split()
    own = world.run("/bin/sh", "-c", SHOW).stdout.split()

    assert told == own
    status = no_server.status()
    for name in ("pid", "keeper_pid"):
        with open(f"/proc/{status[name]}/limits") as limited:
            cpu = next(line.split() for line in limited if line.startswith("Max cpu time"))
        assert cpu[3] == cpu[4]


@pytest.mark.requirement("FR-003")
def test_a_command_has_the_limits_and_priorities_of_its_caller(server: Serving) -> None:
    line = f"ulimit -S -t 77; ulimit -S -f 100; ulimit -S -s 4096; exec nice -n 3 {PTYMUX}"

    for how in (f"/bin/sh -c '{SHOW}'", f"/proc/self/root/bin/sh -c '{SHOW}'"):
        done = server.world.run("/bin/sh", "-c", f"{line} run {how}")
        assert done.stdout.split() == [b"77", b"100", b"4096", done.stdout.split()[-1]]
        assert done.stderr == b""
    assert done.stdout.split()[-1] == b"%d" % (
        int(server.world.run("/bin/sh", "-c", "nice").stdout) + 3
    )

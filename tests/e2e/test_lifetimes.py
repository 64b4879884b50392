"""`ptymux run --timeout` and `--ttl`."""

from __future__ import annotations

import pytest

from tests.serving import Serving
from tests.timing import wait_until


@pytest.mark.requirement("FR-007")
def test_a_timeout_ends_with_124_everywhere(server: Serving) -> None:
    pty_id = server.run("--timeout", "300ms", "sleep", "1000")

    piped = server.world.run("run", "--summary", "--timeout", "100ms", "sleep", "1000")
    waited = server.world.run("wait", pty_id)

    assert piped.returncode == waited.returncode == 124
    assert b"timed out" in piped.stderr
    assert server.json("stats", pty_id)["pty"]["timed_out"]
    assert server.get(pty_id)["state"] == "errored"
    assert server.ok("ls", "-a").count("timed out") == 2
    assert server.ok("wait", pty_id, "--state", "timed out")


def test_a_command_that_ends_in_time_ends_as_it_does(server: Serving) -> None:
    assert server.world.run("run", "--timeout", "10m", "sh", "-c", "exit 3").returncode == 3


@pytest.mark.requirement("FR-012")
def test_a_time_to_live_forgets_the_pty_but_not_before_who_runs_it(server: Serving) -> None:
    done = server.world.run("run", "--ttl", "1ms", "echo", "hello")
    server.run("--ttl", "1ms", "true")

    assert (done.returncode, done.stdout) == (0, b"hello\n")
    wait_until(lambda: server.json("ls", "-a")["ptys"] == [])


def test_rm_is_a_time_to_live_of_none(server: Serving) -> None:
    status, text = server.refused("run", "-d", "--rm", "--ttl", "1h", "true")
    assert (status, "--ttl 0" in text) == (2, True)

    server.run("--ttl", "0", "true")

    wait_until(lambda: server.json("ls", "-a")["ptys"] == [])

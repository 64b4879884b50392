"""Timeouts and times to live, of a server that is replaced meanwhile."""

from __future__ import annotations

import json

import pytest

from tests.processes import kill
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import windows


@pytest.mark.requirement("FR-007", "FR-012")
def test_both_go_on_over_the_kills_of_server_and_keeper(no_server: Serving) -> None:
    no_server.world.env |= windows(clients_return=0.1)
    limits = ("--timeout", "1500ms", "--ttl", "100ms")
    pty_id = no_server.run(*limits, "sleep", "1000")
    no_server.kill_server()
    kill(no_server.status()["keeper_pid"])
    assert no_server.get(pty_id)["timeout_seconds"] == 1.5

    wait_until(lambda: no_server.call("list", all=True)["ptys"] == [])

    events = map(json.loads, no_server.ok("events", "--json", "--since", "0").splitlines())
    (stopped,) = (each for each in events if each["topic"] == "pty.stopped")
    assert stopped["pty_id"] == pty_id
    assert stopped["payload"]["timed_out"]

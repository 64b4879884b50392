from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ptymux.client.reconnect import RetryPolicy
from ptymux.client.requests import Requests
from ptymux.client.server_connection import ServerConnection
from ptymux.errors import ConnectionClosedError
from tests.client.clock import FakeClock
from tests.client.stub import Peer, StubServer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def asked(tmp_path: Path, clock: FakeClock) -> Iterator[Requests]:
    """Requests to a server that is there all the time."""

    def serve(peer: Peer) -> None:
        peer.greet()
        peer.receive()

    path = str(tmp_path / "s")
    policy = RetryPolicy(clock=clock)
    with StubServer(path, serve), Requests(ServerConnection(path), policy) as asked:
        yield asked


def broken(_connection: ServerConnection) -> str:
    raise ConnectionClosedError("the server is gone")


def test_each_server_that_served_for_a_while_may_have_a_replacement(
    asked: Requests, clock: FakeClock
) -> None:
    served = 0

    def wait(connection: ServerConnection) -> str:
        nonlocal served
        served += 1
        clock.sleep(4.0)  # what it serves, which takes longer in all than one may be away
        return "done" if served == 4 else broken(connection)

    assert asked.repeating(wait) == "done"


def test_servers_that_go_away_at_once_are_given_up(asked: Requests, clock: FakeClock) -> None:
    with pytest.raises(ConnectionClosedError, match="did not come back within 10 s"):
        asked.repeating(broken)

    assert sum(clock.slept) == pytest.approx(10.0, abs=0.1)


def test_a_request_after_closing_is_refused_at_once(asked: Requests, clock: FakeClock) -> None:
    asked.close()

    for ask in (asked.repeating, asked.once):
        with pytest.raises(ConnectionClosedError, match="was closed"):
            ask(lambda connection: connection.call("status"))
    assert clock.slept == []

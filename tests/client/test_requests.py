from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptymux.client import reconnect
from ptymux.client.requests import Requests
from ptymux.client.server_connection import ServerConnection
from ptymux.errors import ConnectionClosedError
from tests.client.stub import Peer, StubServer


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "_AWAY_SECONDS", 0.3)
    monkeypatch.setattr(reconnect, "_SERVED_SECONDS", 0.1)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Requests]:
    """Requests to a server that is there all the time."""

    def serve(peer: Peer) -> None:
        peer.greet()
        peer.receive()

    path = str(tmp_path / "s")
    with StubServer(path, serve), Requests(ServerConnection(path)) as asked:
        yield asked


def broken(_connection: ServerConnection) -> str:
    raise ConnectionClosedError("the server is gone")


@pytest.mark.usefixtures("quick")
def test_each_server_that_served_for_a_while_may_have_a_successor(asked: Requests) -> None:
    served = 0

    def wait(connection: ServerConnection) -> str:
        nonlocal served
        served += 1
        threading.Event().wait(
            0.2
        )  # what it serves, which takes longer in all than one is waited for
        return "done" if served == 4 else broken(connection)

    assert asked.repeating(wait) == "done"


@pytest.mark.usefixtures("quick")
def test_servers_that_go_away_at_once_are_given_up(asked: Requests) -> None:
    with pytest.raises(ConnectionClosedError, match="did not come back"):
        asked.repeating(broken)

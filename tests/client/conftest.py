"""A real server, for what cannot be told of a stub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import ptymux
from ptymux import Client
from tests.processes import kill
from tests.server.conftest import Place, fresh, place
from tests.timing import wait_until

__all__ = ["client", "fresh", "kill_server", "place"]


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    """A client of a server that runs."""
    with ptymux.connect(place.path, start=False) as client:
        yield client


def kill_server(place: Place) -> None:
    """Kill the server's process; return once another one is there."""

    before = place.status()["pid"]
    kill(before)
    wait_until(lambda: place.status()["pid"] != before)

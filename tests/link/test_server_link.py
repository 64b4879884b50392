"""A server's side of the link, when the keeper is not as it should be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from ptymux.errors import LinkClosedError
from ptymux.handover.wire import LINK_VERSION, Outbox
from ptymux.link.server_link import ServerLink
from tests.timing import deadline_seconds


def greeted_by(*messages: Mapping[str, Any]) -> list[str]:
    """Return why the link was lost after these messages and the end of the keeper."""

    async def run() -> list[str]:
        lost: list[str] = []
        ours, theirs = socket.socketpair()
        link = ServerLink(theirs, "/nowhere", lost.append)
        with ours:
            outbox = Outbox(ours)
            for message in messages:
                outbox.send(message)
        with pytest.raises(LinkClosedError):
            await asyncio.wait_for(link.greeting(), deadline_seconds())
        await link.close()
        return lost

    return asyncio.run(run())


def test_a_keeper_that_dies_before_its_hello_ends_the_server() -> None:
    assert greeted_by() == ["the link is closed"]


def test_a_keeper_of_another_version_is_told_by_its_number() -> None:
    (reason,) = greeted_by({"op": "hello", "version": LINK_VERSION + 1, "slots": 0})
    assert f"version {LINK_VERSION + 1}, and this server {LINK_VERSION}" in reason


@pytest.mark.parametrize("message", [{}, {"op": "slot"}, {"op": "reports", "reports": [["z"]]}])
def test_what_cannot_be_understood_closes_the_link(message: Mapping[str, Any]) -> None:
    assert len(greeted_by(message)) == 1

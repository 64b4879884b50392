"""Clients that ask without end, beside a follower of a PTY that writes 4 MB a second."""

from __future__ import annotations

import select
import sys
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from tests.faults.streams import Client
from tests.server.raw_client import greeted, request
from tests.serving import Serving
from tests.timing import deadline_seconds

_SECONDS = 10.0
_WRITER = """import os, time
at, began = 0, time.monotonic()
while True:
    text = b"".join(b"%015d\\n" % n for n in range(at, at + 500))
    while text:
        text = text[os.write(1, text):]
    at += 500
    time.sleep(max(0.0, began + at * 16 / 4e6 - time.monotonic()))  # 4 MB a second
"""


class Asker(threading.Thread):
    """Sends requests as fast as the server takes them, and throws the answers away."""

    def __init__(self, server: Serving, pty: str) -> None:
        super().__init__(daemon=True)
        self.answered = 0  # bytes
        self.is_stopping = False
        self._sock = greeted(server)
        self._sock.setblocking(False)
        self._requests = b"".join(request("stats", f'{{"pty":"{pty}"}}', n) for n in range(200))
        self.start()

    def run(self) -> None:
        with self._sock as sock:
            rest = b""
            while not self.is_stopping:
                select.select([sock], [sock], [], 0.1)
                rest = rest or self._requests
                with suppress(BlockingIOError):
                    rest = rest[sock.send(rest) :]
                with suppress(BlockingIOError):
                    self.answered += len(sock.recv(1 << 20))


@pytest.mark.faults
@pytest.mark.requirement("SC-002", "NFR-004")
def test_beside_clients_that_ask_without_end_others_are_served(own_server: Serving) -> None:
    pty = own_server.spawn(sys.executable, "-ISc", _WRITER, plain_output=True)
    follower = Client(own_server, pty)
    alone = _lists(own_server)
    with ExitStack() as stack:
        askers = [Asker(own_server, pty["pty_id"]) for _ in range(16)]
        for asker in askers:
            stack.callback(setattr, asker, "is_stopping", True)
        beside = _lists(own_server)

    own_server.call("kill", all=True)
    follower.join(deadline_seconds())
    follower.stop()
    for asker in askers:
        asker.join(deadline_seconds())
        assert asker.answered
    print(f"lists: {alone} alone, {beside} beside 16; skipped {follower.skipped}")
    assert follower.skipped == 0
    assert beside > alone / 10


def _lists(server: Serving) -> int:
    """Return how often a new client was told what there is, within some seconds."""
    count = 0
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        server.call("list")
        count += 1
    return count

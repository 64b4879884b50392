"""A real server for a test, ended with all its PTYs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ptymux.client.autostart import start_server
from ptymux.client.server_connection import ServerConnection
from ptymux.errors import PtymuxError
from tests.e2e.conftest import World
from tests.processes import wait_gone
from tests.timing import deadline_text, wait_until


class Server:
    """The server of a world, and what tests ask of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.path = str(world.socket)
        start_server(self.path)
        status = self.call("status")
        self._pids = {int(status["pid"]), int(status["keeper_pid"])}

    def call(self, method: str, **params: object) -> dict[str, Any]:
        with ServerConnection(self.path) as connection:
            return connection.call(method, **params)

    def start(self, name: str, line: str, *options: str) -> str:
        """Run a shell line in a PTY of this name; return its id."""
        done = self.world.run("run", "-d", "--name", name, *options, "-c", line)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def pty(self, pty: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("get", pty=pty)["pty"]
        return found

    def kill(self) -> None:
        """Kill the server's process; its keeper starts another."""
        pid = int(self.call("status")["pid"])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self._pid() not in (None, pid))

    def _pid(self) -> int | None:
        with suppress(PtymuxError):
            pid = int(self.call("status")["pid"])
            self._pids.add(pid)
            return pid
        return None

    def text(self, *words: str) -> str:
        """Return what a command printed, which must succeed."""
        limit = ("--timeout", deadline_text()) if words[0] == "wait" else ()
        done = self.world.run(*words, *limit)
        assert done.returncode == 0, (words, done.returncode, done.stderr)
        return done.stdout.decode()

    def end(self) -> None:
        with suppress(PtymuxError):
            self.call("shutdown", force=True)
        wait_gone(*self._pids)


@contextmanager
def running_server(world: World) -> Iterator[Server]:
    server = Server(world)
    try:
        yield server
    finally:
        server.end()


def objects(text: bytes) -> dict[str, Any]:
    found = json.loads(text)
    assert isinstance(found, dict)
    return found

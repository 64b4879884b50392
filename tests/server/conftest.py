"""A keeper with its server at a socket of the test's own; all of it is gone at the end.

While coverage is measured both run without the flags that would hide them from it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ptymux.client import autostart
from ptymux.client.attach_request import AttachRequest
from ptymux.client.server_connection import ServerConnection
from ptymux.client.stream import Stream, attach
from ptymux.core.model import SpawnOptions
from ptymux.errors import PtymuxError
from ptymux.protocol.framing import Exit, Gap, Out
from tests.processes import children_of, kill_all, marked
from tests.timing import wait_until

_MEASURED = "COVERAGE_PROCESS_CONFIG"
_SEEN_KEEPER = (
    "import ptymux.keeper.zygote_client as zygote; zygote._FLAGS = '-B'; "
    "from ptymux.keeper.daemon import main; main()"
)


class Place:
    """A folder for a socket, and what runs there."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="ptymux-t", dir="/tmp")
        self.path = f"{self.folder}/s.sock"
        self.secret = secrets.token_hex(16)  # in the environment of every child
        self.keepers: set[int] = set()

    def start(self) -> bool:
        started = autostart.start_server(self.path)
        self.status()
        return started

    def connect(self, **options: Any) -> ServerConnection:
        """Connect, trying again while a server is being replaced."""
        return wait_until(
            lambda: ServerConnection(self.path, **options),
            "a server that takes a connection",
            ignoring=PtymuxError,
        )

    def status(self) -> dict[str, Any]:
        with self.connect() as connection:
            found = connection.call("status")
        self.keepers.add(found["keeper_pid"])
        return found

    def zygote(self) -> int:
        """Return the pid of what the keeper has servers forked from, once that is there."""
        found: list[int] = []

        def is_there() -> bool:
            status = self.status()
            forked = {pid for pid, line in self.processes().items() if "server.zygote" in line}
            # A server is the keeper's child, too, when the zygote that it came from is gone.
            found[:] = forked.intersection(children_of(status["keeper_pid"])) - {status["pid"]}
            return len(found) == 1

        wait_until(is_there)
        return found[0]

    def pid_of(self, which: str) -> int:
        """Return a pid: of the `zygote`, or as `status` has it by this name."""
        return self.zygote() if which == "zygote" else int(self.status()[which])

    def own(self) -> set[int]:
        """Return the pids of keeper, zygote and server."""
        status = self.status()
        return {status["keeper_pid"], self.zygote(), status["pid"]}

    def await_only_own(self) -> None:
        """Wait until nothing runs here but keeper, zygote and server."""
        own: set[int] = set()
        others: dict[int, str] = {}

        def are_gone() -> bool:
            nonlocal own, others
            own = self.own()
            others = {pid: line for pid, line in self.processes().items() if pid not in own}
            return not others

        try:
            wait_until(are_gone)
        except AssertionError:
            stats = [Path(f"/proc/{pid}/stat").read_text()[:60] for pid in others]
            pytest.fail(f"left: {others}, {stats}; own: {own}; {self.call('list', all=True)}")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        with self.connect() as connection:
            return connection.call(method, **params)

    def get(self, pty: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.call("get", pty=pty["pty_id"])["pty"]
        return found

    def spawn(self, *argv: str, remove: bool = False, **options: Any) -> dict[str, Any]:
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "SECRET": self.secret}
        options.setdefault("env", env)
        options.setdefault("cwd", "/")
        with self.connect() as connection:
            spawned = connection.spawn(SpawnOptions(argv=argv, **options), remove=remove)
        pty: dict[str, Any] = spawned["pty"]
        return pty

    def sh(self, script: str, **options: Any) -> dict[str, Any]:
        return self.spawn("/bin/sh", "-c", script, **options)

    def attach(self, pty: dict[str, Any], **options: Any) -> Stream:
        with self.connect() as connection:
            return attach(connection, AttachRequest(pty["pty_id"], **options))

    def output(self, pty: dict[str, Any], **options: Any) -> tuple[bytes, int, dict[str, Any]]:
        """Return all output of a PTY until its end, how much was missed, and how it ended."""
        with self.attach(pty, wants_input=False, **options) as stream:
            return collect(stream)

    def log(self) -> str:
        folder = Path(self.folder)
        return "".join(path.read_text() for path in sorted(folder.glob("s.log*")))

    def processes(self) -> dict[int, str]:
        """Return what runs here: keepers, zygotes, servers and children."""
        return marked(self.secret, self.path)

    def stop(self) -> None:
        with suppress(PtymuxError), ServerConnection(self.path) as connection:
            connection.call("shutdown", force=True)
        wait_until(lambda: not self.processes())

    def end(self) -> None:
        kill_all(self.processes())
        shutil.rmtree(self.folder, ignore_errors=True)


def collect(stream: Stream) -> tuple[bytes, int, dict[str, Any]]:
    data, missed, end = bytearray(), 0, {}
    for frame in stream:
        match frame:
            case Out():
                data += frame.data
            case Gap():
                missed += frame.end - frame.start
            case Exit():
                end = frame.pty
    return bytes(data), missed, end


def read_until(stream: Stream, text: bytes) -> bytes:
    data = bytearray()
    for frame in stream:
        if isinstance(frame, Out):
            data += frame.data
            if text in data:
                return bytes(data)
    raise AssertionError(f"{text!r} did not come: {bytes(data[-500:])!r}")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place where nothing runs yet."""
    if _MEASURED in os.environ:
        monkeypatch.setattr(autostart, "_FLAGS", "-B")
        monkeypatch.setattr(autostart, "_KEEPER", _SEEN_KEEPER)
        kept = (*autostart._KEPT_VARIABLES, _MEASURED)
        monkeypatch.setattr(autostart, "_KEPT_VARIABLES", kept)
    place = Place()
    try:
        yield place
        place.stop()
        left = sorted(set(os.listdir(place.folder)) - {"s.log", "s.log.1"})
        assert not left, f"files left: {left}"
        log = place.log()
        assert "Traceback" not in log, log
        assert place.secret not in log
    finally:
        place.end()


@pytest.fixture
def place(fresh: Place) -> Place:
    """A place where a server runs."""
    fresh.start()
    return fresh

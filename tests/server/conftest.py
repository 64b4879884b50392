"""A keeper with its server at a socket of the test's own; all of it is gone at the end.

While coverage is measured both run without the flags that would hide them from it.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

DEADLINE_SECONDS = 30.0
_MEASURED = "COVERAGE_PROCESS_CONFIG"
_SEEN_KEEPER = (
    "import ptymux.keeper.zygote_client as zygote; zygote._FLAGS = '-B'; "
    "from ptymux.keeper.daemon import main; main()"
)


def until(condition: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)  # polls the condition above


def is_alive(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return words[0] != "Z"


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    """Signal a process and return once it is gone."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signum)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(1000 * DEADLINE_SECONDS), f"process {pid} does not end"
    finally:
        os.close(pidfd)


def children_of(pid: int) -> list[int]:
    with suppress(OSError):  # a server may not know yet that its keeper is gone
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def fds_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


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
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                return ServerConnection(self.path, **options)
            except PtymuxError:
                if time.monotonic() > deadline:
                    raise

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

        until(is_there)
        return found[0]

    def pid_of(self, which: str) -> int:
        """Return a pid: of the `zygote`, or as `status` has it by this name."""
        return self.zygote() if which == "zygote" else int(self.status()[which])

    def own(self) -> set[int]:
        """Return the pids of keeper, zygote and server."""
        status = self.status()
        return {status["keeper_pid"], self.zygote(), status["pid"]}

    def await_only_own(self, seconds: float) -> None:
        """Wait until nothing runs here but keeper, zygote and server."""
        own: set[int] = set()
        others: dict[int, str] = {}

        def are_gone() -> bool:
            nonlocal own, others
            own = self.own()
            others = {pid: line for pid, line in self.processes().items() if pid not in own}
            return not others

        try:
            until(are_gone, seconds)
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
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (folder / "cmdline").read_bytes()
                words = line.replace(b"\0", b" ").decode(errors="replace")
                marked = self.secret.encode() in (folder / "environ").read_bytes()
                if (marked or self.path in words) and is_alive(int(folder.name)):
                    found[int(folder.name)] = words
        found.pop(os.getpid(), None)
        return found

    def stop(self) -> None:
        with suppress(PtymuxError), ServerConnection(self.path) as connection:
            connection.call("shutdown", force=True)
        until(lambda: not self.processes())

    def end(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
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


@contextmanager
def soft_deadline(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds

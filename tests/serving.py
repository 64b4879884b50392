"""The one harness for a real keeper with its server, at a socket in a folder of its own.

A test asks the server as a client in its own process does (`call`, `sh`, `attach`), and as people
do, by the installed command (`ok`, `refused`, `json`). Fixtures in `tests/conftest.py` give three:

    server      runs already, shared by the tests of a worker; each one leaves it as it found it
    own_server  runs already, for this test only: what kills, stops, starves or counts takes it
    no_server   a socket where nobody serves yet

At the end all of it is gone and has left nothing: no process, no file but the log, no traceback and
no secret in that.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from unittest import mock

from ptymux.client import autostart
from ptymux.client.attach_request import AttachRequest
from ptymux.client.blocking import connect
from ptymux.client.server_connection import ServerConnection
from ptymux.client.stream import Stream, attach
from ptymux.core.model import SpawnOptions
from ptymux.errors import ConnectionClosedError, NoServerError, PtymuxError
from ptymux.protocol.framing import Exit, Gap, Out
from tests.processes import children_of, fd_count, is_alive, kill, kill_all, marked, wait_gone
from tests.timing import deadline_seconds, deadline_text, is_measured, wait_until
from tests.world import World, windows

__all__ = ["Serving", "collect", "ended", "read_until", "seen_by_coverage"]

_MEASURED = "COVERAGE_PROCESS_CONFIG"
_SEEN_KEEPER = (
    "import ptymux.keeper.zygote_client as zygote; zygote._FLAGS = '-B'; "
    "from ptymux.keeper.daemon import main; main()"
)


@contextmanager
def seen_by_coverage(is_wanted: bool = True) -> Iterator[None]:
    """Start keepers and servers without the flags that would hide them from coverage."""
    if not (is_wanted and is_measured()):
        yield
        return
    kept = (*autostart._KEPT_VARIABLES, _MEASURED)
    with mock.patch.multiple(autostart, _FLAGS="-B", _KEEPER=_SEEN_KEEPER, _KEPT_VARIABLES=kept):
        yield


_LOOKS: Final = ("get", "list", "stats", "status")


class Serving:
    """A folder for a socket, and what runs there."""

    def __init__(self, leave_seconds: float | None = None) -> None:
        self.folder = tempfile.mkdtemp(prefix="ptymux-t", dir="/tmp")
        self._leave_seconds = leave_seconds
        self.path = f"{self.folder}/s.sock"
        self.world = World(self.path)
        self.keepers: set[int] = set()  # that were seen to serve
        self._at_start: dict[str, Any] = {}
        self._log_size = 0  # when the test began

    @property
    def secret(self) -> str:
        """A word in the environment of everything that the test starts, and nowhere else."""
        return self.world.mark

    # The server as a whole -------------------------------------------------------------------

    def start(self, **seconds: float) -> bool:
        """Start a server whose time windows are these; False: somebody else was faster."""
        started = self.launch(**seconds)
        self.status()
        return started

    def launch(self, **seconds: float) -> bool:
        """Do as `start` does, but do not ask the server for anything."""
        with mock.patch.dict(os.environ, windows(**seconds)):
            return autostart.start_server(self.path, leave_seconds=self._leave_seconds)

    def connect(self, **options: Any) -> ServerConnection:
        """Connect, trying again while a server is being replaced.

        Raises:
            PtymuxError: none came, and why the last try failed.
        """
        with suppress(AssertionError):  # the last try says more
            return wait_until(
                lambda: ServerConnection(self.path, **options),
                "a server that takes a connection",
                ignoring=PtymuxError,
            )
        return ServerConnection(self.path, **options)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Return the answer; what only looks is asked again if the server dies meanwhile."""

        def ask() -> tuple[dict[str, Any]]:
            with self.connect() as connection:
                return (connection.call(method, **params),)

        if method not in _LOOKS:
            return ask()[0]
        return wait_until(ask, f"an answer to {method}", ignoring=ConnectionClosedError)[0]

    def status(self) -> dict[str, Any]:
        found = self.call("status")
        self.keepers.add(found["keeper_pid"])
        return found

    def zygote(self) -> int:
        """Return the pid of what the keeper has servers forked from, once that is there."""

        found: list[int] = []

        def is_there() -> bool:
            status = self.status()
            zygotes = {pid for pid, line in self.processes().items() if "server.zygote" in line}
            # A server is the keeper's child, too, when the zygote that it came from is gone.
            found[:] = zygotes.intersection(children_of(status["keeper_pid"])) - {status["pid"]}
            return len(found) == 1

        wait_until(is_there, "a zygote, and only one")
        return found[0]

    def is_there(self) -> bool:
        """Whether a keeper lives that was seen to serve."""
        return any(map(is_alive, self.keepers))

    def pid_of(self, which: str) -> int:
        """Return a pid: of the `zygote`, or as `status` has it by this name."""
        return self.zygote() if which == "zygote" else int(self.status()[which])

    def own(self) -> set[int]:
        """Return the pids of keeper, zygote and server."""
        status = self.status()
        return {status["keeper_pid"], self.zygote(), status["pid"]}

    def processes(self) -> dict[int, str]:
        """Return pid and command of what runs here: keepers, zygotes, servers and children."""
        return marked(self.path, self.secret)

    def others(self) -> dict[int, str]:
        """Return what runs here besides keeper, zygote and server."""
        own = self.own()
        return {pid: line for pid, line in self.processes().items() if pid not in own}

    def await_only_own(self) -> None:
        """Wait until nothing runs here but keeper, zygote and server."""
        wait_until(lambda: not self.others(), "keeper, zygote and server alone")

    def kill_server(self) -> None:
        """Kill the server's process; return once another one serves."""
        before = self.status()["pid"]
        kill(before)
        wait_until(lambda: self.status()["pid"] != before)

    def log(self) -> str:
        folder = Path(self.folder)
        return "".join(path.read_text() for path in sorted(folder.glob("s.log*")))

    # PTYs, as a client in this process has them ----------------------------------------------

    def get(self, pty: Mapping[str, Any] | str) -> dict[str, Any]:
        """Return a PTY as it is now, by its name, number or id, or as it was before."""
        name = pty if isinstance(pty, str) else pty["pty_id"]
        found: dict[str, Any] = self.call("get", pty=name)["pty"]
        return found

    def live(self) -> list[dict[str, Any]]:
        """Return the live PTYs."""
        with connect(self.path, start=False) as client:
            return [dict(pty) for pty in client.list()]

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

    def attach(self, pty: Mapping[str, Any], **options: Any) -> Stream:
        """Attach, trying again if the server is replaced meanwhile."""

        def begin() -> Stream:
            with self.connect() as connection:
                return attach(connection, AttachRequest(pty["pty_id"], **options))

        return wait_until(begin, "an attachment", ignoring=ConnectionClosedError)

    def output(self, pty: Mapping[str, Any], **options: Any) -> tuple[bytes, int, dict[str, Any]]:
        """Return all output of a PTY until its end, how much was missed, and how it ended."""
        with self.attach(pty, wants_input=False, **options) as stream:
            return collect(stream)

    def await_text(self, pty: str, regex: str) -> None:
        """Return once a PTY has written this; it need not be the last thing."""
        with connect(self.path, start=False) as client:
            assert client.wait_text(pty, regex, timeout=deadline_seconds())

    # The installed command -------------------------------------------------------------------

    def ok(self, *words: str) -> str:
        """Return what a command printed; it must succeed and complain of nothing."""
        patience = ("--timeout", deadline_text()) if words[0] == "wait" else ()
        done = self.world.run(*words, *(patience if "--timeout" not in words else ()))
        assert (done.returncode, done.stderr.decode()) == (0, ""), words
        return done.stdout.decode()

    def refused(self, *words: str) -> tuple[int, str]:
        """Return the exit code and the one line of a command that must print nothing else."""
        done = self.world.run(*words)
        assert done.stdout == b""
        assert done.stderr.decode().count("\n") == 1
        return done.returncode, done.stderr.decode()

    def json(self, *words: str) -> Any:
        """Return the JSON that a command printed."""
        return json.loads(self.ok(*words, "--json"))

    def run(self, *words: str) -> str:
        """Return the id of a PTY that `run -d` with these words made."""
        return self.ok("run", "-d", *words).strip()

    # The end ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a test at a server that others had before: with commands of its own."""
        self.world = World(self.path)
        self._log_size = len(self.log())
        if not self._at_start:
            self.zygote()  # which may take a moment to be there
            wait_until(lambda: self._state()["connections"] == 1)
            self._at_start = self._state()

    def _state(self) -> dict[str, Any]:
        """Return what a test that has ended must not have changed."""
        with self.connect() as connection:  # one connection, and this one: else fds would differ
            status = connection.call("status")
            fds = [fd_count(status[name]) for name in ("keeper_pid", "pid")]
        state = {name: status[name] for name in ("keeper_pid", "pid", "connections", "ptys")}
        return state | {"processes": sorted(self.processes()), "fds": fds}

    def tidy(self) -> None:
        """Remove every PTY of the test; return once all is as it was before.

        Raises:
            AssertionError: it is another server; or a process, a connection, an open file or a
                word in the log is left.
        """
        pids = {name: self.status()[name] for name in ("keeper_pid", "pid")}
        assert pids.items() <= self._at_start.items(), "another server than before the test"
        self.call("kill", all=True, grace=0.0)
        self.call("remove", all=True)
        wait_until(lambda: self._state() == self._at_start, "a server as it was before the test")
        self.world.reap()
        self._check_log(self.log()[self._log_size :])

    def _check_log(self, text: str) -> None:
        assert "Traceback" not in text, text
        assert self.secret not in text

    def stop(self) -> None:
        """End the server with all its PTYs; return once no process is left."""
        wait_until(self._ask_to_end, "a server that can be asked to end", ignoring=PtymuxError)
        wait_until(self._are_gone, "the end of all processes")

    def _ask_to_end(self) -> bool:
        with suppress(NoServerError), ServerConnection(self.path) as connection:
            connection.call("shutdown", force=True)
        return True

    def _are_gone(self) -> bool:
        """Wait for all but the test's own commands, which may have their reasons to go on."""
        pids = self.processes().keys() - self.world.pids()
        wait_gone(*pids)
        return not pids

    def check_left(self) -> None:
        """Hold a server that has ended to leaving its log and nothing else."""
        wait_until(lambda: not self.processes(), "an end without a process left")
        left = sorted(set(os.listdir(self.folder)) - {"s.log", "s.log.1"})
        assert not left, f"files left: {left}"
        self._check_log(self.log())

    def end(self) -> None:
        """Kill what a failed test left, and remove the files."""
        self.world.end()
        kill_all(self.processes())
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def ended(serving: Serving) -> Iterator[Serving]:
    """Stop what serves after the block, and hold it to leaving nothing."""
    try:
        yield serving
        serving.stop()
        serving.check_left()
    finally:
        serving.end()


def collect(stream: Stream) -> tuple[bytes, int, dict[str, Any]]:
    """Return all output until the end, how much was missed, and how the PTY ended."""
    stream._sock.settimeout(deadline_seconds())
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
    """Return the output until `text` was among it."""
    stream._sock.settimeout(deadline_seconds())
    data = bytearray()
    for frame in stream:
        if isinstance(frame, Out):
            data += frame.data
            if text in data:
                return bytes(data)
    raise AssertionError(f"{text!r} did not come: {bytes(data[-500:])!r}")

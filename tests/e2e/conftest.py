"""The installed command, driven from outside; every process it starts is gone when a test ends."""

from __future__ import annotations

import fcntl
import os
import secrets
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import pexpect  # type: ignore[import-untyped]
import pytest

from ptymux.client.server_connection import ServerConnection
from ptymux.errors import PtymuxError
from tests.e2e.serving import Served
from tests.processes import kill_all, marked, wait_gone
from tests.program import Program
from tests.timing import Wait, deadline_seconds, wait_until

PTYMUX = str(Path(sys.executable).parent / "ptymux")
Shell: TypeAlias = Any  # a pexpect.spawn, which has no types
_MEASURED = "COVERAGE_PROCESS_CONFIG"
_KINDS = {"run", "ls", "stats", "logs", "send", "wait", "kill", "rm", "events", "server", "status"}
_SEEN: Counter[str] = Counter()  # kinds of commands, in all tests
_MARK = "PTYMUX_E2E"  # in the environment of all that a test starts


class World:
    """Starts commands in an environment of their own."""

    def __init__(self, socket: Path) -> None:
        self.mark = secrets.token_hex(8)
        self.socket = socket  # of a server of its own, should a command start one
        home = ("PATH", "HOME", "LANG", "LC_ALL", _MEASURED)
        self.env = {key: os.environ[key] for key in home if key in os.environ}
        self.env |= {_MARK: self.mark, "TERM": "xterm", "SHELL": "/bin/sh"}
        self.env["PTYMUX_SOCKET"] = str(socket)
        self.env["XDG_CONFIG_HOME"] = str(socket.parent / "config")  # where there is none
        self._started: list[Program] = []
        self._seen: Counter[str] = Counter()  # kinds of commands, in this test

    def start(self, *argv: str, env: Mapping[str, str] | None = None, **options: Any) -> Program:
        """Start `argv`, or ptymux with these words when the first one is no path."""
        command = argv if argv and argv[0].startswith("/") else (PTYMUX, *argv)
        environment = self.env | dict(env or {})
        if not self._is_worth_measuring(argv):
            environment.pop(_MEASURED, None)
        process = Program(command, env=environment, **options)
        self._started.append(process)
        return process

    def _is_worth_measuring(self, argv: Sequence[str]) -> bool:
        """Whether to trace a command: what was often seen shows nothing new, at 0.1 s each."""
        kind = " ".join(word for word in argv[:3] if word in _KINDS or word.startswith("-"))
        self._seen[kind] += 1
        _SEEN[kind] += 1
        return self._seen[kind] <= 2 and _SEEN[kind] <= 100

    def run(
        self, *argv: str, input: bytes | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Return how it ended and what it wrote; stdin is empty unless told otherwise."""
        options.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        with self.start(*argv, **options) as process:
            out, err = process.communicate(input)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def processes(self) -> dict[int, str]:
        """Return pid and command of all that was started here and lives."""
        return marked(f"{_MARK}={self.mark}")

    def _stop_server(self) -> None:
        with suppress(PtymuxError), ServerConnection(str(self.socket)) as connection:
            status = connection.call("status")
            pids = (int(status["keeper_pid"]), int(status["pid"]))
            connection.call("shutdown", force=True)
            wait_gone(*pids)

    def _servers(self) -> dict[int, str]:
        """Return pid and command of every keeper and server at the world's socket."""
        return marked(f"{self.socket}\0")

    def end(self) -> None:
        """Stop the server that was started, if any; kill and reap what a failed test left."""
        if self.socket.exists():
            self._stop_server()
        kill_all(self.processes() | self._servers())
        for process in self._started:
            with process:
                pass


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Where commands run; the test fails when it leaves a process."""
    world = World(tmp_path_factory.mktemp("s") / "s")
    try:
        yield world
        wait_until(lambda: not world.processes())
    finally:
        world.end()


class Tty:
    """A terminal of the test's own: a command sits at its slave, the test reads and types."""

    def __init__(self, world: World, cols: int, rows: int) -> None:
        self.world = world
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)
        self.resize(cols, rows)
        self.modes = termios.tcgetattr(self.slave)
        self.shown = bytearray()
        self.process: Program

    def run(self, *argv: str, env: Mapping[str, str] | None = None, **options: Any) -> None:
        """Start ptymux as the leader of a session that this terminal controls."""
        ends = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave} | options

        def take_terminal() -> None:
            fcntl.ioctl(0 if ends["stdin"] == self.slave else 1, termios.TIOCSCTTY, 0)

        self.process = self.world.start(
            *argv, env=env, start_new_session=True, preexec_fn=take_terminal, **ends
        )

    def resize(self, cols: int, rows: int) -> None:
        termios.tcsetwinsize(self.master, (rows, cols))

    def type(self, keys: bytes, *, reading: bool = True) -> None:
        """Type all of `keys`, and read what is shown meanwhile."""

        def gone() -> bool:
            nonlocal keys
            with suppress(BlockingIOError):
                keys = keys[os.write(self.master, keys) :]
            if reading:
                self.read()
            return not keys

        wait_until(gone, "a terminal that takes what is typed")

    def read(self) -> bool:
        """Take what is shown now; return whether there was something."""
        before = len(self.shown)
        while len(self.shown) < before + 1_000_000 and (data := self.read_some()):
            self.shown += data
        return len(self.shown) > before

    def read_some(self) -> bytes:
        try:
            return os.read(self.master, 65536)
        except OSError:  # EAGAIN: nothing now; EIO: nobody has the slave open
            return b""

    def read_slowly(self, condition: Callable[[], object]) -> None:
        """Read as a slow terminal does, some 4 KB each 5 ms, until the condition comes true."""
        wait = Wait(condition)
        while not wait.is_over():
            self.shown += self.read_some()
            time.sleep(0.005)  # what a slow terminal is

    def wait_for(self, text: bytes) -> None:
        def is_shown() -> bool:
            return text in self.shown or (self.read() and text in self.shown)

        try:
            wait_until(is_shown, f"{text!r} on the terminal")
        except AssertionError as error:
            pytest.fail(f"{error}; shown: {self.shown[-2000:]!r}")

    def wait_raw(self) -> None:
        wait_until(lambda: not self.is_canonical, "a terminal in raw mode")

    @property
    def is_canonical(self) -> bool:
        return bool(termios.tcgetattr(self.slave)[3] & termios.ICANON)

    def wait(self) -> int:
        """Return the exit code once it ended, and have read everything."""

        def ended() -> bool:
            self.read()
            return self.process.poll() is not None

        wait_until(ended, "the end of the command")
        while self.read():
            pass
        return self.process.returncode

    def hang_up(self) -> None:
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1

    def close(self) -> None:
        if self.master >= 0:
            self.hang_up()


@pytest.fixture
def tty(world: World) -> Iterator[Tty]:
    """A terminal of 100x30."""
    tty = Tty(world, 100, 30)
    yield tty
    tty.close()


@pytest.fixture
def shell(world: World) -> Iterator[Shell]:
    """An interactive bash with job control; its prompt is `$ `."""
    env = world.env | {"PS1": "$ ", "PS2": "", "HISTFILE": ""}
    env["PATH"] = f"{Path(PTYMUX).parent}:{env['PATH']}"
    words = ["--norc", "--noprofile", "-i"]
    shell = pexpect.spawn("/bin/bash", words, env=env, echo=False, timeout=deadline_seconds())
    shell.expect_exact("$ ")
    yield shell
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()


@pytest.fixture
def served(world: World) -> Iterator[Served]:
    """A socket of the test's own; the server that a command starts there is stopped at the end."""
    served = Served(world)
    try:
        yield served
        served.stop()
        wait_until(lambda: not served.processes())
        assert {Path(name).suffix for name in os.listdir(served.folder)} <= {".log", ".lock"}
    finally:
        served.clear()

"""Terminals and shells of the test's own, at which the installed command is used."""

from __future__ import annotations

import fcntl
import os
import signal
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import pexpect  # type: ignore[import-untyped]
import pytest

from tests.processes import children_of
from tests.program import Program
from tests.timing import Wait, deadline_seconds, wait_until
from tests.world import PTYMUX, World

Shell: TypeAlias = Any  # a pexpect.spawn, which has no types


# That end whoever does not catch them: those that are sent, and some that only faults send.
ENDING_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGABRT,
    signal.SIGSEGV,
    signal.SIGALRM,
    signal.SIGUSR1,
    signal.SIGRTMIN + 1,
)


@pytest.fixture
def is_server_seen() -> bool:
    """No: it is commands that are tested here."""
    return False


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
        searched = 0  # bytes: a flood that comes in small pieces is not searched from its start

        def is_found() -> bool:
            nonlocal searched
            start, searched = max(0, searched - len(text)), len(self.shown)
            return self.shown.find(text, start) >= 0

        def is_shown() -> bool:
            return is_found() or (self.read() and is_found())

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


def job_of(shell: Shell) -> int:
    """Return the pid of the only job of a shell."""
    (pid,) = children_of(shell.pid)
    return pid

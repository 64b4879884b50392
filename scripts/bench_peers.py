"""Who is compared: a keeper with its server, tmux and dtach, all driven in the same way.

Each starts a command that nobody is attached to, has a client attach to the last one at a terminal
of ours, and tells what CPU time its long-lived processes used.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol, Self

from bench_figures import BenchError

from ptymux.client.autostart import start_server
from ptymux.client.server_connection import ServerConnection
from ptymux.core.model import SpawnOptions
from ptymux.errors import PtymuxError

__all__ = ["PTYMUX", "Clock", "Dtach", "Ours", "Peer", "Terminal", "Tmux", "cpu_of", "peers"]

PTYMUX: Final = str(Path(sys.executable).parent / "ptymux")
DEADLINE_SECONDS: Final = 60.0
ENVIRONMENT: Final = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/",
    "TERM": "xterm-256color",
    "LANG": "C.UTF-8",
    "SHELL": "/bin/sh",
}


def cpu_of(pid: int) -> float:
    """Return the seconds that a process of one thread has run so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


class Clock:
    """A FIFO into which a child writes moments of the monotonic clock."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/clock-{secrets.token_hex(4)}"
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR)  # open for writing too: it never hangs up

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)
        os.unlink(self.path)

    def take(self) -> tuple[float, float]:
        """Return what a child wrote; it comes within a minute."""
        if not self.is_ready(DEADLINE_SECONDS):
            raise BenchError("a child did not come to its end within a minute")
        first, second = os.read(self._fd, 100).split()
        return float(first), float(second)

    def is_ready(self, seconds: float) -> bool:
        """Whether there is something to take, by then."""
        return bool(select.select([self._fd], [], [], seconds)[0])


class Terminal:
    """A terminal of ours with a program at it."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], *, size: tuple[int, int] = (24, 80)
    ) -> None:
        self.master, slave = os.openpty()
        termios.tcsetwinsize(slave, size)
        os.set_blocking(self.master, False)
        self.process = subprocess.Popen(
            argv, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def when_raw(self) -> Self:
        """Return once the program takes each key as it comes: one typed before may be lost."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while termios.tcgetattr(self.master)[3] & termios.ICANON:
            if time.monotonic() > deadline:
                raise BenchError(f"{self.process.args!r} does not attach")
            time.sleep(0.001)
        return self

    def read(self, seconds: float) -> bytes:
        """Return what is shown next, nothing if nothing is by then."""
        if not select.select([self.master], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self.master, 1 << 17)
        except OSError:
            raise BenchError(f"{self.process.args!r} ended") from None

    def wait_for(self, text: bytes, seconds: float = DEADLINE_SECONDS) -> float:
        """Return when `text` was there."""
        shown, deadline = b"", time.monotonic() + seconds
        while text not in shown:
            if time.monotonic() > deadline:
                raise BenchError(f"{self.process.args!r} did not show {text!r}: {shown[-200:]!r}")
            shown = shown[-len(text) :] + self.read(0.1)
        return time.monotonic()

    def be_quiet(self, seconds: float) -> None:
        """Read until nothing comes for so long."""
        while self.read(seconds):
            pass

    def type(self, data: bytes) -> None:
        """Type something short."""
        os.write(self.master, data)


class Peer(Protocol):
    """One multiplexer at a place of its own."""

    name: str

    def start(self, *argv: str) -> None:
        """Start a command; there is nobody attached to it."""

    def attach(self) -> Terminal:
        """Have a client attach to the command that was started last."""

    def end(self) -> None:
        """End the commands that were started."""

    def cpu_seconds(self) -> float:
        """Return what its long-lived processes used so far."""

    def close(self) -> None:
        """End it."""


class Ours:
    """A keeper, its zygote and its server."""

    name = "ptymux"

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/s.sock"
        self.env = ENVIRONMENT | {"PTYMUX_SOCKET": self.path}
        start_server(self.path)
        self.connection = ServerConnection(self.path)
        status = self.connection.call("status")
        self.keeper, self.server = int(status["keeper_pid"]), int(status["pid"])
        children = Path(f"/proc/{self.keeper}/task/{self.keeper}/children").read_text()
        (self.zygote,) = map(int, children.split())
        self.last: dict[str, Any] = {}

    def start(self, *argv: str, **options: Any) -> None:
        wanted = SpawnOptions(argv=argv, env=ENVIRONMENT, cwd="/", **options)
        self.last = self.connection.spawn(wanted)["pty"]

    def attach(self) -> Terminal:
        return Terminal([PTYMUX, "attach", self.last["pty_id"]], self.env).when_raw()

    def end(self) -> None:
        self.connection.call("kill", all=True, grace=0.0)
        self.connection.call("remove", all=True)

    def written(self) -> int:
        """Return how much the command that was started last has written."""
        pty = self.connection.call("get", pty=self.last["pty_id"])["pty"]
        return int(pty["buffer"]["total_written"])

    def cpu_seconds(self) -> float:
        return cpu_of(self.keeper) + cpu_of(self.server)

    def close(self) -> None:
        with suppress(PtymuxError), self.connection:
            self.connection.call("shutdown", force=True)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while os.path.exists(self.path) and time.monotonic() < deadline:
            time.sleep(0.01)


class Tmux:
    """A tmux server without a configuration and without a status line."""

    name = "tmux"

    def __init__(self, folder: str) -> None:
        self.env = ENVIRONMENT | {"TMUX_TMPDIR": folder}
        self._command = ["tmux", "-L", "bench", "-f", os.devnull]
        self._count = 0
        self._run("new-session", "-d", "-s", "keep", "sleep", "100000")
        self._run("set", "-g", "status", "off")
        self.pid = int(self._run("display", "-p", "#{pid}"))

    def _run(self, *words: str) -> str:
        command = [*self._command, *words]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def start(self, *argv: str) -> None:
        self._count += 1
        self._run("new-session", "-d", "-x", "80", "-y", "24", "-s", f"s{self._count}", *argv)

    def attach(self) -> Terminal:
        attach = [*self._command, "attach", "-t", f"=s{self._count}"]
        return Terminal(attach, self.env).when_raw()

    def end(self) -> None:
        self._run("kill-session", "-a", "-t", "=keep")

    def cpu_seconds(self) -> float:
        return cpu_of(self.pid)

    def close(self) -> None:
        self._run("kill-server")


class Dtach:
    """A dtach for each command."""

    name = "dtach"

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._sockets: list[str] = []

    def start(self, *argv: str) -> None:
        self._sockets.append(f"{self._folder}/d{len(self._sockets)}")
        command = ["dtach", "-n", self._sockets[-1], "-E", "-z", *argv]
        subprocess.run(command, env=ENVIRONMENT, check=True, cwd="/")

    def attach(self) -> Terminal:
        command = ["dtach", "-a", self._sockets[-1], "-E", "-z", "-r", "none"]
        return Terminal(command, ENVIRONMENT).when_raw()

    def end(self) -> None:
        for pid in self._pids():
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(child), 9)
            with suppress(ProcessLookupError):  # what a shell started may hold on to the terminal
                os.kill(pid, 9)

    def _pids(self) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if words[:1] == [b"dtach"] and self._folder.encode() in b"\0".join(words):
                    found.append(int(folder.name))
        return found

    def cpu_seconds(self) -> float:
        return sum(cpu_of(pid) for pid in self._pids())

    def close(self) -> None:
        self.end()


MAKERS: Final[Mapping[str, type[Ours | Tmux | Dtach]]] = {"tmux": Tmux, "dtach": Dtach}


@contextmanager
def peers(*names: str) -> Iterator[tuple[Ours, dict[str, Peer], list[str]]]:
    """Give ours, all that are there with ours among them, and who is missing."""
    missing = [name for name in names if shutil.which(name) is None]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ptymux-b"))
        ours = Ours(folder)
        stack.callback(ours.close)
        there: dict[str, Peer] = {ours.name: ours}
        for name in names:
            if name not in missing:
                there[name] = peer = MAKERS[name](folder)
                stack.callback(peer.close)
        yield ours, there, missing

"""The installed command, started in an environment of the test's own."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ptymux.core.windows import VARIABLE
from tests.processes import kill_all, marked
from tests.program import Program
from tests.timing import deadline_seconds

__all__ = ["PTYMUX", "World", "windows"]

PTYMUX: Final = str(Path(sys.executable).parent / "ptymux")
_MEASURED: Final = "COVERAGE_PROCESS_CONFIG"
_MARK: Final = "PTYMUX_TEST"  # in the environment of all that a test starts
_KINDS: Final = frozenset(
    ("run", "ls", "stats", "logs", "send", "wait", "kill", "rm", "events", "server", "status")
)
_SEEN: Counter[str] = Counter()  # kinds of commands, in all tests of this worker
_OFTEN: Final = 3  # commands of a kind, after which another one shows nothing new

# For what must happen the product waits as long as the tests do, unless a test says otherwise.
_PATIENT: Final = (
    "hello",
    "last_input",
    "last_words",
    "leave",
    "no_answer",
    "replacement",
    "restart",
    "start",
    "suggestion",
)


def windows(**seconds: float) -> dict[str, str]:
    """Return the environment in which the time windows of the product are these."""
    given = dict.fromkeys(_PATIENT, deadline_seconds()) | seconds
    return {VARIABLE: ",".join(f"{name}={value}" for name, value in given.items())}


class World:
    """Starts commands whose PTYMUX_SOCKET is `path`; knows what runs because of them by a mark."""

    def __init__(self, path: str) -> None:
        self.mark = secrets.token_hex(16)
        home = ("PATH", "HOME", _MEASURED)
        self.env = {key: os.environ[key] for key in home if key in os.environ}
        self.env |= {_MARK: self.mark, "TERM": "xterm", "SHELL": "/bin/sh", "LC_ALL": "C.UTF-8"}
        self.env |= windows()
        self.env["PTYMUX_SOCKET"] = path
        self.env["XDG_CONFIG_HOME"] = f"{os.path.dirname(path)}/config"  # where there is none
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
        return self._seen[kind] <= 1 and _SEEN[kind] <= _OFTEN

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

    def pids(self) -> set[int]:
        """Return the pids of the commands that were started, those that have ended among them."""
        return {process.pid for process in self._started}

    def end(self) -> None:
        """Kill and reap what a failed test left."""
        kill_all(self.processes())
        self.reap()

    def reap(self) -> None:
        """Close what connects us with commands that have ended."""
        for process in self._started:
            with process:
                pass

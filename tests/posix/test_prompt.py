from __future__ import annotations

import os
import sys

import pytest

from ptymux.posix import prompt
from ptymux.posix.procfs import read, read_stat
from ptymux.posix.prompt import reads_terminal, waits_for_typing
from tests.posix.conftest import Start
from tests.processes import children_of, kill_all, state_of
from tests.timing import wait_until

SHELL = {"PATH": os.environ["PATH"], "PS1": "ready>"}


def test_shell_waits_for_typing_before_and_after_a_job_and_not_meanwhile(start: Start) -> None:
    child = start("bash", "--norc", "-i", env=SHELL)
    child.read_until(b"ready>")
    wait_until(lambda: waits_for_typing(child.pid))

    child.type(b"sh -c 'echo r''un; read x'\n")
    child.read_until(b"run")
    wait_until(lambda: not waits_for_typing(child.pid))

    child.type(b"\n")
    wait_until(lambda: waits_for_typing(child.pid))


def test_program_that_reads_its_terminal_waits_for_typing(start: Start) -> None:
    child = start("cat")

    wait_until(lambda: waits_for_typing(child.pid))


@pytest.mark.parametrize(
    "argv",
    [
        ["sh", "-c", "echo up; sleep 60; true"],
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"],
        ["bash", "-c", "echo up; x=$(sleep 60)"],
    ],
)
def test_what_waits_for_anything_else_does_not(start: Start, argv: list[str]) -> None:
    child = start(*argv)
    child.read_until(b"up")

    def sleeps() -> bool:
        stat = read_stat(child.pid)
        return stat is not None and stat.state == "S"

    # It sleeps for a moment on its way there, too, for its disk say.
    wait_until(lambda: sleeps() and not waits_for_typing(child.pid))


def test_what_wakes_up_during_the_look_does_not(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start("sh", "-c", "echo up; sleep 60; read x")
    child.read_until(b"up")
    wait_until(lambda: state_of(child.pid) == "S" and len(children_of(child.pid)) == 1)

    def read_late(path: str) -> bytes | None:
        found = read(path)
        if path.endswith("/stat"):
            kill_all(children_of(child.pid))
            wait_until(lambda: b"do_wait" not in (read(f"/proc/{child.pid}/wchan") or b""))
        return found

    monkeypatch.setattr(prompt, "read", read_late)

    assert not waits_for_typing(child.pid)


def test_what_ended_does_not(start: Start) -> None:
    child = start("true")
    child.wait()

    assert not waits_for_typing(child.pid)


PYTHON = [sys.executable, "-c"]


@pytest.mark.parametrize(
    "argv",
    [
        ["cat"],
        ["sh", "-c", "sh -c 'read x'; true"],
        ["bash", "--norc", "-i"],
        ["bash", "--norc", "-ic", "set -m; sh -c 'read x'; true"],
        [*PYTHON, "input()"],
        [*PYTHON, "import getpass; getpass.getpass()"],
        [*PYTHON, "import select; select.select([0], [], [])"],
        [
            *PYTHON,
            "import select, tty; tty.setraw(0); p = select.poll(); p.register(0, 1); p.poll()",
        ],
    ],
)
def test_what_reads_its_terminal_is_seen(start: Start, argv: list[str]) -> None:
    child = start(*argv, env=SHELL)

    wait_until(lambda: reads_terminal(child.pid))


@pytest.mark.parametrize(
    "line",
    [
        "echo up; exec sleep 60",
        "echo up; sleep 60; true",
        "echo up; sleep 60 | cat",
        "cat & echo up; wait",  # one that was stopped in the background as it read
        "echo up; exec python3 -c 'import select; select.epoll().poll()'",
    ],
)
def test_what_waits_for_anything_else_reads_nothing(start: Start, line: str) -> None:
    child = start("bash", "-c", line)
    child.read_until(b"up")

    assert not any(reads_terminal(child.pid) for _ in range(20))

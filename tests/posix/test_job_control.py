"""Who is in the foreground, and at which key a command would stop."""

from __future__ import annotations

import os
import sys

import pytest

from ptymux.posix.job_control import in_foreground, suspend_key
from tests.posix.conftest import Start
from tests.program import Program
from tests.timing import wait_until


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("true", 0x1A),
        ("trap : TSTP", 0x1A),  # it stops itself afterwards
        ("trap '' TSTP", None),
        ("stty raw", None),
        ("stty susp undef", None),
        ("stty susp ^Y", 0x19),
    ],
)
def test_key_at_which_a_command_would_stop(start: Start, line: str, key: int | None) -> None:
    child = start("sh", "-c", f"{line}; echo up; read x")
    child.read_until(b"up")

    assert suspend_key(child.pid) == key


def test_job_of_a_shell_inside_is_that_shells(start: Start) -> None:
    child = start("bash", "--norc", "-ic", "set -m; sh -c 'echo up; read x'; echo back; read x")
    child.read_until(b"up")

    assert suspend_key(child.pid) is None


def test_what_has_ended_stops_at_no_key(start: Start) -> None:
    child = start("true")

    wait_until(lambda: suspend_key(child.pid) is None)


def test_terminal_that_does_not_control_us_is_ours() -> None:
    master, slave = os.openpty()

    assert in_foreground(slave)

    os.close(master)
    os.close(slave)


def test_leader_of_a_session_cannot_be_stopped_and_a_job_can() -> None:
    code = "from ptymux.posix.job_control import can_be_stopped; print(can_be_stopped())"
    leader = Program([sys.executable, "-c", code], stdout=-1, start_new_session=True)
    job = Program([sys.executable, "-c", code], stdout=-1, process_group=0)

    with leader, job:
        assert (leader.read_line(), job.read_line()) == (b"False\n", b"True\n")

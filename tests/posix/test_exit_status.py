from __future__ import annotations

import os
import signal
import sys

import pytest

from ptymux.posix.exit_status import ExitStatus, is_stopped, reap
from ptymux.posix.process import ProcessId, send, start_time
from tests.posix.conftest import Start
from tests.timing import wait_until

UNKNOWN = ExitStatus(None, None, core_dumped=False)


@pytest.mark.requirement("FR-012")
def test_exit_code_is_kept(start: Start) -> None:
    child = start("sh", "-c", "read line; exit 7")

    assert reap(child.pidfd) is None
    child.type(b"\n")

    assert child.wait() == ExitStatus(7, None, core_dumped=False)


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_signal_is_kept(start: Start, name: str) -> None:
    child = start("sleep", "60")

    os.kill(child.pid, signal.Signals[name])

    assert child.wait() == ExitStatus(None, signal.Signals[name], core_dumped=False)


@pytest.mark.requirement("FR-012")
def test_child_that_somebody_else_reaped_is_remembered_or_unknown(start: Start) -> None:
    child = start("sh", "-c", "exit 7")
    os.waitpid(child.pid, 0)

    assert child.wait() in (ExitStatus(7, None, core_dumped=False), UNKNOWN)


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("os._exit(7)", ExitStatus(7, None, False)),
        ("os.kill(os.getpid(), 15)", ExitStatus(None, 15, False)),
    ],
)
def test_process_of_another_parent_is_told_apart(
    start: Start, end: str, expected: ExitStatus
) -> None:
    """A successor holds pidfds of children that are not its own."""
    script = (
        "import os\n"
        "pid = os.fork()\n"
        f"if not pid: os.read(0, 1); {end}\n"
        "print('pid', pid, flush=True); os.wait(); os.read(0, 1)\n"
    )
    child = start(sys.executable, "-Sc", script)
    wait_until(lambda: child.read_until(b"pid").endswith(b"\n"))
    pidfd = os.pidfd_open(int(child.shown.split()[1]))

    try:
        living = reap(pidfd)
        child.type(b"\n")
        wait_until(lambda: reap(pidfd) is not None)
        status = reap(pidfd)
    finally:
        os.close(pidfd)

    assert living is None
    assert status in (expected, UNKNOWN)
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 15):
        assert status == expected


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("os._exit(0)", ExitStatus(0, None, False)),
        ("os._exit(7)", ExitStatus(7, None, False)),
        ("os.kill(os.getpid(), 9)", ExitStatus(None, 9, False)),
    ],
)
def test_end_is_told_although_its_parent_never_asks(
    start: Start, end: str, expected: ExitStatus
) -> None:
    script = (
        "import os, time\npid = os.fork()\n"
        f"if not pid: os.read(0, 1); {end}\n"
        "print('pid', pid, flush=True); time.sleep(60)\n"
    )
    child = start(sys.executable, "-Sc", script)
    wait_until(lambda: child.read_until(b"pid").endswith(b"\n"))
    pidfd = os.pidfd_open(int(child.shown.split()[1]))

    try:
        child.type(b"\n")
        wait_until(lambda: reap(pidfd, patient=True) is not None)
        status = reap(pidfd, patient=True)
    finally:
        os.close(pidfd)

    assert status == expected


@pytest.mark.requirement("FR-001")
def test_stop_is_seen_until_it_ends(start: Start) -> None:
    child = start("sleep", "60")
    assert not is_stopped(child.pidfd)

    os.kill(child.pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(child.pidfd))
    assert is_stopped(child.pidfd)  # asking takes nothing away

    os.kill(child.pid, signal.SIGCONT)
    wait_until(lambda: not is_stopped(child.pidfd))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not is_stopped(child.pidfd)


@pytest.mark.requirement("FR-001")
def test_stop_of_another_parents_child_is_seen(start: Start) -> None:
    child = start("sh", "-c", "sleep 60 & echo pid $!; wait")
    wait_until(lambda: child.read_until(b"pid").endswith(b"\n"))
    pid = int(child.shown.split()[1])
    started = start_time(pid)
    assert started is not None
    pidfd = os.pidfd_open(pid)

    try:
        before = is_stopped(pidfd)
        send(ProcessId(pid, started), signal.SIGSTOP)
        wait_until(lambda: is_stopped(pidfd))
        send(ProcessId(pid, started), signal.SIGKILL)
        wait_until(lambda: not is_stopped(pidfd))
    finally:
        os.close(pidfd)

    assert not before


@pytest.mark.parametrize(
    "status",
    [
        ExitStatus(0, None, False),
        ExitStatus(255, None, False),
        ExitStatus(None, signal.SIGHUP, False),
        ExitStatus(None, signal.SIGRTMAX, False),
        ExitStatus(None, None, False),
    ],
)
def test_status_is_the_same_after_it_was_one_number(status: ExitStatus) -> None:
    assert ExitStatus.of_word(status.word) == status

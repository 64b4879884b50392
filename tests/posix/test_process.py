from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from ptymux.errors import (
    NotATerminalError,
    OutOfResourcesError,
    ProcessGoneError,
    SignalError,
    SignalForbiddenError,
    UnknownSignalError,
)
from ptymux.posix.process import (
    ProcessId,
    boot_id,
    escaped_descendants,
    foreground_group,
    group_members,
    open_pidfd,
    send,
    session_members,
    session_scan,
    signal_foreground,
    start_time,
)
from ptymux.posix.procfs import read_stat
from tests.posix.conftest import Child, Start, not_root, soft_limit_of_open_files
from tests.timing import wait_until


def identity(child: Child) -> ProcessId:
    started = start_time(child.pid)
    assert started is not None
    return ProcessId(child.pid, started)


def pids(child: Child) -> set[int]:
    return {member.pid for member in session_members(child.pid)}


# Who belongs to a session


@pytest.mark.requirement("FR-007")
def test_session_has_the_background_jobs_of_a_shell(start: Start) -> None:
    script = "set -m; sleep 60 & sleep 60 & echo jobs $(jobs -p) end; wait"
    child = start("bash", "--norc", "-ic", script)
    words = child.read_until(b" end\r\n").split(b"jobs ")[1].split()
    jobs = {int(word) for word in words[:-1]}

    members = {member.pid: member for member in session_members(child.pid)}

    assert set(members) == {child.pid, *jobs}
    assert all(members[job].pgid == job for job in jobs)
    assert all(members[pid].start_time == start_time(pid) for pid in members)
    assert {member.pid for member in group_members(child.pid)} == {child.pid}


@pytest.mark.requirement("FR-007")
def test_one_scan_serves_many_sessions(start: Start) -> None:
    one, other = start("sleep", "60"), start("sleep", "60")

    found = session_scan([one.pid, other.pid, 2**30])

    assert {sid: [member.pid for member in found[sid]] for sid in found} == {
        one.pid: [one.pid],
        other.pid: [other.pid],
        2**30: [],
    }


@pytest.mark.requirement("FR-007")
def test_zombies_are_no_members(start: Start) -> None:
    script = (
        "import os; os._exit(0) if os.fork() == 0 else print('forked', flush=True); os.read(0, 1)"
    )
    child = start(sys.executable, "-Sc", script)
    child.read_until(b"forked")

    wait_until(lambda: pids(child) == {child.pid})

    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    assert len(children) == 1


@pytest.mark.requirement("FR-007")
def test_process_whose_first_thread_ended_still_lives(start: Start) -> None:
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=lambda: (print('up', flush=True), time.sleep(60))).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    child = start(sys.executable, "-Sc", script)
    child.read_until(b"up")

    wait_until(lambda: (stat := read_stat(child.pid)) and stat.state == "Z")

    assert pids(child) == {child.pid}
    send(identity(child), signal.SIGKILL)
    assert child.wait().signal == signal.SIGKILL


@pytest.mark.requirement("FR-007")
def test_strange_names_are_read(start: Start, tmp_path: Path) -> None:
    tool = tmp_path / "a) R 1 (b"
    tool.symlink_to("/bin/sleep")
    child = start(str(tool), "60")

    wait_until(lambda: [member.state for member in session_members(child.pid)] == ["S"])
    (member,) = session_members(child.pid)

    assert (member.pid, member.pgid) == (child.pid, child.pid)


@pytest.mark.requirement("FR-007")
def test_interactive_shell_ignores_term_and_its_jobs_do_not(start: Start) -> None:
    child = start("bash", "--norc", "-i", env={"PATH": os.environ["PATH"], "PS1": "ready>"})
    child.read_until(b"ready>")
    child.type(b"sleep 60 & echo st''arted\n")
    child.read_until(b"started")

    wait_until(lambda: len(session_members(child.pid)) == 2)
    ignoring = {member.pid: member.ignores_term for member in session_members(child.pid)}

    assert ignoring.pop(child.pid)
    wait_until(
        lambda: not any(m.ignores_term for m in session_members(child.pid) if m.pid in ignoring)
    )


@pytest.mark.requirement("FR-007")
def test_processes_that_left_the_session_are_found(start: Start) -> None:
    child = start("sh", "-c", "setsid sh -c 'sleep 60 & wait' & wait")
    wait_until(lambda: len(escaped_descendants([child.pid])[child.pid]) == 2)

    escaped = escaped_descendants([child.pid, os.getsid(0)])[child.pid]

    assert not {member.pid for member in escaped} & pids(child)
    for member in escaped:
        send(member, signal.SIGKILL)
    wait_until(lambda: not escaped_descendants([child.pid])[child.pid])


# Nobody else is signalled


@pytest.mark.requirement("FR-004")
def test_reused_pid_is_never_signalled(start: Start) -> None:
    child = start("sleep", "60")
    earlier = ProcessId(child.pid, identity(child).start_time - 1)

    assert open_pidfd(earlier.pid, earlier.start_time) is None
    with pytest.raises(ProcessGoneError, match=f"process {child.pid} is gone"):
        send(earlier, signal.SIGKILL)
    assert pids(child) == {child.pid}


@pytest.mark.requirement("FR-004")
def test_signal_reaches_its_process(start: Start) -> None:
    child = start("sleep", "60")

    send(identity(child), signal.SIGUSR1)

    assert child.wait().signal == signal.SIGUSR1


@pytest.mark.requirement("FR-004")
def test_ended_process_is_gone_before_and_after_reaping(start: Start) -> None:
    child = start("true")
    known = identity(child)

    wait_until(lambda: not pids(child))
    with pytest.raises(ProcessGoneError):
        send(known, signal.SIGTERM)

    child.wait()
    with pytest.raises(ProcessGoneError):
        send(known, signal.SIGTERM)
    assert start_time(child.pid) is None


@pytest.mark.requirement("FR-004")
def test_unknown_signal_is_refused(start: Start) -> None:
    child = start("sleep", "60")

    with pytest.raises(UnknownSignalError):
        send(identity(child), 99)


@pytest.mark.requirement("FR-004")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start what others may not signal")
def test_process_of_another_user_is_refused(start: Start) -> None:
    child = start("sleep", "60")

    with not_root(), pytest.raises(SignalForbiddenError):
        send(identity(child), signal.SIGTERM)


@pytest.mark.requirement("FR-004")
def test_lack_of_fds_is_not_taken_for_an_end(start: Start) -> None:
    child = start("sleep", "60")
    known = identity(child)
    free = os.dup(0)
    os.close(free)

    for left in range(2):
        with soft_limit_of_open_files(free + left), pytest.raises(OutOfResourcesError):
            send(known, signal.SIGTERM)
    with soft_limit_of_open_files(free), pytest.raises(OutOfResourcesError):
        session_members(child.pid)


# The foreground


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT"])
def test_foreground_signal_spares_the_shell(start: Start, name: str) -> None:
    child = start("bash", "--norc", "-i", env={"PATH": os.environ["PATH"], "PS1": "ready>"})
    child.read_until(b"ready>")
    child.type(b"sh -c 'echo r''un; exec sleep 60'\n")
    child.read_until(b"run")
    wait_until(lambda: foreground_group(child.master) != child.pid)
    job = foreground_group(child.master)

    assert signal_foreground(child.master, signal.Signals[name]) == job

    wait_until(lambda: foreground_group(child.master) == child.pid)
    child.type(b"echo st''atus $?\n")
    child.read_until(b"status %d" % (128 + signal.Signals[name]))


@pytest.mark.requirement("FR-004")
def test_foreground_stop_suspends_the_job(start: Start) -> None:
    child = start("bash", "--norc", "-i", env={"PATH": os.environ["PATH"], "PS1": "ready>"})
    child.read_until(b"ready>")
    child.type(b"sh -c 'echo r''un; exec sleep 60'\n")
    child.read_until(b"run")
    wait_until(lambda: foreground_group(child.master) != child.pid)

    signal_foreground(child.master, signal.SIGTSTP)

    wait_until(lambda: "T" in {member.state for member in session_members(child.pid)})
    child.read_until(b"Stopped")


@pytest.mark.requirement("FR-004")
def test_terminal_takes_three_signals_only(start: Start) -> None:
    child = start("sleep", "60")

    with pytest.raises(SignalError, match="cannot be sent through a terminal"):
        signal_foreground(child.master, signal.SIGTERM)


@pytest.mark.requirement("FR-004")
def test_terminal_without_a_foreground_says_so(start: Start) -> None:
    child = start("true")
    child.wait()

    assert foreground_group(child.master) is None
    with pytest.raises(ProcessGoneError):
        signal_foreground(child.master, signal.SIGINT)


@pytest.mark.requirement("FR-004")
def test_what_is_no_terminal_has_no_foreground(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(NotATerminalError):
        signal_foreground(file.fileno(), signal.SIGINT)


def test_boot_has_a_name() -> None:
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()

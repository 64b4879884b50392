"""Processes that tests look at: by pid, or by a mark that only the test's own processes carry.

Never by the name of a program: others run on the machine, too.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.timing import deadline_seconds, wait_until

__all__ = [
    "NOT_THERE",
    "children_of",
    "fd_count",
    "fds_of",
    "is_alive",
    "is_stopped",
    "kill",
    "kill_all",
    "kill_at_once",
    "marked",
    "memory_of",
    "parts_of_session",
    "proportional",
    "resident",
    "sleeps_of",
    "state_of",
    "stop",
    "wait_gone",
]

NOT_THERE: Final = ""  # the state of a process that does not exist


def state_of(pid: int) -> str:
    """Return the letter that the kernel has for what a process does; see proc_pid_stat(5)."""
    return _stat(pid)[0]


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [NOT_THERE]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    return state_of(pid) not in (NOT_THERE, "Z", "X")


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal."""
    return state_of(pid) == "T"


def sleeps_of(pid: int) -> int:
    """Return how often a process went to sleep because it had nothing to do."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


def children_of(pid: int) -> list[int]:
    """Return the children of a process, by any of its threads; none of one that is gone."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # a thread that ended during the look
                found += [int(word) for word in (task / "children").read_text().split()]
    return found


def fds_of(pid: int) -> dict[int, str]:
    """Return the open files of a process, and what each one is."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # the listing's own, for example
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def fd_count(pid: int) -> int:
    """Return how many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_of(pid: int, name: str) -> int:
    """Return an amount of memory in bytes, by its name in /proc/PID/status."""
    return _bytes_of(Path(f"/proc/{pid}/status"), name)


def _bytes_of(path: Path, name: str) -> int:
    lines = path.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def resident(pid: int) -> int:
    """Return how much memory of a process is resident, in bytes."""
    return memory_of(pid, "VmRSS")


def proportional(pid: int) -> int:
    """Return a process's share of memory, in bytes; pages that others have too are shared out."""
    return _bytes_of(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def parts_of_session(sid: int) -> set[int]:
    """Return the processes of a session that run."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields[0] not in (NOT_THERE, "Z", "X") and int(fields[3]) == sid:
            found.add(int(folder.name))
    return found


def marked(*marks: str) -> dict[int, str]:
    """Return pid and command of what runs with one of these in its arguments or environment.

    A mark is random, or a path that has something random in it: nobody else's process has it.
    """
    wanted = [os.fsencode(mark) for mark in marks]
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (words := _bytes_of_file(f"/proc/{name}/cmdline")):
            text = words + _bytes_of_file(f"/proc/{name}/environ")
            if any(mark in text for mark in wanted) and is_alive(int(name)):
                found[int(name)] = words.replace(b"\0", b" ").decode(errors="replace")
    found.pop(os.getpid(), None)
    return found


def _bytes_of_file(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError:  # the process is gone, or another user's
        return b""


def wait_gone(*pids: int) -> None:
    """Return once none of these runs any more.

    Raises:
        AssertionError: one of them does not end.
    """
    for pid in pids:
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                _wait_for_end(pid, pidfd)
            finally:
                os.close(pidfd)


def _wait_for_end(pid: int, pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(1000 * deadline_seconds()), f"process {pid} does not end"


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    """Signal a process and return once it is gone."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signum)
        _wait_for_end(pid, pidfd)
    finally:
        os.close(pidfd)


def stop(*pids: int) -> None:
    """Stop processes and return once none of them does anything any more."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(map(is_stopped, pids)), f"{pids} to be stopped")


def kill_at_once(*pids: int) -> None:
    """Kill processes none of which sees the end of another, and return once they are gone."""
    stop(*pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_gone(*pids)


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes, some of which may be gone, and return once none is left."""
    for pid in pids:
        with suppress(ProcessLookupError):
            kill(pid)

"""Whether a program waits for input at its terminal, as a shell at its prompt does."""

from __future__ import annotations

import os
from typing import Final

from ptymux.errors import NotATerminalError
from ptymux.posix.process import session_members
from ptymux.posix.procfs import read
from ptymux.posix.tty import process_is_canonical, process_line

__all__ = ["reads_terminal", "waits_for_typing"]

_PGRP_FIELD: Final = 2  # of /proc/PID/stat, counted from the state field
_TPGID_FIELD: Final = 5
# Kernel functions in which a process waits for a child, for time to pass, or for a pipe. Without
# job control a shell waits in them while it is in the foreground itself.
_OTHER_WAITS: Final = (b"do_wait", b"hrtimer_nanosleep", b"pipe_read", b"anon_pipe_read")


def waits_for_typing(pid: int) -> bool:
    """Return whether `pid` is in its terminal's foreground and sleeps for no other known reason.

    Limit: a program that waits for a network or a lock looks the same. Where the kernel hides
    /proc/PID/wchan, so does a shell without job control that waits for its child.
    """
    before = _sleeps_of(pid)
    data = read(f"/proc/{pid}/stat")
    if not data:
        return False
    fields = data[data.rindex(b")") + 2 :].split()
    if fields[0] != b"S" or fields[_TPGID_FIELD] != fields[_PGRP_FIELD]:
        return False
    if (read(f"/proc/{pid}/wchan") or b"").startswith(_OTHER_WAITS):
        return False
    # One that woke up during the look has no function that it sleeps in.
    return before is not None and _sleeps_of(pid) == before


# Numbers of system calls. Source: asm/unistd_64.h; asm-generic/unistd.h, which all newer
# architectures have in common.
_READS: Final = {"x86_64": (0, 19), "": (63, 65)}
_SELECTS: Final = {"x86_64": (23, 270), "": (72,)}
_POLLS: Final = {"x86_64": (7, 271, 232, 281, 441), "": (73, 22, 441)}
_TTY_WAITS: Final = (b"wait_woken", b"n_tty_read", b"tty_read")  # where a read of a tty sleeps


def reads_terminal(leader: int) -> bool:
    """Return whether a program in the foreground of `leader`'s terminal reads it and waits.

    It is blocked in a read of the terminal; or it waits by select for that alone; or it polls and
    has switched the terminal to single keys, as editors do. A process of somebody else, such as
    sudo, shows nothing of that: it counts if it sleeps while the terminal hides what is typed.
    """
    data = read(f"/proc/{leader}/stat")
    if not data:
        return False
    group = int(data[data.rindex(b")") + 2 :].split()[_TPGID_FIELD])
    members = [each for each in session_members(leader) if each.pgid == group]
    return any(_reads_terminal(each.pid) for each in members)


def _reads_terminal(pid: int) -> bool:
    before = _sleeps_of(pid)
    if before is None or b"S (sleeping)" not in before[0]:
        return False
    words = (read(f"/proc/{pid}/syscall") or b"").split()
    if words and words[0].isdigit():
        is_waiting = _is_terminal_call(pid, int(words[0]), int(words[1], 16))
    elif (where := read(f"/proc/{pid}/wchan") or b"0") != b"0":
        is_waiting = where.startswith(_TTY_WAITS)
    else:
        try:
            is_canonical, has_echo = process_line(pid)
        except NotATerminalError:
            return False
        is_waiting = is_canonical and not has_echo
    return is_waiting and _sleeps_of(pid) == before


def _is_terminal_call(pid: int, number: int, argument: int) -> bool:
    """Whether a system call with this first argument waits for the terminal."""
    machine = os.uname().machine
    machine = machine if machine in _READS else ""
    if number in _READS[machine]:
        return _is_terminal(pid, argument)
    if number in _SELECTS[machine] and argument and _is_terminal(pid, argument - 1):
        return True
    if number in _SELECTS[machine] + _POLLS[machine]:
        return _is_terminal(pid, 0) and not process_is_canonical(pid)
    return False


def _is_terminal(pid: int, fd: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}").startswith(("/dev/pts/", "/dev/tty"))
    except OSError:
        return False


def _sleeps_of(pid: int) -> tuple[bytes, bytes] | None:
    """Return the state of a process and how often it has gone to sleep; None if it is gone."""
    lines = (read(f"/proc/{pid}/status") or b"").splitlines()
    found = [line for line in lines if line.startswith((b"State:", b"voluntary_ctxt_switches:"))]
    return (found[0], found[1]) if len(found) == 2 else None

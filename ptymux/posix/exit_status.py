"""How a process ended, and whether a signal has stopped it, asked through its pidfd."""

from __future__ import annotations

import fcntl
import os
import select
import struct
from dataclasses import dataclass

from ptymux.posix.procfs import pid_behind, read, read_stat

__all__ = ["ExitStatus", "is_stopped", "reap"]

_PIDFD_GET_INFO = 0xC040FF0B  # linux/pidfd.h, with a struct pidfd_info of 64 bytes
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("=QQ11Ii")  # mask, cgroup, ids, wait status
_REAPED_WITHIN_MS = 20


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """The exit status of a process: an exit code or a signal; unknown if both are None."""

    exit_code: int | None
    signal: int | None
    core_dumped: bool

    @property
    def word(self) -> int:
        """The status as one number: exit code, 256 + signal, or 512; without `core_dumped`."""
        if self.signal is not None:
            return 256 + self.signal
        return 512 if self.exit_code is None else self.exit_code

    @classmethod
    def of_word(cls, word: int) -> ExitStatus:
        """Return the exit status that has this `word`."""
        if word >= 512:
            return cls(None, None, False)
        return cls(word, None, False) if word < 256 else cls(None, word - 256, False)


def reap(pidfd: int, *, patient: bool = False) -> ExitStatus | None:
    """Return how a process ended, and free its pid; None while it lives. Call it once for a child.

    A process that is not our child is reaped by its parent. While it is a zombie, /proc shows its
    status, unless it ran as another user. Once it was reaped, the kernel still knows the status;
    an older kernel does not, and it is unknown. If /proc does not show it, we wait up to 20 ms for
    the parent; with `patient` the result is None until the parent has reaped it. The pidfd then
    hangs up.

    Source: waitid(2); exit_code in proc_pid_stat(5); PIDFD_GET_INFO with PIDFD_INFO_EXIT since
    Linux 6.15.
    """
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        if not _is_readable(pidfd):
            return None
        status = _of_zombie(pidfd)
        if status is not None or (patient and not _is_reaped(pidfd)):
            return status
        return _remembered(pidfd)
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(result.si_status, None, False)
    return ExitStatus(None, result.si_status, result.si_code == os.CLD_DUMPED)


def _of_zombie(pidfd: int) -> ExitStatus | None:
    """Return how a zombie ended, from /proc; None if it is no zombie or /proc does not show it.

    If a process has changed its user, /proc shows 0 as its status, whatever it was.
    """
    pid = pid_behind(pidfd)
    stat, uids = read(f"/proc/{pid}/stat"), read(f"/proc/{pid}/status")
    if not stat or not uids or _is_reaped(pidfd):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    owners = next(line.split()[1:] for line in uids.splitlines() if line.startswith(b"Uid:"))
    if fields[0] != b"Z" or os.geteuid() not in (0, *map(int, set(owners))) or len(set(owners)) > 1:
        return None
    return _of_word(int(fields[49]))


def _is_readable(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _is_reaped(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, 0)
    return any(events & select.POLLHUP for _fd, events in poll.poll(0))


def _remembered(pidfd: int) -> ExitStatus:
    poll = select.poll()
    poll.register(pidfd, 0)  # POLLHUP is always reported; it means that the process was reaped
    poll.poll(_REAPED_WITHIN_MS)
    info = bytearray(_PIDFD_INFO.size)
    _PIDFD_INFO.pack_into(info, 0, _PIDFD_INFO_EXIT, *[0] * 13)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return ExitStatus(None, None, False)
    mask, *_, status = _PIDFD_INFO.unpack(info)
    if not mask & _PIDFD_INFO_EXIT:
        return ExitStatus(None, None, False)
    return _of_word(status)


def _of_word(status: int) -> ExitStatus:
    """Return the exit status for a wait status of the kernel."""
    if os.WIFSIGNALED(status):
        return ExitStatus(None, os.WTERMSIG(status), os.WCOREDUMP(status))
    return ExitStatus(os.WEXITSTATUS(status), None, False)


def is_stopped(pidfd: int) -> bool:
    """Return whether a signal has stopped the process; only CONT continues it.

    For a child of ours this is one call of waitid with WNOWAIT, which leaves the state as it is
    and cannot meet a reused pid. For other processes /proc is read.

    Limit: SIGCHLD is the only event for a stop, and only the parent gets it. Others must poll.
    """
    try:
        flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PIDFD, pidfd, flags) is not None
    except ChildProcessError:
        stat = read_stat(pid_behind(pidfd))
        # In this order: if it has not ended even now, the pid was its own when /proc was read.
        return stat is not None and stat.state == "T" and not _is_readable(pidfd)

"""Processes: find those of a session, and signal exactly those.

The kernel reuses pids. So a process is identified by its pid and its start time. To signal it, we
open a pidfd and read the start time afterwards. If the pid was reused before, the times differ.
Afterwards that cannot happen, because a pidfd stays with its process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ptymux.errors import (
    NotATerminalError,
    ProcessGoneError,
    PtymuxError,
    SignalError,
    SignalForbiddenError,
    UnknownSignalError,
)
from ptymux.posix.exit_status import ExitStatus, is_stopped, reap
from ptymux.posix.procfs import Stat, boot_id, ignores_term, read_stat, scan, start_time
from ptymux.posix.reserve_fds import retry_with_reserve
from ptymux.posix.resource_errors import resource_error

__all__ = [
    "FOREGROUND_SIGNALS",
    "ExitStatus",
    "Identity",
    "ProcessId",
    "SessionMember",
    "boot_id",
    "foreground_group",
    "group_members",
    "is_stopped",
    "open_pidfd",
    "reap",
    "send",
    "session_members",
    "session_scan",
    "signal_foreground",
    "start_time",
    "escaped_descendants",
]

FOREGROUND_SIGNALS = frozenset((signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP))

_TIOCSIG = 0x40045436  # asm-generic/ioctls.h; takes no signal but FOREGROUND_SIGNALS


class Identity(Protocol):
    """The pid and start time of a process, which no other process ever has."""

    @property
    def pid(self) -> int:
        """Its number, which another process may get once this one is gone."""
        ...

    @property
    def start_time(self) -> int:
        """When it started, in clock ticks since boot."""
        ...


@dataclass(frozen=True, slots=True)
class ProcessId:
    """The identity of a process, valid until the machine is restarted."""

    pid: int
    start_time: int  # clock ticks since boot


@dataclass(frozen=True, slots=True)
class SessionMember:
    """A process of a session, as one scan saw it."""

    pid: int
    start_time: int  # clock ticks since boot
    pgid: int
    ignores_term: bool
    state: str  # R, S, D, T (stopped) ... as in proc(5)


def _members(stats: list[Stat]) -> tuple[SessionMember, ...]:
    return tuple(
        SessionMember(stat.pid, stat.start_time, stat.pgid, ignores_term(stat.pid), stat.state)
        for stat in stats
    )


def session_members(sid: int) -> tuple[SessionMember, ...]:
    """Return the living processes of a session, with its `&` jobs and without zombies.

    Limit: a process forked during the scan may be missing; scan again until none is left.
    """
    return _members(scan(lambda stat: stat.sid == sid))


def session_scan(sids: Collection[int]) -> dict[int, tuple[SessionMember, ...]]:
    """Return the living processes of each of these sessions; one scan serves all of them."""
    stats = scan(lambda stat: stat.sid in sids)
    return {sid: _members([stat for stat in stats if stat.sid == sid]) for sid in sids}


def group_members(pgid: int) -> tuple[SessionMember, ...]:
    """Return the living processes of a process group; its limit is that of `session_members`."""
    return _members(scan(lambda stat: stat.pgid == pgid))


def escaped_descendants(sids: Collection[int]) -> dict[int, tuple[ProcessId, ...]]:
    """Return, for each session, the descendants that left it by setsid; one scan serves all.

    They are found through their living ancestors, so call it before you signal these; or, if these
    have ended, by the PTYMUX_ID in their environment.
    """
    children: dict[int, list[Stat]] = defaultdict(list)
    members: dict[int, list[Stat]] = defaultdict(list)
    for stat in scan(lambda _stat: True):
        children[stat.ppid].append(stat)
        members[stat.sid].append(stat)
    found = {}
    for sid in sids:
        family = {stat.pid: stat for stat in members[sid]}
        family |= dict(_marked_as(family.get(sid), children))
        new = list(family.values())
        while new:
            new = [child for stat in new for child in children[stat.pid] if child.pid not in family]
            family |= {stat.pid: stat for stat in new}
        left = (family[pid] for pid in sorted(family) if family[pid].sid != sid)
        found[sid] = tuple(ProcessId(stat.pid, stat.start_time) for stat in left)
    return found


def _marked_as(
    leader: Stat | None, children: Mapping[int, list[Stat]]
) -> Iterator[tuple[int, Stat]]:
    """Give the processes that began after this leader, in another session, with its PTYMUX_ID.

    The environment proves nothing: this is for reports only.
    """
    mark = None if leader is None else _mark(leader.pid)
    if leader is None or mark is None:
        return
    for stats in children.values():
        for stat in stats:
            is_later = stat.sid != leader.sid and stat.start_time >= leader.start_time
            if is_later and _mark(stat.pid) == mark:
                yield stat.pid, stat


def _mark(pid: int) -> bytes | None:
    """Return the variable that says to which PTY a process belongs; None if it has none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:
            _, found, rest = (b"\0" + environment.read()).partition(b"\0PTYMUX_ID=")
    except OSError:  # it has ended, or is another user's
        return None
    return rest.partition(b"\0")[0] if found else None


def open_pidfd(pid: int, start_time: int) -> int | None:
    """Return a pidfd of exactly that process, which the caller closes; None if it is gone.

    Raises:
        OutOfResourcesError: no more open files.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if (shortage := resource_error(error)) is not None:
            raise shortage from error
        return None  # ESRCH; or EINVAL and others: the pid now belongs to a thread
    try:
        stat = read_stat(pid)
    except PtymuxError:
        os.close(pidfd)
        raise
    if stat is None or stat.start_time != start_time:
        os.close(pidfd)
        return None
    return pidfd


def send(process: Identity, signum: int) -> None:
    """Send a signal to exactly that process.

    Raises:
        ProcessGoneError: it has ended; a zombie counts as ended.
        SignalForbiddenError: it runs as another user.
        UnknownSignalError: the kernel has no such signal.
        OutOfResourcesError: no more open files.
    """
    retry_with_reserve(lambda: _send(process, signum))


def _send(process: Identity, signum: int) -> None:
    pidfd = open_pidfd(process.pid, process.start_time)
    if pidfd is None:
        raise ProcessGoneError(f"process {process.pid}")
    try:
        stat = read_stat(process.pid)
        if stat is None or stat.is_zombie:
            raise ProcessGoneError(f"process {process.pid}")
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        raise ProcessGoneError(f"process {process.pid}") from None
    except PermissionError:
        raise SignalForbiddenError(process.pid) from None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise UnknownSignalError(signum) from error
        raise SignalError(f"process {process.pid}: {error.strerror}") from error
    finally:
        os.close(pidfd)


def foreground_group(master: int) -> int | None:
    """Return the terminal's foreground process group, which ^C signals; None if there is none.

    Raises:
        NotATerminalError: `master` is no open PTY.
    """
    try:
        return os.tcgetpgrp(master) or None
    except OSError as error:
        raise NotATerminalError(f"fd {master}") from error


def signal_foreground(master: int, signum: int) -> int:
    """Send a signal to the terminal's foreground process group, as ^C does; return the group.

    Raises:
        ProcessGoneError: there is no foreground group.
        SignalError: not one of FOREGROUND_SIGNALS.
        NotATerminalError: `master` is no open PTY.
    Source: TIOCSIG in linux/drivers/tty/pty.c; it silently does nothing if there is no group.
    """
    if signum not in FOREGROUND_SIGNALS:
        raise SignalError(f"signal {signum} cannot be sent through a terminal")
    group = foreground_group(master)
    if group is None:
        raise ProcessGoneError("the foreground of the terminal")
    try:
        fcntl.ioctl(master, _TIOCSIG, signum)
    except OSError as error:
        raise NotATerminalError(f"fd {master}") from error
    return group

"""Job control: who is in a terminal's foreground, and what its suspend key does.

The kernel stops nobody by TSTP whose process group is *orphaned*: that is, all of whose parents
are in the group itself or in other sessions. So it is with the command of a PTY, which leads a
session: where a shell's job would stop at ^Z, it goes on.

Source: setpgid(2), credentials(7); `is_current_pgrp_orphaned` in linux/kernel/exit.c.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Final

from ptymux.errors import NotATerminalError
from ptymux.posix.procfs import read
from ptymux.posix.tty import process_suspend_key

__all__ = ["can_be_stopped", "in_foreground", "suspend_key"]

_STATE: Final = 0  # fields of /proc/PID/stat behind the name
_PARENT, _GROUP, _SESSION, _FOREGROUND = 1, 2, 3, 5
_TSTP_BIT: Final = 1 << (signal.SIGTSTP - 1)


def in_foreground(fd: int) -> bool:
    """Return whether this process may read and change the terminal at `fd`.

    That is so, too, for a terminal that does not control our session.
    """
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return True


def can_be_stopped() -> bool:
    """Return whether TSTP stops this process: whether a shell is there that can continue it.

    Limit: only our own line of parents is looked at, not that of others in our process group.
    """
    group, session, pid = os.getpgrp(), os.getsid(0), os.getpid()
    while fields := _stat(pid):
        if int(fields[_GROUP]) != group:
            return int(fields[_SESSION]) == session
        pid = int(fields[_PARENT])
    return False


def suspend_key(leader: int) -> int | None:
    """Return the byte at which `leader`, a command of ours, would stop if it were a shell's job.

    None: the key is an ordinary one there, the foreground is another's (whom the kernel stops), or
    the leader ignores TSTP, as shells do.
    """
    fields = _stat(leader)
    if not fields or fields[_STATE] in b"ZX" or fields[_FOREGROUND] != fields[_GROUP]:
        return None
    if _ignored(leader) & _TSTP_BIT:
        return None
    with contextlib.suppress(NotATerminalError):
        return process_suspend_key(leader)
    return None


def _stat(pid: int) -> list[bytes]:
    data = read(f"/proc/{pid}/stat")
    return data[data.rindex(b")") + 2 :].split() if data else []


def _ignored(pid: int) -> int:
    """Return the set of signals that a process ignores, as a mask."""
    for line in (read(f"/proc/{pid}/status") or b"").splitlines():
        if line.startswith(b"SigIgn:"):
            return int(line.split()[1], 16)
    return 0

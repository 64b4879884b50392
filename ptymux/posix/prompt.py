"""Whether the leader of a session sits at its terminal and waits for somebody to type."""

from __future__ import annotations

from typing import Final

from ptymux.posix.procfs import read

__all__ = ["waits_for_typing"]

_PGRP_FIELD: Final = 2  # of /proc/PID/stat, counted from the state
_TPGID_FIELD: Final = 5
# Where the kernel has a process wait for a child, for a time to pass, or for another's words;
# with job control off all these happen in the leader's own group.
_OTHER_WAITS: Final = (b"do_wait", b"hrtimer_nanosleep", b"pipe_read", b"anon_pipe_read")


def waits_for_typing(pid: int) -> bool:
    """Whether `pid` is in the foreground of its terminal, asleep, and for no other known reason.

    Limit: a program that waits for a network or a lock looks the same; where the kernel hides
    /proc/PID/wchan, so does a shell without job control that waits for its child.
    """
    data = read(f"/proc/{pid}/stat")
    if not data:
        return False
    fields = data[data.rindex(b")") + 2 :].split()
    if fields[0] != b"S" or fields[_TPGID_FIELD] != fields[_PGRP_FIELD]:
        return False
    return not (read(f"/proc/{pid}/wchan") or b"").startswith(_OTHER_WAITS)

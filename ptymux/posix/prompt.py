"""Whether a program waits for input at its terminal, as a shell at its prompt does."""

from __future__ import annotations

from typing import Final

from ptymux.posix.procfs import read

__all__ = ["waits_for_typing"]

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


def _sleeps_of(pid: int) -> tuple[bytes, bytes] | None:
    """Return the state of a process and how often it has gone to sleep; None if it is gone."""
    lines = (read(f"/proc/{pid}/status") or b"").splitlines()
    found = [line for line in lines if line.startswith((b"State:", b"voluntary_ctxt_switches:"))]
    return (found[0], found[1]) if len(found) == 2 else None

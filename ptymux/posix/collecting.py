"""Whether the terminal of another process collects lines."""

from __future__ import annotations

import os

from ptymux.errors import NotATerminalError
from ptymux.posix.procfs import read
from ptymux.posix.tty import is_canonical

__all__ = ["collects_lines"]

_TTY_FIELD = 4  # of /proc/PID/stat, counted from the state
_PTY_MAJORS = range(136, 144)  # Source: linux/Documentation/admin-guide/devices.txt


def collects_lines(pid: int) -> bool:
    """Whether the PTY that `pid` runs in collects lines; False if that cannot be seen.

    The terminal is open to us for a moment, and stays what it was.
    """
    data = read(f"/proc/{pid}/stat")
    if not data:
        return False
    number = int(data[data.rindex(b")") + 2 :].split()[_TTY_FIELD])
    if os.major(number) not in _PTY_MAJORS:
        return False
    index = (os.major(number) - _PTY_MAJORS[0]) * 256 + os.minor(number)
    flags = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(f"/dev/pts/{index}", flags)
    except OSError:
        return False
    try:
        return os.fstat(fd).st_rdev == number and is_canonical(fd)
    except NotATerminalError:
        return False
    finally:
        os.close(fd)

"""How the terminal of another process treats what is typed: whether it collects lines, and echoes.

The terminal is open to us for a moment, and stays what it was unless it is to change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ptymux.errors import NotATerminalError
from ptymux.posix.procfs import read
from ptymux.posix.tty import has_echo, is_canonical, set_echo

__all__ = ["collects_lines", "echoes", "make_echo"]

_TTY_FIELD = 4  # of /proc/PID/stat, counted from the state
_PTY_MAJORS = range(136, 144)  # Source: linux/Documentation/admin-guide/devices.txt


def collects_lines(pid: int) -> bool:
    """Whether the PTY that `pid` runs in collects lines; False if that cannot be seen."""
    try:
        with _terminal_of(pid) as fd:
            return is_canonical(fd)
    except NotATerminalError:
        return False


def echoes(pid: int) -> bool:
    """Whether the PTY that `pid` runs in shows what is typed.

    Raises:
        NotATerminalError: it runs in none, or has ended.
    """
    with _terminal_of(pid) as fd:
        return has_echo(fd)


def make_echo(pid: int, on: bool) -> None:
    """Have the PTY that `pid` runs in show what is typed, or not.

    Raises:
        NotATerminalError: it runs in none, or has ended.
    """
    with _terminal_of(pid) as fd:
        set_echo(fd, on)


@contextmanager
def _terminal_of(pid: int) -> Iterator[int]:
    """Open the PTY that is the controlling terminal of `pid`; raises NotATerminalError."""
    data = read(f"/proc/{pid}/stat")
    number = int(data[data.rindex(b")") + 2 :].split()[_TTY_FIELD]) if data else 0
    if os.major(number) not in _PTY_MAJORS:
        raise NotATerminalError(f"what process {pid} runs in")
    index = (os.major(number) - _PTY_MAJORS[0]) * 256 + os.minor(number)
    flags = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(f"/dev/pts/{index}", flags)
    except OSError as error:
        raise NotATerminalError(f"what process {pid} runs in") from error
    try:
        if os.fstat(fd).st_rdev != number:
            raise NotATerminalError(f"what process {pid} runs in")
        yield fd
    finally:
        os.close(fd)

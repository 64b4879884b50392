"""Terminals: raw mode, size, and how they treat what is typed, ours or another process's."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ptymux.core.model import WindowSize
from ptymux.errors import NotATerminalError
from ptymux.posix.procfs import read

__all__ = [
    "collects_lines",
    "echoes",
    "make_echo",
    "is_terminal",
    "raw_mode",
    "read_size",
    "set_size",
    "lock_terminal",
    "terminal_session",
    "is_canonical",
    "has_echo",
    "set_echo",
]

_TTY_FIELD = 4  # of /proc/PID/stat, counted from the state
_PTY_MAJORS = range(136, 144)  # Source: linux/Documentation/admin-guide/devices.txt
_LARGEST = 10_000  # of WindowSize
# asm-generic/ioctls.h; Python's termios lacks them
_TIOCSPTLCK = 0x40045431
_TIOCGSID = 0x5429
_MIN, _TIME = termios.VMIN, termios.VTIME


def is_terminal(fd: int) -> bool:
    """Whether `fd` is an open terminal."""
    return os.isatty(fd)


@contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Have every key come at once and every byte go as it is; restore the modes afterwards.

    What was typed before is kept, and nothing waits for output that the terminal has paused.
    A terminal that has hung up meanwhile has nothing to restore.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    Source: cfmakeraw in termios(3).
    """
    before = _attributes(fd)
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = before
    iflag &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    oflag &= ~termios.OPOST
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cc = [1 if at == _MIN else 0 if at == _TIME else key for at, key in enumerate(cc)]
    _set_attributes(fd, [iflag, oflag, cflag, lflag, ispeed, ospeed, cc])
    try:
        yield
    finally:
        with suppress(NotATerminalError):
            _set_attributes(fd, before)


def _attributes(fd: int) -> list[Any]:
    with _translated(fd):
        return termios.tcgetattr(fd)


def _set_attributes(fd: int, attributes: list[Any]) -> None:
    with _translated(fd):
        termios.tcsetattr(fd, termios.TCSANOW, attributes)


@contextmanager
def _translated(fd: int) -> Iterator[None]:
    """Tell EBADF, ENOTTY and the EIO of a terminal that hung up as what they mean."""
    try:
        yield
    except (OSError, termios.error) as error:
        raise NotATerminalError(f"fd {fd}") from error


def read_size(fd: int) -> WindowSize | None:
    """Return the size of the terminal behind `fd`; None when it was never told its size.

    What is above the largest size of ours is cut to it.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    Source: TIOCGWINSZ in ioctl_tty(2); a terminal that was told nothing says 0x0.
    """
    with _translated(fd):
        rows, cols = termios.tcgetwinsize(fd)
    if not rows or not cols:
        return None
    return WindowSize(min(cols, _LARGEST), min(rows, _LARGEST))


def set_size(fd: int, size: WindowSize) -> None:
    """Give the terminal, or the PTY behind a master, a size; the kernel sends WINCH if it is new.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    """
    with _translated(fd):
        termios.tcsetwinsize(fd, (size.rows, size.cols))


def lock_terminal(master: int) -> None:
    """Have nobody open the terminal of a PTY's master by its path any more.

    Source: TIOCSPTLCK in ioctl_tty(2); ptmx_open in linux/drivers/tty/pty.c.
    """
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 1))


def terminal_session(master: int) -> int | None:
    """Return the leader of the session whose controlling terminal a PTY's master has.

    None: there is none, or its leader has ended. Source: TIOCGSID in ioctl_tty(2).
    """
    try:
        (leader,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGSID, bytes(4)))
    except OSError:
        return None
    assert isinstance(leader, int)
    return leader


def is_canonical(fd: int) -> bool:
    """Whether the terminal collects lines; it then cuts a line above 4,095 bytes.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    Source: N_TTY_BUF_SIZE in linux/drivers/tty/n_tty.c.
    """
    return bool(_attributes(fd)[3] & termios.ICANON)


def has_echo(fd: int) -> bool:
    """Whether the terminal shows what is typed; for a password it does not.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    """
    return bool(_attributes(fd)[3] & termios.ECHO)


def set_echo(fd: int, on: bool) -> None:
    """Have the terminal show what is typed, or not.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    """
    attributes = _attributes(fd)
    attributes[3] = attributes[3] | termios.ECHO if on else attributes[3] & ~termios.ECHO
    _set_attributes(fd, attributes)


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
    """Open the PTY that is the controlling terminal of `pid`, for a moment.

    Raises:
        NotATerminalError: it runs in none, or has ended.
    """
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

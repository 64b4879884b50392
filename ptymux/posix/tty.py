"""Terminals: raw mode, size, echo and line mode, of our own terminal or another process's."""

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
    "process_is_canonical",
    "process_has_echo",
    "process_line",
    "process_suspend_key",
    "set_process_echo",
    "is_terminal",
    "RawTerminal",
    "raw_mode",
    "read_size",
    "set_size",
    "is_locked",
    "lock_terminal",
    "terminal_session",
    "unlock_terminal",
    "is_canonical",
    "has_echo",
    "set_echo",
]

_TTY_FIELD = 4  # of /proc/PID/stat, counted from the state field
_PTY_MAJORS = range(136, 144)  # Source: linux/Documentation/admin-guide/devices.txt
_LARGEST = 10_000  # columns or rows of a WindowSize
# asm-generic/ioctls.h; Python's termios lacks them
_TIOCSPTLCK = 0x40045431
_TIOCGPTLCK = 0x80045439
_TIOCGSID = 0x5429
_MIN, _TIME = termios.VMIN, termios.VTIME


def is_terminal(fd: int) -> bool:
    """Return whether `fd` is an open terminal."""
    return os.isatty(fd)


@contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Put the terminal into raw mode for a `with` block, and restore its modes afterwards.

    In raw mode each key arrives at once, and bytes pass unchanged. Keys that were typed before are
    kept. The switch does not wait for output that the terminal has paused. If the terminal hangs
    up meanwhile, there is nothing to restore.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    Source: cfmakeraw in termios(3).
    """
    before = _attributes(fd)
    _set_attributes(fd, _raw(before))
    try:
        yield
    finally:
        with suppress(NotATerminalError):
            _set_attributes(fd, before)


class RawTerminal:
    """A terminal that is in raw mode at times, as `raw_mode` has it; first it is not."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None

    def take(self) -> None:
        """Put it into raw mode; again, too, as somebody else may have had it meanwhile.

        Raises:
            NotATerminalError: it is closed or is not a terminal.
        """
        now = _attributes(self._fd)
        self._before = self._before or now
        _set_attributes(self._fd, _raw(now))

    def give_back(self) -> None:
        """Restore the modes that it had before it was taken for the first time."""
        if self._before is not None:
            with suppress(NotATerminalError):
                _set_attributes(self._fd, self._before)
        self._before = None


def _raw(attributes: list[Any]) -> list[Any]:
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = attributes
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
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, cc]


def _attributes(fd: int) -> list[Any]:
    with _translated(fd):
        return termios.tcgetattr(fd)


def _set_attributes(fd: int, attributes: list[Any]) -> None:
    with _translated(fd):
        termios.tcsetattr(fd, termios.TCSANOW, attributes)


@contextmanager
def _translated(fd: int) -> Iterator[None]:
    """Raise NotATerminalError in place of EBADF, ENOTTY and the EIO of a hung-up terminal."""
    try:
        yield
    except (OSError, termios.error) as error:
        raise NotATerminalError(f"fd {fd}") from error


def read_size(fd: int) -> WindowSize | None:
    """Return the size of the terminal behind `fd`; None if its size was never set.

    A size above the largest `WindowSize` is cut to it.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    Source: TIOCGWINSZ in ioctl_tty(2); a terminal whose size was never set returns 0x0.
    """
    with _translated(fd):
        rows, cols = termios.tcgetwinsize(fd)
    if not rows or not cols:
        return None
    return WindowSize(min(cols, _LARGEST), min(rows, _LARGEST))


def set_size(fd: int, size: WindowSize) -> None:
    """Set the size of a terminal, or of the PTY behind a master; a new size sends WINCH.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    """
    with _translated(fd):
        termios.tcsetwinsize(fd, (size.rows, size.cols))


def lock_terminal(master: int) -> None:
    """Lock a PTY so that nobody can open its terminal by its path any more.

    Source: TIOCSPTLCK in ioctl_tty(2); ptmx_open in linux/drivers/tty/pty.c.
    """
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 1))


def unlock_terminal(master: int) -> None:
    """Undo `lock_terminal`; one that is not locked is no error."""
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))


def is_locked(master: int) -> bool:
    """Return whether a PTY is locked, as by `lock_terminal`."""
    (locked,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTLCK, bytes(4)))
    return bool(locked)


def terminal_session(master: int) -> int | None:
    """Return the pid of the leader of the session that runs on a PTY, given its master.

    None: there is no such session, or its leader has ended. Source: TIOCGSID in ioctl_tty(2).
    """
    try:
        (leader,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGSID, bytes(4)))
    except OSError:
        return None
    assert isinstance(leader, int)
    return leader


def is_canonical(fd: int) -> bool:
    """Return whether the terminal is in canonical mode: input goes to the program line by line.

    The kernel then cuts a line above 4,095 bytes.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    Source: N_TTY_BUF_SIZE in linux/drivers/tty/n_tty.c.
    """
    return bool(_attributes(fd)[3] & termios.ICANON)


def has_echo(fd: int) -> bool:
    """Return whether the terminal shows what is typed; a password prompt switches that off.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    """
    return bool(_attributes(fd)[3] & termios.ECHO)


def set_echo(fd: int, on: bool) -> None:
    """Switch on or off whether the terminal shows what is typed.

    Raises:
        NotATerminalError: `fd` is closed or is not a terminal.
    """
    attributes = _attributes(fd)
    attributes[3] = attributes[3] | termios.ECHO if on else attributes[3] & ~termios.ECHO
    _set_attributes(fd, attributes)


def process_is_canonical(pid: int) -> bool:
    """Return whether the terminal of process `pid` is in canonical mode; False if unknown."""
    try:
        with _terminal_of(pid) as fd:
            return is_canonical(fd)
    except NotATerminalError:
        return False


def process_line(pid: int) -> tuple[bool, bool]:
    """Return whether the terminal of process `pid` is in canonical mode, and whether it echoes.

    Raises:
        NotATerminalError: it has no PTY, or has ended.
    """
    with _terminal_of(pid) as fd:
        return is_canonical(fd), has_echo(fd)


def process_suspend_key(pid: int) -> int | None:
    """Return the byte that suspends in the terminal of process `pid`; None if none does.

    Raises:
        NotATerminalError: it has no PTY, or has ended.
    """
    with _terminal_of(pid) as fd:
        attributes = _attributes(fd)
    key: bytes = attributes[6][termios.VSUSP]
    return key[0] if attributes[3] & termios.ISIG and key != b"\0" else None


def process_has_echo(pid: int) -> bool:
    """Return whether the terminal of process `pid` shows what is typed.

    Raises:
        NotATerminalError: it has no PTY, or has ended.
    """
    with _terminal_of(pid) as fd:
        return has_echo(fd)


def set_process_echo(pid: int, on: bool) -> None:
    """Switch on or off whether the terminal of process `pid` shows what is typed.

    Raises:
        NotATerminalError: it has no PTY, or has ended.
    """
    with _terminal_of(pid) as fd:
        set_echo(fd, on)


@contextmanager
def _terminal_of(pid: int) -> Iterator[int]:
    """Open the PTY that is the controlling terminal of `pid`, for a `with` block.

    Raises:
        NotATerminalError: it has no PTY, or has ended.
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

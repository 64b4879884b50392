"""Signals that a poll can wait for, together with files."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable
from types import FrameType

__all__ = ["ENDING", "SignalInbox", "stop_ourselves"]

_OTHERS = (  # that end nobody, or cannot be caught
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
    signal.SIGCHLD,
    signal.SIGURG,
    signal.SIGWINCH,
)
# The signals that end a process which does not catch them; who has a terminal must give it back.
# Source: signal(7). Limit: a true fault in our own code, which no Python code survives, is among
# them: it would repeat for ever, where it would end us.
ENDING = tuple(s for s in sorted(signal.valid_signals()) if s not in _OTHERS)

_Handler = Callable[[int, FrameType | None], object] | int | None


class SignalInbox:
    """Collects these signals while it is open; signals that we were started to ignore stay ignored.

    Use it in a `with` statement, or close it.
    """

    def __init__(self, signals: Iterable[int]) -> None:
        self._before: dict[int, _Handler] = {}
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for signum in signals:
            if signal.getsignal(signum) != signal.SIG_IGN:
                self._before[signum] = signal.signal(signum, _note)
                # No system call is interrupted: the inbox becomes readable, and that is enough.
                signal.siginterrupt(signum, False)

    def __enter__(self) -> SignalInbox:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the signals do again what they did before."""
        for signum, handler in self._before.items():  # first, so that no signal is lost now
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._read.close()
        self._write.close()

    def ignore_afterwards(self, signum: int) -> None:
        """Ignore a signal once this is closed: what it would say is known already."""
        if signum in self._before:
            self._before[signum] = signal.SIG_IGN

    def fileno(self) -> int:
        """Return the fd that is readable while there is a signal."""
        return self._read.fileno()

    def take(self) -> list[int]:
        """Return the signals that came since the last call, in order."""
        with contextlib.suppress(BlockingIOError):
            return list(self._read.recv(4096))
        return []


def stop_ourselves(signum: int = signal.SIGTSTP, *, with_job: bool = False) -> None:
    """Stop this process, or all of its job, as `signum` does; return once it is continued."""
    handler = signal.signal(signum, signal.SIG_DFL)
    os.kill(0 if with_job else os.getpid(), signum)
    signal.signal(signum, handler)


def _note(_signum: int, _frame: FrameType | None) -> None:
    """Do nothing: Python writes the number to the inbox if there is a handler."""

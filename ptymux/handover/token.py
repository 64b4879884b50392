"""The token of a handover: one byte in a pipe, and only the process that takes it owns the PTYs.

A process that is to be replaced does nothing any more, and waits. The one that replaces it takes
the token once it holds everything, and then ends the one before. If that cannot happen, whoever
directs the handover closes its end of the pipe, or has died. Then the process before tries to take
the token, too: if it gets it, it goes on as if nothing had been; else it has been replaced, and
ends. So at any moment one of the two can go on, and never both.
"""

from __future__ import annotations

import os
import select
import signal

__all__ = ["await_decision", "create_token", "end_process", "take_token"]


def create_token() -> tuple[int, int]:
    """Return the ends of a new token: the one to take it from, and the one to hold meanwhile.

    Raises:
        OSError: open files.
    """
    taking, holding = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.write(holding, b"\0")
    return taking, holding


def take_token(taking: int) -> bool:
    """Take the token and return True; False if somebody has taken it."""
    try:
        return bool(os.read(taking, 1))
    except BlockingIOError:
        return False


def await_decision(taking: int, seconds: float) -> None:
    """Return once the other end is closed everywhere, but after `seconds` at the latest."""
    poll = select.poll()
    poll.register(taking, 0)  # only POLLHUP, which is always reported; not the token itself
    poll.poll(1000 * seconds)


def end_process(pidfd: int) -> None:
    """Kill a process and return once it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()

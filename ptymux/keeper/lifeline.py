"""The way of input: lifelines feed one terminal, a chunk at a time, each chunk whole.

A lifeline is a stream socketpair; the client writes raw input into its end, and what the terminal
does not take yet waits in the socket's buffer, which pushes back on the client. When a lifeline
ends, whichever side ended it, the engine's last word on it is how many bytes the terminal took,
as 8 bytes, little-endian. So a sender that half-closes learns exactly what became of its input.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from typing import Final

from ptymux.core.model import Limits
from ptymux.errors import LimitReachedError
from ptymux.posix.shortage import shortage_of

__all__ = ["TAKEN_BYTES", "Input", "Lifeline"]

TAKEN_BYTES: Final = 8  # the size of the last word
_CHUNK: Final = 4096  # in hand at a time; what a crash of the engine's process leaves unknown
_QUEUE: Final = 64 * 1024  # bytes that wait in a lifeline
_LISTEN: Final = select.EPOLLIN
_GONE_ONLY: Final = select.EPOLLRDHUP | select.EPOLLET  # while the terminal takes nothing

Watch = Callable[[int, int, Callable[[int], None]], None]


class Lifeline:
    """The engine's end of one attachment."""

    __slots__ = ("number", "reported", "sock", "taken")

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.taken = 0  # bytes that the terminal took
        self.reported = False


class Input:
    """All lifelines of one terminal and the chunk in hand.

    `watch(fd, mask, handler)` has the engine's epoll call `handler` (mask 0: no more), `want_room`
    is called when it should call `feed` once the terminal takes input again, `ended` with the
    number of a lifeline that is over.
    """

    __slots__ = ("_ended", "_lines", "_master", "_owner", "_rest", "_want_room", "_watch")

    def __init__(
        self,
        master: int,
        watch: Watch,
        want_room: Callable[[], None],
        ended: Callable[[int], None],
    ) -> None:
        self._master = master
        self._watch = watch
        self._want_room = want_room
        self._ended = ended
        self._lines: dict[int, Lifeline] = {}
        self._rest = b""
        self._owner: Lifeline | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a chunk waits for the terminal to take it."""
        return bool(self._rest)

    def open(self, number: int) -> socket.socket:
        """Return the client's end of a new lifeline; the caller owns it.

        Raises:
            LimitReachedError: the PTY has as many as it may.
            OutOfResourcesError: open files or memory.
        """
        if len(self._lines) >= Limits.LIFELINES:
            raise LimitReachedError("lifelines of a PTY", Limits.LIFELINES, "close one first")
        with contextlib.ExitStack() as undo:
            try:
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                undo.callback(theirs.close)
                # The kernel doubles it.
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE // 2)
                ours.setblocking(False)
                line = Lifeline(number, ours)
                self._listen(line)
            except OSError as error:
                raise shortage_of(error) or error from error
            undo.pop_all()
        self._lines[ours.fileno()] = line
        return theirs

    def feed(self) -> None:
        """Give the chunk in hand to the terminal, which has room; then listen again."""
        rest, owner = self._rest, self._owner
        if not rest or owner is None:
            return
        self._rest, self._owner = b"", None
        if self._give(owner, rest):
            for line in self._lines.values():
                self._listen(line)

    def close(self) -> None:
        """End every lifeline; what the terminal did not take is the senders' to know."""
        self._rest, self._owner = b"", None
        for line in list(self._lines.values()):
            self._end(line)

    def _listen(self, line: Lifeline) -> None:
        mask = _GONE_ONLY if self._rest else _LISTEN
        self._watch(line.sock.fileno(), mask, lambda events: self._on_event(line, events))

    def _on_event(self, line: Lifeline, events: int) -> None:
        if self._rest:
            # The terminal takes nothing now, but a client that left is seen all the same.
            if events & select.EPOLLHUP:
                self._report(line)
            return
        try:
            data = line.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(line)
        elif not self._give(line, data):
            for other in self._lines.values():
                self._listen(other)

    def _give(self, line: Lifeline, data: bytes) -> bool:
        """Write `data` to the terminal; return False when a rest has to wait."""
        try:
            taken = os.write(self._master, data)
        except BlockingIOError:
            taken = 0
        except OSError:  # nobody has the terminal open: input has nowhere to go any more
            self._end(line)
            return True
        line.taken += taken
        if taken == len(data):
            return True
        self._rest, self._owner = data[taken:], line
        self._want_room()
        return False

    def _end(self, line: Lifeline) -> None:
        fd = line.sock.fileno()
        if self._lines.pop(fd, None) is None:
            return
        self._watch(fd, 0, lambda _events: None)
        with contextlib.suppress(OSError):  # the client left without waiting for the last word
            line.sock.send(line.taken.to_bytes(TAKEN_BYTES, "little"), socket.MSG_NOSIGNAL)
        line.sock.close()
        self._report(line)

    def _report(self, line: Lifeline) -> None:
        if not line.reported:
            line.reported = True
            self._ended(line.number)

"""The way of input: lifelines feed one terminal, a chunk at a time, each chunk whole.

A lifeline is a stream socketpair; the client writes raw input into its end, and what the terminal
does not take yet waits in the socket's buffer, which pushes back on the client. When a lifeline
ends, whichever side ended it, the engine's last word on it is how many bytes the terminal took,
as 8 bytes, little-endian. So a sender that half-closes learns exactly what became of its input; no
last word means that nobody knows.

Input leaves the socket only after the terminal took it, and a duplicate of the engine's end can
be held elsewhere; so a successor of an engine that died finds all that was not typed. The chunk in
hand is in the ring's header, and the socket's SO_PEEK_OFF tells whether it has left the socket (the
kernel moves it with each peek and back with each read). So a successor knows how much was typed,
but for a death right behind the write, before that could be noted: then it is unknown, and it is
not typed again.

The other way a lifeline carries, if its client asked for that, *echoes*: what the terminal answers
to a key is short, and somebody waits for it, so that it goes to the client at once and comes again
with all other output. An echo is in the form of the protocol's OUT, the last word of such a
lifeline in that of TAKEN. An echo that finds no room is left out.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from ptymux.core.model import Limits
from ptymux.core.ring import RingBuffer
from ptymux.errors import LimitReachedError
from ptymux.posix.resource_errors import resource_error
from ptymux.protocol.frame_header import encode_taken, out_header

__all__ = ["TAKEN_BYTES", "Handler", "Input", "EngineLifeline"]

_SO_PEEK_OFF: Final = 42  # asm-generic/socket.h: where the next peek begins
_ECHOES: Final = 16 * 1024  # of memory for echoes that the client has not read

TAKEN_BYTES: Final = 8  # the size of the last word
_CHUNK: Final = 4096  # in hand at a time; of which a crash may leave unknown whether it was typed
_QUEUE: Final = 64 * 1024  # bytes that wait in a lifeline
_LISTEN: Final = select.EPOLLIN
_GONE_ONLY: Final = select.EPOLLRDHUP | select.EPOLLET  # while the terminal takes nothing

# Called with the events of an fd; returns True when a key or its answer was all there was to do.
Handler = Callable[[int], bool | None]
WatchFd = Callable[[int, int, Handler], None]


class EngineLifeline:
    """The engine's end of one attachment."""

    __slots__ = ("echoes", "index", "is_unsure", "number", "reported", "sock", "taken")

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        index: int,
        taken: int = 0,
        *,
        echoes: bool = False,
        is_unsure: bool = False,
    ) -> None:
        self.number = number
        self.sock = sock
        self.index = index  # in the ring's header
        self.taken = taken  # bytes that the terminal took
        self.echoes = echoes
        self.is_unsure = is_unsure  # some of it may not have been taken
        self.reported = False

    @property
    def last_word(self) -> bytes:
        """How much the terminal took, as the client is told at the end; empty if unknown."""
        if self.is_unsure:
            return b""
        if self.echoes:
            return encode_taken(self.taken)
        return self.taken.to_bytes(TAKEN_BYTES, "little")


class Input:
    """All lifelines of one terminal.

    `watch(fd, mask, handler)` has the engine's epoll call `handler` (mask 0: no more), `want_room`
    is called when it should call `feed` once the terminal takes input again, `ended` with the
    number of a lifeline that is over and whether its client ended it. The ring's header has what
    a successor needs to know.
    """

    __slots__ = (
        "_echoing",
        "_ended",
        "_left",
        "_lines",
        "_master",
        "_owner",
        "_ring",
        "_want_room",
        "_watch",
        "on_typed",
    )

    def __init__(
        self,
        master: int,
        ring: RingBuffer,
        watch: WatchFd,
        want_room: Callable[[], None],
        ended: Callable[[int, bool], None],
    ) -> None:
        self._master = master
        self._ring = ring
        self._watch = watch
        self._want_room = want_room
        self._ended = ended
        self._lines: dict[int, EngineLifeline] = {}
        self._echoing: list[EngineLifeline] = []
        self._owner: EngineLifeline | None = None  # of the chunk that waits for the terminal
        self._left = 0  # bytes of that chunk
        self.on_typed: Callable[[], None] = lambda: None  # the terminal took something

    @property
    def is_waiting(self) -> bool:
        """Whether a chunk waits for the terminal to take it."""
        return self._owner is not None

    @property
    def open_lines(self) -> list[tuple[int, int]]:
        """The number and the fd of each lifeline that is open."""
        return [(line.number, line.sock.fileno()) for line in self._lines.values()]

    def open(self, number: int, *, echoes: bool = False) -> socket.socket:
        """Return the client's end of a new lifeline; the caller owns it.

        Raises:
            LimitReachedError: the PTY has as many as it may.
            OutOfResourcesError: open files or memory.
        """
        used = {line.index for line in self._lines.values()}
        index = next((each for each in range(Limits.LIFELINES) if each not in used), -1)
        if index < 0:
            raise LimitReachedError("lifelines of a PTY", Limits.LIFELINES, "close one first")
        with contextlib.ExitStack() as undo:
            try:
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                undo.callback(theirs.close)
                # The kernel doubles it.
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE // 2)
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ECHOES // 2)
                ours.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
                ours.setblocking(False)
                line = EngineLifeline(number, ours, index, echoes=echoes)
                self._listen(line)
            except OSError as error:
                raise resource_error(error) or error from error
            undo.pop_all()
        self._add(line)
        self._note(line)
        return theirs

    def restore(self, number: int, sock: socket.socket) -> int:
        """Go on with a lifeline of an engine that died; return how much is unknown of its input."""
        known = self._ring.lines().get(number)
        if known is None:  # it had ended, and that may not have been told
            sock.close()
            self._ended(number, True)
            return 0
        sock.setblocking(False)
        line = EngineLifeline(
            number,
            sock,
            known.index,
            known.taken,
            echoes=known.echoes,
            is_unsure=known.is_unsure,
        )
        unknown = self._finish_typing(line)
        self._add(line)
        self._listen(line)
        return unknown

    def _finish_typing(self, line: EngineLifeline) -> int:
        """Finish what a dead engine had in hand of a lifeline; return how much is unknown of it.

        Each step may be the last one of this engine, too.
        """
        unknown = 0
        number, size, before = self._ring.in_hand
        if size and number == line.number:
            peeked = line.sock.getsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF)
            typed = line.taken - before
            if not typed:
                typed = unknown = size
                line.is_unsure = True
            _discard(line.sock, typed - (size - peeked))
            line.taken = before + typed
            self._note(line)
            self._ring.put_down()
        line.sock.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
        return unknown

    def echo(self, offset: int, data: bytes) -> bool:
        """Send output from `offset` on to those who asked for echoes; False: there are none."""
        if not self._echoing:
            return False
        frame = out_header(offset, len(data)) + data
        for line in list(self._echoing):
            try:
                is_whole = line.sock.send(frame, socket.MSG_NOSIGNAL) == len(frame)
            except BlockingIOError:
                continue
            except OSError:  # it left; its own event ends it
                is_whole = False
            if not is_whole:
                self._echoing.remove(line)
        return True

    def feed(self) -> None:
        """Go on with the chunk that waits, for which there is room now; then listen again."""
        owner, left = self._owner, self._left
        if owner is None:
            return
        self._owner, self._left = None, 0
        if self._give(owner, left):
            for line in self._lines.values():
                self._listen(line)

    def close(self) -> None:
        """End every lifeline; what the terminal did not take is the senders' to know."""
        self._owner, self._left = None, 0
        for line in list(self._lines.values()):
            self._end(line, by_client=False)

    def _add(self, line: EngineLifeline) -> None:
        self._lines[line.sock.fileno()] = line
        if line.echoes:
            self._echoing.append(line)

    def _note(self, line: EngineLifeline) -> None:
        """Have a successor know how much of a lifeline was typed."""
        self._ring.set_line(
            line.index, line.number, line.taken, echoes=line.echoes, is_unsure=line.is_unsure
        )

    def _listen(self, line: EngineLifeline) -> None:
        mask = _GONE_ONLY if self._owner is not None else _LISTEN
        self._watch(line.sock.fileno(), mask, partial(self._on_event, line))

    def _on_event(self, line: EngineLifeline, events: int) -> bool:
        if self._owner is not None:
            # The terminal takes nothing now, but a client that left is seen all the same.
            if events & select.EPOLLHUP:
                self._report(line, by_client=True)
        elif not self._give(line, _CHUNK):
            for other in self._lines.values():
                self._listen(other)
        return True

    def _give(self, line: EngineLifeline, size: int) -> bool:
        """Type up to `size` bytes of a lifeline; return False when some have to wait."""
        try:
            data = line.sock.recv(size, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._end(line, by_client=True)
            return True
        taken = self._type(line, data)
        if taken < 0:  # nobody has the terminal open: input has nowhere to go any more
            self._end(line, by_client=False)
            return True
        if taken > 0:
            self.on_typed()
        if taken == len(data):
            return True
        line.sock.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
        self._owner, self._left = line, len(data) - taken
        self._want_room()
        return False

    def _type(self, line: EngineLifeline, data: bytes) -> int:
        """Give `data` to the terminal, then take what it took out of the socket; -1: it is gone.

        The order is what `_finish_typing` relies on.
        """
        ring = self._ring
        ring.take_in_hand(line.number, len(data), line.taken)
        try:
            taken = os.write(self._master, data)
        except BlockingIOError:
            taken = 0
        except OSError:
            taken = -1
        if taken > 0:
            line.taken += taken
            self._note(line)
            _discard(line.sock, taken)
        ring.put_down()
        return taken

    def _end(self, line: EngineLifeline, *, by_client: bool) -> None:
        fd = line.sock.fileno()
        if self._lines.pop(fd, None) is None:
            return
        if line in self._echoing:
            self._echoing.remove(line)
        self._watch(fd, 0, lambda _events: None)
        with contextlib.suppress(OSError):  # the client left without waiting for the last word
            # There is room for it, also behind echoes that nobody reads.
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ECHOES)
            line.sock.send(line.last_word, socket.MSG_NOSIGNAL)
            line.sock.shutdown(socket.SHUT_RDWR)  # whoever else holds a duplicate
        line.sock.close()
        self._ring.set_line(line.index, 0, 0)
        self._report(line, by_client=by_client)

    def _report(self, line: EngineLifeline, *, by_client: bool) -> None:
        if not line.reported:
            line.reported = True
            self._ended(line.number, by_client)


def _discard(sock: socket.socket, size: int) -> None:
    """Take out of a socket what is known to be there."""
    while size:
        size -= len(sock.recv(size))

"""The input of one terminal: bytes from clients' input channels (lifelines) are typed into it.

Theory of operation. A lifeline is a stream socketpair. The client writes raw input into its end.
Input that the terminal does not take yet waits in the socket's buffer; when that is full, the
client has to wait. Chunks are typed whole, one after the other, so the input of two clients does
not mix within a chunk. When a lifeline ends, from either side, the engine's last word on it is how
many bytes the terminal took, as 8 bytes, little-endian. So a sender that half-closes learns
exactly what became of its input. If there is no last word, nobody knows.

No input is lost when the engine is killed. Bytes leave the socket only after the terminal took
them, and other processes hold duplicates of the engine's end; so the next engine finds all input
that was not typed. For each chunk the order is: peek at it, note it in the ring's header, write it
to the terminal, note how much was typed, remove that from the socket. The kernel moves the
socket's SO_PEEK_OFF forward with each peek and back with each read, so it shows whether the bytes
were removed. From these notes the next engine knows how much was typed. There is one exception: a
kill between the write and the note. Then the chunk may or may not have been typed; it is not typed
again, and that is logged.

A lifeline can also carry *echoes* back, if its client asked for them. The answer to a key is short
and somebody waits for it. So it goes to the client at once on the lifeline, and comes again with
all other output. An echo has the form of the protocol's OUT frame; the last word of such a lifeline
has that of TAKEN. If there is no room for an echo, it is left out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import termios
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from ptymux.core.model import Limits
from ptymux.core.ring import RingBuffer
from ptymux.errors import LimitReachedError
from ptymux.posix.resource_errors import resource_error
from ptymux.protocol.frame_header import encode_taken, out_header

__all__ = ["TAKEN_BYTES", "Handler", "Input", "EngineLifeline"]

_SO_PEEK_OFF: Final = 42  # asm-generic/socket.h: where the next peek begins
_ECHOES: Final = 16 * 1024  # bytes of echoes that wait for the client

TAKEN_BYTES: Final = 8  # the size of the last word
_CHUNK: Final = 4096  # typed at a time; after a kill so much may be unknown
_QUEUE: Final = 64 * 1024  # bytes of input that wait in a lifeline
_LISTEN: Final = select.EPOLLIN
_GONE_ONLY: Final = select.EPOLLRDHUP | select.EPOLLET  # while the terminal takes nothing
_NEWS_ONLY: Final = select.EPOLLIN | select.EPOLLET  # while what is there cannot be read

# Called with the events of an fd; returns True if it handled a key or its answer, and no more.
Handler = Callable[[int], bool | None]
WatchFd = Callable[[int, int, Handler], None]


class EngineLifeline:
    """The engine's end of one client's input channel."""

    __slots__ = (
        "echoes",
        "has_nothing",
        "index",
        "is_unsure",
        "number",
        "reported",
        "sock",
        "taken",
        "used",
    )

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
        self.index = index  # of its entry in the ring's header
        self.taken = taken  # bytes that the terminal took
        self.echoes = echoes
        self.is_unsure = is_unsure  # `taken` may be too high
        self.reported = False
        self.used = 0  # when it was typed from last, as a number that grows with each use
        self.has_nothing = False  # to type, although it was reported to be readable

    @property
    def last_word(self) -> bytes:
        """The bytes sent to the client at the end: how much was typed; empty if unknown."""
        if self.is_unsure:
            return b""
        if self.echoes:
            return encode_taken(self.taken)
        return self.taken.to_bytes(TAKEN_BYTES, "little")


class Input:
    """The lifelines of one terminal, and the chunk of input that waits for it, if any.

    `watch(fd, mask, handler)` adds an fd to the engine's epoll; mask 0 removes it. `want_room()`
    asks the owner to call `feed` once the terminal takes input again. `ended(number, by_client)`
    reports the end of a lifeline.
    """

    __slots__ = (
        "_blocked",
        "_blocked_size",
        "_echoing",
        "_ended",
        "_lines",
        "_master",
        "_ring",
        "_uses",
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
        self._uses = 0  # how often a lifeline was typed from
        self._blocked: EngineLifeline | None = None  # has the chunk that waits for the terminal
        self._blocked_size = 0  # bytes of that chunk
        self.on_typed: Callable[[], None] = lambda: None  # called when the terminal took input

    @property
    def is_waiting(self) -> bool:
        """Whether a chunk of input waits for the terminal."""
        return self._blocked is not None

    @property
    def open_lines(self) -> list[tuple[int, int]]:
        """Number and fd of each open lifeline."""
        return [(line.number, line.sock.fileno()) for line in self._lines.values()]

    def open(
        self, number: int, *, echoes: bool = False, kept: Collection[int] = ()
    ) -> socket.socket:
        """Return the client's end of a new lifeline; the caller owns it.

        If all places are taken, the lifeline that was used least lately gives way.

        Raises:
            LimitReachedError: each has input that waits, or is `kept`.
            OutOfResourcesError: open files or memory.
        """
        if len(self._lines) >= Limits.LIFELINES:
            self._give_way(kept)
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
        self._store(line)
        return theirs

    def _give_way(self, kept: Collection[int]) -> None:
        idle = [
            line
            for line in self._lines.values()
            if line.number not in kept and not line.echoes and not _has_unread(line.sock)
        ]
        if idle:
            self._end(min(idle, key=lambda line: (line.used, line.number)), by_client=False)

    def restore(self, number: int, sock: socket.socket) -> int:
        """Continue a lifeline of an engine that was killed; return how many bytes are unknown.

        Unknown bytes were either typed or not; they are not typed again.
        """
        known = self._ring.lifelines().get(number)
        if known is None:  # it had ended; the report of that may have been lost
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
        """Finish the chunk that a killed engine was typing; return how many bytes are unknown.

        This engine may be killed after any of the steps, too.
        """
        unknown = 0
        number, size, before = self._ring.being_typed
        if size and number == line.number:
            peeked = line.sock.getsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF)
            typed = line.taken - before
            if not typed:
                typed = unknown = size
                line.is_unsure = True
            _discard(line.sock, typed - (size - peeked))
            line.taken = before + typed
            self._store(line)
            self._ring.end_typing()
        line.sock.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
        return unknown

    def echo(self, offset: int, data: bytes) -> bool:
        """Send output at `offset` on the lifelines that echo; return whether there are any."""
        if not self._echoing:
            return False
        frame = out_header(offset, len(data)) + data
        for line in list(self._echoing):
            try:
                is_whole = line.sock.send(frame, socket.MSG_NOSIGNAL) == len(frame)
            except BlockingIOError:
                continue
            except OSError:  # its client is gone; the event for that ends the lifeline
                is_whole = False
            if not is_whole:
                self._echoing.remove(line)
        return True

    def feed(self) -> None:
        """Type the chunk that waits: the terminal has room; then take input from all again."""
        line, size = self._blocked, self._blocked_size
        if line is None:
            return
        self._blocked, self._blocked_size = None, 0
        lines = list(self._lines.values())
        if self._type_from(line, size):
            turn = lines.index(line) + 1  # it had its own: those behind it come first
            for each in lines[turn:] + lines[:turn]:
                if each.sock.fileno() >= 0:  # it may have ended just now
                    self._listen(each)

    def close(self) -> None:
        """End all lifelines; each sender learns how much of its input was typed."""
        self._blocked, self._blocked_size = None, 0
        for line in list(self._lines.values()):
            self._end(line, by_client=False)

    def _add(self, line: EngineLifeline) -> None:
        self._lines[line.sock.fileno()] = line
        if line.echoes:
            self._echoing.append(line)

    def _store(self, line: EngineLifeline) -> None:
        """Store in the ring's header how much of a lifeline was typed, for the next engine."""
        self._ring.set_lifeline(
            line.index, line.number, line.taken, echoes=line.echoes, is_unsure=line.is_unsure
        )

    def _listen(self, line: EngineLifeline) -> None:
        mask = _NEWS_ONLY if line.has_nothing else _LISTEN
        if self._blocked is not None:
            mask = _GONE_ONLY
        self._watch(line.sock.fileno(), mask, partial(self._on_event, line))

    def _on_event(self, line: EngineLifeline, events: int) -> bool:
        if self._blocked is not None:
            # The terminal takes nothing now; that the client has left is reported all the same.
            if events & select.EPOLLHUP:
                self._report(line, by_client=True)
        elif not self._type_from(line, _CHUNK):
            for other in self._lines.values():
                self._listen(other)
        return True

    def _type_from(self, line: EngineLifeline, size: int) -> bool:
        """Type up to `size` bytes of a lifeline; return False if some have to wait."""
        data = _peek(line.sock, size)
        if (data is None) != line.has_nothing:
            line.has_nothing = data is None
            self._listen(line)
        if data is None:
            return True
        if not data:
            self._end(line, by_client=True)
            return True
        taken = self._write(line, data)
        if taken < 0:  # the terminal is closed on all sides: input has nowhere to go
            self._end(line, by_client=False)
            return True
        if taken > 0:
            self.on_typed()
        if taken == len(data):
            return True
        line.sock.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
        self._blocked, self._blocked_size = line, len(data) - taken
        self._want_room()
        return False

    def _write(self, line: EngineLifeline, data: bytes) -> int:
        """Write `data` to the terminal; return how much it took, which has left the socket then.

        It returns -1 if the terminal is gone. `_finish_typing` relies on the order of the steps.
        """
        ring = self._ring
        ring.begin_typing(line.number, len(data), line.taken)
        try:
            taken = os.write(self._master, data)
        except BlockingIOError:
            taken = 0
        except OSError:
            taken = -1
        if taken > 0:
            self._uses += 1
            line.used = self._uses
            line.taken += taken
            self._store(line)
            _discard(line.sock, taken)
        ring.end_typing()
        return taken

    def _end(self, line: EngineLifeline, *, by_client: bool) -> None:
        fd = line.sock.fileno()
        if self._lines.pop(fd, None) is None:
            return
        if line in self._echoing:
            self._echoing.remove(line)
        self._watch(fd, 0, lambda _events: None)
        with contextlib.suppress(OSError):  # the client did not wait for the last word
            # This makes room for it, even behind echoes that nobody reads.
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ECHOES)
            line.sock.send(line.last_word, socket.MSG_NOSIGNAL)
            line.sock.shutdown(socket.SHUT_RDWR)  # other processes may hold a duplicate
        line.sock.close()
        self._ring.set_lifeline(line.index, 0, 0)
        self._report(line, by_client=by_client)

    def _report(self, line: EngineLifeline, *, by_client: bool) -> None:
        if not line.reported:
            line.reported = True
            self._ended(line.number, by_client)


def _has_unread(sock: socket.socket) -> bool:
    """Whether input waits in a socket. Source: FIONREAD of unix sockets is SIOCINQ, unix(7)."""
    return any(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))


def _peek(sock: socket.socket, size: int) -> bytes | None:
    """Return up to `size` bytes of input without removing them; b"" at the end, None if none.

    A byte that was sent as urgent is no input and is dropped. It makes a socket readable, also
    after that, until something else comes.
    Source: MSG_OOB on unix sockets, Linux 5.15 or newer; measured with 6.18.
    """
    for _ in range(2):
        try:
            return sock.recv(size, socket.MSG_PEEK)
        except BlockingIOError:
            try:
                sock.recv(1, socket.MSG_OOB)
            except OSError:  # there is none
                return None
        except OSError:
            return b""
    return None


def _discard(sock: socket.socket, size: int) -> None:
    """Remove `size` bytes, which are known to be there, from a socket."""
    while size:
        size -= len(sock.recv(size))

"""A server that behaves, as far as a test needs it: threads, one per connection, all joined."""

from __future__ import annotations

import os
import socket
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self

from ptymux.errors import PtymuxError
from ptymux.protocol.framing import Frame, FrameDecoder
from ptymux.protocol.lines import LineDecoder
from ptymux.protocol.messages import Request, decode_request, encode_error, encode_result
from tests.timing import deadline_seconds

HELLO = {"protocol": 1, "server": "0.1.0", "epoch": "e1", "pid": 123}


class HungUpError(Exception):
    """The client is gone."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.lines = LineDecoder()
        self.fds: list[int] = []

    def receive(self) -> bytes:
        piece, ancillary, _flags, _address = self.sock.recvmsg(
            65536, socket.CMSG_SPACE(16), socket.MSG_CMSG_CLOEXEC
        )
        for _level, _kind, content in ancillary:
            fds = array("i")
            fds.frombytes(content)
            self.fds += fds
        if not piece:
            raise HungUpError
        return piece

    def request(self) -> Request:
        while (line := self.lines.next_line()) is None:
            self.lines.feed(self.receive())
        return decode_request(line)

    def payload(self, size: int) -> bytes:
        while (payload := self.lines.take_payload(size)) is None:
            self.lines.feed(self.receive())
        return payload

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        sent = socket.send_fds(self.sock, [data], list(fds)) if fds else 0
        if sent < len(data):  # the client may be gone by now
            self.sock.sendall(data[sent:])

    def reply(
        self, request: Request, result: Mapping[str, object], fds: Sequence[int] = ()
    ) -> None:
        self.send(encode_result(request.id, result), fds)

    def refuse(self, request: Request, error: PtymuxError) -> None:
        self.send(encode_error(request.id, error))

    def greet(self) -> None:
        request = self.request()
        assert request.method == "hello"
        self.reply(request, HELLO)

    def send_frames(self, *frames: Frame) -> None:
        self.send(b"".join(frame.encode() for frame in frames))

    def frames_until_end(self) -> list[Frame]:
        """Return all frames of a client that hangs up."""
        decoder = FrameDecoder(self.lines.take_rest())
        frames = list(iter(decoder.take, None))
        with suppress(HungUpError):
            while True:
                frames += decoder.feed(self.receive())
        assert decoder.held == 0
        return frames


class StubServer:
    """Listens at `path` and has `serve` answer each connection until the client hangs up."""

    def __init__(self, path: str, serve: Callable[[Peer], None]) -> None:
        self.path = path
        self._serve = serve
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(8)
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._accepting.join()
        for thread in self._threads:
            thread.join()
        self._listener.close()
        os.unlink(self.path)
        if self._errors:
            raise self._errors[0]

    def _accept(self) -> None:
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._run, args=(sock,)))
            self._threads[-1].start()

    def _run(self, sock: socket.socket) -> None:
        peer = Peer(sock)
        with sock:
            sock.settimeout(deadline_seconds())
            try:
                self._serve(peer)
            except (HungUpError, ConnectionError):
                pass
            except BaseException as error:  # for the test's own thread to raise
                self._errors.append(error)
        for fd in peer.fds:
            os.close(fd)


def engine_end(take: int | None = None) -> tuple[int, threading.Thread]:
    """Return the client's end of a lifeline, and the thread that is the engine at the other.

    It takes everything, or hangs up once it took `take` bytes, and says how many.
    """
    ours, theirs = socket.socketpair()
    ours.settimeout(deadline_seconds())

    def run() -> None:
        taken = 0
        with ours:
            while take is None or taken < take:
                room = 4096 if take is None else min(4096, take - taken)
                if not (data := ours.recv(room)):
                    break
                taken += len(data)
            with suppress(OSError):  # the client did not wait for it
                ours.send(taken.to_bytes(8, "little"), socket.MSG_NOSIGNAL)

    thread = threading.Thread(target=run)
    thread.start()
    return theirs.detach(), thread

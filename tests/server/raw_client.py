"""A client that sends what it likes, right or wrong, and looks at what the server took of it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import termios
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

__all__ = ["await_reply", "flood", "greeted", "raw", "request", "send", "stopped_client", "unread"]

_TURNS = 3  # requests of others for which a server that has read nothing of ours is not late


def raw(server: Serving) -> socket.socket:
    """Return a connection on which nothing was said."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(deadline_seconds())
    sock.connect(server.path)
    return sock


def greeted(server: Serving) -> socket.socket:
    """Return a connection that said hello."""
    sock = raw(server)
    sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":[1,1]}}\n')
    assert b"epoch" in sock.recv(4096)
    return sock


def request(method: str, params: str = "{}", id: int = 2) -> bytes:
    text = f'{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}\n'
    return text.encode()


def unread(sock: socket.socket) -> int:
    """Return how much memory holds what was sent and the server has not read; SIOCOUTQ."""
    (size,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))
    return int(size)


def send(sock: socket.socket, data: bytes) -> None:
    """Send `data`; return once the server has read all of it."""
    sock.sendall(data)
    wait_until(lambda: not unread(sock), "a server that reads what was sent")


def await_reply(sock: socket.socket) -> None:
    """Return once something can be received, and receive nothing."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    assert poll.poll(1000 * deadline_seconds()), "no reply"


def flood(server: Serving, sock: socket.socket, data: bytes) -> None:
    """Send `data` again and again until the server, which has the time to, reads no more."""
    sock.setblocking(False)
    rest = data

    def takes_no_more() -> bool:
        nonlocal rest
        for _ in range(_TURNS):
            with suppress(BlockingIOError):
                rest = rest[sock.send(rest) :] or data
                return False
            server.call("list")
        return True

    wait_until(takes_no_more, "a server that reads no more of a flood")


@contextmanager
def stopped_client(connect: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Have a process that is connected as `connect` does it, and has stopped itself then."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException), connect():
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(1)
    try:
        _pid, status = os.waitpid(child, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "the client failed before it was to stop"
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

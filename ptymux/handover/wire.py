"""Messages between a keeper and its manager: JSON, with bytes and fds, over a stream socket.

A message is a header (`!II`: the sizes of the JSON and of the bytes), the JSON, and the bytes. Its
fds are passed with its first byte; the JSON contains their number. Both sides come from the same
installation; the first message of each side contains the version of the link.

Output is reported after every key, so that report is short: a header without JSON, with the
slot in place of the second size.
"""

from __future__ import annotations

import array
import errno
import json
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ptymux.core.model import MIB, LaneId, OnFull, SpawnOptions, WindowSize
from ptymux.errors import LinkClosedError
from ptymux.posix.resource_errors import resource_error

__all__ = [
    "LINK_FD",
    "LINK_VERSION",
    "MOST_FDS",
    "Inbox",
    "Message",
    "Outbox",
    "PassedOptions",
    "options_as_json",
    "options_from_json",
    "pack_strings",
    "unpack_strings",
]

LINK_FD: Final = 3  # the link's fd in a keeper that takes over
LINK_VERSION: Final = 3
MOST_FDS: Final = 250  # in one message; Source: SCM_MAX_FD is 253

_HEADER: Final = struct.Struct("!II")
# The largest message. A client may send 4 MiB of words; as JSON they can grow to 24 MiB.
_LARGEST: Final = 32 * MIB
_CUT: Final = int(socket.MSG_CTRUNC)  # fds were lost; the enum's own `&` takes 2 µs
# Above 128 KiB malloc maps new pages for each message, which costs an echo 20 µs.
_READ: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOptions(SpawnOptions):
    """Spawn options whose working directory is open already; the fd stays its owner's.

    `cwd` is only the directory's name: to open it once more could hang on a dead mount.
    """

    cwd_fd: int
    caller: Mapping[str, Any] | None = None  # a `CallerWorld` as JSON; None: as the keeper has


@dataclass(frozen=True, slots=True)
class Message:
    """One message; the receiver owns its fds.

    With `fds_lost` some fds are missing: this process had no open files left for them.
    """

    body: Mapping[str, Any]
    data: bytes = b""
    fds: Sequence[int] = field(default=())
    fds_lost: bool = False


class Outbox:
    """The sending side of a link: messages that the socket does not take yet wait in order.

    The fds given to `send` stay the caller's. They are duplicated while a message waits; for many
    messages that would need many open files. So `send_in_turn` makes a message only when those
    before it were sent.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._waiting: deque[tuple[bytes, list[int]] | Callable[[], Message]] = deque()

    @property
    def is_waiting(self) -> bool:
        """Whether messages wait for the socket to take more; then call `flush`."""
        return bool(self._waiting)

    def send(self, body: Mapping[str, Any], data: bytes = b"", fds: Sequence[int] = ()) -> None:
        """Send a message, or queue it behind others.

        Raises:
            LinkClosedError: the other side is gone.
            OutOfResourcesError: the message would have to wait, and there are no open files to
                duplicate its fds; it is not sent.
        """
        self._put(_packed(body, data, fds), fds)

    def send_in_turn(self, make: Callable[[], Message]) -> None:
        """Send the message that `make` returns, after those before it; `make` may be called twice.

        Raises:
            LinkClosedError: the other side is gone.
        """
        self._waiting.append(make)
        self.flush()

    def notify_output(self, slots: Sequence[int]) -> None:
        """Send a report of output for each of these slots, or queue it.

        Raises:
            LinkClosedError: the other side is gone.
        """
        self._put(b"".join([_HEADER.pack(0, slot) for slot in slots]), ())

    def _put(self, packet: bytes, fds: Sequence[int]) -> None:
        sent = 0 if self._waiting else self._offer(packet, fds)
        if sent < len(packet):
            kept = [] if sent else _duplicates(fds)
            self._waiting.append((packet[sent:], kept))

    def flush(self) -> None:
        """Send as many of the waiting messages as the socket takes.

        Raises:
            LinkClosedError: the other side is gone.
        """
        while self._waiting:
            head = self._waiting[0]
            if callable(head):
                message = head()
                packet = _packed(message.body, message.data, message.fds)
                sent = self._offer(packet, message.fds)
                kept: Sequence[int] = ()
            else:
                packet, kept = head
                sent = self._offer(packet, kept)
            if not sent:
                return
            for fd in kept:
                os.close(fd)
            if sent < len(packet):
                self._waiting[0] = packet[sent:], []
            else:
                self._waiting.popleft()

    def finish(self, seconds: float) -> None:
        """Send the waiting messages before the socket is closed; give up after `seconds`.

        Raises:
            LinkClosedError: the other side is gone.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT)
        deadline = time.monotonic() + seconds
        while self._waiting and poll.poll(1000 * max(0.0, deadline - time.monotonic())):
            self.flush()

    def _offer(self, packet: bytes, fds: Sequence[int]) -> int:
        """Send what the socket takes of `packet`; return how much. The first byte takes the fds."""
        try:
            if fds:
                return socket.send_fds(self._sock, [packet], list(fds))
            return self._sock.send(packet)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:  # too many fds wait in sockets: try again later
                return 0
            raise LinkClosedError(f"the link is closed: {error.strerror}") from error

    def close(self) -> None:
        """Discard the waiting messages and close their duplicated fds."""
        for waiting in self._waiting:
            for fd in () if callable(waiting) else waiting[1]:
                os.close(fd)
        self._waiting.clear()


def _packed(body: Mapping[str, Any], data: bytes, fds: Sequence[int]) -> bytes:
    assert len(fds) <= MOST_FDS
    text = json.dumps({**body, "fds": len(fds)} if fds else body).encode()
    return _HEADER.pack(len(text), len(data)) + text + data


class Inbox:
    """The receiving side of a link; `on_output` is called with each slot that has output."""

    def __init__(self, sock: socket.socket, on_output: Callable[[int], None] | None = None) -> None:
        self._sock = sock
        self._on_output = on_output
        self._buffer = bytearray()
        # A read returns the fds of at most one message, and all fds of a message arrive together.
        # So the first entry belongs to the first message whose JSON says that it has fds.
        self._arrived: deque[tuple[tuple[int, ...], bool]] = deque()

    def receive(self) -> Iterator[Message]:
        """Read the socket once; yield the messages that are complete now.

        Raises:
            LinkClosedError: the other side is gone, or what it sent is no message.
        """
        try:
            data, ancillary, flags, _address = self._sock.recvmsg(
                _READ, socket.CMSG_SPACE(4 * MOST_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError as error:
            raise LinkClosedError(f"the link is closed: {error.strerror}") from error
        if ancillary or flags & _CUT:
            self._keep_fds(ancillary, lost=bool(flags & _CUT))
        if not data:
            raise LinkClosedError("the link is closed")
        self._buffer += data
        yield from self._complete()

    def _keep_fds(self, ancillary: Sequence[tuple[int, int, bytes]], *, lost: bool) -> None:
        fds = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if fds or lost:
            self._arrived.append((tuple(fds), lost))

    def _complete(self) -> Iterator[Message]:
        while len(self._buffer) >= _HEADER.size:
            text_size, data_size = _HEADER.unpack_from(self._buffer)
            if not text_size and self._on_output is not None:
                del self._buffer[: _HEADER.size]
                self._on_output(data_size)
                continue
            size = _HEADER.size + text_size + data_size
            if size > _LARGEST:
                raise LinkClosedError(f"a message of {size} bytes on the link")
            if len(self._buffer) < size:
                return
            text = bytes(self._buffer[_HEADER.size : _HEADER.size + text_size])
            data = bytes(self._buffer[_HEADER.size + text_size : size])
            del self._buffer[:size]
            try:
                body = json.loads(text)
                if not isinstance(body, dict):
                    raise ValueError("it is no object")
                fds, lost = self._arrived.popleft() if body.pop("fds", 0) else ((), False)
            except (ValueError, IndexError, RecursionError) as error:
                raise LinkClosedError(f"no message on the link: {error}") from error
            yield Message(body, data, fds, lost)

    def close(self) -> None:
        """Close the fds whose message is not complete."""
        while self._arrived:
            for fd in self._arrived.popleft()[0]:
                os.close(fd)


def _duplicates(fds: Sequence[int]) -> list[int]:
    kept: list[int] = []
    try:
        for fd in fds:
            kept.append(os.dup(fd))  # noqa: PERF401 - those made are closed when one fails
    except OSError as error:
        for fd in kept:
            os.close(fd)
        raise resource_error(error) or error from error
    return kept


def pack_strings(strings: Sequence[str]) -> bytes:
    """Return the strings as bytes, each ended by a NUL; they must not contain NULs."""
    return b"".join(os.fsencode(text) + b"\0" for text in strings)


def unpack_strings(data: bytes) -> list[str]:
    """Return the strings that `pack_strings` was called with."""
    return [os.fsdecode(text) for text in data.split(b"\0")[:-1]]


def options_as_json(options: SpawnOptions) -> dict[str, Any]:
    """Return the options as JSON, without command and environment: for a spawn or a handover."""
    return {
        "umask": options.umask,
        "nofile": options.nofile,
        "cols": options.size.cols,
        "rows": options.size.rows,
        "lane": options.lane,
        "buffer_size": options.buffer_size,
        "threshold": options.threshold,
        "on_full": options.on_full.value,
        "idle_timeout": options.idle_timeout_seconds,
        "grace": options.grace_seconds,
        "plain_output": options.plain_output,
        "echo": options.echo,
        "keep_term": options.keep_term,
    }


def options_from_json(
    values: Mapping[str, Any],
    argv: Sequence[str],
    *,
    cwd: str | None = None,
    stdin: int | None = None,
    passed: Mapping[int, int] | None = None,
) -> SpawnOptions:
    """Return the options in `values`, made by `options_as_json`, for the command `argv`."""
    return SpawnOptions(
        argv=tuple(argv),
        env={},
        cwd=cwd,
        umask=values["umask"],
        nofile=values["nofile"],
        size=WindowSize(values["cols"], values["rows"]),
        lane=LaneId(values["lane"]),
        buffer_size=values["buffer_size"],
        threshold=values["threshold"],
        on_full=OnFull(values["on_full"]),
        idle_timeout_seconds=values["idle_timeout"],
        grace_seconds=values["grace"],
        plain_output=values["plain_output"],
        echo=values.get("echo", True),  # a server of an older version does not say
        keep_term=values["keep_term"],
        stdin_fd=stdin,
        pass_fds=passed or {},
    )

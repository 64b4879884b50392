"""One connection to a server: hello, requests, replies, notifications, fds both ways.

It blocks, and it gives up: a server that does not answer becomes an error, never a hang. A
failure of the connection closes it; the refusal of a request leaves it as it was.

`ptymux stats` pays for every import here, so there are few; what a spawn needs comes late.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from array import array

from ptymux import __version__
from ptymux.client.closing import Closing
from ptymux.errors import (
    ConnectionClosedError,
    InvalidValueError,
    NoServerError,
    OutOfResourcesError,
    ProtocolError,
    PtymuxError,
    UnreachableError,
    VersionError,
)
from ptymux.protocol.lines import LineDecoder
from ptymux.protocol.messages import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Failure,
    Notification,
    Reply,
    decode_answer,
    encode_request,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Final

    from ptymux.core.model import SpawnOptions

__all__ = ["HELLO_SECONDS", "REPLY_SECONDS", "ServerConnection", "socket_path"]

HELLO_SECONDS: Final = 2.0  # for connecting and the first answer
REPLY_SECONDS: Final = 30.0  # for every other answer that needs nothing to happen first

# Answered only when something has happened, which may take for ever.
_PATIENT: Final = frozenset({"kill", "wait", "shutdown", "restart"})

_LONGEST_PATH: Final = 103  # bytes; sockaddr_un has 108 on Linux and 104 elsewhere, with a NUL
_READ: Final = 64 * 1024
_MOST_FDS: Final = 8  # in one message
_CREDENTIALS: Final = struct.Struct("iII")  # pid, uid, gid
_TIMEVAL: Final = struct.Struct("ll")


def socket_path(explicit: str | None = None) -> str:
    """Return the absolute path of the server's socket: as given, or PTYMUX_SOCKET, or the default.

    Raises:
        InvalidValueError: no socket can have such a path.
    """
    default = f"/tmp/ptymux-{os.getuid()}/default.sock"  # noqa: S108 - checked by its owner
    chosen = explicit if explicit is not None else os.environ.get("PTYMUX_SOCKET") or default
    path = os.path.abspath(chosen)
    if not chosen or "\0" in path or len(os.fsencode(path)) > _LONGEST_PATH:
        raise InvalidValueError("socket", path, f"a path of at most {_LONGEST_PATH} bytes")
    return path


class ServerConnection(Closing):
    """A connection to the server at `path` that has said hello.

    `timeout` seconds are for connecting and the server's hello, `reply_timeout` for later answers;
    `kill`, `wait`, `shutdown` and `restart` may take as long as they take, or `patience` seconds.

    Raises:
        NoServerError: nobody listens there.
        UnreachableError: it is silent, somebody else's, or may not be connected to.
        VersionError: it speaks no version of the protocol that we do.
        ProtocolError: it speaks something else.
        ConnectionClosedError: it hung up.
    """

    def __init__(
        self, path: str, timeout: float = HELLO_SECONDS, *, reply_timeout: float = REPLY_SECONDS
    ) -> None:
        self.path = path
        self.reply_timeout = reply_timeout
        self.patience: float | None = None  # seconds for what may take as long as it takes
        self._lines = LineDecoder()
        self._fds: list[int] = []  # received, not yet given to the caller
        self._last_id = 0
        began = time.monotonic()
        self._sock = _connect(path, timeout)
        try:
            left = timeout - (time.monotonic() - began)
            self.server = self._hello(max(left, 0.0))  # protocol, server, epoch, pid
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection; again is no error."""
        self._sock.close()
        _close_all(self._take_fds())

    def fileno(self) -> int:
        """Return the socket's fd, to wait for notifications with others; -1 once closed."""
        return self._sock.fileno()

    def call(self, method: str, /, **params: object) -> dict[str, Any]:
        """Ask for `method` and return its result; a parameter of None is not sent.

        Raises:
            PtymuxError: the server refused, by its class and code; the connection goes on.
            UnreachableError, ConnectionClosedError, ProtocolError: the connection is closed.
        """
        result, fds = self.call_with_fds(method, **params)
        _close_all(fds)
        return result

    def call_with_fds(self, method: str, /, **params: object) -> tuple[dict[str, Any], list[int]]:
        """Do as `call` does; return also the fds that came with the reply, which are yours."""
        limit = self.patience if method in _PATIENT else self.reply_timeout
        return self._ask(method, params, limit)

    def spawn(
        self,
        options: SpawnOptions,
        *,
        remove: bool = False,
        hangup: bool = False,
        attaches: bool = False,
        request: str | None = None,
    ) -> dict[str, Any]:
        """Start a command and return its PTY; with `remove` it is forgotten once it has ended.

        What was asked with a `request` id (`spawning.new_request`) may be asked again with the
        same when the server died: a command that runs is not started twice.

        With `hangup` it is hung up when this connection ends before an attach with the same. With
        `attaches` it is not forgotten before this connection, which is to attach, has ended.
        What `options` leave out is taken from this process: environment, directory, umask and
        the limit of open files. `options.stdin_fd` stays yours.

        Raises:
            BadDirectoryError: the directory cannot be entered; nothing was asked.
            ArgumentsTooLongError: no server takes that much.
            PtymuxError: as `call`.
        """
        from ptymux.client.spawn_request import look_up, open_directory, payload_of, spawn_params

        payload = payload_of(options)
        flags = {
            "remove": remove,
            "hangup": hangup or None,
            "attaches": attaches or None,
            "request": request,
        }
        params = spawn_params(options) | flags | {"payload_bytes": len(payload)}
        fds = [open_directory(options.cwd or ".")]
        try:
            look_up(options, fds[0])
            fds += [] if options.stdin_fd is None else [options.stdin_fd]
            return self._ask("spawn", params, self.reply_timeout, payload, fds)[0]
        finally:
            os.close(fds[0])

    def notification(self, timeout: float | None = None) -> Notification | None:
        """Return the next notification; None when none came within `timeout` seconds.

        Raises:
            ConnectionClosedError, ProtocolError: as `call`.
        """
        deadline = _deadline(timeout)
        while True:
            try:
                line = self._line(deadline)
            except TimeoutError:
                return None
            except PtymuxError:
                self.close()
                raise
            answer = self._decode(line)
            if isinstance(answer, Notification):
                return answer

    def notifications(self) -> Iterator[Notification]:
        """Give each notification as it comes, until the server says that it was the last."""
        while (told := self.notification()) is not None and told.method != "end":
            yield told

    def upgrade(self) -> tuple[socket.socket, bytes]:
        """Give up the socket, and what came behind the last reply: it carries no more lines."""
        sock = socket.socket(fileno=self._sock.detach())
        _close_all(self._take_fds())
        return sock, self._lines.take_rest()

    def _hello(self, timeout: float) -> dict[str, Any]:
        params = {"protocol": [OLDEST_PROTOCOL, PROTOCOL], "client": f"ptymux {__version__}"}
        server, fds = self._ask("hello", params, timeout)
        _close_all(fds)
        version = server.get("protocol")
        if type(version) is not int or not OLDEST_PROTOCOL <= version <= PROTOCOL:
            raise VersionError(f"{OLDEST_PROTOCOL} to {PROTOCOL}", str(version)[:20])
        return server

    def _ask(
        self,
        method: str,
        params: dict[str, Any],
        timeout: float | None,
        payload: bytes = b"",
        fds: Sequence[int] = (),
    ) -> tuple[dict[str, Any], list[int]]:
        id = self._last_id = self._last_id + 1
        given = {name: value for name, value in params.items() if value is not None}
        request = encode_request(id, method, given)
        _close_all(self._take_fds())
        deadline = _deadline(timeout)
        try:
            self._send(request, payload, fds, deadline)
            answer = self._answer(id, deadline)
        except TimeoutError:
            self.close()
            late = f"it did not answer {method!r} within {timeout:.1f} s"
            raise UnreachableError(self.path, f"{late}; is it stopped?") from None
        except BaseException:  # an answer that comes later would be taken for that of the next
            self.close()
            raise
        if isinstance(answer, Failure):
            _close_all(self._take_fds())
            raise answer.error
        return answer.result, self._take_fds()

    def _send(
        self, request: bytes, payload: bytes, fds: Sequence[int], deadline: float | None
    ) -> None:
        try:
            self._set_time(deadline)
            self._sock.sendall(request)
            if payload:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))]
                sent = self._sock.sendmsg([payload], rights if fds else [])
                self._set_time(deadline)
                self._sock.sendall(payload[sent:])
        except ConnectionError:
            return  # a server that refuses hangs up early; why is in what it answered
        except TimeoutError:
            raise
        except OSError as error:
            raise self._closed(error) from error

    def _answer(self, id: int, deadline: float | None) -> Reply | Failure:
        while True:
            answer = self._decode(self._line(deadline))
            if isinstance(answer, Failure) and answer.id is None:
                self.close()  # as the server does when it was about the connection
                return answer
            # What a newer server tells on its own account is none of ours.
            if not isinstance(answer, Notification) and answer.id == id:
                return answer

    def _decode(self, line: bytes) -> Reply | Failure | Notification:
        try:
            return decode_answer(line)
        except ProtocolError as error:
            self.close()
            reason = f"what is at {self.path} does not speak as a ptymux server does: {error}"
            raise ProtocolError(reason, error.number) from None

    def _line(self, deadline: float | None) -> bytes:
        while (line := self._lines.next_line()) is None:
            try:
                self._set_time(deadline)
                piece, ancillary, flags, _address = self._sock.recvmsg(
                    _READ, socket.CMSG_SPACE(4 * _MOST_FDS), socket.MSG_CMSG_CLOEXEC
                )
            except TimeoutError:
                raise
            except OSError as error:
                raise self._closed(error) from error
            self._keep_fds(ancillary)
            if flags & socket.MSG_CTRUNC:
                raise OutOfResourcesError("open files", "raise the limit with `ulimit -n`")
            if not piece:
                raise self._closed()
            self._lines.feed(piece)
        return line

    def _closed(self, error: OSError | None = None) -> ConnectionClosedError:
        reason = "" if error is None or error.strerror is None else f" ({error.strerror.lower()})"
        return ConnectionClosedError(f"the server at {self.path} closed the connection{reason}")

    def _set_time(self, deadline: float | None) -> None:
        """Limit what the next call may take; one that is too late already looks and is done."""
        left = None if deadline is None else max(1e-6, deadline - time.monotonic())
        self._sock.settimeout(left)

    def _keep_fds(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array("i")
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
                self._fds += fds

    def _take_fds(self) -> list[int]:
        fds, self._fds = self._fds, []
        return fds


def _connect(path: str, timeout: float) -> socket.socket:
    """Return a socket connected to a server that runs as this user."""
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        from ptymux.posix.resource_errors import resource_error

        raise resource_error(error) or UnreachableError(path, str(error.strerror)) from error
    try:
        # A connect to a full backlog waits in the kernel, but only if the socket blocks.
        limit = _TIMEVAL.pack(int(timeout), int(timeout % 1 * 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            sock.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            remedy = "`ptymux server start` starts one"
            raise NoServerError(f"no server runs at {path}; {remedy}") from None
        except BlockingIOError:
            late = f"it took no connection within {timeout:g} s; is it stopped?"
            raise UnreachableError(path, late) from None
        except OSError as error:
            raise UnreachableError(path, (error.strerror or str(error)).lower()) from error
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        owner = _CREDENTIALS.unpack(credentials)[1]
        if owner != os.geteuid():
            reason = f"it belongs to user {owner}, and you are user {os.geteuid()}"
            raise UnreachableError(path, reason)
    except BaseException:
        sock.close()
        raise
    return sock


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)

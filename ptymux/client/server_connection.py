"""A client's connection to a server: a blocking socket driven by a `ClientSession`.

Every wait has a limit: a server that does not answer becomes an error, never a hang. An error of
the connection closes it; after a request that was refused it goes on.

Each import here delays `ptymux stats`, so there are few; what a spawn needs is imported late.
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
    OldServerError,
    PtymuxError,
    UnreachableError,
    VersionError,
)
from ptymux.protocol.messages import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Failure,
    Notification,
    Reply,
)
from ptymux.protocol.session import ClientSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Final

    from ptymux.core.model import SpawnOptions
    from ptymux.protocol.session import Outgoing

__all__ = ["HELLO_SECONDS", "REPLY_SECONDS", "ServerConnection", "socket_path"]

HELLO_SECONDS: Final = 2.0  # for connecting and the first answer
REPLY_SECONDS: Final = 30.0  # for every other answer that needs nothing to happen first

# Answered only when something has happened, which may take for ever.
_PATIENT: Final = frozenset({"kill", "wait", "shutdown", "restart"})

_LONGEST_WAIT: Final = 1e6  # seconds
_LONGEST_PATH: Final = 103  # bytes; sockaddr_un has 108 on Linux and 104 elsewhere, with a NUL
_READ: Final = 64 * 1024
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
    """A connection to the server at `path`, ready for requests.

    Connecting and hello may take `timeout` seconds, an answer `reply_timeout` seconds. For `kill`,
    `wait`, `shutdown` and `restart` there is no limit, or one of `patience` seconds.

    Raises:
        NoServerError: nobody listens there.
        UnreachableError: the server does not answer, belongs to another user, or cannot be
            connected to.
        VersionError: it speaks no version of the protocol that we do.
        ProtocolError: what is there does not speak the protocol.
        ConnectionClosedError: it closed the connection.
    """

    def __init__(
        self, path: str, timeout: float = HELLO_SECONDS, *, reply_timeout: float = REPLY_SECONDS
    ) -> None:
        self.path = path
        self.reply_timeout = reply_timeout
        self.patience: float | None = None  # seconds for what may take as long as it takes
        self._session = ClientSession(f"what is at {path}")
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
        _close_all(self._session.end())

    def interrupt(self) -> None:
        """Have another thread that waits for an answer find that the connection was closed."""
        from contextlib import suppress

        with suppress(OSError):  # it has ended already
            self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def passes_fds(self) -> bool:
        """Whether the server can pass the `pass_fds` of a spawn; older ones cannot."""
        return bool(self.server.get("passes_fds"))

    def fileno(self) -> int:
        """Return the socket's fd, to be polled together with others; -1 once closed."""
        return self._sock.fileno()

    def call(self, method: str, /, **params: object) -> dict[str, Any]:
        """Return the result of `method`; a parameter of None is not sent.

        Raises:
            PtymuxError: the server refused; it is of the class that has the server's code, and the
                connection goes on.
            UnreachableError, ConnectionClosedError, ProtocolError: the connection is closed.
        """
        result, fds = self.call_with_fds(method, **params)
        _close_all(fds)
        return result

    def call_with_fds(self, method: str, /, **params: object) -> tuple[dict[str, Any], list[int]]:
        """Return what `call` does, and the fds that came with the reply, which are yours."""
        limit = self.patience if method in _PATIENT else self.reply_timeout
        reply = self._ask(method, params, limit)
        return reply.result, list(reply.fds)

    def spawn(
        self,
        options: SpawnOptions,
        *,
        remove: bool = False,
        hangup: bool = False,
        attaches: bool = False,
        replace: bool = False,
        request: str | None = None,
        wants_differences: bool = False,
    ) -> dict[str, Any]:
        """Start a command and return the reply, which describes its PTY.

        With `wants_differences` it also says what the command cannot have as we have.

        `remove`: the server forgets the PTY once it has ended. With `attaches` also not before this
        connection has ended, so that the client of a short command finds it when it attaches.
        `replace`: the live PTY that has the name is ended first, if the program can be run.
        `hangup`: the PTY is hung up if this connection ends before an attach with `hangup`.
        `request`: an id from `spawn_request.new_request`. When the server died before it answered,
        ask the next one with the same id: a command that runs is not started twice.

        What `options` leave out is taken from this process: environment, directory, umask and
        the limit of open files. The fds of `options` stay yours.

        Raises:
            InvalidValueError: an fd of `options` is not open; nothing was asked.
            OldServerError: the server cannot pass `options.pass_fds`; nothing was asked.
            BadDirectoryError: the directory cannot be entered; nothing was asked.
            ArgumentsTooLongError: no server takes that much.
            NameTakenError: a live PTY has the name.
            PtymuxError: as `call`.
        """
        from ptymux.client.spawn_request import look_up, open_directory, payload_of, spawn_params
        from ptymux.posix.passed_fds import check_open

        if options.pass_fds and not self.passes_fds:
            raise OldServerError(self.path, "pass fds above 2")
        stdin = [] if options.stdin_fd is None else [options.stdin_fd]
        check_open("stdin_fd", stdin)
        check_open("pass_fds", options.pass_fds.values())
        payload = payload_of(options)
        flags = {
            "remove": remove,
            "hangup": hangup or None,
            "attaches": attaches or None,
            "replace": replace or None,
            "request": request,
            "wants_differences": wants_differences or None,
        }
        params = spawn_params(options) | flags | {"payload_bytes": len(payload)}
        fds = [open_directory(options.cwd or ".")]
        try:
            if replace:
                look_up(options, fds[0])
            fds += [*stdin, *options.pass_fds.values()]
            reply = self._ask("spawn", params, self.reply_timeout, payload, fds)
        finally:
            os.close(fds[0])
        _close_all(reply.fds)
        return reply.result

    def notification(self, timeout: float | None = None) -> Notification | None:
        """Return the next notification; None when none came within `timeout` seconds.

        Raises:
            ConnectionClosedError, ProtocolError: as `call`.
        """
        deadline = _deadline(timeout)
        while True:
            try:
                answer = self._next_answer(deadline)
            except TimeoutError:
                return None
            except PtymuxError:
                self.close()
                raise
            if isinstance(answer, Notification):
                return answer

    def notifications(self) -> Iterator[Notification]:
        """Yield each notification as it comes, up to the one that says that it is the last."""
        while (notification := self.notification()) is not None and notification.method != "end":
            yield notification

    def upgrade(self) -> tuple[socket.socket, bytes]:
        """Return the socket, which is yours and carries frames now, and those received already."""
        sock = socket.socket(fileno=self._sock.detach())
        rest = self._session.take_rest()
        self.close()
        return sock, rest

    def _hello(self, timeout: float) -> dict[str, Any]:
        params = {"protocol": [OLDEST_PROTOCOL, PROTOCOL], "client": f"ptymux {__version__}"}
        reply = self._ask("hello", params, timeout)
        _close_all(reply.fds)
        version = reply.result.get("protocol")
        if type(version) is not int or not OLDEST_PROTOCOL <= version <= PROTOCOL:
            raise VersionError(f"{OLDEST_PROTOCOL} to {PROTOCOL}", str(version)[:20])
        return reply.result

    def _ask(
        self,
        method: str,
        params: dict[str, Any],
        timeout: float | None,
        payload: bytes = b"",
        fds: Sequence[int] = (),
    ) -> Reply:
        given = {name: value for name, value in params.items() if value is not None}
        request = self._session.request(method, given, payload, fds)
        deadline = _deadline(timeout)
        try:
            self._send(request, deadline)
            answer = self._answer(deadline)
        except TimeoutError:
            self.close()
            late = f"it did not answer {method!r} within {timeout:.1f} s"
            raise UnreachableError(self.path, f"{late}; is it stopped?") from None
        except BaseException:  # an answer that comes later would be taken for that of the next
            self.close()
            raise
        if isinstance(answer, Failure):
            raise answer.error
        return answer

    def _send(self, parts: Sequence[Outgoing], deadline: float | None) -> None:
        try:
            for part in parts:
                self._set_time(deadline)
                sent = 0
                if part.fds:
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", part.fds))
                    sent = self._sock.sendmsg([part.data], [rights])
                    self._set_time(deadline)
                self._sock.sendall(part.data[sent:])
        except ConnectionError:
            return  # a server that refuses hangs up early; why is in what it answered
        except TimeoutError:
            if deadline is None or time.monotonic() >= deadline:
                raise
            return  # it was longer than a socket can wait
        except OSError as error:
            raise self._closed(error) from error

    def _answer(self, deadline: float | None) -> Reply | Failure:
        """Return what answers the request; notifications that a newer server sends are skipped."""
        while True:
            answer = self._next_answer(deadline)
            if isinstance(answer, Failure) and answer.id is None:
                self.close()  # as the server does when it was about the connection
            if not isinstance(answer, Notification):
                return answer
            _check_time(deadline)  # of a server that never stops sending

    def _next_answer(self, deadline: float | None) -> Reply | Failure | Notification:
        has_looked = False
        while True:
            answer = self._session.next_answer()
            _close_all(self._session.take_unasked_fds())
            if answer is not None:
                return answer
            if has_looked:
                _check_time(deadline)
            self._receive(deadline)
            has_looked = True

    def _receive(self, deadline: float | None) -> None:
        try:
            self._set_time(deadline)
            piece, ancillary, flags, _address = self._sock.recvmsg(
                _READ, socket.CMSG_SPACE(4 * ClientSession.MOST_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except TimeoutError:
            raise
        except OSError as error:
            raise self._closed(error) from error
        fds_lost = bool(flags & socket.MSG_CTRUNC)
        self._session.feed(piece, _fds_in(ancillary), fds_lost=fds_lost)
        if not piece:
            raise self._closed()

    def _closed(self, error: OSError | None = None) -> ConnectionClosedError:
        reason = "" if error is None or error.strerror is None else f" ({error.strerror.lower()})"
        return ConnectionClosedError(f"the server at {self.path} closed the connection{reason}")

    def _set_time(self, deadline: float | None) -> None:
        """Limit what the next call of the socket may take; when time is up it just looks."""
        left = None if deadline is None else max(1e-6, deadline - time.monotonic())
        self._sock.settimeout(None if left is None else min(left, _LONGEST_WAIT))


def _connect(path: str, timeout: float) -> socket.socket:
    """Return a socket that is connected to a server of this user."""
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


def _fds_in(ancillary: Sequence[tuple[int, int, bytes]]) -> array[int]:
    fds = array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return fds


def _check_time(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise TimeoutError


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)

"""A server's files: the socket and its directory, the lock; and who is at a socket's other end."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
import struct
from contextlib import suppress
from typing import Final

from ptymux.errors import AlreadyRunningError, UnreachableError, UnsafeDirectoryError
from ptymux.posix.resource_errors import resource_error

__all__ = [
    "become_subreaper",
    "check_is_socket",
    "end_with_parent",
    "follow_log",
    "ensure_directory",
    "is_at",
    "listen",
    "lock",
    "peer",
    "start_code",
    "state_path",
]

_PEER: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_BACKLOG: Final = 512


def ensure_directory(path: str) -> None:
    """Make the directory for a socket; if it exists, check that only we can use it.

    Raises:
        UnsafeDirectoryError: it is no directory, is a link, belongs to another user, or other
            users may enter it.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise UnsafeDirectoryError(path, f"it cannot be made: {error.strerror}") from error
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeDirectoryError(path, "it is no directory")
    if found.st_uid != os.geteuid():
        raise UnsafeDirectoryError(path, f"it belongs to user {found.st_uid}")
    if found.st_mode & 0o077:
        remedy = f"chmod 700 {path}" if _is_for_us(path, found) else "choose another directory"
        raise UnsafeDirectoryError(path, f"others may enter it; {remedy}")


def _is_for_us(path: str, found: os.stat_result) -> bool:
    """Return whether a directory of ours may be closed for others without harm to them."""
    path, home = os.path.realpath(path), os.path.expanduser("~")
    if found.st_mode & stat.S_ISVTX or path == home or path.count("/") < 2:
        return False
    if os.geteuid() != 0:
        return True
    return path.startswith((f"{home}/", "/tmp/", "/var/tmp/", "/dev/shm/"))  # noqa: S108


def lock(path: str) -> int:
    """Lock the file `path`, which is made if needed; the returned fd holds the lock while open.

    Raises:
        AlreadyRunningError: another process holds the lock.
        UnsafeDirectoryError: the file cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        try:
            fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise UnsafeDirectoryError(path, error.strerror or "it cannot be opened") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno == errno.EWOULDBLOCK:
                raise AlreadyRunningError(path) from error
            raise
        if is_at(fd, path):
            return fd
        os.close(fd)  # the file was removed after we had opened it: lock the new one


def is_at(fd: int, path: str) -> bool:
    """Return whether `path` is the file that is open as `fd`."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return os.path.samestat(found, os.fstat(fd))


def check_is_socket(path: str) -> None:
    """Raise an error if something other than a socket is at `path`.

    Raises:
        UnreachableError: there is; a server can never be at that path.
    """
    with suppress(OSError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise UnreachableError(path, "there is something else than a socket")


def listen(path: str) -> socket.socket:
    """Return a socket that listens at `path`, with mode 0600; a stale socket is replaced.

    The caller holds the lock, so nobody uses a socket that is already there.

    Raises:
        UnsafeDirectoryError: no socket can be made at that path.
        OutOfResourcesError: no more open files.
    """
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise resource_error(error) or error from error
    before = os.umask(0o177)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise UnsafeDirectoryError(path, error.strerror or "it cannot be bound") from error
    finally:
        os.umask(before)
    sock.listen(_BACKLOG)
    return sock


def peer(sock: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process that connected to `sock`, as of then.

    Source: SO_PEERCRED in unix(7).
    """
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _gid = _PEER.unpack(found)
    return pid, uid


def become_subreaper() -> None:
    """Become the new parent of descendants whose own parent ends, so that we can reap them."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def follow_log(path: str) -> None:
    """Have stderr be the log at `path` again, if it was one and others have moved or removed it."""
    with suppress(OSError):
        if not stat.S_ISREG(os.fstat(2).st_mode) or is_at(2, path):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        os.dup2(fd, 2)
        os.close(fd)


def end_with_parent() -> None:
    """Have this process killed when its parent ends, also while a signal has stopped it."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def state_path(socket_path: str, what: str) -> str:
    """Return the path of a file beside a socket: its lock, its log or its state file.

    That of `q.sock` is `q.lock`, that of `q` is `q-lock`: no two sockets share one.
    """
    stem = socket_path.removesuffix(".sock")
    return f"{socket_path}-{what}" if stem == socket_path else f"{stem}.{what}"


def start_code(folder: str, main: str) -> str:
    """Return the code by which a new interpreter runs `main` with the ptymux in `folder`.

    If there is none any more, it ends with one line on stderr.
    """
    look = "try: import ptymux\nexcept ImportError as error: sys.exit(f'cannot start: {error}')"
    return f"import sys; sys.path.insert(0, {folder!r})\n{look}\n{main}"

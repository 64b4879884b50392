"""Directory, umask and limits for a child: set in this process for a spawn, then restored."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ptymux.core.model import SpawnOptions
from ptymux.errors import BadDirectoryError
from ptymux.posix.resource_errors import resource_error

__all__ = [
    "STANDARD_FDS",
    "close_on_exec_from",
    "current_umask",
    "open_directory",
    "open_files_limit",
    "other_directory",
    "process_limits",
    "working_in",
]

STANDARD_FDS = 3  # stdin, stdout, stderr


def open_directory(path: str) -> int:
    """Return an fd of the directory, which can be passed to another process; the caller owns it.

    Raises:
        BadDirectoryError: it does not exist, may not be entered, or is no directory.
        OutOfResourcesError: no more open files.
    """
    try:
        return _open_directory(path)
    except OSError as error:
        raise resource_error(error) or _bad_directory(path, error) from error


def current_umask() -> int:
    """Return the umask without setting it: other threads would notice that.

    Raises:
        OutOfResourcesError: no more open files.
    Source: proc_pid_status(5), Linux 4.7.
    """
    try:
        with open("/proc/self/status", "rb") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith(b"Umask:"))
    except OSError as error:
        raise resource_error(error) or error from error


def open_files_limit() -> int | None:
    """Return how many files this process may open; None if there is no limit."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


@contextmanager
def other_directory(path: str | None) -> Iterator[int | None]:
    """Give an fd of the directory `path` for a `with` block; None if we are there already.

    Raises:
        BadDirectoryError: it does not exist, may not be entered, or is no directory.
        OutOfResourcesError: no more open files.
    """
    if path is None:
        yield None
        return
    try:
        fd = _open_directory(path)
        if not os.access(path, os.X_OK):
            os.close(fd)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise resource_error(error) or _bad_directory(path, error) from error
    try:
        yield None if os.path.samestat(os.fstat(fd), os.stat(".")) else fd
    finally:
        os.close(fd)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _bad_directory(path: str, error: OSError) -> BadDirectoryError:
    return BadDirectoryError(path, os.strerror(error.errno or 0).lower())


@contextmanager
def working_in(directory: int | None) -> Iterator[None]:
    """Change to `directory` for a `with` block; only for a process without other threads.

    Raises:
        BadDirectoryError: it may not be entered.
    """
    if directory is None:
        yield
        return
    here = _open_directory(".")
    try:
        try:
            os.fchdir(directory)
        except OSError as error:
            path = os.readlink(f"/proc/self/fd/{directory}")
            raise _bad_directory(path, error) from error
        try:
            yield
        finally:
            os.fchdir(here)
    finally:
        os.close(here)


@contextmanager
def process_limits(options: SpawnOptions, highest_fd: int = 0) -> Iterator[tuple[int, int] | None]:
    """Set umask and open files limit for a `with` block, so that a child started in it has them.

    File actions may use fds up to `highest_fd`, and stdin.
    It gives the limit to set for the child afterwards; None if there is nothing left to set.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = soft if options.nofile is None else max(0, min(options.nofile, hard))
    # glibc refuses file actions on fds that lie above the limit.
    used = max(options.stdin_fd or 0, highest_fd)
    around = min(hard, max(wanted, STANDARD_FDS, used + 1))
    if around != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (around, hard))
    umask = None if options.umask is None else os.umask(options.umask)
    try:
        yield None if around == wanted else (wanted, hard)
    finally:
        if umask is not None:
            os.umask(umask)
        if around != soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def close_on_exec_from(first: int) -> None:
    """Set close-on-exec on all open fds from `first` on, so that children do not get them.

    Call it once at the start of a command. Python sets that flag on the fds that it opens itself;
    posix_spawn passes on all others, which our own parent left open.
    """
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= first:
            with suppress(OSError):  # the fd of the listing itself
                os.set_inheritable(int(name), False)

"""Starts a command in a forked process, which may have to wait for a file system; we do not.

`posix_spawn` returns after the exec, and looking for a program may take as long as its file system
takes to answer. Here all of that is done by the child itself. It first opens its terminal, so that
it is found through that whatever becomes of us. A socket tells how it went: it closes at the exec,
or brings the reason why there was none.

It costs a fork, some 2 ms, so it is for commands that may have to wait. Only a process without
other threads can do it.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import select
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

from ptymux.core.model import SpawnOptions
from ptymux.errors import (
    BadDirectoryError,
    InvalidValueError,
    PtymuxError,
    SpawnError,
    error_as_json,
    error_from_json,
)
from ptymux.posix.caller import CallerWorld, take_on
from ptymux.posix.passed_fds import check_numbers, duplicate_outside, kept_apart
from ptymux.posix.program import find_program, is_binary, refusal
from ptymux.posix.resource_errors import resource_error
from ptymux.posix.spawn import PtyPair, SpawnedChild
from ptymux.posix.spawn_context import STANDARD_FDS

__all__ = ["Launch"]

_SHELL = "/bin/sh"
_LARGEST_ANSWER = 64 * 1024


class Launch:
    """A child on its way to the exec; poll `fileno`, then ask for the `answer`."""

    def __init__(
        self,
        options: SpawnOptions,
        env: Mapping[str, str],
        directory: int,
        pty: PtyPair,
        world: CallerWorld | None = None,
        *,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        """Fork the child; it has duplicates of the fds, which stay the caller's.

        If `world` is given, the child has that, as far as it may. The child first calls `begin`, if
        we live then.

        Raises:
            OutOfResourcesError: processes, memory or open files.
        """
        self._command = options.argv[0]
        master = -1
        try:
            master = os.dup(pty.master)
            self._pty = PtyPair(master, pty.slave_name)
            self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self.pid = os.fork()
                if not self.pid:
                    try:
                        _become(theirs, options, env, directory, pty.slave_name, world, begin)
                    finally:
                        os._exit(127)
            try:
                self.pidfd = os.pidfd_open(self.pid)
            except OSError:
                os.kill(self.pid, signal.SIGKILL)
                self._sock.close()
                raise
        except OSError as error:
            if master >= 0:
                os.close(master)
            raise resource_error(error) or SpawnError(f"{self._command}: {error}") from error

    def fileno(self) -> int:
        """Return the fd that is readable once there is an answer."""
        return self._sock.fileno()

    def answer(self) -> SpawnedChild:
        """Return the child, which runs; its fds are the caller's now.

        Raises:
            SpawnError, OutOfResourcesError: as `posix.spawn.spawn`; the child ends by itself.
        """
        answer = self._sock.recv(_LARGEST_ANSWER)
        self._sock.close()
        if not answer:
            return SpawnedChild(self.pid, self.pidfd, self._pty.master, self._pty.slave_name)
        os.close(self.pidfd)
        os.close(self._pty.master)
        raise error_from_json(json.loads(answer))

    def give_up(self) -> None:
        """Kill the child, which ends once the kernel lets it go, and close everything."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self._sock.close()
        os.close(self.pidfd)
        os.close(self._pty.master)


# In the child ----------------------------------------------------------------------------------


def _become(
    sock: socket.socket,
    options: SpawnOptions,
    env: Mapping[str, str],
    directory: int,
    slave_name: str,
    world: CallerWorld | None,
    begin: Callable[[], None],
) -> None:
    """Execute the command; returns only if that failed, which was said on the socket."""
    gc.disable()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        _check_keeper(sock, options)
        begin()
        check_numbers(options.pass_fds)
        directory, sock = _prepare_fds(options, slave_name, directory, sock)
        _set_limits(options)
        _enter(directory)
        _execute(sock, options, env, world)
    except OSError as error:
        failure: PtymuxError = resource_error(error) or SpawnError(
            f"{options.argv[0]}: {error.strerror}"
        )
    except PtymuxError as error:
        failure = error
    except ValueError as error:  # lone surrogates, NUL
        failure = InvalidValueError("command", options.argv[0], f"encodable text ({error})")
    answer = error_as_json(failure)
    if len(text := json.dumps(answer)) > _LARGEST_ANSWER:  # of a very long command
        message = str(failure)
        short = {"message": f"{message[:500]}…{message[-500:]}", "facts": {}}
        text = json.dumps(answer | short)
    with suppress(OSError):  # nobody waits any more
        sock.send(text.encode())


def _check_keeper(sock: socket.socket, options: SpawnOptions) -> None:
    """Raise an error, which nobody hears, if the keeper has ended.

    Raises:
        SpawnError: it has.
    """
    poll = select.poll()
    poll.register(sock, 0)
    if poll.poll(0):
        raise SpawnError(f"{options.argv[0]}: the keeper has ended")


def _prepare_fds(
    options: SpawnOptions, slave_name: str, directory: int, sock: socket.socket
) -> tuple[int, socket.socket]:
    """Have the fds of the child; return the directory and the socket, which may have moved."""
    os.setsid()
    terminal = os.open(slave_name, os.O_RDWR)  # the first that a session leader opens is its own
    stdin = terminal if options.stdin_fd is None else options.stdin_fd
    for number, fd in enumerate((stdin, terminal, terminal)):
        os.dup2(fd, number)
    if passed := options.pass_fds:
        directory = duplicate_outside(directory, passed)
        sock = socket.socket(fileno=duplicate_outside(sock.fileno(), passed))
        _pass_fds(passed)
    kept = sorted((directory, sock.fileno(), *passed))
    for first, end in zip((STANDARD_FDS - 1, *kept), (*kept, 1 << 20), strict=True):
        os.closerange(first + 1, end)
    return directory, sock


def _pass_fds(passed: Mapping[int, int]) -> None:
    """Have the fds at their numbers, which may be above the soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft <= max(passed):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(passed) + 1, hard))
    with kept_apart(passed) as apart:
        for number, fd in apart.items():
            os.dup2(fd, number)
            os.set_inheritable(number, True)  # also if it was there already


def _set_limits(options: SpawnOptions) -> None:
    if options.umask is not None:
        os.umask(options.umask)
    if options.nofile is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(options.nofile, hard), hard))


def _enter(directory: int) -> None:
    """Enter the directory.

    Raises:
        BadDirectoryError: it may not be entered.
    """
    try:
        os.fchdir(directory)
    except OSError as error:
        path = os.readlink(f"/proc/self/fd/{directory}")
        raise BadDirectoryError(path, os.strerror(error.errno or 0).lower()) from error


def _execute(
    sock: socket.socket,
    options: SpawnOptions,
    env: Mapping[str, str],
    world: CallerWorld | None,
) -> None:
    argv = list(options.argv)
    program = find_program(options.argv, env.get("PATH", os.defpath), None)
    _check_keeper(sock, options)
    if world is not None:
        take_on(world)
    try:
        try:
            os.execve(program, argv, dict(env))
        except OSError as error:
            # As execvp(3) does: the shell runs a file of unknown format, also an empty one.
            if error.errno != errno.ENOEXEC or is_binary(program, None):
                raise
            os.execve(_SHELL, [_SHELL, program, *argv[1:]], dict(env))
    except OSError as error:
        raise refusal(options.argv, program, None, error) from error

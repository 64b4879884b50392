"""Start a command on a new PTY: every failure is an exception that leaves nothing behind.

The child is made by posix_spawn, which costs the same however much memory this process has and
returns after the exec, so that the kernel's refusal is known at once. What posix_spawn cannot set
(working directory, umask, open files) is set in this process around the call and put back.
A session leader that opens a terminal gets it as its controlling terminal, so the slave is
opened in the child, after setsid.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import termios
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ptymux.core.model import SpawnOptions, WindowSize
from ptymux.errors import InvalidValueError, PtymuxError, SpawnError
from ptymux.posix.program import find_program, is_binary, refusal
from ptymux.posix.resource_errors import pty_resource_error, resource_error
from ptymux.posix.spawn_context import (
    STANDARD_FDS,
    close_on_exec_from,
    other_directory,
    process_limits,
    working_in,
)

__all__ = ["PtyPair", "SpawnedChild", "open_pty", "spawn", "close_on_exec_from"]

_IUTF8 = 0o40000  # asm-generic/termbits.h; Python's termios lacks it
_SHELL = "/bin/sh"
_ENTER_AND_RUN = 'cd -- "$1" && shift && exec "$@"'
_DEFAULT_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class PtyPair:
    """An open master, which the holder closes, and the path of its slave."""

    master: int
    slave_name: str


@dataclass(frozen=True, slots=True)
class SpawnedChild:
    """A running child, the leader of its session; the holder closes both fds and reaps it."""

    pid: int
    pidfd: int
    master: int
    pts_name: str


def open_pty(size: WindowSize, *, plain_output: bool) -> PtyPair:
    """Return a new PTY of that size; its master is non-blocking and closed on exec.

    Erasing goes by UTF-8 characters. With `plain_output` it neither translates newlines nor
    echoes; ^C still interrupts.

    Raises:
        OutOfResourcesError: the system has no more PTYs, or no more open files.
    """
    try:
        master, slave = os.openpty()
    except OSError as error:
        raise _pty_failure(error) from error
    try:
        os.set_blocking(master, False)
        termios.tcsetwinsize(slave, (size.rows, size.cols))
        attributes = termios.tcgetattr(slave)
        attributes[0] |= _IUTF8
        if plain_output:
            attributes[1] &= ~termios.OPOST
            attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        return PtyPair(master, os.ttyname(slave))
    except (OSError, termios.error) as error:
        os.close(master)
        raise SpawnError(f"cannot set up a pseudo-terminal: {error.args[1]}") from error
    finally:
        # The size and the modes stay: the kernel keeps both ends until both are closed.
        os.close(slave)


def _pty_failure(error: OSError) -> PtymuxError:
    if error.errno == errno.ENOSPC:  # ptmx_open: above kernel.pty.max
        return pty_resource_error()
    return resource_error(error) or SpawnError(f"cannot open a pseudo-terminal: {error.strerror}")


def spawn(
    options: SpawnOptions, env: Mapping[str, str], pty: PtyPair | None = None
) -> SpawnedChild:
    """Return the running child of `options`, whose whole environment is `env`.

    With `pty`, which stays its owner's, that is its terminal; its size and modes are as they are.

    It leads its own session, has the new PTY as its controlling terminal and as 0, 1 and 2
    (0 is `options.stdin_fd` if given, which stays open here), no other fd, every signal at its
    default and none blocked. The call lasts until the kernel has executed the program.

    Limit: while other threads run, they see the child's umask and limit for a moment, and the
    directory is entered by a shell: argv[0] becomes the path found, PWD and OLDPWD are set, and
    what only the kernel can refuse appears as the shell's words and exit status.

    Raises:
        CommandNotFoundError, NotExecutableError, ArgumentsTooLongError: the program.
        BadDirectoryError: `options.cwd` cannot be entered.
        OutOfResourcesError: open files, processes, memory or PTYs.
        InvalidValueError: text that no file name or argument can hold.
        SpawnError: anything else the kernel says.
    """
    command = options.argv[0]
    try:
        with other_directory(options.cwd) as directory:
            program = find_program(options.argv, env.get("PATH", os.defpath), directory)
            return _spawn_program(options, env, program, directory, pty)
    except OSError as error:
        raise resource_error(error) or SpawnError(f"{command}: {error.strerror}") from error
    except InvalidValueError:
        raise
    except ValueError as error:  # lone surrogates, NUL
        raise InvalidValueError("command", command, f"encodable text ({error})") from error


def _spawn_program(
    options: SpawnOptions,
    env: Mapping[str, str],
    program: str,
    directory: int | None,
    given: PtyPair | None,
) -> SpawnedChild:
    if given is None:
        pty = open_pty(options.size, plain_output=options.plain_output)
    else:
        pty = PtyPair(os.dup(given.master), given.slave_name)
    try:
        spare = os.dup(pty.master)  # the child must not run before there is room for its pidfd
        try:
            pid = _Launch(options, env, directory, pty.slave_name).execute(program)
        finally:
            os.close(spare)
        return SpawnedChild(pid, _open_child(pid), pty.master, pty.slave_name)
    except BaseException:
        os.close(pty.master)
        raise


def _open_child(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # another thread took the room, or the host program ignores SIGCHLD
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        raise


@dataclass(frozen=True, slots=True)
class _Launch:
    """What stays the same while a program is tried in one way or another."""

    options: SpawnOptions
    env: Mapping[str, str]
    directory: int | None  # where to start, if elsewhere than here
    slave_name: str

    def execute(self, program: str) -> int:
        """Return the pid of the child that runs `program`."""
        argv = list(self.options.argv)
        try:
            try:
                return self._enter_and_start(program, argv)
            except OSError as error:
                # execvp(3) gives a file of no known format to the shell, an empty one too.
                if error.errno != errno.ENOEXEC or is_binary(program, self.directory):
                    raise
                return self._enter_and_start(_SHELL, [_SHELL, program, *argv[1:]])
        except OSError as error:
            raise refusal(self.options.argv, program, self.directory, error) from error

    def _enter_and_start(self, path: str, argv: list[str]) -> int:
        if self.directory is None or len(os.listdir("/proc/self/task")) == 1:
            return self._start(path, argv, self.directory)
        here = os.readlink(f"/proc/self/fd/{self.directory}")
        words = [_SHELL, "-c", _ENTER_AND_RUN, _SHELL, here, path, *argv[1:]]
        return self._start(_SHELL, words, None)

    def _start(self, path: str, argv: list[str], directory: int | None) -> int:
        with working_in(directory), process_limits(self.options) as late_limit:
            pid = os.posix_spawn(
                path,
                argv,
                self.env,
                file_actions=_file_actions(self.options.stdin_fd, self.slave_name),
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        if late_limit is not None:
            with suppress(PermissionError, ProcessLookupError):  # another user's, or ended
                resource.prlimit(pid, resource.RLIMIT_NOFILE, late_limit)
        return pid


def _file_actions(stdin_fd: int | None, slave_name: str) -> list[tuple[object, ...]]:
    first = 0 if stdin_fd is None else 1
    actions: list[tuple[object, ...]] = []
    if stdin_fd is not None:
        # First, as it may be 1 or 2; dup2 onto itself clears its close-on-exec flag.
        actions.append((os.POSIX_SPAWN_DUP2, stdin_fd, 0))
        if stdin_fd >= STANDARD_FDS:
            actions.append((os.POSIX_SPAWN_CLOSE, stdin_fd))
    actions.append((os.POSIX_SPAWN_OPEN, first, slave_name, os.O_RDWR, 0))
    actions += [(os.POSIX_SPAWN_DUP2, first, fd) for fd in range(first + 1, STANDARD_FDS)]
    return actions

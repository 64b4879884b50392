"""Starts a command on a new PTY; a failure is an exception, and leaves nothing behind.

The child is made by posix_spawn. Its cost does not grow with this process's memory, and it returns
after the exec, so a refusal of the kernel is known at once. It cannot set the working directory,
the umask and the limit of open files. These are set in this process around the call, and restored.
A session leader that opens a terminal gets it as its controlling terminal. So the child opens the
slave itself, after setsid.
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
from ptymux.posix.passed_fds import check_numbers, kept_apart
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
    """A new PTY: its open master, which the owner closes, and the path of its slave."""

    master: int
    slave_name: str


@dataclass(frozen=True, slots=True)
class SpawnedChild:
    """A running child that leads its session; the owner closes both fds and reaps the child."""

    pid: int
    pidfd: int
    master: int
    pts_name: str


def open_pty(size: WindowSize, *, plain_output: bool, echo: bool = True) -> PtyPair:
    """Return a new PTY of that size; its master is non-blocking and closed on exec.

    Backspace erases whole UTF-8 characters. With `plain_output` the terminal neither translates
    newlines nor echoes; ^C still interrupts. Without `echo` it does not show what is typed.

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
        if plain_output or not echo:
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
    """Start the command of `options` and return the running child; `env` is its environment.

    The child runs on a new PTY, or on `pty` as it is, which stays its owner's. It leads its own
    session; the PTY is its controlling terminal and its fds 0, 1 and 2. If `options.stdin_fd` is
    given, that is its fd 0. It has those of `options.pass_fds` at their numbers. All of them stay
    open here. The child has no other fds. Its signals are at their defaults, and none is blocked.
    The call lasts until the kernel has executed the program.

    Limit: other threads of this process see the child's umask and limit for a moment. While there
    are other threads, a shell enters the directory. Then argv[0] is the path found, PWD and OLDPWD
    are set, and a refusal of the kernel appears as the shell's message and exit status.

    Raises:
        CommandNotFoundError, NotExecutableError, ArgumentsTooLongError: see there.
        BadDirectoryError: `options.cwd` cannot be entered.
        OutOfResourcesError: open files, processes, memory or PTYs.
        InvalidValueError: a text that cannot be a file name or an argument.
        SpawnError: any other refusal of the kernel.
    """
    command = options.argv[0]
    check_numbers(options.pass_fds)
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
        pty = open_pty(options.size, plain_output=options.plain_output, echo=options.echo)
    else:
        pty = PtyPair(os.dup(given.master), given.slave_name)
    try:
        spare = os.dup(pty.master)  # reserves an fd number for the child's pidfd
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
    except OSError:  # another thread took the fd number, or this program ignores SIGCHLD
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        raise


@dataclass(frozen=True, slots=True)
class _Launch:
    """One attempt to start a program; a file that is no program is tried with a shell."""

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
                # As execvp(3) does: the shell runs a file of unknown format, also an empty one.
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
        with (
            kept_apart(self.options.pass_fds) as passed,
            working_in(directory),
            process_limits(self.options, max((0, *passed, *passed.values()))) as late_limit,
        ):
            pid = os.posix_spawn(
                path,
                argv,
                self.env,
                file_actions=_file_actions(self.options.stdin_fd, self.slave_name, passed),
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        if late_limit is not None:
            with suppress(PermissionError, ProcessLookupError):  # another user's, or ended
                resource.prlimit(pid, resource.RLIMIT_NOFILE, late_limit)
        return pid


def _file_actions(
    stdin_fd: int | None, slave_name: str, passed: Mapping[int, int]
) -> list[tuple[object, ...]]:
    first = 0 if stdin_fd is None else 1
    actions: list[tuple[object, ...]] = []
    if stdin_fd is not None:
        # First, as it may be 1 or 2; dup2 onto itself clears its close-on-exec flag.
        actions.append((os.POSIX_SPAWN_DUP2, stdin_fd, 0))
        if stdin_fd >= STANDARD_FDS and stdin_fd not in passed.values():
            actions.append((os.POSIX_SPAWN_CLOSE, stdin_fd))
    actions.append((os.POSIX_SPAWN_OPEN, first, slave_name, os.O_RDWR, 0))
    actions += [(os.POSIX_SPAWN_DUP2, first, fd) for fd in range(first + 1, STANDARD_FDS)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in passed.items()]
    return actions

"""The beginning and the end of every `ptymux` command: standard fds, signals, errors, exit code.

Whatever goes wrong, a user gets one line that says what and what to do, and an exit code.
"""

from __future__ import annotations

import errno
import os
import signal
import sys

from ptymux.cli.output.printing import print_message
from ptymux.errors import PtymuxError
from ptymux.posix.resource_errors import resource_error

TYPE_CHECKING = False  # typing costs more than what programs ask of us
if TYPE_CHECKING:
    from typing import Final

    import click

__all__ = ["main"]

EXIT_USAGE: Final = 2
EXIT_FAILED: Final = 125
EXIT_INTERRUPTED: Final = 130
EXIT_CLOSED_PIPE: Final = 141

_ALIKE: Final = 0.65  # as difflib measures it: `--signal` is not `--all`

_UNWRITABLE: Final = (errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO)


def main() -> None:
    """Run the command line of this process and exit."""
    _reserve_standard_fds()
    # A parent that ignores its children must not make the kernel throw away the status of ours.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    on_interrupt = signal.getsignal(signal.SIGINT)
    # ^C while we load or leave ends us without a word; in between it is an exception.
    # Limit: while Python itself starts, its own handler may still show a traceback.
    if on_interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not os.environ.get("PTYMUX_DEBUG"):
        sys.unraisablehook = lambda _what: None  # objects half made, when fds or memory ran out
    status = _run(on_interrupt)
    try:
        sys.stdout.flush()
    except OSError as error:
        # The interpreter would flush again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = status or _print_unwritable(error)
    sys.exit(status)


def _run(on_interrupt: object) -> int:
    """Run the command; return the exit code."""
    try:
        from ptymux.cli.quick import run_quickly

        done = run_quickly(sys.argv[1:])
        if done is not None:
            return done
        import click

        from ptymux.cli.root import cli
    except (ImportError, OSError, PtymuxError) as error:
        return _fail(error)
    try:
        try:
            signal.signal(signal.SIGINT, on_interrupt)  # type: ignore[arg-type]
            result = cli.main(prog_name="ptymux", standalone_mode=False)
        finally:
            if on_interrupt is signal.default_int_handler:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        return _print_usage(error)
    except click.ClickException as error:
        return _print_line(error.format_message(), EXIT_FAILED)
    except SystemExit as exit_:
        # From click: it was asked for completions, or nobody reads our output.
        return int(exit_.code or 0) if "_PTYMUX_COMPLETE" in os.environ else EXIT_CLOSED_PIPE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Exception as error:
        return _fail(error)


def _fail(error: Exception) -> int:
    """Print what went wrong; return the exit code."""
    if isinstance(error, OSError):
        if error.errno in _UNWRITABLE:
            return _print_unwritable(error)
        if not os.path.exists("/proc/self/stat"):
            return _print_line("/proc is not mounted: mount -t proc proc /proc", EXIT_FAILED)
        error = resource_error(error) or error
    if isinstance(error, PtymuxError):
        from ptymux.cli.output.refusals import hinted

        return _print_line(hinted(error), error.exit_code)
    if os.environ.get("PTYMUX_DEBUG"):
        raise error
    text = f"internal error, {type(error).__name__}: {error}; PTYMUX_DEBUG=1 shows where"
    return _print_line(text, EXIT_FAILED)


def _print_usage(error: click.UsageError) -> int:
    import click

    from ptymux.cli.root import COMMANDS

    text = error.format_message().rstrip(". ")
    if isinstance(error, click.NoSuchOption):
        text = _no_option(error)
    elif error.ctx and "unexpected extra argument" in text:
        from ptymux.cli.habits import EXTRA_HABITS

        text = "; ".join(filter(None, (text, EXTRA_HABITS.get(_name(error)))))
    # Of an option without its value click does not say whose it is.
    words = [word for word in sys.argv[1:2] if word in COMMANDS]
    command = error.ctx.command_path if error.ctx else " ".join(("ptymux", *words))
    return _print_line(f"{text}; see `{command} --help`", EXIT_USAGE, command)


def _no_option(error: click.NoSuchOption) -> str:
    """Return what to say of an option that a command does not have."""
    from difflib import get_close_matches

    from ptymux.cli.habits import OPTION_HABITS

    text = f"no option {error.option_name!r}"
    if told := OPTION_HABITS.get((_name(error), error.option_name)):
        return f"{text}; {told}"
    if error.option_name == "--socket":
        return f"{text}; it stands before the command: `ptymux --socket PATH {_name(error)}`"
    meant = get_close_matches(error.option_name, error.possibilities or (), 1, cutoff=_ALIKE)
    return f"{text}, did you mean {meant[0]!r}" if meant else text


def _name(error: click.UsageError) -> str:
    """Return the name of the command that was not used right."""
    from ptymux.cli.root import ALIASES

    typed = (error.ctx and error.ctx.info_name) or ""
    return ALIASES.get(typed, typed)


def _print_unwritable(error: OSError) -> int:
    """Print that our output cannot be written, unless it is a closed pipe; return the exit code."""
    if error.errno == errno.EPIPE:
        return EXIT_CLOSED_PIPE
    return _print_line(
        f"cannot write to stdout: {os.strerror(error.errno or 0).lower()}", EXIT_FAILED
    )


def _print_line(text: str, status: int, prefix: str = "ptymux") -> int:
    print_message(text, prefix)
    return status


def _reserve_standard_fds() -> None:
    """Open those of stdin, stdout and stderr that our caller closed, so that no file gets their fd.

    They read as empty and refuse to be written, as a closed one does.

    Limit: if one of them is a directory, Python ends with a dump before any of our code runs.
    `scripts/ptymux` looks first; what pip installs is a program of Python's, and cannot.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY)
            assert opened == fd
            os.set_inheritable(fd, True)
    # Python made None of what was closed at its start.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)

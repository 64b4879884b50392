"""The root of the command line: which commands there are, and how every failure is told.

A command is imported when it is called or its help is shown, so that each pays only for itself.
Whatever goes wrong, a user gets one line that says what and what to do, and an exit code.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Final

import click

from ptymux import __version__
from ptymux.errors import PtymuxError

__all__ = ["cli", "main"]

EXIT_FAILED: Final = 125
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
EXIT_CLOSED_PIPE: Final = 141

# Command: where it is, and what the list of commands says of it.
_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("ptymux.cli.run:run", "Run a command in a PTY of its own."),
    "stress": ("ptymux.cli.stress:stress", "Prove the promises about output with floods of it."),
    "version": ("ptymux.cli.version:version", "Show the version."),
}


class _LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS:
            close = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f"did you mean {close[0]!r}?" if close else "`ptymux --help` lists them"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command has its own help: ptymux run --help.",
)
@click.version_option(__version__, "--version", message="ptymux %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run noisy, long-running commands in PTYs, and account for every byte of their output."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command line of this process and exit."""
    _reserve_standard_fds()
    status = _run()
    try:
        sys.stdout.flush()
    except OSError as error:
        # The interpreter would flush again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = status or _tell_unwritable(error)
    sys.exit(status)


def _run() -> int:
    """Run the command; return the exit code."""
    try:
        result = cli.main(prog_name="ptymux", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "ptymux"
        return _tell(f"{_sentence(error)}; see `{command} --help`", EXIT_USAGE, command)
    except click.ClickException as error:
        return _tell(error.format_message(), EXIT_FAILED)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except PtymuxError as error:
        return _tell(str(error), error.exit_code)
    except BrokenPipeError as error:
        return _tell_unwritable(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO):
            return _tell_unwritable(error)
        if os.environ.get("PTYMUX_DEBUG"):
            raise
        text = f"internal error, {type(error).__name__}: {error}; PTYMUX_DEBUG=1 shows where"
        return _tell(text, EXIT_FAILED)


def _sentence(error: click.UsageError) -> str:
    return " ".join(error.format_message().split()).rstrip(".")


def _tell(text: str, status: int, command: str = "ptymux") -> int:
    """Say in one line on stderr what is wrong; return `status`."""
    try:
        click.echo(f"{command}: {' '.join(text.split())}", err=True)
    except OSError:
        return status  # nobody is there to be told
    return status


def _tell_unwritable(error: OSError) -> int:
    """Say that our own output has nowhere to go, but for a closed pipe, which is no trouble."""
    if isinstance(error, BrokenPipeError):
        return EXIT_CLOSED_PIPE
    return _tell(f"cannot write to stdout: {(error.strerror or '').lower()}", EXIT_FAILED)


def _reserve_standard_fds() -> None:
    """Open what our caller closed of stdin, stdout and stderr, so that no file of ours gets it.

    They read as empty and refuse to be written, as a closed one does.
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

"""Which commands there are.

A command is imported when it is called or its help is shown, so that each pays only for itself.
"""

from __future__ import annotations

import difflib
import importlib
import shutil
from collections.abc import Mapping
from typing import Final

import click

from ptymux import __version__
from ptymux.core.units import printable

__all__ = ["COMMANDS", "cli"]

# Command: where it is, and what the list of commands says of it.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("ptymux.cli.run:run", "Run a command in a PTY of its own."),
    "stress": ("ptymux.cli.stress:stress", "Prove the promises about output with floods of it."),
    "version": ("ptymux.cli.version:version", "Show the version."),
}

_EPILOG: Final = """\b
Examples:
  ptymux run make -j8          on a terminal, as if run by itself
  ptymux run -- ls | grep x    in a pipe, the bytes that ls wrote
  ptymux run --help            each command has its own help
"""


class _LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            raise click.UsageError(f"no command {args[0]!r}{_hint(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _hint(word: str) -> str:
    close = difflib.get_close_matches(word, COMMANDS, 1, cutoff=0.65)
    if close:
        return f", did you mean {close[0]!r}"
    if word == printable(word) and shutil.which(word):
        return f"; a program is run by `ptymux run {word}`"
    return ""


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND [ARG]...",
    epilog=_EPILOG,
)
@click.version_option(__version__, "--version", message="ptymux %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run noisy, long-running commands in PTYs, and account for every byte of their output."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())

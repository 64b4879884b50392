"""The table of commands, and the `ptymux` command that calls them.

A command is imported when it is called or its help is shown, so that each pays only for itself.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from typing import Final

import click

from ptymux import __version__
from ptymux.core.units import printable
from ptymux.core.words import closest

__all__ = ["ALIASES", "COMMANDS", "cli"]

# Command: where it is, and what the list of commands says of it.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("ptymux.cli.commands.run:run", "Run a command in a PTY of its own."),
    "again": ("ptymux.cli.commands.again:again", "Run once more what a PTY ran."),
    "attach": (
        "ptymux.cli.commands.attach:attach",
        "Show a PTY on this terminal, and type into it.",
    ),
    "detach": ("ptymux.cli.commands.detach:detach", "Detach the terminals of PTYs, which go on."),
    "logs": ("ptymux.cli.commands.logs:logs", "Print the output that a PTY keeps."),
    "send": ("ptymux.cli.commands.send:send", "Type into a PTY."),
    "wait": ("ptymux.cli.commands.wait:wait", "Wait until a PTY has said or done something."),
    "ls": ("ptymux.cli.commands.ls:ls", "List the PTYs."),
    "stats": ("ptymux.cli.commands.stats:stats", "Show the numbers of one PTY."),
    "dashboard": (
        "ptymux.cli.commands.dashboard:dashboard",
        "Watch all PTYs: rates, drops, events.",
    ),
    "kill": ("ptymux.cli.commands.kill:kill", "End PTYs."),
    "rm": ("ptymux.cli.commands.rm:rm", "Forget PTYs that have ended."),
    "rename": ("ptymux.cli.commands.rename:rename", "Give a PTY another name."),
    "set": ("ptymux.cli.commands.set:set_", "Change what happens when a PTY's buffer is full."),
    "resize": ("ptymux.cli.commands.resize:resize", "Change the size of a PTY's terminal."),
    "signal": ("ptymux.cli.commands.signal:signal", "Send a signal to what runs in a PTY."),
    "clear": ("ptymux.cli.commands.clear:clear", "Throw away the output that a PTY keeps."),
    "events": ("ptymux.cli.commands.events:events", "Tell what happens to the PTYs."),
    "server": (
        "ptymux.cli.commands.server:server",
        "Start, stop or restart the server, or look at it.",
    ),
    "env": (
        "ptymux.cli.commands.env:env",
        "Show variables as the terminal has them that attached last.",
    ),
    "doctor": ("ptymux.cli.commands.doctor:doctor", "Check this machine, and say what to do."),
    "stress": (
        "ptymux.cli.commands.stress:stress",
        "Prove the promises about output with floods of it.",
    ),
    "completion": (
        "ptymux.cli.commands.completion:completion",
        "Print what completes commands in a shell.",
    ),
    "help": ("ptymux.cli.commands.help:help_", "Show help, also for those who know tmux."),
    "version": ("ptymux.cli.commands.version:version", "Show the version."),
}

# Whose options can have other defaults; nobody else pays for a look at the file.
_CONFIGURED: Final = ("run", "again", "attach")

# What else a command answers to.
ALIASES: Final[Mapping[str, str]] = {"ps": "ls", "list": "ls", "top": "dashboard"}

_EPILOG: Final = """\b
Examples:
  ptymux run make -j8          on a terminal, as if run by itself
  ptymux run -- ls | grep x    in a pipe, the bytes that ls wrote
  ptymux run --help            each command has its own help
"""


class _LazyGroup(click.Group):
    """A group of click that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and args[0] not in ALIASES:
            raise click.UsageError(f"no command {args[0]!r}{_hint(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _hint(word: str) -> str:
    from ptymux.cli.habits import HABITS

    if word in HABITS:  # first: what is spelled alike may do something else
        return f"; {HABITS[word]}"
    meant = closest(word, COMMANDS)
    if meant is not None:
        return f", did you mean {meant!r}"
    if word == printable(word) and shutil.which(word):
        return f"; a program is run by `ptymux run {word}`"
    return ""


def _check_socket(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.UsageError("--socket is empty; leave it out to have the default")
    return value


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND [ARG]...",
    epilog=_EPILOG,
)
@click.version_option(__version__, "--version", message="ptymux %(version)s")
@click.option(
    "--socket",
    metavar="PATH",
    callback=_check_socket,
    help="The server's socket; else PTYMUX_SOCKET's.",
)
@click.pass_context
def cli(ctx: click.Context, socket: str | None) -> None:
    """Run noisy, long-running commands in PTYs, and account for every byte of their output."""
    ctx.obj = socket
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    elif ctx.invoked_subcommand in _CONFIGURED:
        from ptymux.cli.options.config import defaults_for

        ctx.default_map = {ctx.invoked_subcommand: defaults_for(ctx.invoked_subcommand)}

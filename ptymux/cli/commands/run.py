"""`ptymux run`: runs a command in a new PTY, in the foreground, and exits as it does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from ptymux.cli.options.detach_keys import DEFAULT_DETACH, DETACH_KEYS_HELP, DetachKeys
from ptymux.cli.options.param_types import DURATION, SIZE, VARIABLE, WINDOW_SIZE
from ptymux.cli.options.pty_names import LANE
from ptymux.cli.terminal.sizes import terminal_size
from ptymux.core.model import DEFAULT_LANE, LaneId, OnFull, SessionId, SpawnOptions, WindowSize
from ptymux.errors import ClosedOutputError, InvalidValueError

if TYPE_CHECKING:
    from ptymux.client.server_connection import ServerConnection

__all__ = ["run"]

_EPILOG: Final = """\b
Examples:
  ptymux run make -j8                    on a terminal; C-\\ d detaches
  ptymux run -- ls -la | grep x          in a pipe, the bytes that ls wrote
  ptymux run -c 'make && make test'      a shell line
  ptymux run -d --name web ./serve       in the background
  ptymux run --summary -- ./build.sh     and a line that sums it up

Exit status: that of the command; 128+N after signal N; 127 not found, 126 not executable, 125 when
ptymux itself failed, 2 for a bad option, 141 when the output was closed.
"""


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog=_EPILOG,
    options_metavar="[OPTIONS] [--]",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [ARG]...]")
@click.option("-c", "line", metavar="LINE", help="Run a shell line; words after it are $1, $2, ...")
@click.option("--name", help="A name for the PTY.")
@click.option(
    "--lane", type=LANE, default=DEFAULT_LANE, show_default=True, help="The line of work."
)
@click.option("--session", help="The group of PTYs in that lane.")
@click.option("--cwd", metavar="DIR", help="Where to run; by default here.")
@click.option("-e", "--env", "variables", type=VARIABLE, multiple=True, help="Set a variable.")
@click.option("--size", type=WINDOW_SIZE, help="The terminal's size; by default yours, or 80x24.")
@click.option(
    "--buffer-size", type=SIZE, default="4M", show_default=True, help="Output that is kept."
)
@click.option(
    "--threshold",
    type=float,
    default=0.75,
    show_default=True,
    help="Share of the buffer waiting to be read at which backpressure is reported.",
)
@click.option(
    "--on-full",
    type=click.Choice([choice.value for choice in OnFull]),
    help="Drop the oldest output or block the command; by default block in a pipe, else drop.",
)
@click.option(
    "--idle-timeout",
    type=DURATION,
    default="300s",
    show_default=True,
    help="Silence after which the PTY is shown as quiet; 0 for never.",
)
@click.option(
    "--grace",
    type=DURATION,
    default="5s",
    show_default=True,
    help="Time between TERM and KILL when it has to end.",
)
@click.option("-d", "--detach", is_flag=True, help="Only start it, and print its id.")
@click.option("--rm", "remove", is_flag=True, help="Forget the PTY, with its output, at its end.")
@click.option(
    "--keep", is_flag=True, help="In a pipe: let it go on if ptymux is killed or its reader leaves."
)
@click.option(
    "--hangup",
    is_flag=True,
    help="On a terminal: end it if that goes away or ptymux is killed; else it is detached.",
)
@click.option("--raw", is_flag=True, help="Pass everything through as it is; so far the only way.")
@click.option(
    "--detach-keys",
    default=DEFAULT_DETACH,
    show_default=True,
    metavar="KEYS",
    help=DETACH_KEYS_HELP,
)
@click.option("--summary", is_flag=True, help="In a pipe too, sum the run up on stderr at its end.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the PTY as JSON: with -d when it runs, else at its end, in a line on stderr.",
)
def run(
    command: tuple[str, ...],
    line: str | None,
    name: str | None,
    lane: str,
    session: str | None,
    cwd: str | None,
    variables: tuple[tuple[str, str], ...],
    size: WindowSize | None,
    buffer_size: int,
    threshold: float,
    on_full: str | None,
    idle_timeout: float,
    grace: float,
    detach: bool,
    remove: bool,
    keep: bool,
    hangup: bool,
    raw: bool,
    detach_keys: str,
    summary: bool,
    as_json: bool,
) -> int:
    """Run COMMAND in a PTY of its own, in the foreground; without one, your shell.

    The server runs it and keeps its output for `ptymux logs`. On a terminal keys and output pass
    through as they are, and it can be detached from. When stdin or stdout is something else, the
    output is exactly what the command wrote, nothing of it is lost, and stdin is passed on.

    On a terminal ^Z stops it as a job of your shell, for fg and bg, where it would stop such a job.
    When the terminal goes away it is detached.
    """
    if keep and hangup:
        if _is_typed("hangup"):
            raise click.UsageError("--keep and --hangup exclude each other")
        hangup = False
    if detach and (keep or summary):
        raise click.UsageError("--keep and --summary are for the foreground")
    if detach and hangup and _is_typed("hangup"):
        raise click.UsageError("--hangup is for the foreground")
    keys = DetachKeys(detach_keys)
    on_terminal = os.isatty(0) and os.isatty(1)
    in_pipe = not (on_terminal or detach)
    if not on_terminal and not _is_writable(1):
        raise ClosedOutputError("stdout is closed; to throw output away, send it to /dev/null")
    if on_full is None:
        on_full = (OnFull.BLOCK if in_pipe and buffer_size else OnFull.DROP).value
    options = SpawnOptions(
        argv=_argv(command, line),
        env=_environment(),
        overrides=dict(variables),
        cwd=cwd,
        size=size
        or (terminal_size() if on_terminal and not detach else None)
        or WindowSize(80, 24),
        name=name,
        lane=LaneId(lane),
        session=None if session is None else SessionId(session),
        buffer_size=buffer_size,
        threshold=threshold,
        on_full=OnFull(on_full),
        idle_timeout_seconds=idle_timeout,
        grace_seconds=grace,
        plain_output=in_pipe,
        stdin_fd=0 if in_pipe else None,
        keep_term=on_terminal and not detach,
    )
    if detach:
        return _run_detached(options, remove=remove, as_json=as_json)
    from ptymux.cli.terminal.foreground import print_end, run_in_pipe, run_on_terminal

    if on_terminal:
        fits = size is None
        status, end = run_on_terminal(options, keys, fits=fits, hangup=hangup, remove=remove)
    else:
        status, end = run_in_pipe(options, keep=keep, remove=remove)
    if end is not None and (on_terminal or summary or as_json):
        print_end(end, as_json=as_json, is_kept=not remove)
    return status


def _is_typed(option: str) -> bool:
    """Whether an option was given on the command line, and not by the config file."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


def _argv(command: tuple[str, ...], line: str | None) -> tuple[str, ...]:
    shell = os.environ.get("SHELL", "")
    if not (os.path.isabs(shell) and os.access(shell, os.X_OK)):
        shell = "/bin/sh"
    if line is not None:
        return (shell, "-c", line, shell, *command)
    if command and not command[0]:
        raise InvalidValueError("command", "", "the name of a program")
    return command or (shell,)


def _environment() -> dict[str, str]:
    """Return our environment without the LC_CTYPE that Python may have set for itself (PEP 538)."""
    env = {key: value for key, value in os.environ.items() if key}
    with open("/proc/self/environ", "rb") as given:
        if b"\0LC_CTYPE=" not in b"\0" + given.read():
            env.pop("LC_CTYPE", None)
    return env


def _is_writable(fd: int) -> bool:
    """Whether `fd` can be written to; one that our caller closed cannot."""
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return False


def _run_detached(options: SpawnOptions, *, remove: bool, as_json: bool) -> int:
    """Have the server start a command, print its id, return the exit code to end with.

    Raises:
        PtymuxError: it could not be started.
    """
    from ptymux.cli.output.printing import print_json, print_text
    from ptymux.cli.server_lookup import connect
    from ptymux.client.reconnect import RETRY_POLICY, repeat
    from ptymux.client.spawn_request import new_request

    request = new_request()

    def spawn(connection: ServerConnection) -> dict[str, Any]:
        with connection:
            return connection.spawn(options, remove=remove, request=request)

    pty = repeat(lambda: connect(start=True), spawn, RETRY_POLICY.at_first)["pty"]
    if as_json:
        print_json(pty=pty)
    else:
        print_text(pty["pty_id"])
    return 0

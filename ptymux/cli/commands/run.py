"""`ptymux run`: runs a command in a new PTY, in the foreground, and exits as it does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import click

from ptymux.cli.options.at_terminal import detach_keys_option, run_json_option, summary_option
from ptymux.cli.options.detach_keys import DetachKeys
from ptymux.cli.options.param_types import DURATION, ON_FULL, SIZE, VARIABLE, WINDOW_SIZE
from ptymux.cli.options.programs import complete_command
from ptymux.cli.options.pty_names import ANY_PTY, LANE
from ptymux.cli.terminal.sizes import terminal_size
from ptymux.cli.terminal.start import Start, is_typed, print_started
from ptymux.core.model import DEFAULT_LANE, LaneId, OnFull, SessionId, SpawnOptions, WindowSize
from ptymux.errors import (
    AmbiguousPtyError,
    InvalidValueError,
    NameTakenError,
    NoServerError,
    PtymuxError,
    UnknownPtyError,
)

__all__ = ["run"]

_ATTEMPTS: Final = 10  # to attach to a name or to start under it, while others do so too

# What SHELL is of users who may not log in.
_NO_SHELLS: Final = frozenset(("false", "git-shell", "nologin", "sync", "true"))

_EPILOG: Final = """\b
Examples:
  ptymux run make -j8                    on a terminal; C-\\ d detaches
  ptymux run -- ls -la | grep x          in a pipe, the bytes that ls wrote
  ptymux run -c 'make && make test'      a shell line
  ptymux run -d --name web ./serve       in the background
  ptymux run -A work                     a shell named work, new or old
  ptymux run -d --name web --replace ./serve    ends the old web first
  ptymux run --summary -- ./build.sh     and a line that sums it up

Exit status: that of the command; 128+N after signal N; 127 not found, 126 not executable, 125 when
ptymux itself failed, 124 after --timeout, 2 for a bad option, 141 when the output was closed.
"""


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog=_EPILOG,
    options_metavar="[OPTIONS] [--]",
)
@click.argument(
    "command",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="[COMMAND [ARG]...]",
    shell_complete=complete_command,
)
@click.option("-c", "line", metavar="LINE", help="Run a shell line; words after it are $1, $2, ...")
@click.option("--name", help="A name for the PTY, which no other live one has.")
@click.option(
    "-A",
    "--attach",
    "attach_name",
    metavar="NAME",
    help="Attach to the live PTY of that name; if there is none, run COMMAND under it.",
)
@click.option(
    "--restart-of",
    type=ANY_PTY,
    metavar="PTY",
    help="Run what PTY ran, as `ptymux again` does, but for the other options.",
)
@click.option("--replace", is_flag=True, help="End the live PTY that has the name first.")
@click.option(
    "--lane",
    type=LANE,
    default=DEFAULT_LANE,
    show_default=True,
    help="A label to list PTYs by: a branch, a task.",
)
@click.option("--session", help="A label for some PTYs of that lane.")
@click.option("--cwd", metavar="DIR", help="Where to run; by default here.")
@click.option("-e", "--env", "variables", type=VARIABLE, multiple=True, help="Set a variable.")
@click.option("--size", type=WINDOW_SIZE, help="The terminal's size; by default yours, or 80x24.")
@click.option(
    "--buffer-size",
    type=SIZE,
    default="4M",
    show_default=True,
    help="How much output is kept; the oldest goes first.",
)
@click.option(
    "--threshold",
    type=float,
    default=0.75,
    show_default=True,
    help="A reader counts as too slow when so much of the buffer waits for it.",
)
@click.option(
    "--on-full",
    type=ON_FULL,
    help="When a reader is too slow: drop the oldest output, or have the command wait (block); "
    "by default block in a pipe, else drop.",
)
@click.option(
    "--idle-timeout",
    type=DURATION,
    default="300s",
    show_default=True,
    help="Show it as quiet when it wrote nothing for so long; 0 for never.",
)
@click.option(
    "--grace",
    type=DURATION,
    default="5s",
    show_default=True,
    help="When it is to end: how long it has from TERM on, before KILL.",
)
@click.option(
    "--timeout",
    type=DURATION,
    default="0",
    help="End it when it has run for so long, and exit with 124; by default never.",
)
@click.option(
    "--ttl",
    type=DURATION,
    help="Forget the PTY so long after its end; by default once 100 others have ended since.",
)
@click.option("-d", "--detach", is_flag=True, help="Only start it, and print its id.")
@click.option("--rm", "remove", is_flag=True, help="Forget it at its end, as --ttl 0.")
@click.option(
    "--keep", is_flag=True, help="In a pipe: let it go on if ptymux is killed or its reader leaves."
)
@click.option(
    "--hangup",
    is_flag=True,
    help="On a terminal: end it if that goes away or ptymux is killed; else it is detached.",
)
@click.option("--raw", is_flag=True, help="Pass everything through as it is; so far the only way.")
@detach_keys_option
@summary_option
@run_json_option
def run(
    command: tuple[str, ...],
    line: str | None,
    name: str | None,
    attach_name: str | None,
    restart_of: str | None,
    replace: bool,
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
    timeout: float,
    ttl: float | None,
    detach: bool,
    remove: bool,
    keep: bool,
    hangup: bool,
    raw: bool,
    detach_keys: str,
    summary: bool,
    as_json: bool,
) -> int:
    """Run COMMAND in a terminal of its own (a PTY); without one, your shell.

    On a terminal it looks as if run by itself. You can leave it running (detach) and come back with
    `ptymux attach`; its output is kept for `ptymux logs`. In a pipe the output is exactly
    what the command wrote, nothing of it is lost, and stdin is passed on.

    On a terminal ^Z stops it as a job of your shell, for fg and bg, where it would stop such a job.
    When the terminal goes away it is detached.

    In the foreground the command also gets what your shell opened for it: 5<file, <(list), the
    jobserver of make. With -d it does not.
    """
    if restart_of is not None:
        if command or line is not None or attach_name is not None:
            raise click.UsageError("--restart-of goes without COMMAND, -c and --attach")
        from ptymux.cli.commands.again import start_again

        return start_again(restart_of)
    if remove and ttl is not None and is_typed("ttl"):
        raise click.UsageError("--rm is --ttl 0; give one of them")
    remove, ttl = (True, None) if remove or ttl == 0 else (False, ttl)
    how = Start.here(
        keys=DetachKeys(detach_keys),
        detach=detach,
        hangup=hangup,
        keep=keep,
        replace=replace,
        summary=summary,
        as_json=as_json,
    )
    _check_name_options(name, attach_name, replace, not how.in_pipe)
    if on_full is None:
        on_full = (OnFull.BLOCK if how.in_pipe and buffer_size else OnFull.DROP).value
    options = SpawnOptions(
        argv=_argv(command, line),
        env=_environment(renews=not how.in_pipe),
        overrides=dict(variables),
        cwd=cwd,
        size=size or (terminal_size() if how.is_shown else None) or WindowSize(80, 24),
        name=name or attach_name,
        lane=LaneId(lane),
        session=None if session is None else SessionId(session),
        buffer_size=buffer_size,
        threshold=threshold,
        on_full=OnFull(on_full),
        idle_timeout_seconds=idle_timeout,
        grace_seconds=grace,
        timeout_seconds=timeout,
        ttl_seconds=ttl,
        plain_output=how.in_pipe,
        stdin_fd=0 if how.in_pipe else None,
        keep_term=how.is_shown,
        pass_fds=how.fds_to_pass(),
    )
    start = partial(how.run, options, fits=size is None, remove=remove)
    if attach_name is None:
        return start()
    return _attach_or(start, attach_name, None if detach else how.keys, as_json=as_json)


def _check_name_options(
    name: str | None, attach_name: str | None, replace: bool, can_attach: bool
) -> None:
    if attach_name is not None and (name is not None or replace):
        raise click.UsageError(f"--attach goes without {'--replace' if replace else '--name'}")
    if attach_name is not None and not can_attach:
        raise click.UsageError("--attach needs a terminal, or -d; in a pipe there is `ptymux logs`")
    if replace and name is None:
        raise click.UsageError("--replace needs a --name, to say which one to end")
    if replace and _is_our_own(name):
        raise PtymuxError(f"this is PTY {name!r} itself; it would end with its own client")


def _is_our_own(name: str | None) -> bool:
    """Whether we run in the PTY of that name."""
    own = os.environ.get("PTYMUX_ID")
    found = _live_one(name) if own and name else None
    return found is not None and found["pty_id"] == own


def _live_one(name: str) -> Mapping[str, Any] | None:
    """Return the live PTY of that name."""
    from ptymux.cli.server_lookup import repeating
    from ptymux.core.model import ENDED_STATES

    try:
        pty = repeating(lambda connection: connection.call("get", pty=name)["pty"])
    except (UnknownPtyError, AmbiguousPtyError, NoServerError):
        return None
    return pty if pty["name"] == name and pty["state"] not in ENDED_STATES else None


def _attach_or(
    start: Callable[[], int], name: str, keys: DetachKeys | None, *, as_json: bool
) -> int:
    """Attach to the live PTY of that name; if there is none, `start` one. Without keys print it.

    Whoever is faster with the name wins; then the other one is the one to attach to.
    """
    for _ in range(_ATTEMPTS):
        pty = _live_one(name)
        if pty is None:
            try:
                return start()
            except NameTakenError:
                continue
        if keys is None:
            return print_started(pty, as_json=as_json)
        from ptymux.cli.commands.attach import attach_to

        return attach_to(pty["pty_id"], keys)
    raise PtymuxError(f"PTYs of the name {name!r} come and go too fast; try again")


def _argv(command: tuple[str, ...], line: str | None) -> tuple[str, ...]:
    shell = os.environ.get("SHELL", "")
    is_program = os.path.isabs(shell) and os.access(shell, os.X_OK)
    if not is_program or os.path.basename(shell) in _NO_SHELLS:
        shell = "/bin/sh"
    if line is not None:
        return (shell, "-c", line, shell, *command)
    if command and not command[0]:
        raise InvalidValueError("command", "", "the name of a program")
    return command or (shell,)


def _environment(*, renews: bool) -> dict[str, str]:
    """Return our environment without the LC_CTYPE that Python may have set for itself (PEP 538).

    If others may attach later, it has links in place of the paths that each attach renews.
    """
    env = {key: value for key, value in os.environ.items() if key}
    with open("/proc/self/environ", "rb") as given:
        if b"\0LC_CTYPE=" not in b"\0" + given.read():
            env.pop("LC_CTYPE", None)
    if not renews:
        return env
    from ptymux.cli.server_lookup import renewed_links

    return env | renewed_links(env)

"""`ptymux again`: starts what a PTY ran once more, in a new PTY."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ptymux.cli.options.at_terminal import detach_keys_option, run_json_option, summary_option
from ptymux.cli.options.detach_keys import DetachKeys
from ptymux.cli.options.param_types import DURATION, ON_FULL, SIZE, VARIABLE, WINDOW_SIZE
from ptymux.cli.options.pty_names import ANY_PTY, LANE
from ptymux.cli.server_lookup import repeating
from ptymux.cli.terminal.sizes import terminal_size
from ptymux.cli.terminal.start import Start, is_typed
from ptymux.core.launch import options_from_launch
from ptymux.core.model import ENDED_STATES
from ptymux.errors import PtymuxError

if TYPE_CHECKING:
    from ptymux.core.model import SpawnOptions

__all__ = ["again", "start_again"]

_EPILOG: Final = """\b
Examples:
  ptymux again web                   what web ran, under its name
  ptymux again --replace web         ends it first, if it runs
  ptymux again -d 3                  in the background
  ptymux again --name web2 -e PORT=81 web    beside it, with another port

The old PTY stays in `ptymux ls -a`, with its output, but for its name.

Exit status: as of `ptymux run`.
"""

# Options of the command line, and what they are in `SpawnOptions`.
_FIELDS: Final[Mapping[str, str]] = {
    "name": "name",
    "lane": "lane",
    "session": "session",
    "cwd": "cwd",
    "size": "size",
    "buffer_size": "buffer_size",
    "threshold": "threshold",
    "on_full": "on_full",
    "idle_timeout": "idle_timeout_seconds",
    "grace": "grace_seconds",
    "timeout": "timeout_seconds",
    "ttl": "ttl_seconds",
}


@click.command(epilog=_EPILOG)
@click.argument("pty", type=ANY_PTY)
@click.option("--replace", is_flag=True, help="End PTY first, if it lives.")
@click.option("--name", help="Another name for the new PTY.")
@click.option("--lane", type=LANE, help="Another lane.")
@click.option("--cwd", metavar="DIR", help="Another directory to run in.")
@click.option("-e", "--env", "variables", type=VARIABLE, multiple=True, help="Set a variable.")
@click.option("--size", type=WINDOW_SIZE, help="Another size; on a terminal, yours by default.")
@click.option("--buffer-size", type=SIZE, help="How much output is kept.")
@click.option("--on-full", type=ON_FULL, help="Drop the oldest output, or have the command wait.")
@click.option("--timeout", type=DURATION, help="End it when it has run for so long; 0 for never.")
@click.option("--ttl", type=DURATION, help="Forget the PTY so long after its end.")
@click.option("-d", "--detach", is_flag=True, help="Only start it, and print its id.")
@click.option("--keep", is_flag=True, help="In a pipe: let it go on without us or our reader.")
@click.option("--hangup", is_flag=True, help="On a terminal: end it if that goes away.")
@detach_keys_option
@summary_option
@run_json_option
def again(pty: str, **_options: Any) -> int:
    """Run once more what PTY ran, in a new PTY that has its name.

    The command, its environment, its directory, the size and the options of `ptymux run` are the
    same, but for those given here. PTY may have ended; one that lives keeps its name, so that
    --replace or another --name is needed.
    """
    return start_again(pty)


def start_again(word: str) -> int:
    """Start what a PTY ran, with the options of the current command; return its exit code.

    Raises:
        PtymuxError: there is no such PTY, it lives, or nobody knows how it was started.
    """
    given = click.get_current_context().params
    how = Start.here(
        keys=DetachKeys(given["detach_keys"]),
        **{name: given[name] for name in ("detach", "hangup", "keep", "summary", "as_json")},
        replace=given["replace"],
    )
    changes = {field: given[name] for name, field in _FIELDS.items() if is_typed(name)}
    found = repeating(lambda connection: connection.call("launch", pty=word))
    pty, launch = found["pty"], found["launch"]
    fits = how.is_shown and "size" not in changes
    options = _options(launch, changes, given["variables"], how)
    remove = bool(given.get("remove")) or options.ttl_seconds == 0
    if pty["state"] not in ENDED_STATES:
        _make_way(pty, options, replace=how.replace)
    return how.run(options, fits=fits, remove=remove)


def _options(
    launch: Mapping[str, Any],
    changes: dict[str, Any],
    variables: tuple[tuple[str, str], ...],
    how: Start,
) -> SpawnOptions:
    """Return how to start it: as before, but for `changes` and what depends on where we are."""
    if how.is_shown:
        changes.setdefault("size", terminal_size() or (launch["cols"], launch["rows"]))
        ours = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
        changes["env"] = launch["env"] | ours
    return options_from_launch(
        launch,
        **changes,
        overrides=dict(variables),
        plain_output=how.in_pipe,
        stdin_fd=0 if how.in_pipe else None,
        keep_term=how.is_shown,
        pass_fds=how.fds_to_pass(),
    )


def _make_way(pty: Mapping[str, Any], options: SpawnOptions, *, replace: bool) -> None:
    """End a PTY that lives, if it is to be replaced, and what replaces it can be started.

    Raises:
        PtymuxError: it is not to be replaced and has the name; or it is the one that we run in.
    """
    called = pty["name"] or pty["number"]
    if not replace:
        if pty["name"] is not None and pty["name"] == options.name:
            raise PtymuxError(
                f"PTY {called} runs and has the name; `ptymux again --replace {called}` ends it "
                "first, --name gives the new one another"
            )
        return
    if pty["pty_id"] == os.environ.get("PTYMUX_ID"):
        raise PtymuxError(f"this is PTY {called} itself; it would end with its own client")
    from ptymux.client.spawn_request import look_up, open_directory

    directory = open_directory(options.cwd or ".")
    try:
        look_up(options, directory)
    finally:
        os.close(directory)
    repeating(lambda connection: connection.call("kill", ptys=[pty["pty_id"]]))

"""`ptymux run` in the foreground: starts a command in the server, and passes its output on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ptymux.cli.output.exit_summary import summary
from ptymux.cli.output.outlet import Outlet
from ptymux.cli.output.printing import (
    SCHEMA,
    json_line,
    last_words_seconds,
    print_message,
    warn_of_differences,
)
from ptymux.cli.server_lookup import chosen_path, connect, home
from ptymux.client.attach_request import AttachRequest
from ptymux.client.attachment import Attachment
from ptymux.client.reconnect import RETRY_POLICY, repeat
from ptymux.client.spawn_request import new_request
from ptymux.client.stream import Stream, attach
from ptymux.errors import ClosedOutputError, OldServerError

if TYPE_CHECKING:
    from ptymux.cli.options.detach_keys import DetachKeys
    from ptymux.client.server_connection import ServerConnection
    from ptymux.core.model import SpawnOptions

__all__ = ["run_in_pipe", "run_on_terminal", "print_end"]


def run_on_terminal(
    options: SpawnOptions,
    keys: DetachKeys,
    *,
    fits: bool,
    hangup: bool,
    remove: bool,
    replace: bool,
) -> tuple[int, Mapping[str, Any] | None]:
    """Run a command on the terminal at stdin and stdout until its end or a detach.

    Return the exit code to end with, and the PTY if it ended. With `fits` it follows the size of
    the terminal, with `hangup` it ends when we are killed or the terminal goes away.
    With `replace` who lives under its name is ended first.

    Raises:
        PtymuxError: it could not be started, or the server went away.
    """
    from ptymux.cli.terminal.viewer import Viewer
    from ptymux.core.windows import Windows

    windows = Windows.from_environment(os.environ)
    attachment = _start(options, "consumer", hangup=hangup, remove=remove, replace=replace)
    viewer = Viewer(attachment, keys, windows, fits=fits, is_job=True)
    return viewer.run(), viewer.end


def run_in_pipe(
    options: SpawnOptions, *, keep: bool, remove: bool, replace: bool
) -> tuple[int, Mapping[str, Any] | None]:
    """Run a command, and pass its output on to stdout; returns and raises as `run_on_terminal`."""
    from ptymux.cli.terminal.pipe import PipePassage

    attachment = _start(options, "lossless", hangup=not keep, remove=remove, replace=replace)
    passage = PipePassage(attachment, options.grace_seconds)
    return passage.run(), passage.end


def print_end(pty: Mapping[str, Any], *, as_json: bool, is_kept: bool) -> None:
    """Print on stderr how a PTY ended."""
    if not as_json:
        print_message(summary(pty, is_kept=is_kept), prefix="")
        return
    line = json_line({"schema": SCHEMA, "pty": pty})
    outlet = Outlet(2)
    with contextlib.suppress(BrokenPipeError, ClosedOutputError):
        outlet.write(line.encode() + b"\n", last_words_seconds())
    outlet.close()


def _start(
    options: SpawnOptions, kind: str, *, hangup: bool, remove: bool, replace: bool
) -> Attachment:
    """Have the server start a command, and attach to its output from the first byte on."""
    types = kind == "consumer"
    spawn_id = new_request()  # by which a replacement knows that the command runs already

    def start(connection: ServerConnection) -> tuple[Stream, AttachRequest]:
        with connection:
            spawned = connection.spawn(
                _passable(options, connection),
                remove=remove,
                hangup=hangup,
                attaches=True,
                replace=replace,
                request=spawn_id,
                wants_differences=True,
            )
            warn_of_differences(spawned.get("differences", ()))
            request = AttachRequest(
                spawned["pty"]["pty_id"],
                kind,
                offset=0,
                wants_input=types,
                echo=types,
                lifeline=True,
                inside=home(),
                hangup=hangup,
            )
            return attach(connection, request), request

    stream, request = repeat(lambda: connect(start=True), start, RETRY_POLICY.at_first)
    for fd in options.pass_fds.values():
        os.close(fd)  # the command has it; who is at its other end must see when it closes it
    return Attachment(chosen_path(), stream, request)


def _passable(options: SpawnOptions, connection: ServerConnection) -> SpawnOptions:
    """Return the options as the server can fulfil them; what it cannot pass is said."""
    if connection.passes_fds or not options.pass_fds:
        return options
    from dataclasses import replace

    print_message(str(OldServerError(connection.path, f"pass {_shown(options.pass_fds)}")))
    return replace(options, pass_fds={})


def _shown(fds: Iterable[int]) -> str:
    """Return the numbers of fds as a person would say them: fd 5, or fds 5, 6."""
    numbers = [str(fd) for fd in fds]
    return f"fd{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"

"""Starts a command as `run` and `again` do: on this terminal, in a pipe, or detached."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ptymux.errors import ClosedOutputError

if TYPE_CHECKING:
    from ptymux.cli.options.detach_keys import DetachKeys
    from ptymux.client.server_connection import ServerConnection
    from ptymux.core.model import SpawnOptions

__all__ = ["Start", "is_typed", "print_started"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a command is started, and what becomes of it when we or it end.

    Made by `here`, which checks what goes together.
    """

    on_terminal: bool
    detach: bool
    keys: DetachKeys
    hangup: bool
    keep: bool
    replace: bool
    summary: bool
    as_json: bool

    @classmethod
    def here(
        cls,
        *,
        keys: DetachKeys,
        detach: bool,
        hangup: bool,
        keep: bool,
        replace: bool,
        summary: bool,
        as_json: bool,
    ) -> Start:
        """Return how to start something with these options, on the stdin and stdout that we have.

        Raises:
            UsageError: they exclude each other.
            ClosedOutputError: stdout is closed.
        """
        if detach and (keep or summary):
            raise click.UsageError("--keep and --summary are for the foreground")
        on_terminal = os.isatty(0) and os.isatty(1)
        if not on_terminal and not _is_writable(1):
            raise ClosedOutputError("stdout is closed; to throw output away, send it to /dev/null")
        return cls(
            on_terminal=on_terminal,
            detach=detach,
            keys=keys,
            hangup=_hangs_up(hangup, keep=keep, detach=detach),
            keep=keep,
            replace=replace,
            summary=summary,
            as_json=as_json,
        )

    @property
    def in_pipe(self) -> bool:
        """Whether its output is passed on as it wrote it, and our stdin becomes its own."""
        return not (self.on_terminal or self.detach)

    @property
    def is_shown(self) -> bool:
        """Whether our terminal shows it from the first byte on."""
        return self.on_terminal and not self.detach

    def fds_to_pass(self) -> dict[int, int]:
        """Return the fds above stderr that the command gets, at the same numbers.

        In the background there are none. If they are too many, say so.
        """
        if self.detach:
            return {}
        from ptymux.cli.output.printing import print_message
        from ptymux.core.model import Limits
        from ptymux.posix.passed_fds import fds_from_parent

        fds, most = fds_from_parent(), Limits.PASSED_FDS
        if len(fds) > most:
            print_message(f"the command gets {most} of our {len(fds)} fds, up to {fds[most - 1]}")
        return {fd: fd for fd in fds[:most]}

    def run(self, options: SpawnOptions, *, fits: bool, remove: bool) -> int:
        """Start a command; return the exit code to end with.

        With `fits` it follows the size of our terminal; with `remove` it is forgotten at its end.

        Raises:
            PtymuxError: it could not be started, or the server went away.
        """
        if self.detach:
            return self._run_detached(options, remove=remove)
        from ptymux.cli.terminal.foreground import print_end, run_in_pipe, run_on_terminal

        replace = self.replace
        if self.on_terminal:
            status, end = run_on_terminal(
                options, self.keys, fits=fits, hangup=self.hangup, remove=remove, replace=replace
            )
        else:
            status, end = run_in_pipe(options, keep=self.keep, remove=remove, replace=replace)
        if end is not None and (self.on_terminal or self.summary or self.as_json):
            print_end(end, as_json=self.as_json, is_kept=not remove)
        return status

    def _run_detached(self, options: SpawnOptions, *, remove: bool) -> int:
        """Have the server start a command, print its id, return the exit code to end with."""
        from ptymux.cli.output.printing import warn_of_differences
        from ptymux.cli.server_lookup import connect
        from ptymux.client.reconnect import RETRY_POLICY, repeat
        from ptymux.client.spawn_request import new_request

        request = new_request()

        def spawn(connection: ServerConnection) -> dict[str, Any]:
            with connection:
                return connection.spawn(
                    options,
                    remove=remove,
                    replace=self.replace,
                    request=request,
                    wants_differences=True,
                )

        spawned = repeat(lambda: connect(start=True), spawn, RETRY_POLICY.at_first)
        warn_of_differences(spawned.get("differences", ()))
        return print_started(spawned["pty"], as_json=self.as_json)


def print_started(pty: Mapping[str, Any], *, as_json: bool) -> int:
    """Print the id of a PTY, or the PTY as JSON; return the exit code to end with."""
    from ptymux.cli.output.printing import print_json, print_text

    if as_json:
        print_json(pty=pty)
    else:
        print_text(pty["pty_id"])
    return 0


def is_typed(option: str) -> bool:
    """Whether an option was given on the command line, and not by the config file."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


def _hangs_up(hangup: bool, *, keep: bool, detach: bool) -> bool:
    """Return whether our end ends the command; the config file may say so, and --keep not."""
    if hangup and is_typed("hangup"):
        if keep:
            raise click.UsageError("--keep and --hangup exclude each other")
        if detach:
            raise click.UsageError("--hangup is for the foreground")
    return hangup and not keep


def _is_writable(fd: int) -> bool:
    """Whether `fd` can be written to; one that our caller closed cannot."""
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return False

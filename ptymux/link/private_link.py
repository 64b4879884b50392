"""A program's link to a keeper of its own, which is started with the first PTY.

The program itself is not changed: it only gets one more child process, the keeper, which owns the
PTYs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from ptymux.core.model import MIB, SpawnOptions
from ptymux.engine.engine import SpawnedPty
from ptymux.engine.reports import Closed, Exited
from ptymux.errors import (
    ArgumentsTooLongError,
    InvalidValueError,
    LinkClosedError,
    SpawnError,
)
from ptymux.handover.wire import Message, PassedOptions
from ptymux.link.launch import has_ended, start_private_keeper
from ptymux.link.process_link import ProcessLink, close_all
from ptymux.posix.caller import world_of
from ptymux.posix.passed_fds import check_open
from ptymux.posix.process import ExitStatus
from ptymux.posix.resource_errors import resource_error
from ptymux.posix.spawn_context import current_umask, open_directory, open_files_limit

__all__ = ["PrivateLink"]

_log = logging.getLogger("ptymux")

_START_SECONDS: Final = 10.0  # for a new keeper to say hello
_END_SECONDS: Final = 8.0  # for a keeper to end all sessions and itself
_WAIT_SECONDS: Final = 2.0  # for a new keeper, if a terminal is to be closed
_LONGEST: Final = 8 * MIB  # arguments and environment; the kernel's limit is 6 MiB


class PrivateLink(ProcessLink):
    """The program's side of the link to its own keeper; `close` ends the keeper and all its PTYs.

    If the keeper dies, it is replaced, and the PTYs continue.
    """

    def __init__(self) -> None:
        super().__init__()
        self._has_begun = False  # there was a keeper
        self._beginning: asyncio.Task[None] | None = None

    async def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> SpawnedPty:
        """Start a child in a new PTY; if there is no keeper yet, start that first.

        Raises:
            SpawnError, OutOfResourcesError: the child or the keeper could not be started.
        """
        _check_words(options, env)
        check_open("stdin_fd", [] if options.stdin_fd is None else [options.stdin_fd])
        check_open("pass_fds", options.pass_fds.values())
        await self.begin()
        cwd = open_directory(options.cwd or ".")
        try:
            spawned = await super().spawn(slot, _passed(options, cwd), env)
        finally:
            os.close(cwd)
        facts = {"pid": spawned.pid, "start_time": spawned.start_time}
        self._snapshots.remember(slot, json.dumps(facts).encode())
        return spawned

    async def close_pty(self, slot: int) -> None:
        """Close the terminal now; if no keeper comes in time, kill its child instead."""
        try:
            await asyncio.wait_for(self._linked.wait(), _WAIT_SECONDS)
        except TimeoutError:
            self._end(slot)
        else:
            await super().close_pty(slot)

    # The keeper ------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start the keeper if there is none, and wait for it; concurrent calls wait for the same.

        Raises:
            SpawnError, OutOfResourcesError: it could not be started; the next call tries again.
        """
        if self._is_closed:
            raise LinkClosedError("this manager is closed; make another")
        if self._has_begun and not self._has_given_up:
            return
        if self._beginning is None or self._beginning.done():
            self._has_begun = self._has_given_up = False
            self._linked.clear()
            self._beginning = self._recovery = asyncio.create_task(self._start_first())
        await asyncio.shield(self._beginning)

    async def _start_first(self) -> None:
        _check_interpreter()
        try:
            await asyncio.wait_for(self._start_and_hand_over(), _START_SECONDS)
            if self._channel is None or self._channel.is_over:
                await self._keeper_has_ended(_END_SECONDS)
                raise LinkClosedError("it did not live long")
            self._has_begun = True
        except TimeoutError:
            raise SpawnError(_no_keeper(f"it said nothing in {_START_SECONDS:.0f} s")) from None
        except LinkClosedError:
            raise SpawnError(_no_keeper("it ended at once")) from None
        except OSError as error:
            raise resource_error(error) or SpawnError(_no_keeper(str(error.strerror))) from error

    def _start_keeper(self) -> tuple[socket.socket, int]:
        return start_private_keeper()

    def _handover_extras(self) -> tuple[Mapping[str, Any], list[int]]:
        return {}, []

    def _use_hello(self, _hello: Mapping[str, Any], fds: Sequence[int]) -> None:
        close_all((self._keeper,))
        (self._keeper,) = fds

    def _on_other_message(self, message: Message) -> None:
        if message.body["op"] == "log":
            _log.warning("keeper: %s", message.body["text"])

    async def _release_keeper(self) -> None:
        """Wait until the keeper has ended; it sees the link close and ends all sessions first."""
        if self._keeper is not None:
            if not await has_ended(self._keeper, _END_SECONDS):
                self._kill()
                await has_ended(self._keeper, _END_SECONDS)
            os.close(self._keeper)

    async def _recover(self, reason: str) -> None:
        self._kill()  # a keeper that lives would end all sessions when the link is closed
        await super()._recover(reason)

    def _kill(self) -> None:
        if self._keeper is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._keeper, signal.SIGKILL)

    def _on_keeper_replaced(self) -> None:
        _log.warning("the keeper was killed; another has taken over, as %d", self.keeper_pid)

    def _on_no_keeper(self, reason: str) -> None:
        """End all PTYs and report that: there is no keeper to look after them."""
        _log.error("all PTYs are ended: %s", reason)
        for slot in self._snapshots.children():
            self._end(slot)

    def _end(self, slot: int) -> None:
        """End a PTY without a keeper; the exit status of its child is unknown then."""
        pidfd = self._snapshots.children().get(slot)
        if pidfd is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            self._report(Exited(slot, ExitStatus(None, None, False), False))
        self._report(Closed(slot))


def _passed(options: SpawnOptions, cwd: int) -> PassedOptions:
    """Return the options completed with this process's umask, limits and priorities."""
    given = {field.name: getattr(options, field.name) for field in fields(SpawnOptions)}
    if options.umask is None:
        given["umask"] = current_umask()
    if options.nofile is None:
        given["nofile"] = open_files_limit()
    world = world_of()
    return PassedOptions(**given, cwd_fd=cwd, caller=None if world is None else world.as_json())


def _check_words(options: SpawnOptions, env: Mapping[str, str]) -> None:
    """Check that command and environment can be sent to a keeper.

    Raises:
        ArgumentsTooLongError: they are longer than the kernel allows.
        InvalidValueError: they contain text that cannot be encoded.
    """
    words = (*options.argv, *env.keys(), *env.values())
    try:
        size = sum(len(os.fsencode(word)) for word in words)
    except ValueError as error:  # lone surrogates
        command = options.argv[0]
        raise InvalidValueError("command", command, f"encodable text ({error})") from error
    if size > _LONGEST:
        raise ArgumentsTooLongError(options.argv[0])


def _check_interpreter() -> None:
    """Check that `sys.executable` is a Python interpreter, not this program itself.

    Raises:
        SpawnError: it is not; starting it would start the program once more.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise SpawnError(_no_keeper("there is no Python interpreter"))


def _no_keeper(reason: str) -> str:
    return (
        f"no keeper can be started with sys.executable, {sys.executable!r}: {reason}; with "
        "PtyManager(link=ptymux.link.in_process.InProcessLink()) PTYs are kept in this process"
    )

"""The parameters and the payload of a spawn, with what comes from the process that asks for it."""

from __future__ import annotations

import os
import time

from ptymux.core.model import SpawnOptions, ulid
from ptymux.errors import ArgumentsTooLongError
from ptymux.posix.spawn_context import current_umask, open_directory, open_files_limit
from ptymux.protocol.messages import LARGEST_PAYLOAD, encode_payload

__all__ = ["look_up", "new_request", "open_directory", "payload_of", "spawn_params"]


def new_request() -> str:
    """Return an id for a spawn, by which a replacement server knows that it was done already."""
    return f"req_{ulid(time.time_ns() // 1_000_000, os.urandom(10))}"


def payload_of(options: SpawnOptions) -> bytes:
    """Return arguments and environment as the bytes that follow the request.

    Raises:
        ArgumentsTooLongError: no server takes that many bytes.
    """
    payload = encode_payload(options.argv, _environment(options))
    if len(payload) > LARGEST_PAYLOAD:
        raise ArgumentsTooLongError(options.argv[0])
    return payload


def spawn_params(options: SpawnOptions) -> dict[str, object]:
    """Return the parameters of a spawn that come from `options`; its request has some more."""
    nofile = open_files_limit() if options.nofile is None else options.nofile
    return {
        "name": options.name,
        "lane": options.lane,
        "session": options.session,
        "terminal": options.terminal,
        "cols": options.size.cols,
        "rows": options.size.rows,
        "buffer_size": options.buffer_size,
        "threshold": options.threshold,
        "on_full": options.on_full.value,
        "idle_timeout": options.idle_timeout_seconds,
        "grace": options.grace_seconds,
        "timeout": options.timeout_seconds or None,
        "ttl": options.ttl_seconds,
        "plain_output": options.plain_output,
        "echo": None if options.echo else False,
        "keep_term": options.keep_term,
        "umask": current_umask() if options.umask is None else options.umask,
        "nofile": nofile,
        "argc": len(options.argv),
        "envc": len(_environment(options)),
        "overrides": dict(options.overrides),
        "has_stdin": options.stdin_fd is not None,
        "pass_fds": list(options.pass_fds) or None,
    }


def look_up(options: SpawnOptions, directory: int) -> None:
    """Check that there is such a program, before something is done that it is to replace.

    Raises:
        SpawnError: there is none, or it cannot be run.
    """
    from ptymux.posix.program import find_program  # rarely needed, and commands must start fast

    env = _environment(options) | dict(options.overrides)
    find_program(options.argv, env.get("PATH", os.defpath), directory)


def _environment(options: SpawnOptions) -> dict[str, str]:
    if options.env is not None:
        return dict(options.env)
    # A process may have a variable without a name; the protocol has no form for it.
    return {name: value for name, value in os.environ.items() if name}

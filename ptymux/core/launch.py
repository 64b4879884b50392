"""How a PTY was started, as it is kept to start the same once more: `ptymux again`.

It contains the whole environment, whose values may be secrets. So it stays in the memory of keeper
and server, apart from the record, and only the request for it shows it, to the same user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ptymux.core.model import (
    LaneId,
    Limits,
    OnFull,
    SessionId,
    SpawnOptions,
    TerminalId,
    WindowSize,
)

__all__ = ["launch_of", "options_from_launch", "with_present"]

_LABELS: Final = ("lane", "session", "terminal")


def launch_of(options: SpawnOptions) -> bytes | None:
    """Return how a PTY is about to be started; None if that is too long to be kept."""
    values = {
        "argv": options.argv,
        "env": dict(options.env or {}),
        "overrides": dict(options.overrides),
        "cwd": options.cwd,
        "umask": options.umask,
        "nofile": options.nofile,
        "session": options.session,
        "terminal": options.terminal,
        "echo": options.echo,
    }
    text = json.dumps(values).encode()
    return text if len(text) <= Limits.LAUNCH else None


def with_present(
    launch: bytes, options: SpawnOptions, *, name: str | None, size: WindowSize, on_full: OnFull
) -> dict[str, Any]:
    """Return a launch with what the record has, and what was changed since the start."""
    values: dict[str, Any] = json.loads(launch)
    return values | {
        "name": name,
        "lane": options.lane,
        "cols": size.cols,
        "rows": size.rows,
        "buffer_size": options.buffer_size,
        "threshold": options.threshold,
        "on_full": on_full.value,
        "idle_timeout": options.idle_timeout_seconds,
        "grace": options.grace_seconds,
        "timeout": options.timeout_seconds,
        "ttl": options.ttl_seconds,
        "plain_output": options.plain_output,
    }


def options_from_launch(values: Mapping[str, Any], **changes: Any) -> SpawnOptions:
    """Return how to start the same again, but for these fields of `SpawnOptions`.

    `overrides` are set on top of those of the launch. What was so because of where it was started,
    on a terminal or in a pipe, is as where it is started now: `plain_output` and `keep_term`, and
    what happens when the ring is full, unless that is the same kind of place.
    """
    in_pipe = changes.get("plain_output", False)
    if "on_full" not in changes and in_pipe != values["plain_output"]:
        has_ring = changes.get("buffer_size", values["buffer_size"])
        changes["on_full"] = OnFull.BLOCK if in_pipe and has_ring else OnFull.DROP
    labels = {"lane": LaneId, "session": SessionId, "terminal": TerminalId}
    same: dict[str, Any] = {
        "argv": tuple(values["argv"]),
        "env": values["env"],
        "cwd": values["cwd"],
        "umask": values["umask"],
        "nofile": values["nofile"],
        "size": WindowSize(values["cols"], values["rows"]),
        "name": values["name"],
        "buffer_size": values["buffer_size"],
        "threshold": values["threshold"],
        "on_full": OnFull(values["on_full"]),
        "idle_timeout_seconds": values["idle_timeout"],
        "grace_seconds": values["grace"],
        "timeout_seconds": values["timeout"],
        "ttl_seconds": values["ttl"],
        "echo": values["echo"],
        **{name: None if (v := values[name]) is None else labels[name](v) for name in _LABELS},
    }
    overrides = {**values["overrides"], **changes.pop("overrides", {})}
    return SpawnOptions(**(same | changes), overrides=overrides)

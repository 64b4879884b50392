"""What `Client.run` and `Client.spawn_expect` are told about a command to start."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack, cast

from ptymux.core.model import OnFull, SpawnOptions, WindowSize

__all__ = ["RunOptions", "spawn_options"]


class RunOptions(TypedDict, total=False):
    """The keyword arguments of `Client.run`, which explains them; None is the default of each."""

    name: str | None
    lane: str | None
    session: str | None
    cwd: str | os.PathLike[str] | None
    env: Mapping[str, str] | None
    overrides: Mapping[str, str] | None
    size: WindowSize | tuple[int, int] | str | None
    buffer_size: int | str | None
    threshold: float | None
    on_full: OnFull | Literal["drop", "block"] | None
    idle_timeout_seconds: float | str | None
    grace_seconds: float | str | None
    timeout_seconds: float | str | None
    ttl_seconds: float | str | None
    echo: bool | None
    pass_fds: Mapping[int, int] | Sequence[int] | None


def spawn_options(command: Sequence[str] | str, **options: Unpack[RunOptions]) -> SpawnOptions:
    """Return how to start a command; a str is a line for /bin/sh.

    Raises:
        InvalidValueError: a value that can never work.
    """
    argv = ("/bin/sh", "-c", command) if isinstance(command, str) else command
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    return SpawnOptions(argv=cast("tuple[str, ...]", argv), **given)

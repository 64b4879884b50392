"""What a successor of this manager needs to know of a PTY beyond what its ring says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptymux.core.model import (
    CorrelationId,
    LaneId,
    OnFull,
    PtyId,
    PtyRecord,
    SessionId,
    SpawnOptions,
    TerminalId,
    WindowSize,
)

__all__ = ["as_memory", "from_memory"]

# Times, sizes and texts are kept as they are.
_PLAIN = ("number", "cwd", "created_at", "updated_at", "name", "pid", "spawn_ms", "reason")


def as_memory(
    record: PtyRecord,
    options: SpawnOptions,
    correlation_id: CorrelationId,
    start_time: int | None,
) -> dict[str, Any]:
    """Return a PTY as JSON values: its record, and of its options what is needed later.

    `start_time` with its pid names the child for good.
    """
    return {
        **{name: getattr(record, name) for name in _PLAIN},
        "pty_id": record.pty_id,
        "start_time": start_time,
        "lane": record.lane_id,
        "session": record.session_id,
        "terminal": record.terminal_id,
        "command": list(record.command),
        "cols": record.size.cols,
        "rows": record.size.rows,
        "state": record.state,
        "env_names": list(record.env_names),
        "correlation_id": correlation_id,
        "buffer_size": options.buffer_size,
        "threshold": options.threshold,
        "on_full": options.on_full.value,
        "idle_timeout": options.idle_timeout_seconds,
        "grace": options.grace_seconds,
    }


def from_memory(values: Mapping[str, Any]) -> tuple[PtyRecord, SpawnOptions, CorrelationId]:
    """Return what `as_memory` was given."""
    record = PtyRecord(
        **{name: values[name] for name in _PLAIN},
        pty_id=PtyId(values["pty_id"]),
        lane_id=LaneId(values["lane"]),
        session_id=SessionId(values["session"]),
        terminal_id=TerminalId(values["terminal"]),
        command=tuple(values["command"]),
        size=WindowSize(values["cols"], values["rows"]),
        state=values["state"],
        env_names=tuple(values["env_names"]),
    )
    options = SpawnOptions(
        argv=record.command,
        env={},
        size=record.size,
        name=record.name,
        lane=record.lane_id,
        session=record.session_id,
        terminal=record.terminal_id,
        buffer_size=values["buffer_size"],
        threshold=values["threshold"],
        on_full=OnFull(values["on_full"]),
        idle_timeout_seconds=values["idle_timeout"],
        grace_seconds=values["grace"],
    )
    return record, options, CorrelationId(values["correlation_id"])

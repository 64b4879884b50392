"""Describes a PTY as the JSON object that every list, reply and `--json` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ptymux.core.escalation import signal_name
from ptymux.core.lifecycle import shown_of
from ptymux.manager.managed_pty import ManagedPty

__all__ = ["describe", "shown_command"]

_LONGEST_COMMAND: Final = 16 * 1024  # characters; in JSON one may take 12 bytes


def describe(pty: ManagedPty, *, full: bool = False) -> dict[str, Any]:
    """Return a PTY as JSON values; `full` adds its history and its signals.

    Times are seconds since the epoch; sizes and offsets bytes; `signal` is a number.
    """
    record = pty.record
    if not pty.is_gone:
        pty.refresh()
    values: dict[str, Any] = {
        "pty_id": record.pty_id,
        "number": record.number,
        "name": record.name,
        "lane_id": record.lane_id,
        "session_id": record.session_id,
        "terminal_id": record.terminal_id,
        "pid": record.pid,
        "state": record.state,
        "shown": shown_of(record),
        "suspended": record.suspended,
        "tail_pending": record.tail_pending,
        "command": shown_command(record.command),
        "cwd": record.cwd,
        "cols": record.size.cols,
        "rows": record.size.rows,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "spawn_ms": record.spawn_ms,
        "exit_code": record.exit_code,
        "signal": record.signal,
        "reason": record.reason,
        "timed_out": record.timed_out,
        "timeout_seconds": pty.options.timeout_seconds or None,
        "ttl_seconds": 0.0 if pty.is_removed_at_end else pty.options.ttl_seconds,
        "unseen": pty.is_unseen_failure,
        "plain_output": pty.options.plain_output,
        "on_full": pty.output.on_full.value,
        "threshold": pty.output.threshold,
        "held_ms": pty.ring.held_ms,
        "uncertain": pty.ring.uncertain,
        "clients": sum(1 for reader in pty.output.readers.values() if reader.is_consumer),
        "attended": pty.output.attended,
        "title": pty.flow.title_now(),
        "buffer": pty.output.stats().as_json(),
    }
    if full:
        values["history"] = [step.as_json() for step in pty.lifecycle.history]
        values["signals"] = [
            {
                "signal": signal_name(envelope.signal),
                "pid": envelope.pid,
                "outcome": envelope.outcome.value,
                "at": envelope.at,
                "error": envelope.error,
            }
            for envelope in pty.envelopes
        ]
        values["env_names"] = list(record.env_names)
    return values


def shown_command(command: Sequence[str]) -> list[str]:
    """Return a command's words; of a very long command only the beginning and `…`."""
    words: list[str] = []
    left = _LONGEST_COMMAND
    for word in command:
        left -= len(word) + 1
        if left < 0:
            return [*words, word[: len(word) + left] + "…"]
        words.append(word)
    return words

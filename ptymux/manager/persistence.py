"""Writes and reads the JSON from which a replacement server restores a PTY.

A keeper has this JSON beside the ring, which holds the output and its account. The server writes
it after every change, and publishes the change as an event before. After a kill between the two,
`apply_published` finishes the update from the event.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from ptymux.core.escalation import Outcome, SignalEnvelope
from ptymux.core.event_log import EventEnvelope, Topic
from ptymux.core.lifecycle import EndContext, Lifecycle, State, Transition
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
from ptymux.core.reader import ReaderKind
from ptymux.errors import PtymuxError
from ptymux.manager.attachments import (
    LifelineAttachment,
    NoOwner,
    OwnedBy,
    Owner,
    OwnerExpected,
)
from ptymux.manager.description import shown_command
from ptymux.manager.managed_pty import ManagedPty

__all__ = [
    "apply_published",
    "pty_as_json",
    "registration_from_json",
    "restore_modes",
    "restore_state",
]

# Fields of the record whose values are JSON already.
_PLAIN = (
    "number",
    "cwd",
    "created_at",
    "updated_at",
    "name",
    "pid",
    "spawn_ms",
    "reason",
    "suspended",
    "tail_pending",
    "exit_code",
    "signal",
)


def pty_as_json(pty: ManagedPty) -> dict[str, Any]:
    """Return a PTY as JSON values: record, history, and the options that matter after the spawn."""
    record, options, end = pty.record, pty.options, pty.end
    owner, is_owner_notified = _owner_as_json(pty.attachments.owner)
    return {
        **{name: getattr(record, name) for name in _PLAIN},
        "pty_id": record.pty_id,
        "start_time": pty.leader_start,
        "lane": record.lane_id,
        "session": record.session_id,
        "terminal": record.terminal_id,
        "command": shown_command(record.command),
        "cols": record.size.cols,
        "rows": record.size.rows,
        "state": record.state,
        "env_names": list(record.env_names),
        "correlation_id": pty.cause,
        "buffer_size": options.buffer_size,
        "threshold": options.threshold,
        "on_full": pty.output.on_full.value if pty.has_run else options.on_full.value,
        "idle_timeout": options.idle_timeout_seconds,
        "grace": options.grace_seconds,
        "plain_output": options.plain_output,
        "timeout": options.timeout_seconds,
        "ttl": options.ttl_seconds,
        "began_at": pty.lifetime.began_at,
        "ended_at": pty.lifetime.ended_at,
        "timed_out": record.timed_out,
        "history": [step.as_json() for step in pty.lifecycle.history],
        "signals": [envelope.as_json() for envelope in pty.envelopes],
        "asked": {str(number): cause for number, cause in end.asked_signals.items()},
        "end_cause": end.cause,
        "terminating": end.is_terminating,
        "typed": end.is_typed_into,
        "escaped": list(end.escaped),
        "modes": _modes_as_json(pty),
        "noticed": pty.flow.tracker.noticed,
        "left": {str(pid): reason for pid, reason in end.left.items()},
        "exited": pty.has_exited,
        "gone": pty.is_gone,
        "removes": pty.is_removed_at_end,
        "seen": pty.is_end_seen,
        "attached": [[line, each.kind.value] for line, each in pty.attachments.all.items()],
        "attached_by": {
            str(line): [each.pid, each.is_terminal] for line, each in pty.attachments.all.items()
        },
        "owner": owner,
        "owner_told": is_owner_notified,
    }


def registration_from_json(
    values: Mapping[str, Any],
) -> tuple[PtyRecord, SpawnOptions, CorrelationId]:
    """Return what a restored PTY is registered with: record, options, and the request to spawn."""
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
        timed_out=values.get("timed_out", False),  # older servers know no timeout
    )
    options = SpawnOptions(
        argv=record.command,
        env={},
        size=record.size,
        # Older servers took one that begins with a dash; the record has it all the same.
        name=None if (record.name or "").startswith("-") else record.name,
        lane=record.lane_id,
        session=record.session_id,
        terminal=record.terminal_id,
        buffer_size=values["buffer_size"],
        threshold=values["threshold"],
        on_full=OnFull(values["on_full"]),
        idle_timeout_seconds=values["idle_timeout"],
        grace_seconds=values["grace"],
        timeout_seconds=values.get("timeout", 0.0),
        ttl_seconds=values.get("ttl"),
        plain_output=values.get("plain_output", False),  # which older servers did not keep
    )
    return record, options, CorrelationId(values["correlation_id"])


def restore_state(pty: ManagedPty, values: Mapping[str, Any], open_lines: Iterable[int]) -> None:
    """Give a PTY that was just registered the rest of its state; `open_lines` are lifelines."""
    history = [Transition.from_json(step) for step in values["history"]]
    pty.lifecycle = Lifecycle.resume(pty.pty_id, State(values["state"]), history)
    for envelope in values["signals"]:
        pty.envelopes.append(_envelope(envelope))
    pty.leader_start = values["start_time"]
    pty.lifetime.began_at = values.get("began_at")
    pty.lifetime.ended_at = values.get("ended_at")
    pty.is_removed_at_end = values["removes"]
    pty.is_end_seen = values.get("seen", values["exited"])  # older servers did not say
    cause = values["end_cause"]
    pty.end = EndContext(
        cause=None if cause is None else CorrelationId(cause),
        is_terminating=values["terminating"],
        is_typed_into=values["typed"],
        asked_signals={int(n): CorrelationId(cause) for n, cause in values["asked"].items()},
        escaped=tuple(values["escaped"]),
        left={int(pid): reason for pid, reason in values.get("left", {}).items()},
    )
    owner = _owner_from_json(values["owner"], values.get("owner_told", True))
    pty.attachments.restore(_attached_from_json(values, set(open_lines)), owner)


def restore_modes(pty: ManagedPty, values: Mapping[str, Any]) -> None:
    """Give a PTY that was resumed its terminal modes; a server that kept none left no "modes"."""
    if pty.has_run:
        offset, redo = values.get("modes") or (0, "")
        pty.flow.restore_modes(offset, redo.encode("latin-1"))
        if "noticed" in values:
            pty.flow.tracker.restore_noticed(values["noticed"])


def _modes_as_json(pty: ManagedPty) -> tuple[int, str]:
    offset, redo = pty.flow.known_modes
    return offset, redo.decode("latin-1")


def _attached_from_json(
    values: Mapping[str, Any], open_lines: set[int]
) -> dict[int, LifelineAttachment]:
    by = values.get("attached_by", {})  # older servers did not say
    attached = {}
    for line, kind in values["attached"]:
        pid, is_terminal = by.get(str(line), (0, False))
        is_ended = line not in open_lines
        attached[line] = LifelineAttachment(
            ReaderKind(kind), pid=pid, is_terminal=is_terminal, is_ended=is_ended
        )
    return attached


def _owner_as_json(owner: Owner) -> tuple[int | None, bool]:
    """Return the values of "owner" (None, 0 or the number of a lifeline) and "owner_told"."""
    match owner:
        case OwnedBy(line, is_notified):
            return line, is_notified
        case OwnerExpected():
            return 0, True
        case NoOwner():
            return None, True


def _owner_from_json(line: int | None, is_notified: bool) -> Owner:
    if line is None:
        return NoOwner()
    return OwnedBy(line, is_notified) if line else OwnerExpected()


def apply_published(pty: ManagedPty, event: EventEnvelope) -> None:
    """Apply an event that a killed server had published but not persisted yet."""
    payload: Mapping[str, Any] = event.payload
    match event.topic:
        case Topic.STATE_CHANGED:
            step = Transition.from_json(payload)
            if step.from_state is pty.state:
                pty.lifecycle.apply(step.event, step.at)
                pty.update(state=step.to_state.value)
        case Topic.SIGNAL_DELIVERED:
            pty.envelopes.append(_envelope(payload))
        case Topic.RESIZED:
            pty.update(size=WindowSize(payload["new"]["cols"], payload["new"]["rows"]))
        case Topic.RENAMED:
            with contextlib.suppress(PtymuxError):  # another one has it by now
                pty.update(name=payload["new"])
        case Topic.ATTACHED | Topic.DETACHED:
            pty.attachments.apply_published(payload)
        case Topic.TERMINATING:
            pty.end.is_terminating = True
            pty.end.cause = event.correlation_id
            pty.update(timed_out=bool(payload.get("timed_out")))
        case Topic.ERROR | Topic.STOPPED:
            pty.published_before.add(event.topic)
        case _ if pty.has_run:
            _apply_to_account(pty, event.topic, payload)


def _apply_to_account(pty: ManagedPty, topic: Topic, payload: Mapping[str, Any]) -> None:
    match topic:
        case Topic.BUFFER_OVERFLOW:
            pty.output.note_overflow_published(payload["total_dropped"], final=payload["final"])
        case Topic.BACKPRESSURE_ON:
            pty.output.note_backpressure_published(True)
        case Topic.BACKPRESSURE_OFF:
            pty.output.note_backpressure_published(False)
        case Topic.BELL:
            pty.flow.tracker.note_bells_published(payload["offset"])
        case Topic.TITLE:
            pty.flow.tracker.note_title_published(payload["title"])


def _envelope(values: Mapping[str, Any]) -> SignalEnvelope:
    return SignalEnvelope(
        PtyId(values["pty_id"]),
        values["pid"],
        values["signal"],
        values["at"],
        Outcome(values["outcome"]),
        values["error"],
    )

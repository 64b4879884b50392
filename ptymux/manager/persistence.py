"""What a successor of this manager needs to know of a PTY beyond what its ring says.

It is written after every change, and events are told before: `replay` completes what a kill cut
between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ptymux.core.escalation import Outcome, SignalEnvelope
from ptymux.core.event_log import EventEnvelope, Topic
from ptymux.core.lifecycle import Lifecycle, State, Transition
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
from ptymux.manager.attachments import LifelineAttachment
from ptymux.manager.description import shown_command
from ptymux.manager.managed_pty import ManagedPty

__all__ = ["as_memory", "from_memory", "recall", "replay"]

# Times, sizes, flags and texts are kept as they are.
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


def as_memory(pty: ManagedPty) -> dict[str, Any]:
    """Return a PTY as JSON values: its record, its past, and of its options what counts later."""
    record, options = pty.record, pty.options
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
        "history": [step.as_json() for step in pty.lifecycle.history],
        "signals": [envelope.as_json() for envelope in pty.envelopes],
        "asked": {str(number): cause for number, cause in pty.asked_signals.items()},
        "end_cause": pty.end_cause,
        "terminating": pty.terminating,
        "typed": pty.typed,
        "escaped": list(pty.escaped),
        "exited": pty.exited.is_set(),
        "gone": pty.gone.is_set(),
        "removes": pty.is_removed_at_end,
        "attached": [[n, a.kind.value] for n, a in pty.attached.items()],
        "owner": pty.owner,
        "owner_told": pty.is_owner_notified,
    }


def from_memory(values: Mapping[str, Any]) -> tuple[PtyRecord, SpawnOptions, CorrelationId]:
    """Return what a PTY is registered with."""
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


def recall(pty: ManagedPty, values: Mapping[str, Any], lines: Iterable[int]) -> None:
    """Give a PTY that was just registered its past; `lines` are the lifelines that are open."""
    history = [Transition.from_json(step) for step in values["history"]]
    pty.lifecycle = Lifecycle.resume(pty.pty_id, State(values["state"]), history)
    for envelope in values["signals"]:
        pty.envelopes.append(_envelope(envelope))
    pty.leader_start = values["start_time"]
    pty.asked_signals = {
        int(number): CorrelationId(cause) for number, cause in values["asked"].items()
    }
    cause = values["end_cause"]
    pty.end_cause = None if cause is None else CorrelationId(cause)
    pty.terminating = values["terminating"]
    pty.typed = values["typed"]
    pty.escaped = tuple(values["escaped"])
    pty.is_removed_at_end = values["removes"]
    pty.owner = values["owner"]
    pty.is_owner_notified = values.get("owner_told", True)
    open_lines = set(lines)
    pty.attached = {
        number: LifelineAttachment(ReaderKind(kind))
        for number, kind in values["attached"]
        if number in open_lines
    }


def replay(pty: ManagedPty, event: EventEnvelope) -> None:
    """Let a PTY know what was told of it last, by somebody who was killed at that moment."""
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
        case Topic.TERMINATING:
            pty.terminating = True
            pty.end_cause = event.correlation_id
        case Topic.ERROR:
            pty.has_published_error = True
        case Topic.STOPPED:
            pty.has_published_end = True
        case _ if pty.has_run:
            _replay_output(pty, event.topic, payload)


def _replay_output(pty: ManagedPty, topic: Topic, payload: Mapping[str, Any]) -> None:
    match topic:
        case Topic.BUFFER_OVERFLOW:
            pty.output.note_overflow_published(payload["total_dropped"], final=payload["final"])
        case Topic.BACKPRESSURE_ON:
            pty.output.note_backpressure_published(True)
        case Topic.BACKPRESSURE_OFF:
            pty.output.note_backpressure_published(False)


def _envelope(values: Mapping[str, Any]) -> SignalEnvelope:
    return SignalEnvelope(
        PtyId(values["pty_id"]),
        values["pid"],
        values["signal"],
        values["at"],
        Outcome(values["outcome"]),
        values["error"],
    )

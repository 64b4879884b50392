"""Types of the JSON objects in a server's replies, which `--json` of the commands prints as well.

Times are in seconds since the epoch, sizes and offsets in bytes. A newer server may send more
members.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypedDict, final

__all__ = [
    "Buffer",
    "PastDelivery",
    "SignalDelivery",
    "Event",
    "Missed",
    "Pty",
    "PtyRef",
    "PtyStats",
    "Status",
    "Step",
]

_Outcome: TypeAlias = Literal["delivered", "failed", "escalated"]


class Buffer(TypedDict):
    """The numbers of a PTY's output; `total_written` is also the offset of the next byte."""

    capacity: int
    retained: int
    unread: int
    available: int
    backlog: int
    utilization: float
    high_water: int
    total_written: int
    total_consumed: int
    total_dropped: int
    dropped_attended: int
    dropped_unattended: int
    trimmed: int
    pending: int
    merged: int
    overflow_events: int
    backpressure: bool
    backpressure_events: int


class Pty(TypedDict):
    """One PTY; `shown` is its state in words, such as `exited (1)`.

    `unseen`: it ended badly, and nobody has looked at it since.
    """

    pty_id: str
    number: int
    name: str | None
    lane_id: str
    session_id: str
    terminal_id: str
    pid: int | None
    state: str
    shown: str
    suspended: bool
    tail_pending: bool
    command: list[str]
    cwd: str
    cols: int
    rows: int
    created_at: float
    updated_at: float
    spawn_ms: float | None
    exit_code: int | None
    signal: int | None
    reason: str | None
    timed_out: bool
    timeout_seconds: float | None
    ttl_seconds: float | None
    unseen: bool
    plain_output: bool
    on_full: str
    threshold: float
    held_ms: float
    uncertain: int
    clients: int
    attended: bool
    title: str
    buffer: Buffer


# A transition of a PTY's state.
Step = TypedDict("Step", {"from": str, "to": str, "event": str, "at": float})


class PastDelivery(TypedDict):
    """One signal sent to one process some time ago; `signal` is its name without SIG."""

    signal: str
    pid: int
    outcome: _Outcome
    at: float
    error: str | None


class SignalDelivery(TypedDict):
    """One signal sent to one process just now; `signal` is its number."""

    pty_id: str
    pid: int
    signal: int
    at: float
    outcome: _Outcome
    error: str | None


class PtyStats(Pty):
    """One PTY with its past; of its environment only the names."""

    history: list[Step]
    signals: list[PastDelivery]
    env_names: list[str]


@final
class Event(TypedDict):
    """One event, such as a PTY's end; `seq` is None for topics that are not kept."""

    id: str
    topic: str
    seq: int | None
    sequence: int | None
    epoch: str
    timestamp: float
    pty_id: str | None
    lane_id: str | None
    session_id: str | None
    terminal_id: str | None
    correlation_id: str | None
    payload: dict[str, Any]


@final
class Missed(TypedDict):
    """The number of events that were missed here: lost, or too old to be kept."""

    missed: int


class Status(TypedDict):
    """The state of a server, as `ptymux server status` prints it."""

    server: str
    protocol: int
    pid: int
    keeper_pid: int
    socket: str
    log: str
    started_at: float
    uptime_seconds: float
    server_replaced: int
    keeper_replaced: int
    live: int
    ptys: int
    connections: int
    memory: dict[str, int]
    limits: dict[str, int]
    differences: list[str]  # in words: what a command here cannot have as the caller has
    limited: list[str]  # in words: limits that hold the server itself back
    unended: list[dict[str, Any]]  # processes that `kill` could not end: pid, number, error
    folder: str  # in which the code lies that the server runs


# How a PTY is named: its id or name, its number, or the object that a server returned for it.
PtyRef: TypeAlias = str | int | Pty

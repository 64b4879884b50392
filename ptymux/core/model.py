"""The nouns of ptymux: ids, sizes, what a spawn asks for, what is known of a PTY, the limits."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NewType

from ptymux.core.thresholds import check_threshold
from ptymux.errors import InvalidDimensionsError, InvalidValueError

__all__ = [
    "KIB",
    "MIB",
    "PtyId",
    "LaneId",
    "SessionId",
    "TerminalId",
    "CorrelationId",
    "DEFAULT_BUFFER",
    "DEFAULT_GRACE_SECONDS",
    "DEFAULT_IDLE_SECONDS",
    "DEFAULT_LANE",
    "DEFAULT_THRESHOLD",
    "ENDED_STATES",
    "ulid",
    "WindowSize",
    "OnFull",
    "SpawnOptions",
    "PtyRecord",
    "Limits",
    "check_label",
    "check_name",
    "child_environment",
]

KIB = 1024
MIB = 1024 * KIB

PtyId = NewType("PtyId", str)  # "pty_" and a ULID
LaneId = NewType("LaneId", str)  # a line of work; given by the caller
SessionId = NewType("SessionId", str)  # groups PTYs within a lane; given or "ses_" and a ULID
TerminalId = NewType("TerminalId", str)  # where the PTY is shown; given or "ter_" and a ULID
CorrelationId = NewType("CorrelationId", str)  # of the request that caused an event

DEFAULT_BUFFER = 4 * MIB  # of one PTY's output
DEFAULT_THRESHOLD = 0.75  # of the buffer, unread: there pressure goes on
DEFAULT_IDLE_SECONDS = 300.0  # without output
DEFAULT_GRACE_SECONDS = 5.0  # between TERM and KILL
DEFAULT_LANE = LaneId("default")
ENDED_STATES = ("stopped", "errored")  # of a record; those of `lifecycle.State` that are not live

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LABEL_LENGTH = 64  # characters of a name, lane, session or terminal


def ulid(milliseconds: int, entropy: bytes) -> str:
    """Return 26 characters that sort by time: 48 bits of `milliseconds`, 80 bits of `entropy`.

    Source: the ULID specification, Crockford's base 32.
    """
    assert len(entropy) == 10
    number = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(entropy, "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def check_label(what: str, text: str) -> str:
    """Return `text` when it can serve as a name, lane, session or terminal.

    Raises:
        InvalidValueError: it is empty, longer than 64 characters, or has characters that a
            terminal would act on or that would not survive a shell word.
    """
    if not 0 < len(text) <= _LABEL_LENGTH or not text.isprintable() or " " in text:
        raise InvalidValueError(what, text, "1 to 64 printable characters without spaces")
    return text


def check_name(text: str) -> str:
    """Return `text` when it can name a PTY; names of digits only are refused.

    Raises:
        InvalidValueError: as `check_label`, or it would be taken for a PTY's number.
    """
    if text.isdigit():
        raise InvalidValueError("name", text, "more than digits, which mean a PTY's number")
    return check_label("name", text)


@dataclass(frozen=True, slots=True)
class WindowSize:
    """A terminal's size in character cells, 1..10000 each.

    Raises:
        InvalidDimensionsError: one of them is outside.
    """

    cols: int
    rows: int

    def __post_init__(self) -> None:
        if not (1 <= self.cols <= 10_000 and 1 <= self.rows <= 10_000):
            raise InvalidDimensionsError(self.cols, self.rows)

    def __str__(self) -> str:
        return f"{self.cols}x{self.rows}"


class OnFull(enum.Enum):
    """What happens when a full ring meets a reader that is behind."""

    DROP = "drop"  # the oldest bytes go; the child never waits
    BLOCK = "block"  # the child waits for its lossless consumers


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnOptions:
    """What a caller asks for when it starts a command; checked when made.

    `env` is the caller's whole environment, `overrides` what it asked to set besides; `env`,
    `cwd`, `umask` and `nofile` of None mean those of the process that spawns. With
    `plain_output` the terminal neither translates newlines nor echoes, so that the output is what
    the child wrote. `stdin_fd` becomes the child's stdin in place of the terminal, which stays its
    controlling terminal. With `keep_term` the child's TERM is the caller's: its terminal is what
    will show it.

    Raises:
        InvalidValueError: naming the field, what was given and what is allowed.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] | None = field(default=None, repr=False)
    overrides: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    umask: int | None = None
    nofile: int | None = None  # soft limit of open files
    size: WindowSize = field(default_factory=lambda: WindowSize(80, 24))
    name: str | None = None
    lane: LaneId = DEFAULT_LANE
    session: SessionId | None = None
    terminal: TerminalId | None = None
    buffer_size: int = DEFAULT_BUFFER
    threshold: float = DEFAULT_THRESHOLD
    on_full: OnFull = OnFull.DROP
    idle_timeout_seconds: float = DEFAULT_IDLE_SECONDS  # 0: never
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    plain_output: bool = False
    stdin_fd: int | None = None
    keep_term: bool = False

    def __post_init__(self) -> None:
        self._check_words()
        if self.name is not None:
            check_name(self.name)
        for what, label in (
            ("lane", self.lane),
            ("session", self.session),
            ("terminal", self.terminal),
        ):
            if label is not None:
                check_label(what, label)
        if not 0 <= self.buffer_size <= Limits.LARGEST_BUFFER:
            raise InvalidValueError("buffer size", self.buffer_size, "0 to 1G")
        check_threshold(self.threshold)
        if self.on_full is OnFull.BLOCK and self.buffer_size == 0:
            raise InvalidValueError("buffer size", 0, "above 0 for a PTY that blocks when full")
        for what, seconds in (
            ("idle timeout", self.idle_timeout_seconds),
            ("grace", self.grace_seconds),
        ):
            if not (math.isfinite(seconds) and seconds >= 0):
                raise InvalidValueError(what, seconds, "a time of 0 or more")

    def _check_words(self) -> None:
        if not self.argv or not self.argv[0]:
            raise InvalidValueError("command", "", "the name of a program")
        for word in self.argv:
            if "\0" in word:
                raise InvalidValueError("argument", word, "without NUL characters")
        for key, value in (*(self.env or {}).items(), *self.overrides.items()):
            # The value is not named: it may be a secret.
            if not key or "=" in key or "\0" in key or "\0" in value:
                raise InvalidValueError("environment variable", key, "a name without = and NUL")


@dataclass(frozen=True, slots=True, kw_only=True)
class PtyRecord:
    """What the registry knows of one PTY; a change is a new record.

    `state` is the value of a `lifecycle.State`. Times are seconds since the epoch.
    """

    pty_id: PtyId
    number: int  # short, from 1, never reused
    lane_id: LaneId
    session_id: SessionId
    terminal_id: TerminalId
    command: tuple[str, ...]
    cwd: str
    size: WindowSize
    state: str
    created_at: float
    updated_at: float
    name: str | None = None
    pid: int | None = None
    spawn_ms: float | None = None  # from the request to the running child
    env_names: tuple[str, ...] = ()  # never the values
    suspended: bool = False
    tail_pending: bool = False  # the child is gone, something else still holds the terminal
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None  # why it is errored, in words


def child_environment(
    options: SpawnOptions, ours: Mapping[str, str], *, pty_id: PtyId, socket: str | None
) -> dict[str, str]:
    """Return the environment of a child: the caller's, told where it runs; overrides win.

    `ours` is the environment of this process, for a caller that gave none. What describes the
    caller's own terminal or multiplexer is taken out, as it would be wrong.
    """
    stale = {"LINES", "COLUMNS", "TMUX", "TMUX_PANE", "STY", "WINDOWID"}
    caller = ours if options.env is None else options.env
    env = {key: value for key, value in caller.items() if key not in stale}
    if not options.keep_term:
        env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    env |= {"PTYMUX": "1", "PTYMUX_ID": pty_id, "PTYMUX_LANE": options.lane}
    env.pop("PTYMUX_SOCKET", None)
    if socket is not None:
        env["PTYMUX_SOCKET"] = socket
    return env | dict(options.overrides)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every bound of ptymux in one place, and what they add up to."""

    LARGEST_BUFFER: ClassVar[int] = 1024 * MIB  # of one ring
    SLACK: ClassVar[int] = 64 * KIB  # of each ring, behind its capacity
    HEADER: ClassVar[int] = 8 * KIB  # of each ring: two pages
    LOG_HEADER: ClassVar[int] = 512  # of the event log
    HOLES: ClassVar[int] = 48  # ranges below the highest offset handed that nobody was handed
    HISTORY: ClassVar[int] = 10  # transitions kept for each PTY
    ENVELOPES: ClassVar[int] = 50  # signal deliveries kept for each PTY
    READERS: ClassVar[int] = 64  # attached to one PTY
    LIFELINES: ClassVar[int] = 64  # open for input to one PTY
    CHUNK: ClassVar[int] = 64 * KIB  # of one read or one copy, unless somebody asks for more
    LINE: ClassVar[int] = MIB  # of one request or one reply, with its newline
    PAYLOAD: ClassVar[int] = 4 * MIB  # arguments and environment of one spawn
    MEMORY_SHARE: ClassVar[float] = 0.90  # of what is available, that rings may come to need
    EVENT_PAGE: ClassVar[int] = 64  # past events that are read from the log at a time

    ptys: int = 300  # live at once
    connections: int = 512  # of clients
    default_buffer: int = DEFAULT_BUFFER  # what a spawn takes that names no size
    ended_ptys: int = 100  # kept with statistics and output
    ended_bytes: int = 64 * MIB  # of their output in all
    event_log: int = 4 * MIB
    subscribers: int = 256
    subscriber_queue: int = 1024  # events waiting for one subscriber
    event_size: int = 4 * KIB  # of one event as JSON

    # What the records, histories and indexes of one PTY need in objects, rounded up.
    _RECORD_BYTES: ClassVar[int] = 64 * KIB

    @property
    def worst_case_bytes(self) -> int:
        """Memory when every bound is reached and every ring has the default size."""
        ring = self.HEADER + self.default_buffer + self.SLACK
        return (
            self.ptys * (ring + self._RECORD_BYTES + self.CHUNK)
            + self.ended_bytes
            + self.ended_ptys * self._RECORD_BYTES
            + self.event_log
            + self.connections * self.connection_bytes
            + self.subscribers * (self.subscriber_queue + self.EVENT_PAGE) * self.event_size
        )

    @property
    def connection_bytes(self) -> int:
        """Memory that one client can make a server hold.

        A request or its payload that is being received, what came behind it, the piece that was
        read last, and a reply, or a piece of output, that the client does not take.
        """
        return max(self.LINE, self.PAYLOAD) + 3 * self.CHUNK + self.LINE

    @property
    def worst_case_fds(self) -> int:
        """File descriptors when every PTY is live and has one lifeline open, and 64 of our own.

        A PTY has its master, its ring twice (the memfd, the mapping) and its child's pidfd; a
        lifeline has two ends, a connection one; of an ended PTY the mapping is left.
        """
        return self.ptys * (4 + 2) + self.ended_ptys + self.connections + 64

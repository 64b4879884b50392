"""Basic values that everything else uses: ids, terminal sizes, spawn options, records, limits."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import ClassVar, NewType, Self

from ptymux.core import given_values as given
from ptymux.core.thresholds import check_threshold
from ptymux.core.window_size import WindowSize
from ptymux.errors import InvalidValueError

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
DEFAULT_THRESHOLD = 0.75  # of the buffer; backpressure goes on when a reader is further behind
DEFAULT_IDLE_SECONDS = 300.0  # without output
DEFAULT_GRACE_SECONDS = 5.0  # between TERM and KILL
DEFAULT_LANE = LaneId("default")
ENDED_STATES = ("stopped", "errored")  # the values of `lifecycle.State` that are not live

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]  # of 10 bits each
_LABEL_LENGTH = 64  # characters of a name, lane, session or terminal


def ulid(milliseconds: int, entropy: bytes) -> str:
    """Return 26 characters that sort by time: 48 bits of `milliseconds`, 80 bits of `entropy`.

    Source: the ULID specification, Crockford's base 32.
    """
    assert len(entropy) == 10
    number = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(entropy, "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def check_label(what: str, text: str) -> str:
    """Return `text` if it is a valid name, lane, session or terminal.

    Raises:
        InvalidValueError: it is empty, longer than 64 characters, contains a space, or contains
            characters that a terminal would act on.
    """
    if not 0 < len(text) <= _LABEL_LENGTH or not text.isprintable() or " " in text:
        raise InvalidValueError(what, text, "1 to 64 printable characters without spaces")
    return text


def check_name(text: str) -> str:
    """Return `text` if it is a valid name for a PTY.

    Raises:
        InvalidValueError: as `check_label`; or it has digits only, and would be read as a number,
            or begins with a dash, and would be read as an option.
    """
    if text.isdigit():
        raise InvalidValueError("name", text, "more than digits, which mean a PTY's number")
    if text.startswith("-"):
        raise InvalidValueError("name", text, "without a dash at its beginning, as options have it")
    return check_label("name", text)


class OnFull(enum.Enum):
    """What happens when the ring is full and a reader is still behind."""

    DROP = "drop"  # the oldest bytes are evicted; the child never waits
    BLOCK = "block"  # the child waits for its lossless consumers

    @classmethod
    def of(cls, value: object) -> OnFull:
        """Return what a member or its text means.

        Raises:
            InvalidValueError: it is neither "drop" nor "block".
        """
        try:
            return cls(value)
        except ValueError:
            allowed = " or ".join(repr(choice.value) for choice in cls)
            raise InvalidValueError("on_full", value, allowed) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnOptions:
    """A request to start a command; the values are checked when it is made.

    `env` is the caller's whole environment; `overrides` are variables set on top of it. None for
    `env`, `cwd`, `umask` or `nofile` means: as in the process that spawns. With `plain_output` the
    terminal neither translates newlines nor echoes, so the output is exactly what the child wrote;
    without `echo` it does not show what is typed, and else is as always.
    `stdin_fd` becomes the child's stdin; the PTY stays its controlling terminal. The child gets the
    fds of `pass_fds` at the same numbers, or of a dict at those that are its keys. With `keep_term`
    the child keeps the caller's TERM, because the caller's own terminal will show the output.

    Text is parsed as the commands do it: `size="80x24"`, `buffer_size="4M"`, `on_full="block"`,
    `idle_timeout_seconds="5m"`. A list will do for a tuple, a `Path` for `cwd`. The fields then
    have what was meant.

    Raises:
        InvalidValueError: it names the field, the value given and what is allowed.
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
    timeout_seconds: float = 0.0  # that the command may run; 0: as long as it likes
    ttl_seconds: float | None = None  # that the PTY stays after its end; None: until it ages out
    plain_output: bool = False
    echo: bool = True
    stdin_fd: int | None = None
    keep_term: bool = False
    pass_fds: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._take_given()
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

    def _take_given(self) -> None:
        """Check the types, and put what was meant in the place of what was given."""

        def take(name: str, value: object) -> None:
            if value is not getattr(self, name):
                object.__setattr__(self, name, value)

        take("argv", given.words("argv", self.argv))
        take("env", None if self.env is None else given.variables("env", self.env))
        take("overrides", given.variables("overrides", self.overrides))
        take("cwd", None if self.cwd is None else given.a_path("cwd", self.cwd))
        for name, high in (("umask", 0o777), ("nofile", 1 << 62), ("stdin_fd", 1 << 31)):
            if getattr(self, name) is not None:
                given.a_number(name, getattr(self, name), 0, high)
        take("size", given.window_size(self.size))
        take("pass_fds", given.fds_by_number("pass_fds", self.pass_fds))
        for name in ("name", "lane", "session", "terminal"):
            if getattr(self, name) is not None or name == "lane":
                given.a_text(name, getattr(self, name))
        take("buffer_size", given.bytes_of("buffer size", self.buffer_size))
        take("threshold", given.a_share("threshold", self.threshold))
        take("on_full", OnFull.of(self.on_full))
        take("idle_timeout_seconds", given.seconds("idle timeout", self.idle_timeout_seconds))
        take("grace_seconds", given.seconds("grace", self.grace_seconds))
        take("timeout_seconds", given.seconds("timeout", self.timeout_seconds))
        if self.ttl_seconds is not None:
            take("ttl_seconds", given.seconds("ttl", self.ttl_seconds))
        for name in ("plain_output", "echo", "keep_term"):
            given.a_flag(name, getattr(self, name))

    def _check_words(self) -> None:
        if len(self.pass_fds) > Limits.PASSED_FDS:
            expected = f"at most {Limits.PASSED_FDS} fds"
            raise InvalidValueError("pass_fds", len(self.pass_fds), expected)
        if not self.argv or not self.argv[0]:
            raise InvalidValueError("command", "", "the name of a program")
        for word in self.argv:
            if not _is_passable(word):
                raise InvalidValueError("argument", word, "without NULs and surrogates")
        for variables in (self.env or {}, self.overrides):
            self._check_variables(variables)

    def _check_variables(self, variables: Mapping[str, str]) -> None:
        if _is_passable("".join((*variables, *variables.values()))) and all(
            name and "=" not in name for name in variables
        ):
            return
        for name, value in variables.items():
            # The message leaves the value out: it may be a secret.
            if not name or "=" in name or not (_is_passable(name) and _is_passable(value)):
                expected = "a name without =, and no NUL or surrogate in name and value"
                raise InvalidValueError("environment variable", name, expected)

    def without_environment(self) -> Self:
        """Return these options without their environment, which may be large and secret."""
        other = copy(self)
        for name in ("env", "overrides"):
            object.__setattr__(other, name, {})  # as this makes it, before others have it
        return other


@dataclass(frozen=True, slots=True, kw_only=True)
class PtyRecord:
    """The registry's entry for one PTY. It is immutable: a change makes a new record.

    `state` is the value of a `lifecycle.State`. Times are seconds since the epoch.
    """

    pty_id: PtyId
    number: int  # a short number for people, from 1, never reused
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
    env_names: tuple[str, ...] = ()  # names only: values may be secrets
    suspended: bool = False
    tail_pending: bool = False  # the child has exited; another process still has the terminal open
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None  # in words: why it is errored
    timed_out: bool = False  # it was ended because it had run for its timeout

    @property
    def called(self) -> str:
        """What messages call it: its number, and its name if it has one."""
        return str(self.number) if self.name is None else f"{self.number} ({self.name})"


def _is_passable(word: str) -> bool:
    """Whether `word` can be passed to a program: odd bytes stand as U+DC80 to U+DCFF."""
    try:
        return b"\0" not in word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def child_environment(
    options: SpawnOptions, ours: Mapping[str, str], *, pty_id: PtyId, socket: str | None
) -> dict[str, str]:
    """Return a child's environment: the caller's, plus the PTYMUX variables, plus the overrides.

    `ours` is the environment of this process; it is used if the caller gave none. Variables that
    describe the caller's own terminal or multiplexer are left out: they would be wrong. In a pipe
    nobody could use a pager, and who asked for no escape codes gets none.
    """
    stale = {"LINES", "COLUMNS", "TMUX", "TMUX_PANE", "STY", "WINDOWID"}
    caller = ours if options.env is None else options.env
    env = {key: value for key, value in caller.items() if key not in stale}
    if options.plain_output:
        env = {"PAGER": "cat", "GIT_PAGER": "cat"} | env
    if not (options.keep_term or (options.plain_output and env.get("TERM") == "dumb")):
        env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    env |= {"PTYMUX": "1", "PTYMUX_ID": pty_id, "PTYMUX_LANE": options.lane}
    for name in ("PTYMUX_SOCKET", "PTYMUX_NAME"):
        env.pop(name, None)
    if options.name is not None:
        env["PTYMUX_NAME"] = options.name
    if socket is not None:
        env["PTYMUX_SOCKET"] = socket
    return env | dict(options.overrides)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All limits of ptymux in one place, and the memory and open files they add up to.

    A size may be text such as "4M".

    Raises:
        InvalidValueError: a limit is no whole number from 0 on.
    """

    LARGEST_BUFFER: ClassVar[int] = 1024 * MIB  # capacity of one ring
    SLACK: ClassVar[int] = 64 * KIB  # extra bytes of each ring, behind its capacity
    HEADER: ClassVar[int] = 8 * KIB  # header of each ring: two pages
    TIMES: ClassVar[int] = 1024  # entries in the index of times behind each ring
    LOG_HEADER: ClassVar[int] = 512  # header of the event log
    HOLES: ClassVar[int] = 48  # unread ranges below the highest offset that a consumer got
    HISTORY: ClassVar[int] = 10  # transitions kept for each PTY
    ENVELOPES: ClassVar[int] = 50  # signal deliveries kept for each PTY
    READERS: ClassVar[int] = 64  # attached to one PTY
    LIFELINES: ClassVar[int] = 64  # open input channels of one PTY
    CHUNK: ClassVar[int] = 64 * KIB  # one read or one copy, unless the caller asks for more
    LINE: ClassVar[int] = MIB  # one request or one reply, with its newline
    PAYLOAD: ClassVar[int] = 4 * MIB  # arguments and environment of one spawn
    LAUNCH: ClassVar[int] = 128 * KIB  # how a PTY was started, with its environment, as JSON
    PASSED_FDS: ClassVar[int] = 64  # fds above 2 that one spawn passes to its child
    MEMORY_SHARE: ClassVar[float] = 0.90  # of the available memory, for rings in the worst case
    EVENT_PAGE: ClassVar[int] = 64  # past events that are read from the log at a time

    ptys: int = 300  # live at once
    connections: int = 512  # of clients
    default_buffer: int = DEFAULT_BUFFER  # capacity of a ring if the spawn names none
    ended_ptys: int = 100  # kept with statistics and output
    ended_bytes: int = 64 * MIB  # output of all ended PTYs together
    event_log: int = 4 * MIB
    subscribers: int = 256
    subscriber_queue: int = 1024  # events waiting for one subscriber
    event_size: int = 4 * KIB  # one event as JSON

    def __post_init__(self) -> None:
        for name in ("default_buffer", "ended_bytes", "event_log", "event_size"):
            object.__setattr__(self, name, given.bytes_of(name, getattr(self, name)))
        for name in self.__slots__:
            given.a_number(name, getattr(self, name), 0, 1 << 62)

    # Python objects of one PTY: its record, histories and indexes, rounded up.
    _RECORD_BYTES: ClassVar[int] = 64 * KIB

    @property
    def worst_case_bytes(self) -> int:
        """The memory used when every limit is reached and every ring has the default size."""
        ring = self.HEADER + self.default_buffer + self.SLACK + 32 * self.TIMES
        return (
            self.ptys * (ring + self._RECORD_BYTES + self.CHUNK)
            + self.ended_bytes
            + self.ended_ptys * self._RECORD_BYTES
            + 2 * (self.ptys + self.ended_ptys) * self.LAUNCH  # in the keeper and in the server
            + self.event_log
            + self.connections * self.connection_bytes
            + self.subscribers * (self.subscriber_queue + self.EVENT_PAGE) * self.event_size
        )

    @property
    def connection_bytes(self) -> int:
        """The most memory that one client can make the server use.

        It is the sum of: a request or payload that is being received, the bytes that arrived
        behind it, the piece that was read last, and a reply or a piece of output that the client
        does not take.
        """
        return max(self.LINE, self.PAYLOAD) + 3 * self.CHUNK + self.LINE

    @property
    def worst_case_fds(self) -> int:
        """The open files used when every PTY is live with one lifeline open; 64 are our own.

        Besides, a spawn under way uses those that it passes, `PASSED_FDS` at most, and one that its
        client sends ahead as many again. If there are not so many left, it is refused.

        A live PTY uses four: its master, its child's pidfd, and two for its ring (the memfd and
        the mapping). A lifeline has two ends, a connection one. An ended PTY keeps the mapping.
        """
        return self.ptys * (4 + 2) + self.ended_ptys + self.connections + 64

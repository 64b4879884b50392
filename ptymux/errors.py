"""All exceptions of ptymux, each with its code on the wire and its exit code of the CLI.

The message is a sentence for people: what is wrong, how much, what to do now. The same facts are
attributes. A request that was refused has changed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = [
    "PtymuxError",
    "InvalidValueError",
    "ConfigError",
    "InvalidDimensionsError",
    "UnknownSignalError",
    "UnknownPtyError",
    "AmbiguousPtyError",
    "DuplicatePtyError",
    "NameTakenError",
    "CircleError",
    "InvalidTransitionError",
    "InvalidStateError",
    "InputCutError",
    "LineTooLongError",
    "LimitReachedError",
    "LinkClosedError",
    "ServerStoppingError",
    "ClosedOutputError",
    "NotATerminalError",
    "UnsupportedPlatformError",
    "AlreadyRunningError",
    "UnsafeDirectoryError",
    "OutOfResourcesError",
    "SpawnError",
    "CommandNotFoundError",
    "NotExecutableError",
    "BadDirectoryError",
    "ArgumentsTooLongError",
    "SignalError",
    "ProcessGoneError",
    "SignalForbiddenError",
    "ProtocolError",
    "UnknownMethodError",
    "VersionError",
    "NoServerError",
    "OldServerError",
    "UnreachableError",
    "ConnectionClosedError",
    "WaitTimeoutError",
    "RemoteError",
    "error_as_json",
    "error_from_json",
    "error_from_wire",
]


class PtymuxError(Exception):
    """The base of all errors of ptymux; its message is one line."""

    code = "error"  # on the wire
    exit_code = 125  # of the CLI


class InvalidValueError(PtymuxError, ValueError):
    """A value that can never be valid: `name` says which one, `value` is what was given."""

    code = "invalid-value"
    exit_code = 2

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(f"{name} is {value!r}; it must be {expected}")
        self.name, self.value, self.expected = name, value, expected


class ConfigError(PtymuxError):
    """The user's configuration file is wrong; `line` is None if no single line is."""

    code = "config"
    exit_code = 2

    def __init__(self, path: str, line: int | None, reason: str) -> None:
        super().__init__(f"{path}{'' if line is None else f':{line}'}: {reason}")
        self.path, self.line, self.reason = path, line, reason


class InvalidDimensionsError(InvalidValueError):
    """A terminal size outside 1 to 10000 columns and rows."""

    code = "invalid-dimensions"

    def __init__(self, cols: int, rows: int) -> None:
        super().__init__("size", f"{cols}x{rows}", "1 to 10000 columns by 1 to 10000 rows")
        self.cols, self.rows = cols, rows


class UnknownSignalError(InvalidValueError):
    """A signal name or number that this system does not have."""

    code = "unknown-signal"

    def __init__(self, given: object, meant: str | None = None) -> None:
        guess = "" if meant is None else f" (did you mean {meant}?)"
        super().__init__(
            "signal", given, f"a name such as TERM or SIGTERM, or a number{guess}; see kill -l"
        )


class UnknownPtyError(PtymuxError, KeyError):
    """There is no such PTY; if a live one was wanted, `last` says which ended one had the name."""

    code = "unknown-pty"

    def __init__(self, pty_id: str, last: str | None = None, shown: str = "") -> None:
        reason = "" if last is None else f"the last one, PTY {last}, {_is_so(shown)}; "
        live = "" if last is None else "live "
        super().__init__(f"no {live}PTY {pty_id!r}; {reason}`ptymux ls -a` lists them all")
        self.pty_id, self.last = pty_id, last

    __str__ = Exception.__str__  # a KeyError would show the quoted sentence


class AmbiguousPtyError(PtymuxError):
    """Several PTYs match what was given; `candidates` names them all."""

    code = "ambiguous-pty"

    def __init__(self, reference: str, candidates: Sequence[str]) -> None:
        more = len(candidates) - 10
        fitting = ", ".join(candidates[:10]) + (f" and {more} more" if more > 0 else "")
        super().__init__(f"{reference!r} fits {fitting}; give more of it, or the number")
        self.reference, self.candidates = reference, tuple(candidates)


class DuplicatePtyError(PtymuxError):
    """A PTY with that id or number is registered already."""

    code = "duplicate-pty"

    def __init__(self, pty_id: str) -> None:
        super().__init__(f"PTY {pty_id!r} is registered already; ids are never reused")
        self.pty_id = pty_id


class NameTakenError(PtymuxError):
    """A live PTY has that name: `number` says which one, `command` what runs in it."""

    code = "name-taken"

    def __init__(self, name: str, number: int, command: str) -> None:
        super().__init__(
            f"PTY {number} ({command}) has the name {name!r} and is live; choose another name, "
            "or see --attach and --replace in `ptymux run --help`"
        )
        self.name, self.number, self.command = name, number, command


class CircleError(PtymuxError):
    """A PTY's output would be shown in a PTY whose own output it shows already."""

    code = "circle"

    def __init__(self, shown: str, inside: str) -> None:
        if shown == inside:
            message = f"this is PTY {shown} itself; it cannot be shown in itself"
        else:
            message = (
                f"PTY {shown} shows the output of PTY {inside}, where this runs; "
                "to show it here would go round in a circle"
            )
        super().__init__(message)
        self.shown, self.inside = shown, inside


class InvalidTransitionError(PtymuxError):
    """An event that the PTY's state does not allow; the state is as it was.

    `history` has the latest transitions as text, oldest first.
    """

    code = "invalid-transition"

    def __init__(self, pty_id: str, state: str, event: str, history: Sequence[str]) -> None:
        recent = ", ".join(history) or "none"
        super().__init__(f"PTY {pty_id} is {state}; {event!r} is not possible (history: {recent})")
        self.pty_id, self.state, self.event = pty_id, state, event
        self.history = tuple(history)


class InvalidStateError(PtymuxError):
    """A request that the PTY's state does not allow.

    People read what it is `called`, such as `3 (web)`, and the state as it is `shown` to them.
    """

    code = "invalid-state"

    def __init__(
        self,
        pty_id: str,
        state: str,
        wanted: str,
        *,
        called: str | None = None,
        shown: str | None = None,
    ) -> None:
        super().__init__(f"PTY {called or pty_id} {_is_so(shown or state)}; {wanted}")
        self.pty_id, self.state = pty_id, state


class InputCutError(PtymuxError):
    """The PTY ended while input was being typed: it took `taken` of `size` bytes."""

    code = "input-cut"

    def __init__(self, pty_id: str, taken: int, size: int) -> None:
        super().__init__(f"PTY {pty_id} ended and took {taken} of {size} bytes of input")
        self.pty_id, self.taken, self.size = pty_id, taken, size


class LineTooLongError(PtymuxError):
    """A line of input that the kernel would cut, because the terminal is in canonical mode."""

    code = "line-too-long"

    def __init__(self, length: int, allowed: int) -> None:
        super().__init__(
            f"a line of {length} bytes is longer than the {allowed} that a terminal takes at once; "
            "cut it, or have the program switch its terminal to raw mode"
        )
        self.length, self.allowed = length, allowed


class LimitReachedError(PtymuxError):
    """A request that would exceed a limit of ptymux."""

    code = "limit-reached"

    def __init__(self, limit: str, allowed: int, remedy: str) -> None:
        super().__init__(f"{limit} is limited to {allowed}; {remedy}")
        self.limit, self.allowed = limit, allowed


class LinkClosedError(PtymuxError):
    """The link to the engine is closed: the engine is gone, or the manager was closed."""

    code = "link-closed"


class ClosedOutputError(PtymuxError):
    """Standard output is closed."""

    code = "closed-output"


class NotATerminalError(PtymuxError):
    """A file descriptor that should be a terminal and is none."""

    code = "not-a-terminal"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not a terminal")


class UnsupportedPlatformError(PtymuxError):
    """This system lacks something that ptymux needs."""

    code = "unsupported-platform"


class AlreadyRunningError(PtymuxError):
    """Another keeper or server holds the lock of this socket."""

    code = "already-running"

    def __init__(self, lock: str) -> None:
        super().__init__(f"another server holds {lock}; see `ptymux server status`")
        self.lock = lock


class UnsafeDirectoryError(PtymuxError):
    """A file or directory of ours that cannot be used, or that other users could change."""

    code = "unsafe-directory"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be used: {reason}")
        self.path, self.reason = path, reason


class OutOfResourcesError(PtymuxError):
    """The system has run out of something: `resource` says what."""

    code = "out-of-resources"

    def __init__(self, resource: str, remedy: str) -> None:
        super().__init__(f"out of {resource}; {remedy}")
        self.resource = resource


class SpawnError(PtymuxError):
    """The command could not be started; nothing is left behind."""

    code = "spawn-failed"


class CommandNotFoundError(SpawnError):
    """There is no such program."""

    code = "command-not-found"
    exit_code = 127

    def __init__(self, command: str, hint: str = "") -> None:
        super().__init__(f"{command}: command not found{hint}")
        self.command = command


class NotExecutableError(SpawnError):
    """The program exists, and cannot be executed."""

    code = "not-executable"
    exit_code = 126

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"{command}: {reason}")
        self.command, self.reason = command, reason


class BadDirectoryError(SpawnError):
    """The working directory cannot be entered."""

    code = "bad-directory"

    def __init__(self, directory: str, reason: str) -> None:
        super().__init__(f"cannot start in {directory}: {reason}; choose another with --cwd")
        self.directory, self.reason = directory, reason


class ArgumentsTooLongError(SpawnError):
    """Arguments and environment together are longer than the kernel allows."""

    code = "arguments-too-long"
    exit_code = 126

    def __init__(self, command: str) -> None:
        super().__init__(f"{command}: arguments and environment are longer than the system allows")
        self.command = command


class SignalError(PtymuxError):
    """A signal could not be sent."""

    code = "signal-failed"


class ProcessGoneError(SignalError):
    """The process to be signalled has ended; if its pid was reused, it counts as ended."""

    code = "process-gone"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is gone; nothing was signalled")
        self.what = what


class SignalForbiddenError(SignalError):
    """The process runs as another user, as those of sudo do."""

    code = "signal-forbidden"

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} belongs to another user and cannot be signalled")
        self.pid = pid


class ProtocolError(PtymuxError):
    """The other side does not follow the protocol; the connection cannot be used any more.

    `number` is the error code of JSON-RPC.
    """

    code = "protocol"
    MALFORMED = -32700
    NO_MESSAGE = -32600

    def __init__(self, message: str, number: int = MALFORMED) -> None:
        super().__init__(message)
        self.number = number


class UnknownMethodError(PtymuxError):
    """A request for a method that this version does not have."""

    code = "unknown-method"

    def __init__(self, method: str) -> None:
        super().__init__(
            f"this server knows no method {method[:64]!r}; it may be older than the client, "
            "then `ptymux server restart` helps"
        )
        self.method = method


class VersionError(PtymuxError):
    """Client and server have no version of the protocol in common."""

    code = "version"

    def __init__(self, ours: str, theirs: str) -> None:
        super().__init__(
            f"the other side speaks version {theirs} of the protocol, this one {ours}; "
            "`ptymux server restart` by the newer of both keeps every PTY"
        )
        self.ours, self.theirs = ours, theirs


class OldServerError(PtymuxError):
    """The server is older than this program, and cannot do what was asked."""

    code = "old-server"

    def __init__(self, path: str, what: str) -> None:
        super().__init__(
            f"the server at {path} is older and cannot {what}; `ptymux server restart` replaces "
            "it and keeps every PTY"
        )
        self.path, self.what = path, what


class NoServerError(PtymuxError):
    """No server listens at the socket."""

    code = "no-server"


class UnreachableError(PtymuxError):
    """There is something at the socket's path, and it cannot be used."""

    code = "unreachable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"the server at {path} cannot be used: {reason}")
        self.path, self.reason = path, reason


class ConnectionClosedError(PtymuxError):
    """The other side closed the connection too early."""

    code = "connection-closed"


class ServerStoppingError(ConnectionClosedError):
    """The server is about to end; it starts nothing any more."""

    code = "server-stopping"

    def __init__(self, message: str = "the server is about to end; try again in a moment") -> None:
        super().__init__(message)


class WaitTimeoutError(PtymuxError, TimeoutError):
    """The condition that was waited for did not come true in time; it still may."""

    code = "wait-timeout"
    exit_code = 124

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} within {seconds:g} s")
        self.seconds = seconds


class RemoteError(PtymuxError):
    """A server's error for which this version has no class."""

    def __init__(self, message: str, code: str, exit_code: int) -> None:
        super().__init__(message)
        self.code, self.exit_code = code, exit_code


def _is_so(shown: str) -> str:
    """Return a sentence's end from a state as it is shown: `is running`, `has exited (1)`."""
    if shown.startswith("exited"):
        return f"has {shown}"
    if shown.startswith("killed"):
        return f"was {shown}"
    return shown if shown.startswith("failed") else f"is {shown}"


def error_from_wire(code: str, message: str, exit_code: int) -> PtymuxError:
    """Return the exception for an error that a server has sent; RemoteError if it is unknown.

    It has only the attributes `code` and `exit_code`; the other facts are in the message.
    """
    kind = _kinds(PtymuxError).get(code)
    if kind is None or kind is PtymuxError:
        return RemoteError(message, code, exit_code)
    error = kind.__new__(kind)
    error.args = (message,)
    error.exit_code = exit_code
    return error


def error_as_json(error: PtymuxError) -> dict[str, object]:
    """Return an error, with its attributes, as JSON values."""
    facts = {name: value for name, value in vars(error).items() if isinstance(value, str | int)}
    texts: dict[str, object] = {"code": error.code, "message": str(error)}
    return texts | {"exit_code": error.exit_code, "facts": facts}


def error_from_json(error: Mapping[str, object]) -> PtymuxError:
    """Return the error that `error_as_json` was called with."""
    code, message, status = (error[name] for name in ("code", "message", "exit_code"))
    found = error_from_wire(str(code), str(message), int(str(status)))
    facts = error["facts"]
    assert isinstance(facts, Mapping)
    for name, value in facts.items():
        setattr(found, name, value)
    return found


def _kinds(root: type[PtymuxError]) -> dict[str, type[PtymuxError]]:
    found = {root.code: root}
    for kind in root.__subclasses__():
        if "code" in vars(kind):
            found |= _kinds(kind)
    return found

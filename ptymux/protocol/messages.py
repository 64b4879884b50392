"""The messages that travel in lines: JSON-RPC 2.0 requests, replies, failures, notifications.

A client encodes requests and decodes answers, a server the other way round. Members and parameters
that this version does not know are skipped; `null` is the same as absent.
"""

from __future__ import annotations

import sys

from ptymux.errors import (
    InvalidValueError,
    ProtocolError,
    PtymuxError,
    UnknownMethodError,
    error_from_wire,
)
from ptymux.protocol.lines import LARGEST_LINE
from ptymux.protocol.values import Value, Word, dump_object, parse_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

__all__ = [
    "PROTOCOL",
    "OLDEST_PROTOCOL",
    "LARGEST_PAYLOAD",
    "MOST_PASSED_FDS",
    "Request",
    "Notification",
    "Reply",
    "Failure",
    "encode_request",
    "encode_notification",
    "encode_result",
    "encode_error",
    "decode_request",
    "decode_answer",
    "encode_payload",
    "decode_payload",
]

PROTOCOL: Final = 1  # the newest version that this code speaks
OLDEST_PROTOCOL: Final = 1  # and the oldest
LARGEST_PAYLOAD: Final = 4 * 1024 * 1024  # arguments and environment of one spawn
MOST_PASSED_FDS: Final = 64  # of one spawn, besides directory and stdin

_OURS: Final = -32000  # JSON-RPC leaves this number to the server; data.code says which error
_UNKNOWN_METHOD: Final = -32601
_LONGEST_MESSAGE: Final = 2000  # characters of an error's sentence
_LONGEST_ID: Final = 128


class Request(Value):
    """A method that a client calls, and its parameters.

    `payload` and `fds` are what came with a spawn, else empty; `fds` is None when they were sent
    but not all of them arrived. Whoever gets a request owns its fds.
    """

    __slots__ = ("fds", "id", "method", "params", "payload")

    def __init__(
        self,
        id: int | str | None,
        method: str,
        params: dict[str, Any],
        payload: bytes = b"",
        fds: tuple[int, ...] | None = (),
    ) -> None:
        self.id = id
        self.method = method
        self.params = params
        self.payload = payload
        self.fds = fds


class Notification(Value):
    """A message of a server that answers no request, such as an event."""

    __slots__ = ("method", "params")

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self.method = method
        self.params = params


class Reply(Value):
    """The result of a request, and the fds that came with it; whoever gets it owns them."""

    __slots__ = ("fds", "id", "result")

    def __init__(
        self, id: int | str | None, result: dict[str, Any], fds: tuple[int, ...] = ()
    ) -> None:
        self.id = id
        self.result = result
        self.fds = fds


class Failure(Value):
    """The error that a request was refused with; without an `id` the connection ends by it."""

    __slots__ = ("error", "id")

    def __init__(self, id: int | str | None, error: PtymuxError) -> None:
        self.id = id
        self.error = error


def encode_request(id: int, method: str, params: Mapping[str, object]) -> bytes:
    """Return a request as a line; raises ProtocolError when that is too long."""
    return _line({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def encode_notification(method: str, params: Mapping[str, object]) -> bytes:
    """Return a notification as a line; raises what `encode_request` raises."""
    return _line({"jsonrpc": "2.0", "method": method, "params": params})


def encode_result(id: int | str | None, result: Mapping[str, object]) -> bytes:
    """Return the reply to request `id` as a line; raises what `encode_request` raises."""
    return _line({"jsonrpc": "2.0", "id": id, "result": result})


def encode_error(id: int | str | None, error: PtymuxError) -> bytes:
    """Return the refusal of request `id` as a line; None: of one that could not be understood."""
    number = error.number if isinstance(error, ProtocolError) else _OURS
    members = {
        "code": _UNKNOWN_METHOD if isinstance(error, UnknownMethodError) else number,
        "message": _shortened(str(error)),
        "data": {"code": error.code, "exit_code": error.exit_code},
    }
    return _line({"jsonrpc": "2.0", "id": id, "error": members})


def _shortened(message: str) -> str:
    """Return a message that is not too long, cut in the middle: its end may say what is wrong."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[: half - 5]} ... {message[-half:]}"


def _line(members: Mapping[str, object]) -> bytes:
    line = dump_object(members) + b"\n"
    if len(line) > LARGEST_LINE:
        raise ProtocolError(f"a message of {len(line)} bytes is longer than {LARGEST_LINE}")
    return line


def decode_request(line: bytes) -> Request:
    """Return the request that a client sent as a line.

    Raises:
        ProtocolError: it is not JSON, or not a request.
    """
    members = parse_object(line)
    return Request(_id(members), *_call(members))


def decode_answer(line: bytes) -> Reply | Failure | Notification:
    """Return the answer or notification that a server sent as a line.

    Raises:
        ProtocolError: it is not JSON, or neither of them.
    """
    members = parse_object(line)
    if "method" in members:
        return Notification(*_call(members))
    if members.get("error") is not None:
        return Failure(_id(members), _error(members["error"]))
    if isinstance(members.get("result"), dict):
        return Reply(_id(members), members["result"])
    raise ProtocolError("neither a result nor an error", ProtocolError.NO_MESSAGE)


def _id(members: Mapping[str, Any]) -> int | str | None:
    id = members.get("id")
    if isinstance(id, str) and len(id) <= _LONGEST_ID:
        return id
    if id is None or (type(id) is int and abs(id) < 1 << 64):
        return id
    raise ProtocolError("the id is no number and no short text", ProtocolError.NO_MESSAGE)


def _call(members: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    method, params = members.get("method"), members.get("params")
    params = {} if params is None else params
    if not isinstance(method, str) or not isinstance(params, dict):
        reason = "a method is a text and its params are an object"
        raise ProtocolError(reason, ProtocolError.NO_MESSAGE)
    return method, params


def _error(value: object) -> PtymuxError:
    members = value if isinstance(value, dict) else {}
    data = members.get("data")
    data = data if isinstance(data, dict) else {}
    code, exit_code, message = data.get("code"), data.get("exit_code"), members.get("message")
    return error_from_wire(
        code if isinstance(code, str) else PtymuxError.code,
        message if isinstance(message, str) else "the server refused and did not say why",
        exit_code if type(exit_code) is int and 0 <= exit_code <= 255 else PtymuxError.exit_code,
    )


def encode_payload(argv: Sequence[str], env: Mapping[str, str]) -> bytes:
    """Return the payload that follows a spawn: arguments and environment, a NUL behind each.

    Words that were not UTF-8 become the bytes again that this process got them as.

    Raises:
        InvalidValueError: a word has a NUL or a surrogate, or a variable has no name.
    """
    for name in env:
        if not name or "=" in name:
            raise InvalidValueError("environment variable", name, "a name without =")
    words = [*argv, *(f"{name}={value}" for name, value in env.items())]
    try:
        if any("\0" in word for word in words):
            raise ValueError
        encoding = sys.getfilesystemencoding()
        return b"".join(word.encode(encoding, "surrogateescape") + b"\0" for word in words)
    except ValueError:  # the words are not shown: one may be a secret
        what = "an argument or variable"
        raise InvalidValueError(what, Word("not passable"), "without NULs and surrogates") from None


def decode_payload(payload: bytes, argc: int, envc: int) -> tuple[list[str], dict[str, str]]:
    """Return the `argc` arguments and the environment of `envc` variables that a payload has.

    Raises:
        ProtocolError: it has another number of them, or something else.
    """
    if payload.count(b"\0") != argc + envc or not payload.endswith(b"\0"):
        raise ProtocolError(f"the payload has not the {argc} arguments and {envc} variables")
    encoding = sys.getfilesystemencoding()
    words = [word.decode(encoding, "surrogateescape") for word in payload[:-1].split(b"\0")]
    pairs = [word.partition("=") for word in words[argc:]]
    if not all(name and equals for name, equals, _value in pairs):
        raise ProtocolError("the payload has a variable without a name or a value")
    return words[:argc], {name: value for name, _equals, value in pairs}

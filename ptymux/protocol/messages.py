"""What is said in lines: JSON-RPC 2.0 requests, replies, failures and notifications.

A server decodes requests and encodes what answers them, a client the other way round. Members
and parameters that this version does not know are skipped, `null` means that one was not given.
"""

from __future__ import annotations

import math
import sys

from ptymux.errors import (
    InvalidValueError,
    ProtocolError,
    PtymuxError,
    UnknownMethodError,
    VersionError,
    error_from_wire,
)
from ptymux.protocol.framing import LARGEST_LINE
from ptymux.protocol.values import Value, dump_object, parse_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

__all__ = [
    "PROTOCOL",
    "OLDEST_PROTOCOL",
    "LARGEST_PAYLOAD",
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
    "agree",
    "Params",
]

PROTOCOL: Final = 1  # the newest version that this code speaks
OLDEST_PROTOCOL: Final = 1
LARGEST_PAYLOAD: Final = 4 * 1024 * 1024  # arguments and environment of one spawn

_OURS: Final = -32000  # JSON-RPC leaves this number to the server; data.code tells which error
_UNKNOWN_METHOD: Final = -32601
_LONGEST_MESSAGE: Final = 2000  # characters of an error's sentence
_LONGEST_ID: Final = 128


class Request(Value):
    """What a client asks for; with an `id` of None it is told, and not to be answered."""

    __slots__ = ("id", "method", "params")

    def __init__(self, id: int | str | None, method: str, params: dict[str, Any]) -> None:
        self.id = id
        self.method = method
        self.params = params


class Notification(Value):
    """What a server tells without being asked for each."""

    __slots__ = ("method", "params")

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self.method = method
        self.params = params


class Reply(Value):
    """What came of a request."""

    __slots__ = ("id", "result")

    def __init__(self, id: int | str | None, result: dict[str, Any]) -> None:
        self.id = id
        self.result = result


class Failure(Value):
    """Why nothing came of a request; without an `id` it is about the connection."""

    __slots__ = ("error", "id")

    def __init__(self, id: int | str | None, error: PtymuxError) -> None:
        self.id = id
        self.error = error


def encode_request(id: int, method: str, params: Mapping[str, object]) -> bytes:
    """Return a request as a line; raises ProtocolError when it is longer than a line may be."""
    return _line({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def encode_notification(method: str, params: Mapping[str, object]) -> bytes:
    """Return a notification as a line; raises what `encode_request` raises."""
    return _line({"jsonrpc": "2.0", "method": method, "params": params})


def encode_result(id: int | str | None, result: Mapping[str, object]) -> bytes:
    """Return the reply to request `id` as a line; raises what `encode_request` raises."""
    return _line({"jsonrpc": "2.0", "id": id, "result": result})


def encode_error(id: int | str | None, error: PtymuxError) -> bytes:
    """Return the refusal of request `id` as a line; None: of what could not be understood."""
    number = error.number if isinstance(error, ProtocolError) else _OURS
    told = {
        "code": _UNKNOWN_METHOD if isinstance(error, UnknownMethodError) else number,
        "message": _shortened(str(error)),
        "data": {"code": error.code, "exit_code": error.exit_code},
    }
    return _line({"jsonrpc": "2.0", "id": id, "error": told})


def _shortened(message: str) -> str:
    """Return a message that is not too long: what is wrong may be said at its end."""
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
    """Return what a client sent as a line.

    Raises:
        ProtocolError: it is no JSON, or no request.
    """
    members = parse_object(line)
    return Request(_id(members), *_call(members))


def decode_answer(line: bytes) -> Reply | Failure | Notification:
    """Return what a server sent as a line.

    Raises:
        ProtocolError: it is no JSON, or nothing that a server says.
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


def _error(told: object) -> PtymuxError:
    members = told if isinstance(told, dict) else {}
    data = members.get("data")
    data = data if isinstance(data, dict) else {}
    code, exit_code, message = data.get("code"), data.get("exit_code"), members.get("message")
    return error_from_wire(
        code if isinstance(code, str) else PtymuxError.code,
        message if isinstance(message, str) else "the server refused and did not say why",
        exit_code if type(exit_code) is int and 0 <= exit_code <= 255 else PtymuxError.exit_code,
    )


def encode_payload(argv: Sequence[str], env: Mapping[str, str]) -> bytes:
    """Return arguments and environment as they follow a spawn: each as bytes and a NUL.

    They become the bytes that this process got them as, be they text or not.

    Raises:
        InvalidValueError: one has a NUL or what is no character, or a variable has no name.
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
        raise InvalidValueError(
            what, _Word("not passable"), "without NULs and surrogates"
        ) from None


def decode_payload(payload: bytes, argc: int, envc: int) -> tuple[list[str], dict[str, str]]:
    """Return the `argc` arguments and the environment of `envc` variables.

    Raises:
        ProtocolError: that is not what the payload has.
    """
    if payload.count(b"\0") != argc + envc or not payload.endswith(b"\0"):
        raise ProtocolError(f"the payload has not the {argc} arguments and {envc} variables")
    encoding = sys.getfilesystemencoding()
    words = [word.decode(encoding, "surrogateescape") for word in payload[:-1].split(b"\0")]
    pairs = [word.partition("=") for word in words[argc:]]
    if not all(name and equals for name, equals, _value in pairs):
        raise ProtocolError("the payload has a variable without a name or a value")
    return words[:argc], {name: value for name, _equals, value in pairs}


def agree(params: Params) -> int:
    """Return the version to speak with a client that said hello with `params`: the newest of both.

    Raises:
        VersionError: there is none.
        InvalidValueError: it named no versions.
    """
    first, last = params.pair("protocol")
    common = min(last, PROTOCOL)
    if common < max(first, OLDEST_PROTOCOL):
        raise VersionError(f"{OLDEST_PROTOCOL} to {PROTOCOL}", f"{first} to {last}")
    return common


class Params:
    """Reads the parameters of a request; each that does not fit is refused by its name.

    Raises, in every method:
        InvalidValueError: the parameter is missing and has no default, or is of another kind.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def has(self, name: str) -> bool:
        """Return whether it was given and is not null."""
        return self._values.get(name) is not None

    def text(self, name: str, default: str | None = None, longest: int = 4096) -> str:
        """Return a text of at most `longest` characters."""
        value = self._get(name, default)
        if isinstance(value, str) and len(value) <= longest:
            return value
        raise self._wrong(name, f"a text of at most {longest} characters")

    def number(
        self, name: str, low: int = 0, high: int = 1 << 62, default: int | None = None
    ) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._get(name, default)
        if type(value) is int and low <= value <= high:
            return value
        raise self._wrong(name, f"a whole number from {low} to {high}")

    def real(self, name: str, low: float = 0.0, default: float | None = None) -> float:
        """Return a finite number, of at least `low`."""
        value = self._get(name, default)
        # A whole number beyond 2**53 has more digits than are of any use, or none as a float.
        if type(value) is int and abs(value) < 1 << 53:
            value = float(value)
        if isinstance(value, float) and math.isfinite(value) and value >= low:
            return value
        raise self._wrong(name, f"a number of at least {low:g}")

    def flag(self, name: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self._get(name, default)
        if isinstance(value, bool):
            return value
        raise self._wrong(name, "true or false")

    def choice(self, name: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Return one of `allowed`."""
        value = self._get(name, default)
        if isinstance(value, str) and value in allowed:
            return value
        raise self._wrong(name, f"one of {', '.join(allowed)}")

    def number_or_choice(
        self, name: str, allowed: Sequence[str], default: str | None = None
    ) -> int | str:
        """Return a whole number from 0, or one of `allowed`."""
        value = self._get(name, default)
        if type(value) is int and 0 <= value <= 1 << 62:
            return value
        if isinstance(value, str) and value in allowed:
            return value
        raise self._wrong(name, f"a whole number from 0, or one of {', '.join(allowed)}")

    def optional_text(self, name: str, longest: int = 4096) -> str | None:
        """Return a text, None when none was given."""
        return self.text(name, longest=longest) if self.has(name) else None

    def optional_number(self, name: str, low: int = 0, high: int = 1 << 62) -> int | None:
        """Return a whole number, None when none was given."""
        return self.number(name, low, high) if self.has(name) else None

    def optional_real(self, name: str, low: float = 0.0) -> float | None:
        """Return a finite number, None when none was given."""
        return self.real(name, low) if self.has(name) else None

    def texts_list(self, name: str) -> list[str]:
        """Return a list of texts, an empty one when none was given."""
        values = self._get(name, ())
        if isinstance(values, (list, tuple)) and all(isinstance(each, str) for each in values):
            return list(values)
        raise self._wrong(name, "a list of texts")

    def choices(self, name: str, allowed: Sequence[str]) -> list[str]:
        """Return a list of some of `allowed`, an empty one when none was given."""
        values = self.texts_list(name)
        if set(values) <= set(allowed):
            return values
        raise self._wrong(name, f"a list of some of {', '.join(allowed)}")

    def texts(self, name: str) -> dict[str, str]:
        """Return texts by names, none when none were given; no error shows them."""
        values = self._get(name, {})
        if isinstance(values, dict) and all(isinstance(each, str) for each in values.values()):
            return dict(values)
        raise self._wrong(name, "an object of texts")

    def pair(self, name: str) -> tuple[int, int]:
        """Return two whole numbers from 0, the second not below the first."""
        match self._get(name, None):
            case [int(low), int(high)] if 0 <= low <= high < 1 << 32:
                return low, high
        raise self._wrong(name, "two whole numbers, the smaller first")

    def _get(self, name: str, default: object) -> object:
        value = self._values.get(name)
        return default if value is None else value

    def _wrong(self, name: str, expected: str) -> InvalidValueError:
        return InvalidValueError(f"parameter {name!r}", _shown(self._values.get(name)), expected)


class _Word:
    """What is said in the place of a value."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __repr__(self) -> str:
        return self._word


def _shown(value: object) -> object:
    # What is inside of a list or an object may be long, or a secret.
    if value is None:
        return _Word("missing")
    if isinstance(value, (list, dict)):
        return _Word("a list" if isinstance(value, list) else "an object")
    return f"{value[:40]}..." if isinstance(value, str) and len(value) > 40 else value

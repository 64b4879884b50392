"""The base class of messages and frames, and JSON objects to and from bytes."""

from __future__ import annotations

import json

from ptymux.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Value", "Word", "parse_object", "dump_object"]


class Value:
    """A value whose fields are its `__slots__`: equal to one of its class with the same fields.

    A dataclass would do the same, but importing `dataclasses` takes longer than all else that a
    short command does.
    """

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, each) == getattr(other, each) for each in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = (f"{each}={_shown(getattr(self, each))}" for each in self.__slots__)
        return f"{type(self).__name__}({', '.join(fields)})"


def _shown(field: object) -> str:
    # Input and environment variables must not get into a log by way of a repr.
    if isinstance(field, (bytes, dict)):
        return f"<{len(field)} in {type(field).__name__}>"
    return repr(field)


class Word:
    """A word that an error shows in the place of a value."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __repr__(self) -> str:
        return self._word


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def parse_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object that `text` is.

    Raises:
        ProtocolError: it is not JSON, or not an object.
    """
    try:
        value = _DECODER.decode(text.decode())
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ProtocolError(f"not JSON: {reason}") from None
    if not isinstance(value, dict):
        raise ProtocolError("not a JSON object", ProtocolError.NO_MESSAGE)
    return value


def dump_object(values: Mapping[str, object]) -> bytes:
    """Return `values` as JSON in ASCII without a newline.

    Raises:
        ProtocolError: something in it cannot be expressed in JSON.
    """
    try:
        return _ENCODER.encode(values).encode("ascii")
    except (ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(f"cannot be said in JSON: {error}") from None

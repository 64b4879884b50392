"""What messages and frames are made of: plain values, and JSON objects as bytes."""

from __future__ import annotations

import json

from ptymux.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Value", "parse_object", "dump_object"]


class Value:
    """Something that is equal to another of its class with the same fields, its `__slots__`.

    A dataclass would do the same; importing what makes dataclasses takes longer than all else
    that a short command does.
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
    # Input and the environment must not get into a log by way of a repr.
    if isinstance(field, (bytes, dict)):
        return f"<{len(field)} in {type(field).__name__}>"
    return repr(field)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def parse_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object that `text` is.

    Raises:
        ProtocolError: it is no JSON, or no object.
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
        ProtocolError: something in it has no form in JSON.
    """
    try:
        return _ENCODER.encode(values).encode("ascii")
    except (ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(f"cannot be said in JSON: {error}") from None

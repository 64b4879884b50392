"""Values that a caller gave, checked for their type; text is parsed where the command line would.

Each function returns the value as the rest of the code has it, or raises InvalidValueError, which
says what to pass instead. `what` is the caller's name for the value. What parses text is imported
late: a keeper, which is given nothing of the kind, does not need it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import UnionType
from typing import Any

from ptymux.core.window_size import WindowSize
from ptymux.errors import InvalidValueError

__all__ = [
    "a_flag",
    "a_number",
    "a_path",
    "a_share",
    "a_text",
    "bytes_of",
    "fds_by_number",
    "instance_of",
    "seconds",
    "texts",
    "variables",
    "window_size",
    "words",
]


def words(what: str, value: Any) -> tuple[str, ...]:
    """Return the words of a command: a list or tuple of texts and paths."""
    if isinstance(value, str):
        shown = ", ".join(repr(word) for word in value.split()) or "'ls', '-la'"
        expected = f"a list of words such as [{shown}]; for a shell line ['/bin/sh', '-c', LINE]"
        raise InvalidValueError(what, value, expected)
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise InvalidValueError(what, value, "a list of words such as ['ls', '-la']")
    return tuple(_word(what, word) for word in value)


def _word(what: str, value: Any) -> str:
    path = value.__fspath__() if hasattr(value, "__fspath__") else value
    if not isinstance(path, str):
        raise InvalidValueError(f"a word of {what}", value, "a str; for bytes use os.fsdecode")
    return path


def variables(what: str, value: Any) -> Mapping[str, str]:
    """Return environment variables; their values, which may be secret, are in no message."""
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise InvalidValueError(what, f"a {kind}", "a mapping such as {'LANG': 'C'}, or None")
    if all(type(each) is str for each in (*value, *value.values())):
        return value
    for name, content in value.items():
        if not isinstance(name, str):
            raise InvalidValueError(f"a name in {what}", name, "a str")
        if not isinstance(content, str):
            kind = type(content).__name__
            raise InvalidValueError(f"{what}[{name!r}]", f"of type {kind}", "a str")
    return value


def a_text(what: str, value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise InvalidValueError(what, value, "a str")
    return value


def a_path(what: str, value: Any) -> str:
    """Return a path, given as a text or a `Path`."""
    path = value.__fspath__() if hasattr(value, "__fspath__") else value
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidValueError(what, value, "a path: a str or a pathlib.Path")
    return path


def a_flag(what: str, value: Any) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise InvalidValueError(what, value, "True or False")
    return value


def a_number(what: str, value: Any, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidValueError(what, value, f"a whole number from {low} to {high}")
    return value


def fds_by_number(what: str, value: Any) -> Mapping[int, int]:
    """Return fds by the numbers that a child gets them at; a tuple of fds keeps their own."""
    expected = "a tuple of fds above 2, or a dict of them by the number in the child"
    is_same = isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping))
    if not is_same and not isinstance(value, Mapping):
        raise InvalidValueError(what, value, expected)
    pairs = [(fd, fd) for fd in value] if is_same else list(value.items())
    for number, fd in pairs:
        if type(number) is not int or type(fd) is not int or not 2 < number < 1 << 31 or fd < 0:
            raise InvalidValueError(what, value, expected)
    return dict(pairs)


def a_share(what: str, value: Any) -> float:
    """Return a finite number, or what a text such as `0.75` says."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise InvalidValueError(what, value, "a number such as 0.75") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValueError(what, value, "a number such as 0.75")
    return value


def bytes_of(what: str, value: Any) -> int:
    """Return a number of bytes: a whole number, or what a text such as `4M` says."""
    if isinstance(value, str):
        from ptymux.core.units import parse_size

        return parse_size(value, what)
    if type(value) is not int:
        raise InvalidValueError(what, value, "a whole number of bytes, or a text such as '4M'")
    return value


def seconds(what: str, value: Any) -> float:
    """Return seconds from 0 on: a number, or what a text such as `5s` or `2m` says."""
    if isinstance(value, str):
        from ptymux.core.units import parse_duration

        return parse_duration(value, what)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InvalidValueError(what, value, "a time of 0 or more: seconds, or a text such as '5s'")
    return value


def window_size(value: Any) -> WindowSize:
    """Return a terminal's size: a `WindowSize`, columns and rows, or a text such as `80x24`."""
    if isinstance(value, WindowSize):
        return value
    if isinstance(value, str):
        from ptymux.core.units import parse_window_size

        return parse_window_size(value)
    if isinstance(value, Sequence) and len(value) == 2:
        return WindowSize(*value)
    raise InvalidValueError("size", value, "a WindowSize, (columns, rows), or a text as '80x24'")


def instance_of(what: str, value: Any, kind: type | UnionType, example: str) -> None:
    """Return if `value` is of this kind."""
    if not isinstance(value, kind):
        name = kind.__name__ if isinstance(kind, type) else str(kind)
        raise InvalidValueError(what, value, f"{name.split('.')[-1]}, such as {example}")


def texts(what: str, value: Any) -> tuple[str, ...]:
    """Return a list of texts; one text alone is a list of one."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable) or isinstance(value, bytes | bytearray):
        raise InvalidValueError(what, value, "a list of str")
    return tuple(a_text(what, each) for each in value)

"""Types of options for click: sizes, times, variables, and the option --json."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import click

from ptymux.core.units import parse_duration, parse_size, parse_window_size
from ptymux.errors import InvalidValueError

__all__ = ["JSON_OPTION", "DURATION", "SIZE", "VARIABLE", "WINDOW_SIZE"]

T = TypeVar("T")

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # older versions of click cannot subscript it


class ParamValue(_ParamType, Generic[T]):
    """A type for click, made of a function that parses a text or raises InvalidValueError."""

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> T | Any:
        """Return the parsed value; what is no text is a default and stays."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except InvalidValueError as error:
            self.fail(f"{value!r} must be {error.expected}", param, ctx)


def _parse_variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        # Only the name is shown: the rest may be a secret.
        raise InvalidValueError("environment variable", name, "NAME=VALUE")
    return name, value


class _Variable(ParamValue[tuple[str, str]]):
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str] | Any:
        try:
            return _parse_variable(value) if isinstance(value, str) else value
        except InvalidValueError as error:
            self.fail(f"{error.value!r} must be {error.expected}", param, ctx)


SIZE = ParamValue("SIZE", parse_size)
DURATION = ParamValue("TIME", parse_duration)
WINDOW_SIZE = ParamValue("COLSxROWS", parse_window_size)
VARIABLE = _Variable("NAME=VALUE", _parse_variable)

JSON_OPTION: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

"""Types of options for click: sizes, times, variables, and the option --json."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import click

from ptymux.core.model import OnFull
from ptymux.core.units import parse_duration, parse_size, parse_window_size, printable
from ptymux.core.words import alternatives
from ptymux.errors import InvalidValueError

__all__ = [
    "COUNT",
    "JSON_OPTION",
    "DURATION",
    "ON_FULL",
    "OneOf",
    "ParamValue",
    "SIZE",
    "VARIABLE",
    "WINDOW_SIZE",
]

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


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidValueError("number", text, "a whole number, 0 or more")
    return int(text)


class _Variable(ParamValue[tuple[str, str]]):
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str] | Any:
        try:
            return _parse_variable(value) if isinstance(value, str) else value
        except InvalidValueError as error:
            self.fail(f"{error.value!r} must be {error.expected}", param, ctx)


if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    _Choice = click.Choice


class OneOf(_Choice):
    """One word of a closed set; another is refused with a guess and, if short, the list.

    `also` accepts more, such as words with a number in them.
    """

    def __init__(
        self, noun: str, words: Iterable[str], also: Callable[[str], bool] = lambda _word: False
    ) -> None:
        super().__init__(list(words))
        self._noun = noun
        self._also = also

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word as it is."""
        if value in self.choices or self._also(value):
            return str(value)
        # Not by `fail`, whose sentence begins with the option: this is one already.
        shown = printable(str(value))
        raise click.UsageError(
            f"no {self._noun} {shown!r}; {alternatives(str(value), self.choices)}", ctx
        )


COUNT = ParamValue("N", _parse_count)
SIZE = ParamValue("SIZE", parse_size)
DURATION = ParamValue("TIME", parse_duration)
WINDOW_SIZE = ParamValue("COLSxROWS", parse_window_size)
VARIABLE = _Variable("NAME=VALUE", _parse_variable)
ON_FULL = OneOf("choice", [choice.value for choice in OnFull])

JSON_OPTION: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

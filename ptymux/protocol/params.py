"""The parameters of a request as a server reads them, each one checked.

A module of its own because a client, which must start fast, needs nothing of it.
"""

from __future__ import annotations

import math

from ptymux.errors import InvalidValueError, VersionError
from ptymux.protocol.messages import LARGEST_PAYLOAD, OLDEST_PROTOCOL, PROTOCOL
from ptymux.protocol.values import Word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Params", "agree", "payload_size"]


class Params:
    """The parameters of a request, read and checked one by one.

    Raises, in every method:
        InvalidValueError: the parameter is missing and has no default, or is of another kind; the
            message names it.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def has(self, name: str) -> bool:
        """Return whether the parameter is there and not null."""
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
        """Return a text, or None when there is none."""
        return self.text(name, longest=longest) if self.has(name) else None

    def optional_number(self, name: str, low: int = 0, high: int = 1 << 62) -> int | None:
        """Return a whole number, or None when there is none."""
        return self.number(name, low, high) if self.has(name) else None

    def optional_real(self, name: str, low: float = 0.0) -> float | None:
        """Return a finite number, or None when there is none."""
        return self.real(name, low) if self.has(name) else None

    def texts_list(self, name: str) -> list[str]:
        """Return a list of texts, empty when there is none."""
        values = self._get(name, ())
        if isinstance(values, (list, tuple)) and all(isinstance(each, str) for each in values):
            return list(values)
        raise self._wrong(name, "a list of texts")

    def numbers(self, name: str, low: int, high: int, most: int) -> list[int]:
        """Return a list of at most `most` different whole numbers, empty when there is none."""
        values = self._get(name, ())
        if isinstance(values, (list, tuple)) and len(values) <= most:
            are_fine = all(type(each) is int and low <= each <= high for each in values)
            if are_fine and len(set(values)) == len(values):
                return list(values)
        raise self._wrong(name, f"at most {most} different whole numbers from {low} to {high}")

    def choices(self, name: str, allowed: Sequence[str]) -> list[str]:
        """Return a list of some of `allowed`, empty when there is none."""
        values = self.texts_list(name)
        if set(values) <= set(allowed):
            return values
        raise self._wrong(name, f"a list of some of {', '.join(allowed)}")

    def texts(self, name: str) -> dict[str, str]:
        """Return texts by their names, none when there are none; no error shows them."""
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


def agree(params: Params) -> int:
    """Return the newest version that we and a client speak, whose hello has these `params`.

    Raises:
        VersionError: there is none.
        InvalidValueError: the client named no versions.
    """
    first, last = params.pair("protocol")
    common = min(last, PROTOCOL)
    if common < max(first, OLDEST_PROTOCOL):
        raise VersionError(f"{OLDEST_PROTOCOL} to {PROTOCOL}", f"{first} to {last}")
    return common


def payload_size(params: Params) -> int:
    """Return how many bytes follow the line of a spawn with these parameters.

    Raises:
        InvalidValueError: they do not say, or it is more than may follow.
    """
    return params.number("payload_bytes", 0, LARGEST_PAYLOAD)


def _shown(value: object) -> object:
    # The content of a list or an object may be long, or a secret.
    if value is None:
        return Word("missing")
    if isinstance(value, (list, dict)):
        return Word("a list" if isinstance(value, list) else "an object")
    return f"{value[:40]}..." if isinstance(value, str) and len(value) > 40 else value

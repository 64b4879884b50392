"""`WindowSize`: a terminal's size in character cells."""

from __future__ import annotations

from dataclasses import dataclass

from ptymux.errors import InvalidDimensionsError, InvalidValueError

__all__ = ["WindowSize"]


@dataclass(frozen=True, slots=True)
class WindowSize:
    """A terminal's size in character cells, 1 to 10000 in each direction.

    Raises:
        InvalidDimensionsError: columns or rows are outside that range.
    """

    cols: int
    rows: int

    def __post_init__(self) -> None:
        for what, value in (("columns", self.cols), ("rows", self.rows)):
            if type(value) is not int:
                raise InvalidValueError(what, value, "a whole number from 1 to 10000")
        if not (1 <= self.cols <= 10_000 and 1 <= self.rows <= 10_000):
            raise InvalidDimensionsError(self.cols, self.rows)

    def __str__(self) -> str:
        return f"{self.cols}x{self.rows}"

"""Where backpressure goes on and off, and the thresholds that leave room for both."""

from __future__ import annotations

import math
from typing import Final

from ptymux.errors import InvalidValueError

__all__ = ["HYSTERESIS", "check_threshold", "marks"]

HYSTERESIS: Final = 0.10  # backpressure goes off this far below its threshold


def check_threshold(threshold: float, given: object = None) -> float:
    """Return a threshold that backpressure can have; a NaN is none.

    Raises:
        InvalidValueError: it is not above 0.10 and below 1.0; `given` is how it was typed.
    """
    if not HYSTERESIS < threshold < 1.0:
        given = threshold if given is None else given
        raise InvalidValueError("threshold", given, "a number above 0.10 and below 1.0")
    return threshold


def marks(threshold: float, capacity: int) -> tuple[int, int, int]:
    """Return three backlogs in bytes: it goes on above the first, and off below the second.

    A consumer counts once its own was not above the third.
    """
    # In whole bytes; the rounding keeps a mark such as 0.55 - 0.10 where people expect it.
    off_mark = (check_threshold(threshold) - HYSTERESIS) * capacity
    on_above = math.floor(threshold * capacity + 1e-6)
    return on_above, max(1, math.ceil(off_mark - 1e-6)), math.floor(off_mark + 1e-6)

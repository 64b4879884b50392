"""The backlogs at which backpressure goes on and off, computed from a threshold."""

from __future__ import annotations

import math
from typing import Final

from ptymux.errors import InvalidValueError

__all__ = ["HYSTERESIS", "check_threshold", "marks"]

HYSTERESIS: Final = 0.10  # backpressure goes off this far below its threshold


def check_threshold(threshold: float, given: object = None) -> float:
    """Return `threshold` if it is valid: above 0.10 and below 1.0.

    Raises:
        InvalidValueError: it is not, or it is NaN; the message shows `given`, as it was typed.
    """
    if not HYSTERESIS < threshold < 1.0:
        given = threshold if given is None else given
        raise InvalidValueError("threshold", given, "a number above 0.10 and below 1.0")
    return threshold


def marks(threshold: float, capacity: int) -> tuple[int, int, int]:
    """Return three backlogs in bytes: backpressure goes on above the first, off below the second.

    A consumer counts for backpressure from the moment its backlog is at most the third.
    """
    # In whole bytes. The 1e-6 undoes rounding errors such as that of 0.55 - 0.10.
    off_mark = (check_threshold(threshold) - HYSTERESIS) * capacity
    on_above = math.floor(threshold * capacity + 1e-6)
    return on_above, max(1, math.ceil(off_mark - 1e-6)), math.floor(off_mark + 1e-6)

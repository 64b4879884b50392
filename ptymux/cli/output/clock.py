"""Moments as people read them: the time of day, with the date where it is not today."""

from __future__ import annotations

import time

from ptymux.core.units import format_date

__all__ = ["format_moment"]


def format_moment(at: float, now: float, *, milliseconds: bool = False) -> str:
    """Return a moment in seconds since the epoch in local time, seen from another one.

    It is `14:03:12` on the same day, else `Nov 26 14:03:12`, in another year `2025-11-26 14:03:12`.
    """
    then = time.localtime(at)
    part = f".{int(at % 1 * 1000):03d}" if milliseconds else ""
    clock = f"{time.strftime('%H:%M:%S', then)}{part}"
    return f"{format_date(then, time.localtime(now))} {clock}".lstrip()

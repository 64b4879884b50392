"""Moments as people read them: the time of day, with the date where it is not today."""

from __future__ import annotations

import time

__all__ = ["format_moment"]

# Not by %b, which follows the language of the user: all else here is English.
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def format_moment(at: float, now: float) -> str:
    """Return a moment in seconds since the epoch in local time, seen from another one.

    It is `14:03:12` on the same day, else `Nov 26 14:03:12`, in another year `2025-11-26 14:03:12`.
    """
    then, today = time.localtime(at), time.localtime(now)
    clock = time.strftime("%H:%M:%S", then)
    if then[:3] == today[:3]:
        return clock
    month = _MONTHS[3 * then.tm_mon - 3 : 3 * then.tm_mon]
    day = f"{month} {then.tm_mday}" if then[0] == today[0] else time.strftime("%Y-%m-%d", then)
    return f"{day} {clock}"

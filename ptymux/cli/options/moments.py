"""A type of option for click: a moment, or how long ago it was."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import Final

from ptymux.cli.options.param_types import ParamValue
from ptymux.core.units import parse_duration
from ptymux.errors import InvalidValueError

__all__ = ["MOMENT", "parse_moment"]

_CLOCK: Final = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?", re.ASCII)
_EXPECTED: Final = "a time such as 10m (ago), 14:05, 2026-11-27 or 2026-11-27T14:05"


def parse_moment(text: str, now: float | None = None) -> float:
    """Return the seconds since the epoch for 10m (ago), 14:05, 2026-11-27 or 2026-11-27T14:05.

    It is local time where no zone is given. A time of day that is to come is yesterday's.

    Raises:
        InvalidValueError: it is none of these.
    """
    now = time.time() if now is None else now
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).timestamp()
        if _CLOCK.fullmatch(text):
            return _last_time_of_day(text, now)
        return now - parse_duration(text)
    except (ValueError, OverflowError, OSError, InvalidValueError):
        raise InvalidValueError("time", text, _EXPECTED) from None


def _last_time_of_day(text: str, now: float) -> float:
    hour, minute, second = (*map(int, text.split(":")), 0)[:3]
    today = datetime.fromtimestamp(now)
    found = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
    if found.timestamp() > now:
        found -= timedelta(days=1)
    return found.timestamp()


MOMENT: Final = ParamValue("TIME", parse_moment)

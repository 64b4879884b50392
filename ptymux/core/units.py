"""Sizes, durations and names as people type and read them.

Two conventions, never mixed. Sizes that people type are binary: `4M` and `4MiB` are 4,194,304
bytes, and `format_capacity` returns such a size as it was typed. Measured amounts are decimal, and
their unit shows it: `12.3 MB` are 12,300,000 bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction

from ptymux.core.window_size import WindowSize
from ptymux.errors import InvalidValueError

__all__ = [
    "parse_size",
    "parse_duration",
    "parse_window_size",
    "format_size",
    "format_capacity",
    "format_duration",
    "format_age",
    "format_date",
    "command_words",
    "printable",
]

_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_BINARY = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECONDS = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
}
_LONGEST = 100 * 366 * 86_400  # seconds: not every clock of the system can wait longer
_AGE_UNITS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))
# At most 18 digits: computing with a number of a million digits would take long.
_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,18})?)"
_SIZE = re.compile(rf"{_NUMBER}(?:([kmgt])(?:i?b)?|b)?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(rf"{_NUMBER}(ms|s|m|h|d)?", re.ASCII)
_WINDOW = re.compile(r"([0-9]{1,9})x([0-9]{1,9})", re.IGNORECASE | re.ASCII)


def parse_size(text: str, what: str = "size") -> int:
    """Return the bytes for a text such as 4M, 4MB, 4MiB, 64k, 1.5G, 1024 or 0; units are binary.

    Raises:
        InvalidValueError: it is no size, or not a whole number of bytes; the message names `what`.
    """
    match = _SIZE.fullmatch(text)
    size = Fraction(match[1]) * _BINARY[(match[2] or "").lower()] if match else Fraction(1, 2)
    if size.denominator != 1:
        raise InvalidValueError(what, text, "a whole number of bytes such as 4M, 64k or 1024")
    return int(size)


def parse_duration(text: str, what: str = "duration") -> float:
    """Return the seconds for a text such as 500ms, 5s, 2m, 1h, 30d, 0.5 or 5; 100 years at most.

    Raises:
        InvalidValueError: it is no duration; the message names `what`.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidValueError(what, text, "a time such as 500ms, 5s, 2m, 1h or 30d")
    return min(float(Fraction(match[1]) * _SECONDS[match[2] or ""]), _LONGEST)


def parse_window_size(text: str) -> WindowSize:
    """Return the terminal size for a text such as 80x24: columns by rows.

    Raises:
        InvalidDimensionsError: columns or rows are outside 1 to 10000.
        InvalidValueError: it is no size.
    """
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise InvalidValueError("size", text, "columns by rows such as 80x24")
    return WindowSize(int(match[1]), int(match[2]))


def format_size(size: int) -> str:
    """Return a measured number of bytes for people, in decimal units: `999 B`, `12.3 MB`."""
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:  # above, it would be rounded to 1000.0: use the next unit
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def format_capacity(size: int) -> str:
    """Return a configured size as people type it: 4M for 4194304; `parse_size` reads it back."""
    for unit in ("T", "G", "M", "k"):
        if size and size % _BINARY[unit.lower()] == 0:
            return f"{size // _BINARY[unit.lower()]}{unit}"
    return str(size)


def format_duration(seconds: float) -> str:
    """Return a time for people: `350 ms`, `3.2 s`, `41 s`, `2 m 5 s`, `1 h 0 m`, `3 d 4 h`.

    Times are rounded down. A negative time, from a clock that was set back, is shown as 0.
    """
    if seconds < 1:
        return f"{max(0, math.floor(seconds * 1000))} ms"
    if seconds < 10:
        return f"{math.floor(seconds * 10) / 10:.1f} s"
    whole = math.floor(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} m"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def format_age(seconds: float) -> str:
    """Return a time for a column of a table, in at most six characters: 41s, 2m05s, 1h02m, 412d.

    What is cut off is not rounded up. A negative time, from a clock that was set back, is none.
    """
    whole = max(0, math.floor(seconds))
    for size, unit, smaller, part in _AGE_UNITS:
        if whole >= 100 * size:
            return f"{whole // size}{unit}"
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // smaller:02}{part}"
    return f"{whole}s"


def format_date(then: Sequence[int], today: Sequence[int]) -> str:
    """Return the date of a moment, `Nov 26` or `2025-11-26`, and nothing if it was today.

    Both begin with year, month and day, as what `time.localtime` returns.
    """
    if tuple(then[:3]) == tuple(today[:3]):
        return ""
    year, month, day = then[:3]
    if year != today[0]:
        return f"{year}-{month:02}-{day:02}"
    return f"{_MONTHS[3 * month - 3 : 3 * month]} {day}"


def command_words(words: Sequence[str]) -> str:
    """Return a command as it was typed, safe to show; for `run -c LINE` only the line."""
    if len(words) == 4 and words[1] == "-c" and words[0] == words[3]:
        return printable(words[2])
    return printable(" ".join(words))


def printable(text: str) -> str:
    """Return `text` without control and escape characters, safe to show on a terminal.

    Any whitespace becomes a space, so that words stay apart. Characters without a visible form are
    left out: ESC, C1 controls, marks that reverse the text, and bytes that were not UTF-8.
    """
    return "".join(
        " " if char.isspace() else char for char in text if char.isspace() or char.isprintable()
    )

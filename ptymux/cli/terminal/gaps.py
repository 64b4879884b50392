"""What a terminal is shown in the place of output that it does not get."""

from __future__ import annotations

from typing import Final

__all__ = ["Gaps"]

_SOFT_RESET: Final = b"\x1b[!p\x1b[0m\r\n"


class Gaps:
    """The lines about bytes that are missing, as long as they wait to be shown."""

    def __init__(self) -> None:
        self._missing = self._text = 0

    def add(self, size: int) -> bytes:
        """Return the line about so many bytes."""
        line = _SOFT_RESET + f"[ptymux: {size:,} bytes not shown]\r\n".encode()
        self._missing += size
        self._text += len(line)
        return line

    def forget(self) -> int:
        """Return by how much more is missing than the lines are long, if they are not shown."""
        more = self._missing - self._text
        self._missing = self._text = 0
        return more

"""The line limit of terminals: in canonical mode the kernel cuts longer lines of input."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LONGEST_LINE", "line_sizes"]

LONGEST_LINE: Final = 4095  # Source: N_TTY_BUF_SIZE in linux/drivers/tty/n_tty.c, less the newline
_LINE_ENDS: Final = re.compile(rb"[\r\n\x04]")


def line_sizes(data: bytes) -> list[int]:
    """Return the length of each line in `data` without its end; the last may be incomplete."""
    return [len(line) for line in _LINE_ENDS.split(data)]

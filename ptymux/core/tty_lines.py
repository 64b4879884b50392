"""Lines of input, of which a terminal that collects them cuts the long ones."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LONGEST_LINE", "line_sizes"]

LONGEST_LINE: Final = 4095  # Source: N_TTY_BUF_SIZE in linux/drivers/tty/n_tty.c, less the newline
_LINE_ENDS: Final = re.compile(rb"[\r\n\x04]")


def line_sizes(data: bytes) -> list[int]:
    """Return how long each line is, without its end; the last one may go on."""
    return [len(line) for line in _LINE_ENDS.split(data)]

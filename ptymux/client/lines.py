"""Lines of input that a terminal would cut, as it collects them: noticed before they are sent."""

from __future__ import annotations

import re
from typing import Final

from ptymux.errors import LineTooLongError

__all__ = ["LONGEST_LINE", "Lines"]

LONGEST_LINE: Final = 4095  # Source: N_TTY_BUF_SIZE in linux/drivers/tty/n_tty.c, less the newline
_LINE_ENDS: Final = re.compile(rb"[\r\n\x04]")


class Lines:
    """Measures the lines of what is sent to the terminal of process `pid`."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._begun = 0  # bytes of the line that is not ended yet

    def check(self, data: bytes) -> None:
        """Take notice of what is sent next.

        Raises:
            LineTooLongError: it has a line that the terminal would cut now.
        """
        sizes = [len(line) for line in _LINE_ENDS.split(data)]
        sizes[0] += self._begun
        if max(sizes) > LONGEST_LINE and self._pid is not None:
            from ptymux.posix.collecting import collects_lines

            if collects_lines(self._pid):
                raise LineTooLongError(max(sizes), LONGEST_LINE)
        self._begun = sizes[-1]

"""A check before input is sent: lines so long that the terminal would cut them are refused.

A terminal in canonical mode collects a line before the program reads it, and drops what does not
fit into its buffer.
"""

from __future__ import annotations

from ptymux.core.tty_lines import LONGEST_LINE, line_sizes
from ptymux.errors import LineTooLongError

__all__ = ["Lines"]


class Lines:
    """The check for all that is sent to the terminal of process `pid`, in order."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._begun = 0  # bytes of the line whose end was not sent yet

    def check(self, data: bytes) -> None:
        """Return if `data` may be sent next, and count it as sent.

        Raises:
            LineTooLongError: the terminal would cut a line of it, as it is set now.
        """
        sizes = line_sizes(data)
        sizes[0] += self._begun
        if max(sizes) > LONGEST_LINE and self._pid is not None:
            from ptymux.posix.tty import process_is_canonical

            if process_is_canonical(self._pid):
                raise LineTooLongError(max(sizes), LONGEST_LINE)
        self._begun = sizes[-1]

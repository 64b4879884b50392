"""Lines of input that a terminal would cut, as it collects them: noticed before they are sent."""

from __future__ import annotations

from ptymux.core.tty_lines import LONGEST_LINE, line_sizes
from ptymux.errors import LineTooLongError

__all__ = ["Lines"]


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
        sizes = line_sizes(data)
        sizes[0] += self._begun
        if max(sizes) > LONGEST_LINE and self._pid is not None:
            from ptymux.posix.tty import process_is_canonical

            if process_is_canonical(self._pid):
                raise LineTooLongError(max(sizes), LONGEST_LINE)
        self._begun = sizes[-1]

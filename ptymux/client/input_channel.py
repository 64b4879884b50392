"""Input to one PTY, piece by piece; it goes on when the keeper is replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ptymux.client.closing import Closing
from ptymux.client.cut_lines import Lines
from ptymux.client.stream import Lifeline
from ptymux.errors import ConnectionClosedError, InputCutError

__all__ = ["InputChannel"]

_log: Final = logging.getLogger(__name__)


class InputChannel(Closing):
    """What is sent here is typed into a PTY: through a lifeline, or another once that has ended.

    `open_lifeline` gives another; it raises InvalidStateError once the PTY has ended.
    """

    def __init__(
        self, pty_id: str, lifeline: Lifeline | None, open_lifeline: Callable[[], Lifeline]
    ) -> None:
        """Take over `lifeline`; without one it is opened when it is needed."""
        self._lifeline = lifeline
        self._pty_id = pty_id
        self._open_lifeline = open_lifeline
        self._sent = 0  # bytes, through this lifeline

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the input; what was sent arrives all the same."""
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None

    def send(self, data: bytes, lines: Lines | None = None) -> None:
        """Send all of `data`, however long the terminal takes; returns once it is on its way.

        Raises:
            LineTooLongError: as `lines` finds; nothing was sent.
            InvalidStateError: the PTY has ended; nothing was sent.
            InputCutError: the PTY ended meanwhile; sizes are of all that was sent by this.
            ConnectionClosedError: the keeper died meanwhile, so that nobody knows how much arrived.
        """
        if not data:
            return
        if lines is not None:
            lines.check(data)
        lifeline = self._usable()
        try:
            if lifeline.send_all(data):
                self._sent += len(data)
                return
            raise InputCutError(self._pty_id, lifeline.finish(), self._sent + len(data))
        except BaseException:  # how much of it was sent is not known
            self.close()
            raise

    def _usable(self) -> Lifeline:
        """Return the lifeline, or another one if it has ended; a keeper's death is logged."""
        if self._lifeline is not None and self._lifeline.has_ended():
            try:
                self._lifeline.finish()
            except ConnectionClosedError as error:
                if self._sent:
                    _log.warning("PTY %s: %s", self._pty_id, error)
            self.close()
        if self._lifeline is None:
            self._lifeline, self._sent = self._open_lifeline(), 0
        return self._lifeline

"""How long a server has had nothing to do, and when it should look again or leave.

While a PTY lives the server looks again now and then, and counts from the last look at which one
lived. All times are of `time.monotonic`, which does not jump when the clock is set.
"""

from __future__ import annotations

from typing import Final

__all__ = ["IdleTime"]

_SHORTEST_PAUSE: Final = 0.01  # seconds between two looks
_LOOKS: Final = 10  # at live PTYs in the time after which a server leaves


class IdleTime:
    """The time since a server had its last client and its last live PTY."""

    def __init__(self, leave_seconds: float, now: float) -> None:
        """Begin at `now`; after `leave_seconds` without anything to do a server leaves."""
        self._leave_seconds = leave_seconds
        self._since = now

    def seconds(self, now: float) -> float:
        """Return for how long there has been nothing to do."""
        return now - self._since

    def note_client_left(self, now: float) -> None:
        """Begin anew, as a client was there until now."""
        self._since = now

    def next_look(self, now: float, *, has_live: bool) -> float | None:
        """Return the seconds until the next look; None: it is time to leave.

        `has_live`: a PTY lives. It may live until the next look, so that the time begins there.
        """
        if has_live:
            pause = max(_SHORTEST_PAUSE, self._leave_seconds / _LOOKS)
            self._since = now + pause
            return pause
        left = self._leave_seconds - self.seconds(now)
        return max(_SHORTEST_PAUSE, left) if left > 0 else None

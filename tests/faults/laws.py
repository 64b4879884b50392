"""What must hold after every fault: the laws, numbers that only grow, a whole log."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Final

from ptymux.core.model import Limits
from ptymux.errors import ConnectionClosedError
from tests.serving import Serving
from tests.timing import wait_until

__all__ = ["EventFollower", "Watch", "memfds_of"]

_GROWING: Final = (
    "total_written",
    "total_consumed",
    "total_dropped",
    "dropped_attended",
    "dropped_unattended",
    "trimmed",
    "overflow_events",
    "backpressure_events",
    "high_water",
)


class Watch:
    """Looks at PTYs again and again; remembers what no number may fall below."""

    def __init__(self, server: Serving) -> None:
        self._server = server
        self._seen: dict[tuple[str, str], int] = {}

    def look(self, *ptys: dict[str, Any]) -> list[dict[str, Any]]:
        """Check each PTY; return what is told of them now."""
        return [self._check(self._server.call("stats", pty=pty["pty_id"])["pty"]) for pty in ptys]

    def _check(self, pty: dict[str, Any]) -> dict[str, Any]:
        b = pty["buffer"]
        written = b["total_written"]
        assert written == b["retained"] + b["pending"] + b["trimmed"] + b["total_dropped"], b
        assert written == b["total_consumed"] + b["pending"] + b["total_dropped"] + b["unread"], b
        assert b["total_dropped"] == b["dropped_attended"] + b["dropped_unattended"], b
        assert b["unread"] <= b["retained"] <= b["capacity"], b
        assert 0 <= b["backlog"] <= b["high_water"] <= b["capacity"], b
        assert 0 <= b["pending"] <= Limits.READERS * Limits.CHUNK, b
        for name, value in [*((n, b[n]) for n in _GROWING), ("held_ms", pty["held_ms"])]:
            key = (pty["pty_id"], name)
            assert value >= self._seen.get(key, 0), f"{name} fell: {self._seen[key]} to {value}"
            self._seen[key] = value
        return pty


class EventFollower:
    """The event log of a server, as told from its beginning."""

    def __init__(self, server: Serving) -> None:
        """Read the log; again from its beginning if the server is replaced meanwhile."""

        def read() -> tuple[int, list[dict[str, Any]]]:
            with server.connect() as connection:
                reply = connection.call("events", since=0)
                notes = list(connection.notifications())
            return reply["missed"], [note.params for note in notes if note.method == "event"]

        self.missed, told = wait_until(read, "the events", ignoring=ConnectionClosedError)
        self.all = told
        self.of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in told:
            self.of[event["topic"]].append(event)

    def check(self) -> None:
        """No hole in seq nor in any topic's sequence, no end told twice."""
        seqs = [event["seq"] for event in self.all]
        assert seqs == list(range(self.missed + 1, self.missed + 1 + len(seqs)))
        for topic, events in self.of.items():
            sequences = [event["sequence"] for event in events]
            first = sequences[0]
            assert sequences == list(range(first, first + len(events))), topic
            assert self.missed or first == 1
        ends = Counter(event["pty_id"] for event in self.of["pty.stopped"])
        assert set(ends.values()) <= {1}, ends
        assert len({event["id"] for event in self.all}) == len(self.all)

    def overflow_of(self, pty: dict[str, Any]) -> int:
        """Return how much loss of a PTY was told in all."""
        return sum(
            event["payload"]["dropped_since_last"]
            for event in self.of["pty.buffer.overflow"]
            if event["pty_id"] == pty["pty_id"]
        )


def memfds_of(pid: int) -> int:
    """Return how many pieces of shared memory a process has open."""
    found = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += os.readlink(fd).startswith("/memfd:")
        except OSError:
            continue
    return found

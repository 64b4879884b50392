"""PTYs as a server tells them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

Told: TypeAlias = Callable[..., dict[str, Any]]


@pytest.fixture
def told() -> Told:
    """Return what makes the JSON of a PTY; what is given replaces what it says."""

    def make(number: int = 1, **changes: Any) -> dict[str, Any]:
        buffer = {
            "capacity": 1000,
            "unread": 0,
            "backlog": 0,
            "utilization": 0.0,
            "total_written": 0,
            "total_consumed": 0,
            "retained": 0,
            "total_dropped": 0,
            "dropped_attended": 0,
            "backpressure": False,
            "backpressure_events": 0,
        }
        pty: dict[str, Any] = {
            "pty_id": f"pty_{number}",
            "number": number,
            "name": f"name{number}",
            "lane_id": "default",
            "session_id": "ses_1",
            "cwd": "/src",
            "cols": 80,
            "rows": 24,
            "reason": None,
            "unseen": False,
            "pid": 100 + number,
            "state": "active",
            "shown": "running",
            "suspended": False,
            "command": ["/bin/make", "-j8"],
            "created_at": 1000.0 + number,
            "updated_at": 1000.0 + number,
            "signal": None,
            "on_full": "drop",
            "threshold": 0.75,
            "clients": 0,
            "attended": False,
        }
        for name, value in changes.items():
            (buffer if name in buffer else pty)[name] = value
        return pty | {"buffer": buffer}

    return make

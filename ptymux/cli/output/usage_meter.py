"""Measures what PTYs use of processors and memory; a server does not know that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from ptymux.core.model import ENDED_STATES
from ptymux.posix.usage import Usage, session_usage

__all__ = ["UsageMeter"]

_BETWEEN_SECONDS: Final = 0.3  # two looks, where there was none before


class UsageMeter:
    """Measures again and again: a share of processor time is that since the time before."""

    def __init__(self) -> None:
        self._before: Mapping[int, Usage] = {}
        self._at = 0.0

    def measure(self, ptys: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the PTYs with `cpu`, 1.0 for one processor, and `memory` in bytes.

        Both are None for one that has ended. The first time it takes 0.3 s.
        """
        pids = [pty["pid"] for pty in ptys if pty["pid"] and pty["state"] not in ENDED_STATES]
        if pids and not self._before:
            self._before, self._at = session_usage(pids), time.monotonic()
            time.sleep(_BETWEEN_SECONDS)
        now, at = session_usage(pids) if pids else {}, time.monotonic()
        seconds = at - self._at
        measured = []
        for pty in ptys:
            usage = now.get(pty["pid"]) if pty["state"] not in ENDED_STATES else None
            cpu = None
            if usage is not None:
                before = self._before.get(pty["pid"])
                spent = usage.cpu_seconds - (before.cpu_seconds if before else usage.cpu_seconds)
                cpu = max(0.0, spent / seconds)
            memory = None if usage is None else usage.memory_bytes
            measured.append(pty | {"cpu": cpu, "memory": memory})
        self._before, self._at = now, at
        return measured

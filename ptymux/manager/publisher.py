"""Publishes what happens to PTYs: one place that knows ids, clocks and the shape of payloads."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ptymux.core.bus import Bus
from ptymux.core.event_log import Topic
from ptymux.core.model import CorrelationId, PtyRecord, ulid
from ptymux.core.notifications import (
    BackpressureOff,
    BackpressureOn,
    Overflow,
    ReaderSkipped,
    Telling,
)

__all__ = ["Announcer", "Json", "cause_of", "new_id"]

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"

_log = logging.getLogger("ptymux")


def new_id(prefix: str) -> str:
    """Return `prefix`, an underscore and a ULID of now."""
    return f"{prefix}_{ulid(time.time_ns() // 1_000_000, os.urandom(10))}"


def cause_of(correlation_id: CorrelationId | None) -> CorrelationId:
    """Return the id of a request, a new one when it has none."""
    return correlation_id or CorrelationId(new_id("req"))


class Announcer:
    """Puts events of PTYs on a bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    def tell(
        self,
        record: PtyRecord,
        topic: Topic,
        correlation_id: CorrelationId,
        payload: Mapping[str, Json],
    ) -> None:
        """Publish one event of a PTY, now."""
        self.bus.publish(
            topic,
            id=new_id("evt"),
            at=time.time(),
            pty_id=record.pty_id,
            lane_id=record.lane_id,
            session_id=record.session_id,
            terminal_id=record.terminal_id,
            correlation_id=correlation_id,
            payload=payload,
        )

    def tell_output(
        self, record: PtyRecord, correlation_id: CorrelationId, tellings: list[Telling]
    ) -> None:
        """Publish what an output buffer found worth telling; log a PTY's first overflow."""
        for telling in tellings:
            topic, payload = _event(telling)
            self.tell(record, topic, correlation_id, payload)
            if isinstance(telling, Overflow) and telling.first:
                _log.warning(
                    "%s: output is being dropped, its buffer is full and nobody read it "
                    "(`ptymux stats %s` counts it; --buffer-size and --on-full change it)",
                    record.pty_id,
                    record.number,
                )


def _event(telling: Telling) -> tuple[Topic, dict[str, Json]]:
    match telling:
        case BackpressureOn(utilization, stats):
            return Topic.BACKPRESSURE_ON, {
                "utilization": utilization,
                "statistics": stats.as_json(),
            }
        case BackpressureOff(utilization, stats, reason):
            return Topic.BACKPRESSURE_OFF, {
                "utilization": utilization,
                "statistics": stats.as_json(),
                "reason": reason.value,
            }
        case Overflow():
            return Topic.BUFFER_OVERFLOW, {
                "dropped_since_last": telling.dropped_since_last,
                "total_dropped": telling.total_dropped,
                "utilization": telling.utilization,
                "attended": telling.attended,
                "final": telling.final,
            }
        case ReaderSkipped():
            return Topic.READER_SKIPPED, {
                "reader": telling.reader_id,
                "skipped_since_last": telling.skipped_since_last,
                "total_skipped": telling.total_skipped,
                "final": telling.final,
            }

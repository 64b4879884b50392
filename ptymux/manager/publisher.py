"""`Publisher`: makes events of what happens to PTYs, with their ids, times and payloads."""

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
    BufferNotification,
    Overflow,
    ReaderSkipped,
)

__all__ = ["Publisher", "Json", "cause_of", "new_id"]

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"

_log = logging.getLogger("ptymux")


def new_id(prefix: str) -> str:
    """Return `prefix`, an underscore and a ULID of now."""
    return f"{prefix}_{ulid(time.time_ns() // 1_000_000, os.urandom(10))}"


def cause_of(correlation_id: CorrelationId | None) -> CorrelationId:
    """Return the id of a request, or a new one if it has none."""
    return correlation_id or CorrelationId(new_id("req"))


class Publisher:
    """Puts the events of PTYs on a bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    def publish(
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

    def publish_output(
        self,
        record: PtyRecord,
        correlation_id: CorrelationId,
        notifications: list[BufferNotification],
    ) -> None:
        """Publish the notifications of an output buffer; log a PTY's first overflow."""
        for notification in notifications:
            topic, payload = _event(notification)
            self.publish(record, topic, correlation_id, payload)
            if isinstance(notification, Overflow) and notification.first:
                _log.warning(
                    "%s: output is being dropped, its buffer is full and nobody read it "
                    "(`ptymux stats %s` counts it; --buffer-size and --on-full change it)",
                    record.pty_id,
                    record.number,
                )


def _event(notification: BufferNotification) -> tuple[Topic, dict[str, Json]]:
    match notification:
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
                "dropped_since_last": notification.dropped_since_last,
                "total_dropped": notification.total_dropped,
                "utilization": notification.utilization,
                "attended": notification.attended,
                "final": notification.final,
            }
        case ReaderSkipped():
            return Topic.READER_SKIPPED, {
                "reader": notification.reader_id,
                "skipped_since_last": notification.skipped_since_last,
                "total_skipped": notification.total_skipped,
                "final": notification.final,
            }

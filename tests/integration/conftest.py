"""Async tests under a deadline, waiting for conditions, and events as they were published."""

from __future__ import annotations

import asyncio
import functools
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import pytest

from ptymux.core.event_log import EventEnvelope, Topic
from ptymux.core.model import Limits, PtyId, PtyRecord, SpawnOptions
from ptymux.core.ring import RingBuffer
from ptymux.core.windows import VARIABLE
from ptymux.engine.engine import SpawnedPty
from ptymux.link.private_link import PrivateLink
from ptymux.manager import PtyManager
from ptymux.posix.process import session_members
from tests.timing import deadline_seconds, wait_until_async

LONG = 3600.0  # seconds of a window, or of a grace, that is not to pass during a test

P = ParamSpec("P")
T = TypeVar("T")


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a plain test of an async one."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), deadline_seconds(4)))

    return run


async def in_time(what: Awaitable[T]) -> T:
    """Return what an awaitable gives, which must not hang."""
    return await asyncio.wait_for(what, deadline_seconds())


def set_windows(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Set the time windows of keepers that are started from now on."""
    monkeypatch.setenv(VARIABLE, ",".join(f"{name}={value}" for name, value in seconds.items()))


class RingLink(PrivateLink):
    """A link that keeps the rings of its PTYs, in the order of their spawns."""

    def __init__(self) -> None:
        super().__init__()
        self.rings: list[RingBuffer] = []

    async def spawn(self, slot: int, options: SpawnOptions, env: Mapping[str, str]) -> SpawnedPty:
        spawned = await super().spawn(slot, options, env)
        self.rings.append(spawned.ring)
        return spawned


class Events:
    """Every event of a manager from now on."""

    def __init__(self, manager: PtyManager, *topics: Topic) -> None:
        self._stream = manager.subscribe(topics or None)
        self._all: list[EventEnvelope] = []

    @property
    def all(self) -> list[EventEnvelope]:
        for event in self._stream.take():
            assert isinstance(event, EventEnvelope), event
            self._all.append(event)
        return self._all

    def of(self, record: PtyRecord | PtyId, *topics: Topic) -> list[EventEnvelope]:
        pty_id = record.pty_id if isinstance(record, PtyRecord) else record
        return [
            event
            for event in self.all
            if event.pty_id == pty_id and (not topics or event.topic in topics)
        ]

    def topics(self, record: PtyRecord | PtyId) -> list[Topic]:
        return [event.topic for event in self.of(record)]

    def one(self, record: PtyRecord | PtyId, topic: Topic) -> EventEnvelope:
        (event,) = self.of(record, topic)
        return event

    def steps(self, record: PtyRecord | PtyId) -> list[str]:
        """Return the states in the order in which they were announced."""
        changes = self.of(record, Topic.STATE_CHANGED)
        return [str(changes[0].payload["from"]), *(str(c.payload["to"]) for c in changes)]


def shell(script: str, **options: Any) -> SpawnOptions:
    return command("/bin/sh", "-c", script, **options)


def command(*argv: str, **options: Any) -> SpawnOptions:
    options.setdefault("env", {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/"})
    return SpawnOptions(argv=argv, **options)


async def output_of(manager: PtyManager, record: PtyRecord, text: bytes) -> bytes:
    """Return the retained output once `text` is in it."""
    await wait_until_async(lambda: text in manager.read(record.pty_id).data)
    return manager.read(record.pty_id).data


@asynccontextmanager
async def managed(**options: Any) -> AsyncIterator[tuple[PtyManager, Events]]:
    """Give a manager and its events; afterwards each PTY was told to end once, and none is left."""
    manager = PtyManager(limits=Limits(subscriber_queue=16_384), **options)
    events = Events(manager)
    try:
        yield manager, events
    finally:
        pids = [record.pid for record in manager.list() if record.pid is not None]
        await manager.close(grace_seconds=1)
    await wait_until_async(lambda: not [pid for pid in pids if session_members(pid)])
    ends = Counter(event.pty_id for event in events.all if event.topic is Topic.STOPPED)
    starts = {event.pty_id for event in events.all}
    assert ends == dict.fromkeys(starts, 1)

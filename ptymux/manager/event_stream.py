"""`EventStream`: the events of a manager, to be read with `async for`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from ptymux.core.bus import MissedEvents, Subscription
from ptymux.core.event_log import EventEnvelope

__all__ = ["EventStream"]


class EventStream:
    """Events from the moment of subscribing on; ended by `close` or a `with` block.

    A stream that is not read fast enough yields a `MissedEvents` in the place of what it lost. It
    is also closed when its manager is.
    """

    def __init__(self, subscribe: Callable[[Callable[[], None]], Subscription]) -> None:
        """Subscribe by `subscribe`, which gets a function to call when events are ready."""
        self._ready = asyncio.Event()
        self._is_closed = False
        self._rest: list[EventEnvelope | MissedEvents] = []  # not taken when it was closed
        self._subscription = subscribe(self._ready.set)

    def take(self) -> list[EventEnvelope | MissedEvents]:
        """Return the events since the last call, without waiting."""
        self._ready.clear()
        rest, self._rest = self._rest, []
        return rest + self._subscription.take()

    def wants(self, event: EventEnvelope) -> bool:
        """Return whether events like this one are in the stream."""
        return self._subscription.wants(event.topic, event.pty_id)

    async def __aiter__(self) -> AsyncIterator[EventEnvelope | MissedEvents]:
        while True:
            for event in self.take():
                yield event
            if self._is_closed and not self._rest:
                return
            if not self._is_closed:
                await self._ready.wait()

    def close(self) -> None:
        """Unsubscribe; an `async for` still gets what is left, then ends."""
        if not self._is_closed:
            self._is_closed = True
            self._rest = self._subscription.take()
            self._subscription.close()
            self._ready.set()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

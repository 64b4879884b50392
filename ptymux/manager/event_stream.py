"""Events as an async stream over a subscription of the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from ptymux.core.bus import MissedEvents, Subscription
from ptymux.core.event_log import EventEnvelope

__all__ = ["EventStream"]


class EventStream:
    """Events from the moment of subscribing on; ended by `close` or a `with` block.

    A stream that is not read fast enough has a `MissedEvents` in the place of what it lost. The
    end of its manager closes it too.
    """

    def __init__(self, subscribe: Callable[[Callable[[], None]], Subscription]) -> None:
        """Subscribe by calling `subscribe` with what is to be called when events are ready."""
        self._ready = asyncio.Event()
        self._is_closed = False
        self._rest: list[EventEnvelope | MissedEvents] = []  # at the time of closing
        self._subscription = subscribe(self._ready.set)

    def take(self) -> list[EventEnvelope | MissedEvents]:
        """Return what came since the last call, without waiting."""
        self._ready.clear()
        rest, self._rest = self._rest, []
        return rest + self._subscription.take()

    def wants(self, event: EventEnvelope) -> bool:
        """Return whether it gives events like this one."""
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
        """Unsubscribe; who iterates gets what is left, then the end."""
        if not self._is_closed:
            self._is_closed = True
            self._rest = self._subscription.take()
            self._subscription.close()
            self._ready.set()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

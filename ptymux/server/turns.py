"""Turns: a client that asks without end waits for those that ask little.

All requests share one event loop, and most are answered without waiting for anything. So a client
that sends many at once, or one that asks about thousands of PTYs, would hold up all others, and
the output of attached ones. Therefore each connection has a budget of time. Between two requests,
and between two slices of a long one, it calls `pause`. While there is time left that returns at
once; afterwards it waits for its turn. One turn is given in each round of the event loop, in which
all else that is due is done as well, and it is given to whoever has used the least.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

__all__ = ["TimeBudget", "Turns"]

_SLICE_SECONDS: Final = 0.001  # that a connection works before others may
_ALLOWANCE_SECONDS: Final = 0.005  # that it may use without waiting for a turn
_SHARE: Final = 0.005  # of the time that passes, by which what it has used shrinks
_MOST_USED_SECONDS: Final = 0.1  # remembered at most
_LONGEST_SECONDS: Final = 0.05  # counted for one request at most: it may have waited for others


class Turns:
    """The connections that wait for a turn, and who is next."""

    def __init__(self) -> None:
        self._waiting: list[tuple[TimeBudget, asyncio.Future[None]]] = []
        self._is_due = False  # the next turn is given in the next round of the loop

    async def take(self, budget: TimeBudget) -> None:
        """Return once it is the turn of the connection whose budget this is."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((budget, turn))
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._give)
        await turn

    def _give(self) -> None:
        self._waiting = [each for each in self._waiting if not each[1].done()]
        self._is_due = bool(self._waiting)
        if self._waiting:
            first = min(self._waiting, key=lambda each: each[0].used)
            self._waiting.remove(first)
            first[1].set_result(None)
            asyncio.get_running_loop().call_soon(self._give)


class TimeBudget:
    """How much of the server's time one connection has used lately.

    `used` grows by what this thread worked between `begin` and `pause`, and shrinks as time passes.
    While a request waits for the keeper, nobody works, and nobody is charged.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._began = time.thread_time()
        self._counted_at = time.monotonic()
        self._slice = 0.0  # of it, since others could work
        self.used = 0.0  # seconds

    def begin(self) -> None:
        """Note that the connection has something to do, after it had nothing."""
        self._began = time.thread_time()

    async def pause(self) -> None:
        """Let others go first if the time is used up; to be called often, as it is cheap."""
        worked = time.thread_time()
        spent = min(worked - self._began, _LONGEST_SECONDS)
        self._began = worked
        self._slice += spent
        self.used = min(self.used + spent, _MOST_USED_SECONDS)
        if self._slice < _SLICE_SECONDS:
            return
        self._slice = 0.0
        now = time.monotonic()
        self.used = max(0.0, self.used - _SHARE * (now - self._counted_at))
        self._counted_at = now
        if self.used > _ALLOWANCE_SECONDS:
            await self._turns.take(self)
        else:
            await asyncio.sleep(0)
        self.begin()

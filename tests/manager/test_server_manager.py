"""Tests of `manager/server_manager.py` whose keeper is scripted."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from ptymux.core.model import WindowSize
from ptymux.core.windows import Windows
from ptymux.link.server_link import ServerLink
from ptymux.manager.server_manager import ServerManager
from tests.integration.conftest import asynchronous, command
from tests.manager.fake_engine import FakeEngine
from tests.timing import wait_until_async


class FakeKeeper(FakeEngine):
    """The engine of a keeper that is never replaced; it remembers the sizes it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[WindowSize] = []
        self.on_keeper_replaced: object = None

    async def resize(self, slot: int, size: WindowSize) -> None:
        self.sizes.append(size)
        await super().resize(slot, size)

    def persist(self, slot: int, values: dict[str, Any]) -> None:
        """Do nothing."""


def manage(keeper: FakeKeeper, nudge: float) -> ServerManager:
    windows = Windows(nudge=nudge, close=0.05)
    return ServerManager(cast(ServerLink, keeper), "/s", windows=windows)


@asynchronous
async def test_program_that_is_to_draw_has_another_size_for_a_moment() -> None:
    keeper = FakeKeeper()
    manager = manage(keeper, nudge=0)
    async with manager:
        record = await manager.spawn(command("cat", size=WindowSize(80, 24)))

        await manager.nudge(record.pty_id)

        assert keeper.sizes == [WindowSize(80, 23), WindowSize(80, 24)]
        assert manager.get(record.pty_id).size == WindowSize(80, 24)


@asynchronous
async def test_who_is_asked_to_draw_already_is_not_asked_again() -> None:
    keeper = FakeKeeper()
    manager = manage(keeper, nudge=1000)
    async with manager:
        record = await manager.spawn(command("cat", size=WindowSize(80, 1)))
        asking = asyncio.create_task(manager.nudge(record.pty_id))
        await wait_until_async(lambda: keeper.sizes)

        await manager.nudge(record.pty_id)

        assert keeper.sizes == [WindowSize(80, 2)]
        asking.cancel()

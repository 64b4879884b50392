"""Tests of `manager/server_manager.py` whose keeper is scripted."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from typing import Any, cast

import pytest

from ptymux.core.model import WindowSize
from ptymux.core.windows import Windows
from ptymux.link.server_link import ServerLink
from ptymux.manager.server_manager import ServerManager
from tests.integration.conftest import asynchronous, command, in_time
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

    def keep_launch(self, slot: int, launch: bytes) -> None:
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


@pytest.mark.requirement("FR-003")
@asynchronous
async def test_the_fds_of_a_spawn_stay_open_until_its_start_is_over() -> None:
    closed: list[str] = []
    keeper = FakeKeeper()
    manager = manage(keeper, nudge=0)
    async with manager:
        with ExitStack() as held:
            held.callback(closed.append, "fds")
            keeper.gate = asyncio.Event()
            spawning = asyncio.create_task(
                manager.spawn_once(None, command("cat"), owned=False, held=held)
            )
            await wait_until_async(manager.list)
            spawning.cancel()
            with suppress(asyncio.CancelledError):
                await spawning
        assert not closed  # a second keeper may be asked for it, and needs them

        keeper.gate.set()
        await wait_until_async(lambda: closed)
        await in_time(manager.wait_gone(manager.list()[0].pty_id))
    assert closed == ["fds"]

"""PTYs without a keeper process, for a program that has no interpreter to start one."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from ptymux.core.model import OnFull, WindowSize
from ptymux.core.reader import ReaderKind
from ptymux.errors import LinkClosedError
from ptymux.link.in_process import InProcessLink
from ptymux.posix.process import session_members
from tests.integration.conftest import (
    asynchronous,
    command,
    managed,
    output_of,
    shell,
)
from tests.timing import wait_until_async


@asynchronous
async def test_a_life_is_as_it_is_with_a_keeper() -> None:
    async with managed(link=InProcessLink()) as (manager, events):
        record = await manager.spawn(shell("read x; stty size; echo got $x; exit 3"))

        await manager.resize(record.pty_id, WindowSize(77, 11))
        await manager.write_input(record.pty_id, b"words\n")

        await output_of(manager, record, b"got words")
        assert b"11 77" in manager.read(record.pty_id).data
        assert (await manager.wait_gone(record.pty_id)).exit_code == 3
        assert events.steps(record) == ["idle", "spawning", "active", "errored"]


@asynchronous
async def test_stopped_and_interrupted_children_are_told_of() -> None:
    async with managed(link=InProcessLink()) as (manager, _events):
        record = await manager.spawn(command("/bin/cat"))

        await manager.signal(record.pty_id, "STOP")
        await wait_until_async(lambda: manager.get(record.pty_id).suspended)
        await manager.signal(record.pty_id, "CONT")
        await wait_until_async(lambda: not manager.get(record.pty_id).suspended)
        await manager.signal(record.pty_id, "INT")

        assert (await manager.wait_gone(record.pty_id)).signal == signal.SIGINT


@asynchronous
async def test_block_loses_nothing_to_a_lossless_reader() -> None:
    async with managed(link=InProcessLink()) as (manager, _events):
        record = await manager.spawn(
            shell("seq 20000", buffer_size=4096, on_full=OnFull.BLOCK, plain_output=True)
        )
        got = bytearray()
        with manager.reader(record.pty_id, ReaderKind.LOSSLESS, offset=0) as reader:
            async for part in reader.follow():
                got += part.data

        assert got == b"".join(b"%d\n" % number for number in range(1, 20_001))


@asynchronous
async def test_processes_that_hold_a_terminal_are_closed_out_and_children_left_to_the_program() -> (
    None
):
    async with managed(link=InProcessLink()) as (manager, _events):
        foreign = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
        record = await manager.spawn(shell("trap '' HUP; sleep 60 & exit 4"))

        assert (await manager.wait_gone(record.pty_id)).exit_code == 4
        assert await foreign.wait() == 3
        os.killpg(record.pid or 0, signal.SIGKILL)
        await wait_until_async(lambda: not session_members(record.pid or 0))


@asynchronous
async def test_a_closed_link_says_so() -> None:
    link = InProcessLink()
    async with managed(link=link) as (manager, _events):
        record = await manager.spawn(command("/bin/true"))
        await manager.wait_gone(record.pty_id)

    with pytest.raises(LinkClosedError):
        await link.is_canonical(1)

from __future__ import annotations

import asyncio
import os
import pty
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptymux.cli.sink import Sink
from ptymux.errors import ClosedOutputError

Ends = tuple[int, int]  # to read from, to write to


def open_pipe() -> Ends:
    return os.pipe()


def open_terminal() -> Ends:
    return pty.openpty()


def open_socket() -> Ends:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.fixture(params=[open_pipe, open_terminal, open_socket])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Both ends of something whose reader may be slow."""
    opened: Callable[[], Ends] = request.param
    ends = opened()
    yield ends
    for fd in ends:
        os.close(fd)


def test_write_takes_what_there_is_room_for_and_does_not_block(ends: Ends) -> None:
    sink = Sink(ends[1])

    while sink.write(b"x" * 65536):
        pass

    assert sink.write(b"x") in (0, 1)  # a terminal may take it to its last byte
    sink.close()


def test_flags_of_the_owner_stay(ends: Ends) -> None:
    Sink(ends[1]).close()

    assert os.get_blocking(ends[1])


def test_wait_ends_when_the_reader_reads(ends: Ends) -> None:
    sink = Sink(ends[1])
    while sink.write(b"x" * 65536):
        pass

    async def wait() -> bool:
        waiting = asyncio.ensure_future(sink.wait())
        await asyncio.sleep(0)
        is_early = waiting.done()
        while not waiting.done():
            os.read(ends[0], 65536)
            await asyncio.wait([waiting], timeout=0.01)
        return is_early

    assert asyncio.run(asyncio.wait_for(wait(), 10)) is False
    assert sink.write(b"x") == 1
    sink.close()


@pytest.mark.parametrize("open_ends", [open_pipe, open_socket])
def test_reader_that_left_is_a_broken_pipe(open_ends: Callable[[], Ends]) -> None:
    reading, writing = open_ends()
    sink = Sink(writing)
    sink.write(b"never read")  # so that a socket tells a reset
    os.close(reading)

    with pytest.raises(BrokenPipeError):
        sink.write(b"x")
    sink.close()
    os.close(writing)


def test_pipe_without_a_reader_is_a_broken_pipe_from_the_start() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = Sink(writing)

    with pytest.raises(BrokenPipeError):
        sink.write(b"x")
    sink.close()
    os.close(writing)


def test_file_takes_everything_at_its_own_place(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"before ")
        file.flush()
        sink = Sink(file.fileno())

        assert sink.write(b"x" * 1_000_000) == 1_000_000
        asyncio.run(asyncio.wait_for(sink.wait(), 10))
        sink.close()

        file.seek(0)
        assert file.read() == b"before " + b"x" * 1_000_000


def test_master_of_a_terminal_is_not_opened_anew() -> None:
    master, slave = pty.openpty()
    sink = Sink(master)

    assert sink.write(b"typed\n") == 6
    assert os.read(slave, 99) == b"typed\n"
    sink.close()
    os.close(master)
    os.close(slave)


def test_disk_that_is_full_is_told() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    sink = Sink(full)

    with pytest.raises(ClosedOutputError, match="cannot write to stdout: no space left on device"):
        sink.write(b"x")
    sink.close()
    os.close(full)

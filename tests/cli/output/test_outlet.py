from __future__ import annotations

import os
import pty
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptymux.cli.output.outlet import Outlet
from ptymux.errors import ClosedOutputError
from tests.timing import deadline_seconds

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


def fill(outlet: Outlet) -> None:
    while outlet.offer(b"x" * 65536):
        pass


def test_offer_takes_what_there_is_room_for_and_does_not_block(ends: Ends) -> None:
    outlet = Outlet(ends[1])

    fill(outlet)

    assert outlet.offer(b"x") in (0, 1)  # a terminal may take it to its last byte
    outlet.close()


def test_flags_of_the_owner_stay(ends: Ends) -> None:
    Outlet(ends[1]).close()

    assert os.get_blocking(ends[1])


def test_write_gives_up_when_nothing_is_taken_for_a_time(ends: Ends) -> None:
    outlet = Outlet(ends[1])
    fill(outlet)

    taken = outlet.write(b"x" * 1_000_000, 0.01)

    outlet.close()
    assert not taken


def test_write_returns_once_the_reader_took_all(ends: Ends) -> None:
    outlet = Outlet(ends[1])
    read: list[int] = []

    def read_all() -> None:
        while sum(read) < 1_000_000:
            read.append(len(os.read(ends[0], 65536)))

    reader = threading.Thread(target=read_all)
    reader.start()
    done = outlet.write(b"x" * 1_000_000)
    reader.join(deadline_seconds())

    assert (done, sum(read)) == (True, 1_000_000)
    outlet.close()


@pytest.mark.parametrize("open_ends", [open_pipe, open_socket])
def test_reader_that_left_is_a_broken_pipe(open_ends: Callable[[], Ends]) -> None:
    reading, writing = open_ends()
    outlet = Outlet(writing)
    outlet.offer(b"never read")  # so that a socket tells a reset
    os.close(reading)

    with pytest.raises(BrokenPipeError):
        outlet.offer(b"x")
    outlet.close()
    os.close(writing)


def test_pipe_without_a_reader_is_a_broken_pipe_from_the_start() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    outlet = Outlet(writing)

    with pytest.raises(BrokenPipeError):
        outlet.offer(b"x")
    outlet.close()
    os.close(writing)


def test_file_takes_everything_at_its_own_place(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"before ")
        file.flush()
        outlet = Outlet(file.fileno())

        assert outlet.offer(b"x" * 1_000_000) == 1_000_000
        outlet.close()

        file.seek(0)
        assert file.read() == b"before " + b"x" * 1_000_000


def test_dev_null_takes_everything_at_once() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    outlet = Outlet(null)

    assert outlet.offer(b"x" * 1_000_000) == 1_000_000
    outlet.close()
    os.close(null)


def test_master_of_a_terminal_is_not_opened_anew() -> None:
    master, slave = pty.openpty()
    outlet = Outlet(master)

    assert outlet.offer(b"typed\n") == 6
    assert os.read(slave, 99) == b"typed\n"
    outlet.close()
    os.close(master)
    os.close(slave)


def test_disk_that_is_full_is_told() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    outlet = Outlet(full)

    with pytest.raises(ClosedOutputError, match="cannot write to stdout: no space left on device"):
        outlet.offer(b"x")
    outlet.close()
    os.close(full)

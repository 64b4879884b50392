from __future__ import annotations

import os
import select
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptymux.core.model import WindowSize
from ptymux.errors import NotATerminalError
from ptymux.posix.tty import is_canonical, is_terminal, raw_mode, read_size, set_size
from tests.posix.conftest import Start
from tests.timing import deadline_seconds

Pair = tuple[int, int]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Master and slave of a terminal that nobody told its size."""
    master, slave = os.openpty()
    yield master, slave
    os.close(slave)
    os.close(master)


def read_to(fd: int, last: bytes) -> bytes:
    """Return all that comes up to `last`: the kernel passes it on in its own time."""
    got = b""
    while not got.endswith(last):
        assert select.select([fd], [], [], deadline_seconds())[0], got
        got += os.read(fd, 99)
    return got


@pytest.mark.requirement("FR-010")
def test_raw_mode_passes_every_byte_and_echoes_none(pair: Pair) -> None:
    master, slave = pair

    with raw_mode(slave):
        os.write(master, b"\x03\r\x11\xff")
        keys = read_to(slave, b"\xff")
        os.write(slave, b"a\n")
        shown = read_to(master, b"\n")

    assert keys == b"\x03\r\x11\xff"
    assert shown == b"a\n"


@pytest.mark.requirement("FR-010")
def test_raw_mode_is_undone_exactly_also_after_an_exception(pair: Pair) -> None:
    _, slave = pair
    odd = termios.tcgetattr(slave)
    odd[3] &= ~termios.ECHOE
    odd[6][termios.VERASE] = b"\x08"
    termios.tcsetattr(slave, termios.TCSANOW, odd)
    before = termios.tcgetattr(slave)

    def interrupted() -> None:
        with raw_mode(slave):
            assert termios.tcgetattr(slave) != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert termios.tcgetattr(slave) == before


@pytest.mark.requirement("FR-010")
def test_raw_mode_within_raw_mode_is_undone(pair: Pair) -> None:
    _, slave = pair
    with raw_mode(slave):
        outer = termios.tcgetattr(slave)
        with raw_mode(slave):
            pass

        assert termios.tcgetattr(slave) == outer


@pytest.mark.requirement("FR-010")
def test_what_was_typed_before_raw_mode_is_kept(pair: Pair) -> None:
    master, slave = pair
    os.write(master, b"early\n")
    assert select.select([slave], [], [], deadline_seconds())[0]

    with raw_mode(slave):
        keys = read_to(slave, b"\n")

    assert keys == b"early\n"


@pytest.mark.requirement("FR-010")
def test_terminal_that_hung_up_needs_no_restoring() -> None:
    master, slave = os.openpty()

    with raw_mode(slave):
        os.close(master)

    with pytest.raises(NotATerminalError), raw_mode(slave):
        pass
    os.close(slave)


@pytest.mark.requirement("FR-011")
def test_size_is_known_once_it_was_told(pair: Pair) -> None:
    master, slave = pair
    assert read_size(slave) is None

    set_size(master, WindowSize(cols=132, rows=43))

    assert read_size(slave) == read_size(master) == WindowSize(cols=132, rows=43)


@pytest.mark.requirement("FR-011")
def test_size_above_ours_is_cut(pair: Pair) -> None:
    termios.tcsetwinsize(pair[0], (1, 65535))

    assert read_size(pair[1]) == WindowSize(cols=10_000, rows=1)


@pytest.mark.requirement("FR-011")
def test_resize_reaches_the_child(start: Start) -> None:
    child = start("sh", "-c", "trap 'stty size; exit 3' WINCH; sleep 60 & echo ready; wait")
    child.read_until(b"ready")

    set_size(child.master, WindowSize(cols=101, rows=31))

    child.read_until(b"31 101\r\n")
    assert child.wait().exit_code == 3


@pytest.mark.requirement("FR-010")
def test_terminal_that_collects_lines_is_told_apart(pair: Pair) -> None:
    master, slave = pair

    before = is_canonical(master)
    with raw_mode(slave):
        during = is_canonical(master)

    assert (before, during) == (True, False)


@pytest.mark.requirement("FR-011")
def test_what_is_no_terminal_says_so(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        fd = file.fileno()
        assert not is_terminal(fd)
        for use in (read_size, is_canonical):
            with pytest.raises(NotATerminalError):
                use(fd)
        with pytest.raises(NotATerminalError):
            set_size(fd, WindowSize(80, 24))
        with pytest.raises(NotATerminalError), raw_mode(fd):
            pass
    assert not is_terminal(fd)

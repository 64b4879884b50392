from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ptymux.errors import OutOfResourcesError
from ptymux.posix.process import ProcessId, send, session_members, start_time
from ptymux.posix.reserve_fds import (
    RESERVE_SIZE,
    keep_reserve,
    released_reserve,
    retry_with_reserve,
)
from tests.posix.conftest import Start, soft_limit_of_open_files


@pytest.fixture
def kept() -> Iterator[None]:
    """Spare files, as a server has them."""
    keep_reserve()
    yield
    keep_reserve(0)


@pytest.fixture
def none_left(kept: None) -> Iterator[None]:
    """Every file that can be opened is open."""
    taken: list[int] = []
    with soft_limit_of_open_files(64):
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
        for fd in taken:
            os.close(fd)


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_without_spare_files_a_shortage_stays_one() -> None:
    def work() -> None:
        raise OutOfResourcesError("open files", "x")

    with pytest.raises(OutOfResourcesError):
        retry_with_reserve(work)


@pytest.mark.requirement("FR-004")
def test_with_them_a_process_is_found_and_signalled_though_no_file_can_be_opened(
    start: Start, request: pytest.FixtureRequest
) -> None:
    child = start("sleep", "60")
    process = ProcessId(child.pid, start_time(child.pid) or 0)
    request.getfixturevalue("none_left")

    members = session_members(child.pid)
    send(process, signal.SIGTERM)

    assert [member.pid for member in members] == [child.pid]
    assert child.wait().signal == signal.SIGTERM


def test_what_was_lent_is_held_again(kept: None) -> None:
    before = fds()
    with released_reserve():
        assert fds() == before - RESERVE_SIZE
    assert fds() == before

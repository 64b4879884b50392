from __future__ import annotations

import os
import random
import resource
import sys
from collections.abc import Iterator, Mapping

import pytest

from ptymux.core.model import Limits, SpawnOptions
from ptymux.errors import InvalidValueError, OutOfResourcesError
from ptymux.posix.passed_fds import (
    check_numbers,
    check_open,
    duplicate_outside,
    fds_from_parent,
    kept_apart,
)
from ptymux.posix.spawn import close_on_exec_from, spawn
from tests.posix.conftest import Start
from tests.processes import fds_of

pytestmark = pytest.mark.requirement("FR-003")

# Of each number: what the file says that has it.
SHOW = 'for fd in "$@"; do cat /proc/self/fd/$fd; done'


@pytest.fixture
def files() -> Iterator[list[int]]:
    """Twelve files that say which they are, as fds that are closed on exec."""
    fds = [os.memfd_create(f"file-{number}") for number in range(12)]
    for number, fd in enumerate(fds):
        os.write(fd, b"%d " % number)
        os.lseek(fd, 0, os.SEEK_SET)
    yield fds
    for fd in fds:
        os.close(fd)


def names(passed: Mapping[int, int]) -> dict[int, str]:
    return {number: os.readlink(f"/proc/self/fd/{fd}") for number, fd in passed.items()}


def shuffled(fds: list[int]) -> dict[int, int]:
    """Return some of the fds, at numbers that are others' and at free ones."""
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    order = random.Random(seed)
    numbers = order.sample([*fds, *range(400, 405)], 9)
    return dict(zip(numbers, order.sample(fds, 9), strict=True))


def test_what_python_opens_is_not_inherited_and_what_a_parent_left_is(files: list[int]) -> None:
    before = fds_from_parent()

    os.set_inheritable(files[3], True)

    assert sorted({*before, files[3]}) == fds_from_parent()
    assert not {0, 1, 2, *files[:3]}.intersection(before)


def test_no_file_lies_at_anothers_number(files: list[int]) -> None:
    passed = shuffled(files)
    before = fds_of(os.getpid())

    with kept_apart(passed) as apart:
        assert names(apart) == names(passed)
        assert not any(fd in apart and fd != number for number, fd in apart.items())

    assert fds_of(os.getpid()) == before


def test_a_duplicate_has_none_of_the_numbers_and_is_closed_on_exec(files: list[int]) -> None:
    free = os.dup(files[0])
    os.close(free)  # the lowest number that is free

    copy = duplicate_outside(files[0], range(free, free + 20))
    try:
        assert copy >= free + 20
        assert not os.get_inheritable(copy)
    finally:
        os.close(copy)


def test_a_child_has_each_file_at_its_number_and_no_other(start: Start, files: list[int]) -> None:
    passed = shuffled(files)
    close_on_exec_from(3)
    child = start("sh", "-c", f"{SHOW}; ls /proc/self/fd", "sh", *map(str, passed), pass_fds=passed)

    words = [int(word) for word in child.read_to_end().split()]

    assert words[:9] == [files.index(fd) for fd in passed.values()]
    others = {*words[9:]} - {*passed, 0, 1, 2}
    assert len(others) == 1  # the listing's own


def test_fds_keep_their_numbers_and_may_be_stdin_too(start: Start, files: list[int]) -> None:
    given, stdin = files[2], files[5]
    child = start(
        "sh", "-c", f"cat; echo; {SHOW}", "sh", str(given), stdin_fd=stdin, pass_fds=(given, stdin)
    )

    assert child.read_to_end().split() == [b"5", b"2"]
    assert not os.get_inheritable(given)


def test_a_number_may_lie_above_the_childs_limit(start: Start, files: list[int]) -> None:
    child = start("sh", "-c", "cat /proc/self/fd/300", nofile=50, pass_fds={300: files[7]})

    assert child.read_to_end().split() == [b"7"]


def test_a_number_that_no_child_can_have_is_refused(files: list[int]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("no limit of open files")

    options = SpawnOptions(argv=("true",), pass_fds={hard: files[0]})

    check_numbers([hard - 1])
    with pytest.raises(OutOfResourcesError, match=f"fd {hard} is to be passed"):
        spawn(options, {"PATH": os.environ["PATH"]})


def test_a_closed_fd_is_refused_before_it_is_sent() -> None:
    closed = os.dup(0)
    os.close(closed)

    check_open("pass_fds", [0, 1])
    with pytest.raises(InvalidValueError, match=f"pass_fds .*{closed}"):
        check_open("pass_fds", [0, closed])


def test_more_fds_than_a_spawn_passes_are_refused() -> None:
    most = Limits.PASSED_FDS

    SpawnOptions(argv=("true",), pass_fds={3 + number: 0 for number in range(most)})
    with pytest.raises(InvalidValueError, match=f"at most {most} fds"):
        SpawnOptions(argv=("true",), pass_fds={3 + number: 0 for number in range(most + 1)})

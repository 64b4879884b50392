from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptymux.errors import UnsafeDirectoryError
from ptymux.handover.state_file import ChildProof, StateFile, read_proofs
from ptymux.posix.process import boot_id, start_time


def test_a_child_that_was_written_down_is_found_by_the_next_keeper(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    first = StateFile(path, slots=4)
    first.enter(7, os.getpid(), start_time(os.getpid()))
    first.enter(8, os.getppid(), None)
    first.leave(8)
    first.close()

    second = StateFile(path, slots=4)

    started = start_time(os.getpid())
    assert started is not None
    assert read_proofs(path) == [ChildProof(os.getpid(), started, 7, boot_id())]
    assert second.left == read_proofs(path)
    second.forget_left()
    assert second.left == read_proofs(path) == []
    second.close()


def test_a_slot_that_was_freed_is_used_again(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path / "state"), slots=1)
    for number in range(100):
        file.enter(number, os.getpid(), 1)
        file.leave(number)
        file.leave(number)
    file.enter(1, os.getpid(), 1)
    assert file.is_full

    assert [proof.number for proof in read_proofs(str(tmp_path / "state"))] == [1]
    file.close()


def test_the_whole_file_is_there_before_the_first_child(tmp_path: Path) -> None:
    path = tmp_path / "state"

    StateFile(str(path), slots=300).close()

    assert path.stat().st_size == 300 * 64
    assert path.stat().st_blocks * 512 >= 300 * 64
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UnsafeDirectoryError, match="state"):
        StateFile(str(tmp_path / "state"), slots=1)


def test_a_file_that_was_removed_is_written_again_with_what_was_left_still_left(
    tmp_path: Path,
) -> None:
    """Else the places of those whom an earlier keeper left would never be free again."""
    first = StateFile(str(tmp_path / "s"), 3)
    first.enter(1, 11, 111)
    first.close()
    second = StateFile(str(tmp_path / "s"), 3)
    second.enter(2, 22, 222)

    third = StateFile(str(tmp_path / "other"), 3)
    third.copy_from(second)
    assert [proof.number for proof in third.left] == [1]
    assert {proof.number for proof in read_proofs(str(tmp_path / "other"))} == {1, 2}

    third.forget_left()
    third.leave(2)
    assert read_proofs(str(tmp_path / "other")) == []
    for number in (3, 4, 5):
        third.enter(number, 1, 1)
    assert third.is_full
    third.close()


def test_of_two_with_one_number_one_is_claimed_and_the_other_left(tmp_path: Path) -> None:
    first = StateFile(str(tmp_path / "s"), 3)
    first.enter(1, 11, 111)
    first.enter(1, 12, 112)
    first.close()
    second = StateFile(str(tmp_path / "s"), 3)

    second.keep(1, 11, 111)
    assert len(second.left) == 1
    second.forget_left()
    second.leave(1)

    assert read_proofs(str(tmp_path / "s")) == []
    second.close()


def test_one_that_was_cut_short_is_used_on_and_mended(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    file = StateFile(path, slots=4)
    file.enter(7, os.getpid(), 1)
    os.truncate(path, 0)

    file.enter(8, os.getpid(), 2)

    assert [proof.number for proof in read_proofs(path)] == [8]
    file.mend()
    assert {proof.number for proof in read_proofs(path)} == {7, 8}
    assert os.path.getsize(path) == 4 * 64
    file.close()

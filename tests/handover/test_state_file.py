from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from ptymux.errors import OutOfResourcesError, UnsafeDirectoryError
from ptymux.handover import state_file
from ptymux.handover.state_file import (
    ChildProof,
    SpawnIntent,
    StateFile,
    read_intents,
    read_proofs,
)
from ptymux.posix.process import ProcessId, boot_id, start_time

PTY_ID = "pty_01JDN8QKXW5V9T2M4R7A6C3E1F"


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


def left_after_a_kill(path: str) -> None:
    """Leave the file of a keeper that had begun two spawns, and had another child."""
    file = StateFile(path, slots=4)
    file.enter(1, 11, 111)
    file.intend(2, PTY_ID)
    file.intend(3, "pty_other")
    file.close()


def test_a_spawn_that_is_to_begin_is_known_until_its_child_is(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    file = StateFile(path, slots=1)
    now = start_time(os.getpid())
    file.intend(7, PTY_ID)
    (intent,) = read_intents(path)
    assert read_proofs(path) == []
    assert (intent.number, PTY_ID.encode().endswith(intent.mark)) == (7, True)
    assert len(intent.mark) >= 26  # all that is random
    assert now is not None
    assert intent.not_before >= now

    file.enter(7, 11, 111)

    assert read_proofs(path) == [ChildProof(11, 111, 7, boot_id())]
    assert read_intents(path) == []
    file.leave(7)
    file.intend(8, PTY_ID)
    assert file.is_full
    file.leave(8)
    assert read_intents(path) == []
    file.close()


def test_the_next_keeper_has_the_children_of_begun_spawns_among_those_left(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    left_after_a_kill(path)
    file = StateFile(path, slots=4)

    file.settle_intents(
        lambda intents: {i.number: ProcessId(22, 222) for i in intents if i.number == 2}
    )

    children = [ChildProof(11, 111, 1, boot_id()), ChildProof(22, 222, 2, boot_id())]
    assert file.left == read_proofs(path) == children
    assert read_intents(path) == []
    file.forget_left()
    for number in range(4):
        file.enter(number, 1, 1)
    assert file.is_full
    file.close()


def test_one_that_cannot_look_now_leaves_them_to_the_keeper_after_it(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    left_after_a_kill(path)
    file = StateFile(path, slots=4)

    def fails(_intents: Iterable[SpawnIntent]) -> dict[int, ProcessId]:
        raise OutOfResourcesError("open files", "end some PTYs")

    file.settle_intents(fails)
    file.enter(9, 99, 999)
    file.close()

    assert [intent.number for intent in read_intents(path)] == [2, 3]
    assert [proof.number for proof in read_proofs(path)] == [1, 9]


def test_a_keeper_that_takes_over_has_its_server_say_what_became_of_them(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    left_after_a_kill(path)
    file = StateFile(path, slots=4)

    file.keep(2, 22, 222)
    file.drop_intents()

    assert [proof.number for proof in file.left] == [1]
    assert [proof.number for proof in read_proofs(path)] == [1, 2]
    assert read_intents(path) == []
    file.leave(2)
    assert [proof.number for proof in read_proofs(path)] == [1]
    file.close()


def test_what_was_to_begin_in_another_boot_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "state")
    for boot in ("01234567-89ab-cdef-0123-456789abcdef", ""):
        with monkeypatch.context() as patch:
            patch.setattr(state_file, "boot_id", lambda boot=boot: boot)
            left_after_a_kill(path)

        assert read_intents(path) == []
        os.unlink(path)


def test_one_that_is_to_begin_is_in_a_file_that_is_made_again(tmp_path: Path) -> None:
    first = StateFile(str(tmp_path / "s"), 3)
    first.intend(2, PTY_ID)
    second = StateFile(str(tmp_path / "other"), 3)

    second.copy_from(first)

    assert [intent.number for intent in read_intents(str(tmp_path / "other"))] == [2]
    second.enter(2, 22, 222)
    assert [proof.number for proof in read_proofs(str(tmp_path / "other"))] == [2]
    second.close()

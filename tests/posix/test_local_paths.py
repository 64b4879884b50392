from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptymux.posix.local_paths import LocalPaths
from tests.dead_mount import dead_mount

PATH = "/usr/bin:/bin"


@pytest.fixture
def paths() -> Iterator[LocalPaths]:
    paths = LocalPaths()
    yield paths
    paths.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def script(path: Path, first_line: str) -> str:
    path.write_text(f"{first_line}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize("name", ["sh", "/bin/sh"])
def test_a_program_of_this_machine_is_fast_once_its_path_is_cached(
    paths: LocalPaths, here: int, name: str
) -> None:
    for folder in PATH.split(":"):
        Path(folder, "sh").exists()

    assert not paths.may_wait((name,), PATH, here)


@pytest.mark.requirement("FR-003")
def test_a_script_is_as_fast_as_its_interpreter(
    paths: LocalPaths, here: int, tmp_path: Path
) -> None:
    fast = script(tmp_path / "fast", "#!/bin/sh -e")
    relative = script(tmp_path / "relative", "#!./fast")
    none = script(tmp_path / "none", "#!/no/such")

    Path("/no").exists()
    assert not paths.may_wait((fast,), PATH, here)
    assert not paths.may_wait((relative,), PATH, here)
    assert not paths.may_wait(("./relative",), PATH, here)
    assert not paths.may_wait((none,), PATH, here)


@pytest.mark.requirement("FR-003")
def test_what_is_no_program_is_fast_to_refuse(paths: LocalPaths, here: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o755)

    assert not paths.may_wait((str(tmp_path),), PATH, here)
    assert not paths.may_wait((str(tmp_path / "fifo"),), PATH, here)


@pytest.mark.requirement("FR-003")
def test_a_path_that_is_not_known_without_looking_may_be_slow(paths: LocalPaths, here: int) -> None:
    assert paths.may_wait(("/proc/self/root/bin/sh",), PATH, here)


@pytest.mark.requirement("FR-003", "SC-002")
def test_whatever_leads_to_a_file_system_that_does_not_answer_may_be_slow(
    paths: LocalPaths, here: int, tmp_path: Path
) -> None:
    with dead_mount(tmp_path / "dead") as dead:
        interpreter = script(tmp_path / "script", f"#!{dead}/sh")
        (tmp_path / "link").symlink_to(dead / "program")
        directory = os.open(dead, os.O_PATH)

        told = [
            paths.may_wait((f"{dead}/program",), PATH, here),
            paths.may_wait(("nonesuch",), f"{dead}/bin:{PATH}", here),
            paths.may_wait((interpreter,), PATH, here),
            paths.may_wait((str(tmp_path / "link"),), PATH, here),
            paths.may_wait(("/bin/sh",), PATH, directory),
        ]
        os.close(directory)

    assert told == [True] * 5

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from ptymux.cli.doctor.machine import (
    check_machine,
    judge_disk,
    judge_linux,
    judge_logout,
    judge_memory,
    judge_open_files,
)
from ptymux.core.model import Limits
from ptymux.core.ring import ring_size

RINGS = Limits().ptys * ring_size(Limits().default_buffer)
UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("release", "status"),
    [
        ("5.9.16-generic", "problem"),
        ("5.10.0", "ok"),
        ("5.15.0-91", "ok"),
        ("6.18.1", "ok"),
        ("4.19", "problem"),
        ("odd", "problem"),
    ],
)
def test_linux_has_to_be_new_enough(release: str, status: str) -> None:
    check = judge_linux(release)

    assert (check.status, release in check.text) == (status, True)
    assert bool(check.remedy) == (status != "ok")


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({}, False),
        ({"etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=yes\n"}, False),
        ({"etc/systemd/logind.conf": "[Login]\nKillUserProcesses=yes\n"}, True),
        ({"etc/systemd/logind.conf": "KillUserProcesses = 1\n"}, True),
        (
            {
                "usr/lib/systemd/logind.conf.d/a.conf": "KillUserProcesses=yes\n",
                "etc/systemd/logind.conf.d/b.conf": "KillUserProcesses=no\n",
            },
            False,
        ),
    ],
)
def test_systemd_that_ends_what_a_user_leaves_is_told(
    tmp_path: Path, files: dict[str, str], kills: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    check = judge_logout(str(tmp_path), "me")

    assert check.status == ("warning" if kills else "ok")
    assert ("enable-linger" in check.remedy) == kills
    linger = tmp_path / "var/lib/systemd/linger/me"
    linger.parent.mkdir(parents=True)
    linger.touch()
    remedy = judge_logout(str(tmp_path), "me").remedy
    assert ("systemd-run --user --scope" in remedy, "enable-linger" in remedy) == (kills, False)


def test_newer_linux_keeps_exit_statuses() -> None:
    assert "stays unknown" in judge_linux("6.14.9").text
    assert "stays unknown" not in judge_linux("6.15.0").text


@pytest.mark.parametrize(
    ("hard", "status"),
    [
        (UNLIMITED, "ok"),
        (Limits().worst_case_fds, "ok"),
        (Limits().worst_case_fds - 1, "warning"),
        (100, "warning"),
        (64, "problem"),
    ],
)
def test_open_files_are_judged_by_what_all_ptys_need(hard: int, status: str) -> None:
    check = judge_open_files(64, hard)

    assert check.status == status
    assert (f"ulimit -Hn {Limits().worst_case_fds}" in check.remedy) == (status != "ok")


@pytest.mark.parametrize(
    ("available", "status"),
    [
        (Limits().worst_case_bytes, "ok"),
        (10 * RINGS // 9 + 10, "ok"),
        (RINGS, "warning"),
        (5 * Limits().default_buffer, "warning"),
        (Limits().default_buffer, "problem"),
        (0, "problem"),
    ],
)
def test_memory_is_judged_by_what_all_rings_need(available: int, status: str) -> None:
    check = judge_memory(available)

    assert check.status == status
    assert ("--buffer-size" in check.remedy) == (status != "ok")


def test_room_is_looked_for_where_the_directory_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def statvfs(folder: str) -> os.statvfs_result:
        looked_at.append(folder)
        return os.statvfs_result((4096, 4096, 10**6, 10**6, 10**6, 10, 10, 10, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)

    check = judge_disk(str(tmp_path / "not" / "there"))

    assert looked_at == [str(tmp_path)]
    assert (check.status, check.text) == ("ok", "4.1 GB free for socket, log and state")


def test_a_file_system_without_room_is_a_problem() -> None:
    assert judge_disk("/proc").status == "problem"


def test_every_check_of_this_machine_has_a_name_and_an_answer(tmp_path: Path) -> None:
    checks = list(check_machine(str(tmp_path)))

    assert len({check.name for check in checks}) == len(checks) == 7
    for check in checks:
        assert check.status in ("ok", "warning", "problem")
        assert check.text
        assert bool(check.remedy) == (check.status != "ok")

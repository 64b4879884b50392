"""Machines and environments in which something is missing, or in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.serving import Serving
from tests.world import PTYMUX


@pytest.mark.parametrize("folder", [".", "{}", "/none:{}"])
def test_files_named_as_modules_of_python_do_not_get_in_the_way(
    server: Serving, tmp_path: Path, folder: str
) -> None:
    for name in ("signal", "socket", "click", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    python = str(Path(PTYMUX).with_name("python"))

    done = server.world.run(
        python, PTYMUX, "run", "echo", "it", env={"PYTHONPATH": folder.format(tmp_path)},
        cwd=tmp_path,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, b"it\n", b"")


def test_a_python_home_is_for_the_command_and_not_for_us(server: Serving) -> None:
    isolated = (str(Path(PTYMUX).with_name("python")), "-E", PTYMUX)  # as scripts/ptymux does

    done = server.world.run(*isolated, "run", "printenv", "PYTHONHOME", env={"PYTHONHOME": "/none"})

    assert (done.returncode, done.stdout, done.stderr) == (0, b"/none\n", b"")


def test_without_proc_one_line_says_so(no_server: Serving) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can unmount it")

    done = no_server.world.run(
        "/bin/sh", "-c", f"unshare -m sh -c 'umount -l /proc || exit 9; {PTYMUX} run true'"
    )

    if done.returncode in (1, 9):
        pytest.skip("no namespaces here")
    told = b"ptymux: /proc is not mounted: mount -t proc proc /proc\n"
    assert (done.returncode, done.stderr) == (125, told)


@pytest.mark.parametrize("time", ["30d", "99999999999h"])
def test_a_very_long_time_is_no_error(server: Serving, time: str) -> None:
    pty = server.run("--grace", time, "--idle-timeout", time, "true")

    assert server.ok("wait", pty, "--timeout", time) == "0\n"
    assert server.ok("run", "--grace", time, "echo", "it") == "it\n"

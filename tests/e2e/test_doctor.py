"""`ptymux doctor`: it looks, says what to do, and changes nothing."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Tty
from tests.processes import is_alive, kill_all, kill_at_once
from tests.serving import Serving
from tests.timing import wait_until

OF_THE_MACHINE = ["linux", "python", "open files", "PTYs", "memory", "disk", "terminal"]
OF_OURS = ["config", "directory", "server", "stale files", "left behind"]
LINE = re.compile(r"(?P<status>ok|warning|problem) +(?P<name>[a-zA-Z ]+?)  +[^ ]")


def check_of(server: Serving, name: str) -> dict[str, Any]:
    """Return what doctor says of one thing."""
    told = server.world.run("doctor", "--json")
    checks: list[dict[str, Any]] = json.loads(told.stdout)["checks"]
    assert told.returncode == any(check["status"] == "problem" for check in checks)
    (found,) = [check for check in checks if check["name"] == name]
    return found


def test_each_check_has_a_line_and_a_problem_is_told_by_the_exit_status(no_server: Serving) -> None:
    done = no_server.world.run("doctor")

    lines = [LINE.match(line) for line in done.stdout.decode().splitlines()]
    found = {line["name"]: line["status"] for line in lines if line}
    assert list(found) == [*OF_THE_MACHINE, *OF_OURS]
    assert len(found) == len(lines)
    assert {found[name] for name in OF_OURS} == {"ok"}
    assert (done.returncode, done.stderr) == ("problem" in found.values(), b"")
    assert no_server.processes() == {}
    assert os.listdir(no_server.folder) == []


def test_a_server_is_told_with_its_version(no_server: Serving) -> None:
    assert "`ptymux run` starts one" in check_of(no_server, "server")["text"]
    no_server.run("sleep", "1000")

    assert check_of(no_server, "server")["status"] == "ok"
    assert (
        f"pid {no_server.json('server', 'status')['pid']}" in check_of(no_server, "server")["text"]
    )
    assert "server never, keeper never" in check_of(no_server, "replaced")["text"]
    assert check_of(no_server, "left behind")["text"] == "none"


def test_a_silent_server_is_a_problem(no_server: Serving) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(no_server.path)
        silent.listen()

        found = check_of(no_server, "server")

    os.unlink(no_server.path)
    assert found["status"] == "problem"
    assert "s.log" in found["remedy"]


def test_a_directory_that_others_may_enter_is_a_problem(no_server: Serving) -> None:
    os.chmod(no_server.folder, 0o755)

    found = check_of(no_server, "directory")

    os.chmod(no_server.folder, 0o700)
    assert (found["status"], "chmod 700" in found["text"]) == ("problem", True)


def test_a_directory_that_is_not_there_is_well_and_not_made(no_server: Serving) -> None:
    no_server.world.env["PTYMUX_SOCKET"] = f"{no_server.folder}/not-there/s.sock"

    assert check_of(no_server, "directory")["status"] == "ok"
    assert os.listdir(no_server.folder) == []
    no_server.world.env["PTYMUX_SOCKET"] = f"{no_server.folder}/not/there/s.sock"
    assert check_of(no_server, "directory")["status"] == "problem"
    no_server.world.env["PTYMUX_SOCKET"] = no_server.path


def test_what_nobody_uses_is_stale(no_server: Serving) -> None:
    no_server.ok("server", "start")
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(f"{no_server.folder}/gone.sock")
    Path(no_server.folder, "gone.lock").touch()

    found = check_of(no_server, "stale files")

    os.unlink(f"{no_server.folder}/gone.sock")
    os.unlink(f"{no_server.folder}/gone.lock")
    assert (found["status"], found["text"]) == ("warning", "gone.lock, gone.sock")
    assert check_of(no_server, "stale files")["text"] == "none"


def test_the_configuration_is_shown_with_its_mistake(server: Serving, tmp_path: Path) -> None:
    server.world.env["XDG_CONFIG_HOME"] = str(tmp_path)
    path = tmp_path / "ptymux" / "config.toml"
    path.parent.mkdir()
    assert check_of(server, "config")["text"] == f"none at {path}"

    path.write_text('lane = "ci"\ngrace = 0\n')
    assert check_of(server, "config")["text"] == f"{path}: lane, grace"

    path.write_text("\nlane = 1\n")
    found = check_of(server, "config")
    assert (found["status"], f"{path}:2: lane must be" in found["text"]) == ("problem", True)


def said_by(server: Serving, *words: str) -> str:
    """Return what doctor prints, whatever the machine is like."""
    done = server.world.run("doctor", *words)
    assert (done.returncode in (0, 1), done.stderr) == (True, b"")
    return done.stdout.decode()


@pytest.mark.slow
def test_what_a_dead_keeper_left_is_listed_and_not_touched(own_server: Serving) -> None:
    script = "trap '' HUP; SECRET=hush setsid sleep 1000 & sleep 1001 & wait"
    own_server.run("--name", "x", "-e", "SECRET=hush", "bash", "-c", script)
    sleeping = {"sleep 1000 ", "sleep 1001 "}
    wait_until(lambda: sleeping <= set(own_server.processes().values()))
    status, leader = own_server.status(), own_server.get("x")["pid"]
    kill_at_once(status["keeper_pid"], status["pid"])

    told = json.loads(said_by(own_server, "--json"))
    shown = said_by(own_server)
    planned = said_by(own_server, "--dry-run")

    found = {process["pid"]: process for process in told["processes"]}
    proven = {pid for pid, process in found.items() if process["proven"]}
    assert leader in proven
    assert len(proven) == 2
    assert {found[pid]["action"] for pid in proven} == {"terminate"}
    assert {found[pid]["number"] for pid in proven} == {1}
    (left,) = found.keys() - proven
    assert found[left] == {
        "pid": left,
        "name": "sleep",
        "number": None,
        "proven": False,
        "action": "leave",
    }
    assert f"terminate process {leader} (bash) of PTY 1" in planned
    assert f"leave process {left} (sleep)" in planned
    assert "2 processes of PTYs whose keeper died" in shown
    assert "hush" not in shown + planned
    assert all(map(is_alive, found))
    kill_all(found)
    own_server.ok("server", "start")  # which tidies the directory up


def test_a_process_that_left_its_pty_is_no_trouble(server: Serving) -> None:
    server.run("sh", "-c", "setsid sleep 1000 & echo up; wait")

    def left() -> list[dict[str, Any]]:
        processes: list[dict[str, Any]] = json.loads(said_by(server, "--json"))["processes"]
        return [process for process in processes if process["name"] == "sleep"]

    wait_until(left)
    assert [process["action"] for process in left()] == ["leave"]
    assert check_of(server, "left behind")["status"] == "ok"
    kill_all([process["pid"] for process in left()])


def test_the_terminal_is_judged_and_lines_are_wrapped(server: Serving, tty: Tty) -> None:
    tty.resize(60, 30)
    tty.run("doctor", env={"TERM": "dumb", "LC_ALL": "C.UTF-8"})

    status = tty.wait()
    shown = tty.shown.decode()
    assert status == bool(re.search("^problem ", shown, re.MULTILINE))
    assert "export TERM=xterm-256color" in " ".join(shown.split())
    assert max(map(len, shown.split("\r\n"))) <= 60
    assert "\x1b" not in shown

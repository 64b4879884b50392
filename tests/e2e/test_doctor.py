"""`ptymux doctor`: it looks, says what to do, and changes nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Tty
from tests.e2e.serving import Served
from tests.processes import is_alive
from tests.timing import wait_until


def check_of(served: Served, name: str) -> dict[str, Any]:
    """Return what doctor says of one thing."""
    told = served.world.run("doctor", "--json")
    checks: list[dict[str, Any]] = json.loads(told.stdout)["checks"]
    assert told.returncode == any(check["status"] == "problem" for check in checks)
    (found,) = [check for check in checks if check["name"] == name]
    return found


def test_a_machine_that_is_well_has_a_line_for_each_check(served: Served) -> None:
    done = served.world.run("doctor")

    lines = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert {line.split()[0] for line in lines} <= {"ok", "warning"}
    assert len(lines) >= 11
    assert served.processes() == {}
    assert os.listdir(served.folder) == []


def test_a_server_is_told_with_its_version(served: Served) -> None:
    assert "`ptymux run` starts one" in check_of(served, "server")["text"]
    served.start("sleep", "1000")

    assert check_of(served, "server")["status"] == "ok"
    assert f"pid {served.json('server', 'status')['pid']}" in check_of(served, "server")["text"]
    assert "server never, keeper never" in check_of(served, "replaced")["text"]
    assert check_of(served, "left behind")["text"] == "none"


def test_a_silent_server_is_a_problem(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(served.path)
        silent.listen()

        found = check_of(served, "server")

    os.unlink(served.path)
    assert found["status"] == "problem"
    assert "s.log" in found["remedy"]


def test_a_directory_that_others_may_enter_is_a_problem(served: Served) -> None:
    os.chmod(served.folder, 0o755)

    found = check_of(served, "directory")

    os.chmod(served.folder, 0o700)
    assert (found["status"], "chmod 700" in found["text"]) == ("problem", True)


def test_a_directory_that_is_not_there_is_well_and_not_made(served: Served) -> None:
    served.world.env["PTYMUX_SOCKET"] = f"{served.folder}/not-there/s.sock"

    assert check_of(served, "directory")["status"] == "ok"
    assert os.listdir(served.folder) == []
    served.world.env["PTYMUX_SOCKET"] = f"{served.folder}/not/there/s.sock"
    assert check_of(served, "directory")["status"] == "problem"
    served.world.env["PTYMUX_SOCKET"] = served.path


def test_what_nobody_uses_is_stale(served: Served) -> None:
    served.ok("server", "start")
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(f"{served.folder}/gone.sock")
    Path(served.folder, "gone.lock").touch()

    found = check_of(served, "stale files")

    os.unlink(f"{served.folder}/gone.sock")
    os.unlink(f"{served.folder}/gone.lock")
    assert (found["status"], found["text"]) == ("warning", "gone.lock, gone.sock")
    assert check_of(served, "stale files")["text"] == "none"


def test_the_configuration_is_shown_with_its_mistake(served: Served, tmp_path: Path) -> None:
    served.world.env["XDG_CONFIG_HOME"] = str(tmp_path)
    path = tmp_path / "ptymux" / "config.toml"
    path.parent.mkdir()
    assert check_of(served, "config")["text"] == f"none at {path}"

    path.write_text('lane = "ci"\ngrace = 0\n')
    assert check_of(served, "config")["text"] == f"{path}: lane, grace"

    path.write_text("\nlane = 1\n")
    found = check_of(served, "config")
    assert (found["status"], f"{path}:2: lane must be" in found["text"]) == ("problem", True)


def end(pids: set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)))


def test_what_a_dead_keeper_left_is_listed_and_not_touched(served: Served) -> None:
    script = "trap '' HUP; SECRET=hush setsid sleep 1000 & sleep 1001 & echo up; wait"
    served.start("--name", "x", "-e", "SECRET=hush", "bash", "-c", script)
    wait_until(lambda: served.pty("x")["buffer"]["total_written"])
    status, leader = served.json("server", "status"), served.pty("x")["pid"]
    end({status["keeper_pid"], status["pid"]})

    told = served.json("doctor")
    shown = served.ok("doctor")
    planned = served.ok("doctor", "--dry-run")

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
    end(set(found))
    served.ok("server", "start")  # which tidies the directory up


def test_a_process_that_left_its_pty_is_no_trouble(served: Served) -> None:
    served.start("sh", "-c", "setsid sleep 1000 & echo up; wait")

    def left() -> list[dict[str, Any]]:
        processes: list[dict[str, Any]] = served.json("doctor")["processes"]
        return [process for process in processes if process["name"] == "sleep"]

    wait_until(left)
    assert [process["action"] for process in left()] == ["leave"]
    assert check_of(served, "left behind")["status"] == "ok"
    end({process["pid"] for process in left()})


def test_the_terminal_is_judged_and_lines_are_wrapped(served: Served, tty: Tty) -> None:
    tty.resize(60, 30)
    tty.run("doctor", env={"TERM": "dumb", "LC_ALL": "C.UTF-8"})

    assert tty.wait() == 0
    shown = tty.shown.decode()
    assert "export TERM=xterm-256color" in " ".join(shown.split())
    assert max(map(len, shown.split("\r\n"))) <= 60
    assert "\x1b" not in shown

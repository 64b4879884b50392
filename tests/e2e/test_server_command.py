"""`ptymux server`, and servers that are none."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

import pytest

import ptymux
from ptymux import __version__
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX

FOLDER: Final = str(Path(ptymux.__file__).parent.parent)


def test_start_starts_one_and_again_changes_nothing(no_server: Serving) -> None:
    assert no_server.ok("server", "start") == ""
    first = no_server.json("server", "status")
    assert no_server.ok("server", "start") == ""

    assert first["running"] is True
    assert no_server.json("server", "status")["pid"] == first["pid"]
    assert no_server.json("server", "start")["keeper_pid"] == first["keeper_pid"]
    assert first["socket"] == no_server.path


@pytest.mark.parametrize("files", [16, 40])
def test_a_server_that_could_not_open_its_files_is_not_started(
    no_server: Serving, files: int
) -> None:
    script = f"ulimit -n {files} && exec {PTYMUX} run -d true"

    status, text = no_server.refused("/bin/sh", "-c", script)

    assert status == 125
    assert text == (
        f"ptymux: out of open files; a server needs 64, and may have {files}: raise `ulimit -Hn`\n"
    )
    assert os.listdir(no_server.folder) == []


def test_status_tells_people_and_programs(no_server: Serving) -> None:
    done = no_server.world.run("server", "status")
    assert (done.returncode, done.stdout.decode()) == (
        1,
        f"no server runs at {no_server.path}\n",
    )
    no_server.run("sleep", "1000")

    text = no_server.ok("server", "status")
    told = no_server.json("server", "status")

    assert "1 live of at most 300" in text
    assert str(told["keeper_pid"]) in text
    assert {"schema", "pid", "keeper_pid", "uptime_seconds", "server", "limits", "memory"} <= set(
        told
    )
    assert told["server_replaced"] == 0


def test_status_in_json_tells_that_none_runs(no_server: Serving) -> None:
    done = no_server.world.run("server", "status", "--json")

    assert (done.returncode, done.stderr) == (1, b"")
    assert b'"running": false' in done.stdout


def test_stop_spares_live_ptys_unless_forced(no_server: Serving) -> None:
    no_server.run("sleep", "1000")

    status, text = no_server.refused("server", "stop")
    assert (status, "--force" in text) == (125, True)
    assert len(no_server.live()) == 1

    assert no_server.ok("server", "stop", "--force") == ""
    assert no_server.processes() == {}
    assert not os.path.exists(no_server.path)


def test_stop_without_a_server_is_done_already(no_server: Serving) -> None:
    done = no_server.world.run("server", "stop")

    assert done.returncode == 0
    assert done.stderr.decode() == f"no server runs at {no_server.path}\n"


def test_restart_keeps_every_pty(no_server: Serving) -> None:
    no_server.run("--name", "x", "sh", "-c", "echo before; exec sleep 1000")
    wait_until(lambda: no_server.get("x")["buffer"]["total_written"] == len("before\r\n"))
    before, pty = no_server.json("server", "status"), no_server.get("x")

    told = no_server.ok("server", "restart")

    after = no_server.json("server", "status")
    assert told == f"ptymux {__version__} from {FOLDER} serves now, as process {after['pid']}\n"
    assert after["folder"] == FOLDER
    assert after["pid"] != before["pid"]
    assert after["keeper_pid"] != before["keeper_pid"]
    assert (after["server_replaced"], after["keeper_replaced"]) == (1, 1)
    same = ("pty_id", "number", "pid", "name", "shown")
    assert {name: no_server.get("x")[name] for name in same} == {name: pty[name] for name in same}
    assert no_server.get("x")["buffer"]["total_written"] == pty["buffer"]["total_written"]


def test_restart_needs_a_server(no_server: Serving) -> None:
    status, text = no_server.refused("server", "restart")

    assert (status, "ptymux server start" in text) == (125, True)


def test_many_that_start_one_at_once_share_it(no_server: Serving) -> None:
    started = [no_server.world.start("server", "start") for _ in range(8)]

    assert [process.wait() for process in started] == [0] * 8
    wait_until(lambda: len(no_server.processes()) == 3, "nothing but keeper, zygote and server")


def test_the_option_goes_before_the_variable(no_server: Serving) -> None:
    no_server.run("sleep", "1000")
    other = f"{no_server.folder}/other.sock"

    assert no_server.ok("--socket", other, "ls") == ""
    assert no_server.ok("--socket", no_server.path, "ls", "-q") != ""
    status, text = no_server.refused("--socket", "/" + "x" * 200, "ls")
    assert (status, "103 bytes" in text) == (2, True)


def test_a_silent_server_costs_a_moment_and_a_line(no_server: Serving) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(no_server.path)
        silent.listen()

        status, text = no_server.refused("ls")

    os.unlink(no_server.path)
    assert (status, no_server.path in text) == (125, True)


def test_what_is_no_socket_is_said_to_be_none(no_server: Serving) -> None:
    Path(no_server.path).write_text("mine")

    for words in (["ls"], ["run", "-d", "true"], ["server", "start"]):
        status, text = no_server.refused(*words)
        assert (status, "socket" in text) == (125, True)

    assert Path(no_server.path).read_text() == "mine"
    os.unlink(no_server.path)


def test_a_directory_that_others_may_enter_is_refused(no_server: Serving) -> None:
    os.chmod(no_server.folder, 0o755)

    status, text = no_server.refused("run", "-d", "true")

    assert (status, "chmod 700" in text) == (125, True)
    assert no_server.processes() == {}


def test_a_stale_socket_is_replaced(no_server: Serving) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(no_server.path)

    assert no_server.ok("ls") == ""
    assert no_server.run("sleep", "1000")
    assert len(no_server.live()) == 1


def test_server_alone_shows_its_help(no_server: Serving) -> None:
    assert no_server.ok("server") == no_server.ok("server", "--help")

"""`ptymux server`, and servers that are none."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from tests.e2e.serving import Served
from tests.timing import wait_until


def test_start_starts_one_and_again_changes_nothing(served: Served) -> None:
    assert served.ok("server", "start") == ""
    first = served.json("server", "status")
    assert served.ok("server", "start") == ""

    assert first["running"] is True
    assert served.json("server", "status")["pid"] == first["pid"]
    assert served.json("server", "start")["keeper_pid"] == first["keeper_pid"]
    assert first["socket"] == served.path


def test_status_tells_people_and_programs(served: Served) -> None:
    done = served.world.run("server", "status")
    assert (done.returncode, done.stdout.decode()) == (1, f"no server runs at {served.path}\n")
    served.start("sleep", "1000")

    text = served.ok("server", "status")
    told = served.json("server", "status")

    assert "1 live of at most 300" in text
    assert str(told["keeper_pid"]) in text
    assert {"schema", "pid", "keeper_pid", "uptime_seconds", "server", "limits", "memory"} <= set(
        told
    )
    assert told["server_replaced"] == 0


def test_status_in_json_tells_that_none_runs(served: Served) -> None:
    done = served.world.run("server", "status", "--json")

    assert (done.returncode, done.stderr) == (1, b"")
    assert b'"running": false' in done.stdout


def test_stop_spares_live_ptys_unless_forced(served: Served) -> None:
    served.start("sleep", "1000")

    status, text = served.refused("server", "stop")
    assert (status, "--force" in text) == (125, True)
    assert len(served.live()) == 1

    assert served.ok("server", "stop", "--force") == ""
    assert served.processes() == {}
    assert not os.path.exists(served.path)


def test_stop_without_a_server_is_done_already(served: Served) -> None:
    done = served.world.run("server", "stop")

    assert done.returncode == 0
    assert done.stderr.decode() == f"no server runs at {served.path}\n"


def test_restart_keeps_every_pty(served: Served) -> None:
    served.start("--name", "x", "sh", "-c", "echo before; exec sleep 1000")
    wait_until(lambda: served.pty("x")["buffer"]["total_written"])
    before, pty = served.json("server", "status"), served.pty("x")

    assert served.ok("server", "restart") == ""

    after = served.json("server", "status")
    assert after["pid"] != before["pid"]
    assert after["keeper_pid"] != before["keeper_pid"]
    assert (after["server_replaced"], after["keeper_replaced"]) == (1, 1)
    same = ("pty_id", "number", "pid", "name", "shown")
    assert {name: served.pty("x")[name] for name in same} == {name: pty[name] for name in same}
    assert served.pty("x")["buffer"]["total_written"] == pty["buffer"]["total_written"]


def test_restart_needs_a_server(served: Served) -> None:
    status, text = served.refused("server", "restart")

    assert (status, "ptymux server start" in text) == (125, True)


def test_many_that_start_one_at_once_share_it(served: Served) -> None:
    started = [served.world.start("server", "start") for _ in range(8)]

    assert [process.wait(20) for process in started] == [0] * 8
    assert len(served.processes()) == 3  # keeper, zygote and server


def test_the_option_goes_before_the_variable(served: Served) -> None:
    served.start("sleep", "1000")
    other = f"{served.folder}/other.sock"

    assert served.ok("--socket", other, "ls") == ""
    assert served.ok("--socket", served.path, "ls", "-q") != ""
    status, text = served.refused("--socket", "/" + "x" * 200, "ls")
    assert (status, "103 bytes" in text) == (2, True)


def test_a_silent_server_costs_two_seconds_and_a_line(served: Served) -> None:
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(served.path)
        silent.listen()

        status, text = served.refused("ls")

    os.unlink(served.path)
    assert (status, served.path in text) == (125, True)
    assert time.monotonic() - began < 2.5


def test_what_is_no_socket_is_said_to_be_none(served: Served) -> None:
    Path(served.path).write_text("mine")

    for words in (["ls"], ["run", "-d", "true"], ["server", "start"]):
        status, text = served.refused(*words)
        assert (status, "socket" in text) == (125, True)

    assert Path(served.path).read_text() == "mine"
    os.unlink(served.path)


def test_a_directory_that_others_may_enter_is_refused(served: Served) -> None:
    os.chmod(served.folder, 0o755)

    status, text = served.refused("run", "-d", "true")

    assert (status, "chmod 700" in text) == (125, True)
    assert served.processes() == {}


def test_a_stale_socket_is_replaced(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(served.path)

    assert served.ok("ls") == ""
    assert served.start("sleep", "1000")
    assert len(served.live()) == 1


def test_server_alone_shows_its_help(served: Served) -> None:
    assert served.ok("server") == served.ok("server", "--help")

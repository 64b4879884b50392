"""Commands that do something to a PTY."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ptymux.core.model import Limits, SpawnOptions
from tests.processes import is_alive, kill
from tests.serving import Serving
from tests.timing import wait_until

READY = "echo ready; exec sleep 1000"


def ready(server: Serving, pty: str) -> None:
    wait_until(lambda: server.get(pty)["buffer"]["total_written"] == len("ready\r\n"))


@pytest.mark.requirement("FR-007")
def test_kill_ends_those_that_are_named(server: Serving) -> None:
    first, second, _third = (
        str(server.spawn("sleep", "1000", name=name)["number"]) for name in "abc"
    )

    assert server.ok("kill", "a", second) == ""

    assert [pty["name"] for pty in server.live()] == ["c"]
    assert server.ok("kill", first) == ""  # again is no error


@pytest.mark.requirement("FR-007")
def test_kill_does_not_wait_longer_than_its_grace(server: Serving) -> None:
    server.run("--name", "x", "--grace", "1h", "sh", "-c", f"trap '' TERM HUP; {READY}")
    ready(server, "x")

    told = server.json("kill", "--grace", "0", "x")

    assert [pty["shown"] for pty in told["ptys"]] == ["killed (KILL)"]


def test_kill_of_a_lane_spares_the_others(server: Serving) -> None:
    server.run("--lane", "a", "sleep", "1000")
    server.run("--lane", "b", "sleep", "1000")

    done = server.world.run("kill", "--lane", "a")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"1 PTY ended\n")
    assert [pty["lane_id"] for pty in server.live()] == ["b"]


@pytest.mark.slow
def test_kill_tells_of_more_than_are_kept_after_their_end(own_server: Serving) -> None:
    count = Limits().ended_ptys + 10
    own_server.ok("server", "start")
    with own_server.connect() as connection:
        for _ in range(count):
            connection.spawn(SpawnOptions(argv=("sleep", "1000"), env={}, cwd="/"))

    told = own_server.json("kill", "--all")["ptys"]

    assert [pty["number"] for pty in told] == list(range(1, count + 1))
    assert {pty["state"] for pty in told} == {"stopped"}
    assert len(own_server.json("ls", "-a")["ptys"]) == Limits().ended_ptys


def test_kill_ends_those_that_it_finds_and_reports_the_others(server: Serving) -> None:
    for name in ("first", "second", "third"):
        server.run("--name", name, "sleep", "1000")

    done = server.world.run("kill", "first", "nope", "third", "secnd", "second-to-none")

    assert (done.returncode, done.stdout) == (1, b"")
    complaints = done.stderr.decode().splitlines()
    assert [line.split(";")[0] for line in complaints] == [
        "ptymux: no PTY 'nope'",
        "ptymux: no PTY 'secnd', did you mean 'second'",
        "ptymux: no PTY 'second-to-none'",
    ]
    assert [pty["name"] for pty in server.live()] == ["second"]


def test_json_of_kill_and_rm_tells_what_was_refused(server: Serving) -> None:
    server.run("--name", "x", "sleep", "1000")

    told = json.loads(server.world.run("rm", "x", "nope", "--json").stdout)
    assert (told["removed"], [each["pty"] for each in told["errors"]]) == ([], ["x", "nope"])
    assert [each["code"] for each in told["errors"]] == ["invalid-state", "unknown-pty"]
    told = json.loads(server.world.run("kill", "x", "nope", "--json").stdout)
    assert [pty["name"] for pty in told["ptys"]] == ["x"]
    assert [each["pty"] for each in told["errors"]] == ["nope"]


def test_errors_speak_of_ptys_and_states_as_people_see_them(server: Serving) -> None:
    ended = server.sh("exit 3", name="web")
    live = server.sh("sleep 1000", name="db")
    wait_until(lambda: server.get(ended)["exit_code"] == 3)

    told = [
        server.refused(*words)[1]
        for words in (
            ("send", "web", "x"),
            ("resize", "web", "80x24"),
            ("rename", str(ended["number"]), "y"),
            ("rename", "web", "y"),
            ("rm", "db"),
            ("kill", "we"),
            ("send", "d", "x"),
        )
    ]

    web, db = (
        f"PTY {ended['number']} (web) has exited (3); ",
        f"PTY {live['number']} (db) is running; ",
    )
    gone = f"no live PTY 'web'; the last one, PTY {ended['number']}, has exited (3); "
    unknown = ["no PTY 'we'", "no PTY 'd'"]
    for expected, text in zip([web, gone, web, gone, db, *unknown], told, strict=True):
        assert text.startswith(f"ptymux: {expected}")
        assert "pty_" not in text


@pytest.mark.parametrize(
    "words", [["kill"], ["kill", "--all", "x"], ["kill", "--all", "--lane", "x"], ["rm"]]
)
def test_which_ones_has_to_be_said(server: Serving, words: list[str]) -> None:
    assert server.refused(*words)[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ["kill", "x"],
        ["rm", "x"],
        ["rename", "x", "y"],
        ["set", "x", "--on-full", "drop"],
        ["resize", "x", "80x24"],
        ["signal", "x", "HUP"],
        ["clear", "x"],
        ["stats", "x"],
        ["events", "--pty", "x"],
    ],
)
def test_without_a_server_every_pty_is_unknown(no_server: Serving, words: list[str]) -> None:
    status = 1 if words[0] in ("kill", "rm") else 125
    other = f"{no_server.folder}/other"
    told = "ptymux: no PTY 'x'; `ptymux{} ls -a` lists them all\n"
    assert no_server.refused(*words) == (status, told.format(""))
    there = no_server.refused("--socket", other, *words)
    assert there == (status, told.format(f" --socket {other}"))

    assert no_server.processes() == {}


def test_rm_forgets_what_has_ended_and_nothing_else(server: Serving) -> None:
    _ended, live = server.spawn("true"), server.spawn("sleep", "1000", name="x")
    wait_until(lambda: len(server.live()) == 1)

    other = server.spawn("true")
    wait_until(lambda: server.get(other)["exit_code"] == 0)
    status, text = server.refused("rm", other["pty_id"], "x")
    assert (status, "ptymux kill" in text) == (1, True)
    assert len(server.json("ls", "-a")["ptys"]) == 2

    done = server.world.run("rm", "--all")
    assert (done.returncode, done.stderr) == (0, b"1 PTY forgotten\n")
    assert [pty["pty_id"] for pty in server.json("ls", "-a")["ptys"]] == [live["pty_id"]]


def test_rename_moves_the_name(server: Serving) -> None:
    pty = server.spawn("sleep", "1000", name="x")

    assert server.ok("rename", "x", "y") == ""

    assert server.get("y")["pty_id"] == pty["pty_id"]
    assert server.refused("stats", "x")[0] == 125
    assert server.refused("rename", "y", "123")[0] == 2


@pytest.mark.requirement("FR-011")
def test_resize_is_seen_by_the_command(server: Serving) -> None:
    server.run("--name", "x", "-c", "trap 'stty size' WINCH; echo ready; while :; do read x; done")
    ready(server, "x")

    assert server.ok("resize", "x", "120x40") == ""

    wait_until(lambda: server.get("x")["buffer"]["total_written"] == len("ready\r\n40 120\r\n"))
    assert (server.get("x")["cols"], server.get("x")["rows"]) == (120, 40)
    assert server.refused("resize", "x", "0x40")[0] == 2
    assert server.refused("resize", "x", "wide")[0] == 2


@pytest.mark.requirement("FR-004")
def test_signals_reach_the_command(server: Serving) -> None:
    pty = server.spawn("sleep", "1000", name="x")

    told = server.json("signal", "x", "HUP")

    assert [(each["signal"], each["outcome"]) for each in told["envelopes"]] == [(1, "delivered")]
    wait_until(lambda: server.get(pty)["shown"] == "killed (HUP)")
    status, text = server.refused("signal", pty["pty_id"], "HUP")
    assert (status, text.startswith("ptymux: HUP reached nobody: ")) == (125, True)


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_a_stopped_command_is_continued_to_take_a_signal_that_ends_it(
    server: Serving, name: str
) -> None:
    pty = server.run("sleep", "60")
    server.ok("signal", pty, "STOP")
    wait_until(lambda: server.call("get", pty=pty)["pty"]["suspended"])

    server.ok("signal", pty, name)

    server.call("wait", pty=pty, until="gone")
    assert server.call("get", pty=pty)["pty"]["shown"] == f"killed ({name})"


@pytest.mark.requirement("FR-007")
def test_kill_reports_what_left_by_setsid(server: Serving, tmp_path: Path) -> None:
    direct, orphaned = tmp_path / "direct", tmp_path / "orphaned"
    record = "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 60"
    pty = server.run(
        "/bin/sh", "-c", f"setsid sh -c '{record.format(direct)}' & "
        f"(setsid sh -c '{record.format(orphaned)}' &); exec sleep 60",
    )  # fmt: skip
    wait_until(lambda: direct.exists() and orphaned.exists())
    pids = sorted(int(path.read_text()) for path in (direct, orphaned))

    done = server.world.run("kill", pty)

    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"processes %d, %d left PTY " % tuple(pids))
    for pid in pids:
        assert is_alive(pid)
        kill(pid)


def test_a_signal_has_to_exist(server: Serving) -> None:
    server.run("--name", "x", "sleep", "1000")

    assert server.refused("signal", "x", "NONSENSE")[0] == 2
    assert len(server.live()) == 1


@pytest.mark.requirement("BLOCK")
def test_what_happens_when_full_can_be_changed(server: Serving) -> None:
    pty = server.run("--name", "x", "--on-full", "block", "--buffer-size", "4k", "seq", "100000")
    wait_until(lambda: server.get("x")["held_ms"])
    assert re.search(r"\bheld \d+s\b", server.ok("ls"))

    assert server.ok("set", "x", "--on-full", "drop") == ""

    wait_until(lambda: server.get(pty)["shown"] == "exited")
    assert server.get(pty)["buffer"]["total_dropped"]


def test_clear_throws_output_away_and_says_so(server: Serving) -> None:
    server.run("--name", "x", "sh", "-c", READY)
    ready(server, "x")

    assert server.ok("clear", "x") == ""

    buffer = server.get("x")["buffer"]
    assert (buffer["retained"], buffer["total_dropped"]) == (0, len("ready\r\n"))


def test_inside_a_pty_that_one_is_meant_if_none_is_named(server: Serving) -> None:
    own = server.spawn("sh", "-c", READY, name="a")
    ready(server, "a")
    server.spawn("sleep", "1000", name="other")
    server.world.env["PTYMUX_ID"] = own["pty_id"]

    assert server.json("stats")["pty"]["name"] == "a"
    assert server.ok("logs") == "ready\n"
    for words in (["rename", "b"], ["resize", "90x20"], ["set", "--on-full", "block"], ["clear"]):
        assert server.ok(*words) == ""
    assert server.world.run("detach").returncode == 0

    found = server.get("b")
    assert (found["pty_id"], found["cols"], found["on_full"]) == (own["pty_id"], 90, "block")
    assert found["buffer"]["retained"] == 0


def test_inside_a_pty_nothing_ends_that_is_not_named(server: Serving) -> None:
    server.world.env["PTYMUX_ID"] = server.spawn("sleep", "1000")["pty_id"]

    for words in (["kill"], ["signal", "TERM"], ["rm"], ["send"], ["wait"], ["logs", "-f"]):
        status, _text = server.refused(*words)
        assert status == (125 if words[0] == "logs" else 2)
    assert 'this one is "$PTYMUX_ID"' in server.refused("kill")[1]
    assert len(server.live()) == 1

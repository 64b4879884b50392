"""Commands that do something to a PTY."""

from __future__ import annotations

import re

import pytest

from ptymux.client.server_connection import ServerConnection
from ptymux.core.model import Limits, SpawnOptions
from tests.e2e.serving import Served
from tests.timing import wait_until

READY = "echo ready; exec sleep 1000"


def ready(served: Served, pty: str) -> None:
    wait_until(lambda: served.pty(pty)["buffer"]["total_written"])


@pytest.mark.requirement("FR-007")
def test_kill_ends_those_that_are_named(served: Served) -> None:
    for name in "abc":
        served.start("--name", name, "sleep", "1000")

    assert served.ok("kill", "a", "2") == ""

    assert [pty["name"] for pty in served.live()] == ["c"]
    assert served.ok("kill", "1") == ""  # again is no error


@pytest.mark.requirement("FR-007")
def test_kill_does_not_wait_longer_than_its_grace(served: Served) -> None:
    served.start("--name", "x", "--grace", "1h", "sh", "-c", f"trap '' TERM HUP; {READY}")
    ready(served, "x")

    told = served.json("kill", "--grace", "0", "x")

    assert [pty["shown"] for pty in told["ptys"]] == ["killed (KILL)"]


def test_kill_of_a_lane_spares_the_others(served: Served) -> None:
    served.start("--lane", "a", "sleep", "1000")
    served.start("--lane", "b", "sleep", "1000")

    done = served.world.run("kill", "--lane", "a")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"1 PTY ended\n")
    assert [pty["lane_id"] for pty in served.live()] == ["b"]


def test_kill_tells_of_more_than_are_kept_after_their_end(served: Served) -> None:
    count = Limits().ended_ptys + 10
    served.ok("server", "start")
    with ServerConnection(served.path) as connection:
        for _ in range(count):
            connection.spawn(SpawnOptions(argv=("sleep", "1000"), env={}, cwd="/"))

    told = served.json("kill", "--all")["ptys"]

    assert [pty["number"] for pty in told] == list(range(1, count + 1))
    assert {pty["state"] for pty in told} == {"stopped"}
    assert len(served.json("ls", "-a")["ptys"]) == Limits().ended_ptys


def test_with_an_unknown_one_among_them_nothing_is_killed(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")

    assert served.refused("kill", "x", "y")[0] == 125

    assert len(served.live()) == 1


@pytest.mark.parametrize(
    "words", [["kill"], ["kill", "--all", "x"], ["kill", "--all", "--lane", "x"], ["rm"]]
)
def test_which_ones_has_to_be_said(served: Served, words: list[str]) -> None:
    assert served.refused(*words)[0] == 2


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
def test_without_a_server_every_pty_is_unknown(served: Served, words: list[str]) -> None:
    expected = (125, "ptymux: no PTY 'x'; `ptymux ls -a` lists them all\n")
    assert served.refused(*words) == expected
    assert served.refused("--socket", f"{served.folder}/other", *words) == expected

    assert served.processes() == {}


def test_rm_forgets_what_has_ended_and_nothing_else(served: Served) -> None:
    served.start("true")
    served.start("--name", "x", "sleep", "1000")
    wait_until(lambda: len(served.live()) == 1)

    status, text = served.refused("rm", "1", "x")
    assert (status, "ptymux kill" in text) == (125, True)
    assert len(served.json("ls", "-a")["ptys"]) == 2

    done = served.world.run("rm", "--all")
    assert (done.returncode, done.stderr) == (0, b"1 PTY forgotten\n")
    assert [pty["number"] for pty in served.json("ls", "-a")["ptys"]] == [2]


def test_rename_moves_the_name(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")

    assert served.ok("rename", "x", "y") == ""

    assert served.pty("y")["number"] == 1
    assert served.refused("stats", "x")[0] == 125
    assert served.refused("rename", "y", "123")[0] == 2


@pytest.mark.requirement("FR-011")
def test_resize_is_seen_by_the_command(served: Served) -> None:
    served.start(
        "--name", "x", "-c", "trap 'stty size' WINCH; echo ready; while :; do read x; done"
    )
    ready(served, "x")
    before = served.pty("x")["buffer"]["total_written"]

    assert served.ok("resize", "x", "120x40") == ""

    wait_until(lambda: served.pty("x")["buffer"]["total_written"] == before + len("40 120\r\n"))
    assert (served.pty("x")["cols"], served.pty("x")["rows"]) == (120, 40)
    assert served.refused("resize", "x", "0x40")[0] == 2
    assert served.refused("resize", "x", "wide")[0] == 2


@pytest.mark.requirement("FR-004")
def test_signals_reach_the_command(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")

    told = served.json("signal", "x", "HUP")

    assert [(each["signal"], each["outcome"]) for each in told["envelopes"]] == [(1, "delivered")]
    wait_until(lambda: served.pty("1")["shown"] == "killed (HUP)")
    status, text = served.refused("signal", "1", "HUP")
    assert (status, text.startswith("ptymux: HUP reached nobody: ")) == (125, True)


def test_a_signal_has_to_exist(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")

    assert served.refused("signal", "x", "NONSENSE")[0] == 2
    assert len(served.live()) == 1


@pytest.mark.requirement("BLOCK")
def test_what_happens_when_full_can_be_changed(served: Served) -> None:
    served.start("--name", "x", "--on-full", "block", "--buffer-size", "4k", "seq", "100000")
    wait_until(lambda: served.pty("x")["held_ms"])
    assert re.search(r"\bheld \d+s\b", served.ok("ls"))

    assert served.ok("set", "x", "--on-full", "drop") == ""

    wait_until(lambda: served.pty("1")["shown"] == "exited")
    assert served.pty("1")["buffer"]["total_dropped"]


def test_clear_throws_output_away_and_says_so(served: Served) -> None:
    served.start("--name", "x", "sh", "-c", READY)
    ready(served, "x")

    assert served.ok("clear", "x") == ""

    buffer = served.pty("x")["buffer"]
    assert (buffer["retained"], buffer["total_dropped"]) == (0, len("ready\r\n"))

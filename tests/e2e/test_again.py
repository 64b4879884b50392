"""`ptymux again` and `ptymux run --restart-of`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import kill
from tests.serving import Serving

SAYS = 'echo "$MINE $MORE $(pwd) $(umask) $(stty size) $*"'


def said(server: Serving, pty_id: str) -> str:
    server.ok("wait", pty_id)
    return server.ok("logs", pty_id).strip()


@pytest.mark.requirement("FR-002")
def test_the_same_runs_again_also_after_both_processes_were_killed(
    own_server: Serving, tmp_path: Path
) -> None:
    own_server.world.env["MINE"] = "1"
    (tmp_path / "here").mkdir()
    where = ("--cwd", str(tmp_path / "here"), "--size", "90x30")
    limits = ("--timeout", "1h", "--ttl", "2h", "--buffer-size", "64K", "--lane", "ci")
    words = ("--name", "web", *where, *limits, "-e", "MORE=2", "sh", "-c", SAYS, "x", "a b")
    first = own_server.run(*words)
    text = said(own_server, first)
    assert text.startswith(f"1 2 {tmp_path}/here 0")
    assert text.endswith(" 30 90 a b")
    own_server.world.env["MINE"] = "other"
    own_server.kill_server()
    kill(own_server.status()["keeper_pid"])

    second = own_server.ok("again", "-d", "web").strip()

    assert said(own_server, second) == text
    before, after = own_server.get(first), own_server.get(second)
    for name in ("command", "cwd", "cols", "rows", "name", "lane_id", "on_full", "threshold"):
        assert after[name] == before[name], name
    assert (after["timeout_seconds"], after["ttl_seconds"]) == (3600.0, 7200.0)
    assert after["buffer"]["capacity"] == 65536
    assert own_server.get("web")["pty_id"] == second


def test_options_that_are_given_take_the_place_of_those_before(server: Serving) -> None:
    first = server.run("--name", "a", "-e", "MORE=2", "sh", "-c", SAYS)
    server.ok("wait", first)

    changed = ("--name", "b", "-e", "MORE=3", "--cwd", "/", "--size", "70x20")
    second = server.ok("again", "-d", *changed, first).strip()
    third = server.ok("run", "-d", "--restart-of", first, "-e", "MORE=4").strip()

    assert said(server, second).split()[0:2] == ["3", "/"]
    assert said(server, third).split()[0] == "4"
    assert [server.get(each)["name"] for each in (second, third)] == ["b", "a"]


def test_one_that_lives_has_its_name_unless_it_is_replaced(server: Serving) -> None:
    first = server.run("--name", "web", "sleep", "1000")

    code, line = server.refused("again", "-d", "web")
    beside = server.ok("again", "-d", "--name", "beside", "web").strip()
    second = server.ok("again", "-d", "--replace", "web").strip()

    assert (code, "again --replace web" in line) == (125, True)
    assert {pty["pty_id"] for pty in server.live()} == {beside, second}
    assert server.get(first)["shown"] == "killed (TERM)"


def test_one_without_a_name_is_replaced_too_but_not_by_what_cannot_start(server: Serving) -> None:
    first = server.run("sleep", "1000")
    assert server.refused("again", "-d", "--replace", "-e", "PATH=/none", first)[0] == 127
    assert [pty["pty_id"] for pty in server.live()] == [first]

    second = server.ok("again", "-d", "--replace", first).strip()

    assert [pty["pty_id"] for pty in server.live()] == [second]


def test_in_a_pipe_it_is_as_run_there(server: Serving) -> None:
    first = server.run("sh", "-c", "cat; exit 3")
    server.ok("kill", first)

    done = server.world.run("again", first, input=b"hello\n")

    assert (done.returncode, done.stdout) == (3, b"hello\n")


def test_what_was_forgotten_or_is_too_long_is_one_clear_line(server: Serving) -> None:
    first = server.run("true")
    server.ok("wait", first)
    server.ok("rm", first)
    assert server.refused("again", "-d", first)[0] == 125

    long = server.run("-e", f"LONG={'x' * 100_000}", "-e", f"LONGER={'x' * 100_000}", "true")
    server.ok("wait", long)

    code, line = server.refused("again", "-d", long)
    assert (code, "is not kept" in line) == (125, True)


def test_words_are_refused_that_say_what_to_run(server: Serving) -> None:
    for words in (("true",), ("-c", "true"), ("-A", "x")):
        assert server.refused("run", "-d", "--restart-of", "1", *words)[0] == 2

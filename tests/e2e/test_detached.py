"""`ptymux run -d`: the server runs a command, as its caller would have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX


def test_run_detached_prints_the_id_and_starts_a_server(no_server: Serving) -> None:
    pty_id = no_server.run("--name", "web", "sleep", "1000")

    assert pty_id.startswith("pty_")
    assert no_server.get("web")["pty_id"] == pty_id
    assert no_server.get("web")["shown"] == "running"


def test_json_of_run_detached_is_the_pty(server: Serving) -> None:
    told = json.loads(server.ok("run", "-d", "--json", "--name", "web", "sleep", "1000"))

    assert told["schema"] == 1
    assert (told["pty"]["name"], told["pty"]["command"]) == ("web", ["sleep", "1000"])


@pytest.mark.requirement("FR-003")
def test_a_detached_command_gets_what_its_caller_has(no_server: Serving, tmp_path: Path) -> None:
    no_server.run("sleep", "1000")  # the server has another environment, directory and umask
    out = tmp_path / "out"
    line = f"(pwd; umask; ulimit -Sn; echo $MINE $PTYMUX_LANE $TERM) > {out}; : > {out}.done"
    shell = f"umask 027; ulimit -Sn 256; cd /usr; {PTYMUX} run -d --lane ci -e MINE=1 -c"

    done = no_server.world.run("/bin/sh", "-c", f'{shell} "$LINE"', env={"TERM": "x", "LINE": line})
    assert (done.returncode, done.stderr) == (0, b"")
    wait_until(lambda: os.path.exists(f"{out}.done"))

    expected = ["/usr", "0027", "256", "1 ci xterm-256color"]
    assert out.read_text().splitlines() == expected


@pytest.mark.requirement("FR-003")
def test_what_cannot_be_started_is_told_and_leaves_the_server_usable(server: Serving) -> None:
    status, text = server.refused("run", "-d", "no-such-program")
    assert (status, text) == (127, "ptymux: no-such-program: command not found\n")
    status, text = server.refused("run", "-d", "--cwd", "/no/such", "true")
    assert status == 125
    assert "/no/such" in text

    assert server.run("sleep", "1000")
    assert [pty["command"] for pty in server.live()] == [["sleep", "1000"]]


def test_rm_forgets_a_pty_once_it_has_ended(server: Serving) -> None:
    server.run("--rm", "true")

    wait_until(lambda: server.json("ls", "-a")["ptys"] == [])


def test_a_shell_line_can_be_detached(server: Serving) -> None:
    pty_id = server.run("-c", "exit 3")

    wait_until(lambda: server.get(pty_id)["shown"] == "exited (3)")


def test_of_many_at_once_with_one_name_one_succeeds(server: Serving) -> None:
    words = ("run", "-d", "--name", "x", "sleep", "1000")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [server.world.start(*words, **pipes) for _ in range(10)]
    told = [process.communicate() for process in started]

    assert sorted(process.returncode for process in started) == [0, *[125] * 9]
    (live,) = server.live()
    assert [out for out, _ in told if out] == [f"{live['pty_id']}\n".encode()]
    refusal = f"ptymux: PTY {live['number']} (sleep 1000) has the name 'x' and is live; "
    assert all(err.decode().startswith(refusal) for out, err in told if not out)


def test_attach_to_a_name_starts_it_once(server: Serving) -> None:
    first = server.run("-A", "x", "sleep", "1000")

    assert server.run("--attach", "x", "sleep", "2000") == first
    assert json.loads(server.ok("run", "-d", "--json", "-A", "x", "true"))["pty"]["name"] == "x"
    assert [pty["command"] for pty in server.live()] == [["sleep", "1000"]]


def test_of_many_that_attach_to_a_name_one_starts_it(server: Serving) -> None:
    words = ("run", "-d", "-A", "x", "sleep", "1000")
    started = [server.world.start(*words, stdout=subprocess.PIPE) for _ in range(8)]
    told = {process.communicate()[0].decode().strip() for process in started}

    assert {process.returncode for process in started} == {0}
    assert [pty["pty_id"] for pty in server.live()] == list(told)


def test_replace_ends_the_live_one_of_that_name_first(server: Serving) -> None:
    first = server.run("--name", "x", "--replace", "sleep", "1000")

    second = server.run("--name", "x", "--replace", "sleep", "2000")

    assert [pty["pty_id"] for pty in server.live()] == [second]
    assert server.get(first)["shown"] == "killed (TERM)"
    assert server.world.run("run", "--name", "x", "--replace", "--", "echo", "y").stdout == b"y\n"
    assert server.live() == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--replace", "true"], "--replace needs a --name"),
        (["-A", "x", "--name", "x", "true"], "--attach goes without --name"),
        (["-d", "-A", "x", "--replace", "true"], "--attach goes without --replace"),
        (["-A", "x", "true"], "--attach needs a terminal, or -d"),
        (["-d", "-A", "12", "true"], "12"),
    ],
)
def test_options_about_names_that_do_not_fit(
    server: Serving, words: list[str], complaint: str
) -> None:
    status, text = server.refused("run", *words)

    assert (status, complaint in text) == (2, True), text


def test_a_pty_does_not_replace_itself(server: Serving) -> None:
    line = f"{PTYMUX} run -d --name x --replace sleep 1000; exec sleep 1000"
    pty = server.run("--name", "x", "-c", line)

    server.await_text(pty, r"this is PTY 'x' itself")

    assert [each["pty_id"] for each in server.live()] == [pty]


@pytest.mark.slow
def test_twenty_at_once_all_live_and_all_end_by_one_kill(server: Serving) -> None:
    started = [
        server.world.start("run", "-d", "--name", f"n{n}", "sleep", "1000", stdout=subprocess.PIPE)
        for n in range(20)
    ]
    ids = [process.communicate()[0].decode().strip() for process in started]

    assert [process.returncode for process in started] == [0] * 20
    assert sorted(pty["pty_id"] for pty in server.live()) == sorted(ids)
    numbers = sorted(pty["number"] for pty in server.live())
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    assert {pty["shown"] for pty in server.live()} == {"running"}
    children = [pty["pid"] for pty in server.live()]

    done = server.world.run("kill", "--all")

    assert (done.returncode, done.stderr) == (0, b"20 PTYs ended\n")
    assert server.live() == []
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children)


@pytest.mark.slow
def test_a_name_is_free_once_kill_returns(server: Serving) -> None:
    pty_id = server.run("--name", "x", "sleep", "1000")
    for _ in range(6):
        line = f"{PTYMUX} kill x && {PTYMUX} run -d --name x sleep 1000"
        done = server.world.run("/bin/sh", "-c", line)
        assert (done.returncode, done.stderr) == (0, b"")
        assert server.get(pty_id)["shown"] == "killed (TERM)"
        pty_id = done.stdout.decode().strip()

        assert [pty["pty_id"] for pty in server.live()] == [pty_id]


ASKS = """
import os, select, tty
tty.setraw(0)
os.write(1, b"\\x1b[?2004h\\x1b[c")
answer = b""
while not answer.endswith(b"c"):
    answer += os.read(0, 100)
os.write(1, b"\\x1b[?2004$p")
while not answer.endswith(b"y"):
    answer += os.read(0, 100)
print(repr(answer), "told", flush=True)
os.read(0, 1)
"""


def test_what_a_program_asks_its_terminal_is_answered_without_one(server: Serving) -> None:
    server.ok("run", "-d", "--name", "asks", "--", sys.executable, "-c", ASKS)

    told = server.ok("wait", "asks", "--text", ".*told")

    assert r"x1b[?62;22c\x1b[?2004;1$y" in told

"""`ptymux dashboard` on a terminal, in a pipe, and with servers that come and go."""

from __future__ import annotations

import json
import os
import re
import signal
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ENDING_SIGNALS, Shell, Tty, job_of
from tests.processes import is_stopped, stop
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX, windows

ENTERED = b"\x1b[?1049h"
LEFT = b"\x1b[?1049l"
ERASED = b"\x1b[2J"
DRAWN = b"\x1b[?2026l"  # at the end of each picture


def look(
    tty: Tty,
    *options: str,
    until: bytes = b"live",
    term: str = "xterm-256color",
    env: Mapping[str, str] | None = None,
) -> None:
    tty.run("dashboard", *options, env={"TERM": term} | dict(env or {}))
    tty.wait_for(until)
    tty.wait_raw()


def forget(tty: Tty) -> None:
    """Forget what was drawn so far, which is whole pictures."""
    wait_until(lambda: not tty.read() and tty.shown.endswith(DRAWN), "a picture that is whole")
    tty.shown.clear()


def is_restored(tty: Tty) -> bool:
    is_left = tty.shown.count(ENTERED) == tty.shown.count(LEFT) > 0 and b"\x1b[?25h" in tty.shown
    return is_left and termios.tcgetattr(tty.slave) == tty.modes


def words(tty: Tty) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", tty.shown.decode(errors="replace"))


def test_it_shows_what_runs_and_quits(own_server: Serving, tty: Tty) -> None:
    own_server.sh("while :; do echo $$; sleep 0.01; done", name="noisy", lane="ci")
    own_server.sh("sleep 1000", name="still")

    look(tty, until=b"noisy")
    tty.wait_for("▂".encode())
    tty.wait_for(b"started, pid")
    tty.type(b"q")

    assert tty.wait() == 0
    assert is_restored(tty)
    for word in ("2 live", "noisy", "still", "ci", "running", "RATE/s▼", "q quit"):
        assert word in words(tty)


def test_only_what_changed_is_drawn(server: Serving, tty: Tty) -> None:
    for number in range(5):
        server.sh("sleep 1000", name=f"still{number}")
    tty.resize(40, 8)  # in which there is no room for what time changes, nor for events
    look(tty, until=b"still4")
    forget(tty)

    tty.type(b"j")
    tty.wait_for("▶".encode())

    assert not any(f"still{number}".encode() in tty.shown for number in range(1, 5))
    tty.type(b"q")
    assert tty.wait() == 0


@pytest.mark.parametrize(
    ("end", "status"), [(b"\x03", 130), *((s, 128 + s) for s in ENDING_SIGNALS)]
)
def test_however_it_ends_the_terminal_is_restored(
    server: Serving, tty: Tty, end: bytes | signal.Signals, status: int
) -> None:
    look(tty)

    if isinstance(end, bytes):
        tty.type(end)
    else:
        tty.process.send_signal(end)

    assert tty.wait() == status
    assert is_restored(tty)


def test_it_ends_when_its_terminal_hangs_up(server: Serving, tty: Tty) -> None:
    look(tty)

    tty.hang_up()

    assert tty.process.wait() == 129


def test_kill_asks_first(own_server: Serving, tty: Tty) -> None:
    own_server.sh("sleep 1000", name="web")
    look(tty, until=b"web")

    tty.type(b"jx")
    tty.wait_for(b"kill 1 web? y/n")
    tty.type(b"n")
    tty.wait_for(b"nothing was done")
    assert own_server.get("web")["shown"] == "running"
    tty.type(b"xy")
    tty.wait_for(b"killed 1 web")
    tty.wait_for(b"killed (TERM)")
    forget(tty)
    tty.type(b"jdy")
    tty.wait_for(b"removed 1 web")
    tty.wait_for(b"no PTYs")
    tty.type(b"q")

    assert tty.wait() == 0
    assert own_server.call("list", all=True)["ptys"] == []


def test_enter_attaches_and_comes_back(own_server: Serving, tty: Tty) -> None:
    own_server.sh("read line; echo got $line; exec sleep 1000", name="web")
    look(tty, until=b"web")
    before = own_server.get("web")["clients"]

    tty.type(b"j\r")
    tty.wait_for(b"attached to 1 (web)")
    tty.type(b"hello\n")
    tty.wait_for(b"got hello")
    tty.shown.clear()
    tty.type(b"\x1cd")
    tty.wait_for(b"detached from 1 (web)")
    tty.wait_for(ENTERED)
    tty.wait_for(b"1 live")
    tty.type(b"q")

    assert tty.wait() == 0
    assert (before, own_server.get("web")["clients"]) == (0, 0)


def test_a_failure_is_opened_looked_at_and_news_no_more(own_server: Serving, tty: Tty) -> None:
    own_server.sh("echo some words; exit 3", name="bad")
    wait_until(lambda: own_server.live() == [])
    look(tty, until=b"1 failed")

    tty.type(b"j\r")
    tty.wait_for(b"some words")
    tty.wait_for(b"[bad: exit 3, ")
    tty.wait_for(b"Enter goes back")
    tty.shown.clear()
    tty.type(b"\r")
    tty.wait_for(b"1 ended  \x1b[2m0 B/s")  # and no failure between them
    tty.type(b"q")

    assert tty.wait() == 0
    assert not own_server.get("bad")["unseen"]


def test_a_signal_ends_it_also_while_a_pty_is_open(own_server: Serving, tty: Tty) -> None:
    own_server.sh("sleep 1000", name="web")
    look(tty, until=b"web")
    tty.type(b"j\r")
    tty.wait_for(b"attached to 1 (web)")
    tty.wait_raw()

    tty.process.terminate()

    assert tty.wait() == 143
    assert termios.tcgetattr(tty.slave) == tty.modes
    assert own_server.get("web")["shown"] == "running"


@pytest.mark.requirement("FR-005")
def test_it_never_counts_as_a_reader_nor_what_it_draws(own_server: Serving, tty: Tty) -> None:
    own_server.sh("while :; do echo $$; sleep 0.01; done", name="noisy")
    tty.run("run", "--name", "own", "--", PTYMUX, "dashboard", env={"TERM": "xterm"})
    tty.wait_for(b"2 live")
    tty.wait_for(b"\x1b[1mown")
    wait_until(lambda: own_server.get("own")["buffer"]["total_written"] > 5000)

    noisy = own_server.get("noisy")

    assert (noisy["clients"], noisy["attended"]) == (0, False)
    assert noisy["buffer"]["total_consumed"] == 0
    tty.type(b"q")
    assert tty.wait() == 0
    for line in re.findall(r"own .*?\x1b\[K", tty.shown.decode(errors="replace")):
        assert " B " not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)


def test_a_suspended_one_is_seen(server: Serving, tty: Tty) -> None:
    number = server.sh("sleep 1000", name="web")["number"]
    look(tty, until=b"web")

    tty.type(b"jTs")
    tty.wait_for(b"sent STOP to %d web" % number)
    tty.wait_for(b"1 suspended")
    tty.type(b"Tc")
    tty.wait_for(b"sent CONT to %d web" % number)
    tty.type(b"q")

    assert tty.wait() == 0


def test_pasted_text_is_no_command(server: Serving, tty: Tty) -> None:
    server.sh("sleep 1000", name="web")
    look(tty, until=b"web")

    tty.type(b"\x1b[200~jxyq\x1b[201~?")
    tty.wait_for(b"any key goes back")
    tty.type(b"qq")

    assert tty.wait() == 0
    assert server.get("web")["shown"] == "running"


def test_another_server_is_found(own_server: Serving, tty: Tty) -> None:
    own_server.sh("sleep 1000", name="before")
    look(tty, until=b"before")

    own_server.kill_server()
    own_server.sh("sleep 1000", name="after")
    tty.wait_for(b"after")
    tty.wait_for(b"2 live")
    tty.type(b"q")

    assert tty.wait() == 0


def test_it_waits_for_a_server(no_server: Serving, tty: Tty) -> None:
    look(tty, until=b"no server")
    tty.wait_for(b"ptymux run -d COMMAND")

    no_server.start()
    no_server.sh("sleep 1000", name="web")
    tty.wait_for(b"web")
    forget(tty)
    no_server.stop()
    tty.wait_for(b"no server")
    tty.type(b"q")

    assert tty.wait() == 0


def test_a_server_that_is_stopped_keeps_nobody(own_server: Serving, tty: Tty) -> None:
    look(tty, env=windows(no_answer=0.1))
    pid = own_server.status()["pid"]
    stop(pid)
    try:
        tty.wait_for(b"no answer")
        tty.type(b"q")

        assert tty.wait() == 0
    finally:
        os.kill(pid, signal.SIGCONT)


def test_it_follows_the_size_of_the_terminal(server: Serving, tty: Tty) -> None:
    server.sh("sleep 1000", name="web")
    look(tty, until=b"web")
    assert "BUFFER" in words(tty)
    forget(tty)

    tty.resize(40, 10)
    tty.wait_for(ERASED)
    tty.wait_for(b"\x1b[10;1H")
    tty.type(b"q")

    assert tty.wait() == 0
    del tty.shown[: tty.shown.index(ERASED)]  # what was drawn before it knew
    assert "DROPPED" in words(tty)
    assert "BUFFER" not in words(tty)
    assert b"\x1b[11;1H" not in tty.shown


def test_it_stops_and_goes_on_as_a_job(server: Serving, shell: Shell) -> None:
    server.sh("sleep 1000", name="web")
    shell.sendline(f"PTYMUX_SOCKET={server.path} TERM=xterm ptymux top")
    shell.expect_exact("web")
    shell.send("\x1a")
    shell.expect_exact(LEFT.decode())
    shell.expect("Stopped")
    shell.expect_exact("$ ")
    pid = job_of(shell)
    wait_until(lambda: is_stopped(pid))

    shell.sendline("fg")
    shell.expect_exact(ENTERED.decode())
    shell.expect_exact("web")
    shell.send("q")
    shell.expect_exact(LEFT.decode())
    shell.expect_exact("$ ")
    shell.sendline("echo status $?")

    shell.expect_exact("status 0")
    shell.expect_exact("$ ")


def test_colours_are_not_used_where_none_are_wanted(server: Serving, tty: Tty) -> None:
    server.sh("kill -SEGV $$", name="bad")
    tty.run("dashboard", env={"TERM": "xterm", "NO_COLOR": "1"})
    tty.wait_for(b"killed (SEGV)")
    tty.type(b"q")

    assert tty.wait() == 0
    assert not re.search(rb"\x1b\[[0-9;]*(3[0-7]|38;|9[0-7])[;0-9]*m", tty.shown)


def test_a_dumb_terminal_gets_one_picture(server: Serving, tty: Tty) -> None:
    server.sh("sleep 1000", name="web")

    tty.run("dashboard", env={"TERM": "dumb"})

    assert tty.wait() == 0
    assert b"web" in tty.shown
    assert b"\x1b" not in tty.shown


@pytest.mark.parametrize("options", [(), ("--once",)])
def test_a_pipe_gets_one_plain_table(server: Serving, options: tuple[str, ...]) -> None:
    server.sh("while :; do echo $$; sleep 0.01; done", name="web")

    def row() -> str:
        text = server.ok("dashboard", *options)
        assert "\x1b" not in text
        return next(line for line in text.splitlines() if " web " in line)

    wait_until(lambda: re.search(r"running +\d+ .* [1-9][0-9.]* k?B ", row()), "a rate")


def test_json_has_rates(server: Serving) -> None:
    server.sh("while :; do echo $$; sleep 0.01; done", name="web")

    def told() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(server.ok("dashboard", "--json"))
        return told

    wait_until(lambda: told()["ptys"][0]["rate"] > 0)
    assert told()["schema"] == 1
    assert told()["ptys"][0]["buffer"]["total_written"] > 0


def test_svg_is_a_picture(server: Serving, tmp_path: Path) -> None:
    server.sh("sleep 1000", name="web")
    picture = tmp_path / "p.svg"

    assert server.ok("dashboard", "--svg", str(picture)) == ""

    assert picture.read_text().startswith("<svg")
    assert "web" in picture.read_text()
    refused = server.world.run("dashboard", "--svg", str(tmp_path / "none" / "p.svg"))
    assert refused.returncode == 125
    assert refused.stderr.decode().endswith("no such file or directory\n")


def test_without_a_server_it_is_empty(no_server: Serving) -> None:
    done = no_server.world.run("dashboard")

    assert done.returncode == 0
    assert b"0 live" in done.stdout
    assert b"no server runs" in done.stdout
    assert json.loads(no_server.world.run("top", "--json").stdout)["ptys"] == []

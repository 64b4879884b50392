"""`ptymux ls` and `ptymux stats`, in a pipe and on a terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Mapping

import pytest

from tests.e2e.conftest import Tty
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX

_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


def shown_by(tty: Tty, *words: str, env: Mapping[str, str] | None = None) -> bytes:
    """Return what a command shows on a terminal."""
    tty.shown.clear()
    tty.run(*words, env=env)
    assert tty.wait() == 0
    return bytes(tty.shown)


def test_without_a_server_nothing_is_listed_and_none_is_started(no_server: Serving) -> None:
    assert no_server.ok("ls") == no_server.ok("ps") == no_server.ok("list", "-q") == ""
    assert no_server.json("ls") == {"schema": 1, "ptys": [], "ended": 0}
    assert no_server.refused("stats", "web") == (
        125,
        "ptymux: no PTY 'web'; `ptymux ls -a` lists them all\n",
    )

    assert no_server.processes() == {}


def test_ls_in_a_pipe_is_a_plain_table_with_every_column(own_server: Serving) -> None:
    own_server.run("--name", "a-name-of-more-than-sixteen-cells", "--lane", "ci", "sleep", "1000")
    own_server.run("sleep", "2000")

    header, first, second = own_server.ok("ls").splitlines()

    assert header.split()[:5] == ["#", "NAME", "LANE", "COMMAND", "STATE"]
    assert re.match(r"1 +a-name-of-more-than-sixteen-cells +ci +sleep 1000 +running +\d+", first)
    assert re.match(r"2 +- +default +sleep 2000 +running +\d+ +\S+ +0% +0 +0$", second)


def test_ended_ones_are_listed_when_asked_for(server: Serving) -> None:
    gone = server.sh("exit 3", name="gone")
    wait_until(lambda: server.live() == [])
    alive = server.spawn("sleep", "1000")

    assert server.json("ls")["ended"] == 1
    assert server.ok("ls", "-q") == f"{alive['pty_id']}\n"
    assert "exited (3)" in server.ok("ls", "--all")
    every = [pty["pty_id"] for pty in server.json("ls", "-a")["ptys"]]
    assert every == [gone["pty_id"], alive["pty_id"]]


def test_what_is_listed_can_be_chosen(own_server: Serving) -> None:
    own_server.run("--lane", "a", "--session", "s", "sleep", "1000")
    own_server.run("--lane", "a", "sleep", "1000")
    own_server.run("--lane", "b", "-c", "exit 1")
    wait_until(lambda: len(own_server.live()) == 2)

    def numbers(*words: str) -> list[int]:
        return [pty["number"] for pty in own_server.json("ls", *words)["ptys"]]

    assert numbers("--lane", "a") == [1, 2]
    assert numbers("--session", "s") == [1]
    assert numbers("--lane", "b") == []
    assert numbers("--lane", "b", "-a") == [3]
    assert numbers("--state", "running") == numbers("--state", "active") == [1, 2]
    assert numbers("--state", "errored") == numbers("--state", "exited (1)") == [3]


def test_long_lists_come_in_pages_and_are_listed_whole(own_server: Serving) -> None:
    words = "x" * 100_000
    for _ in range(6):
        own_server.run("sh", "-c", "exec sleep 1000", words)

    assert [pty["number"] for pty in own_server.json("ls")["ptys"]] == [1, 2, 3, 4, 5, 6]


def test_on_a_terminal_the_table_fits_and_says_what_has_ended(server: Serving, tty: Tty) -> None:
    server.run("--name", "n" * 60, "--lane", "l" * 60, "sleep", "1" * 90)
    server.run("true")
    wait_until(lambda: len(server.live()) == 1)

    for cols in (200, 80, 40):
        tty.resize(cols, 24)
        lines = _COLOUR.sub(b"", shown_by(tty, "ls")).decode().splitlines()
        assert lines[-1] == "1 ended, ls -a"
        assert max(map(len, lines)) <= cols
        assert "running" in lines[1]


def test_wide_lists_what_the_processes_use(server: Serving) -> None:
    server.spawn("sleep", "1000", name="web")
    server.sh("exit 0", name="gone")
    wait_until(lambda: len(server.live()) == 1)

    header, web, gone = server.ok("ls", "-a", "--wide").splitlines()

    for title in ("CPU", "MEMORY", "CWD"):
        assert title in header
    assert re.search(r" \d+%  +[\d.]+ [kM]B  /", web)
    assert re.search(r" -  +-  /", gone)
    assert re.fullmatch(r"web +\d+%\n", server.ok("ls", "--format", "{name} {cpu:>9}"))


def test_a_template_says_what_is_printed(server: Serving) -> None:
    server.spawn("sleep", "1000", name="web", lane="ci")

    assert server.ok("ls", "--format", r"{name}\t{lane}\t{command}") == "web\tci\tsleep 1000\n"
    status, message = server.refused("ls", "--format", "{nme}")
    assert (status, "{name} is" in message) == (2, True)
    assert server.refused("ls", "--wide", "--json")[0] == 2


@pytest.mark.parametrize("how", [("--json",), ("--wide",)])
def test_a_list_can_be_watched_until_an_interrupt(server: Serving, how: tuple[str, ...]) -> None:
    server.spawn("sleep", "1000", name="web")
    pipe = subprocess.PIPE
    with server.world.start("ls", "--watch", *how, stdout=pipe, stderr=pipe) as watching:
        while b"web" not in watching.read_line():
            pass
        while b"web" not in watching.read_line():  # and again
            pass
        watching.send_signal(signal.SIGINT)
        assert watching.communicate()[1].strip() == b""

    assert watching.returncode == 130


def test_on_a_terminal_what_is_watched_stays_in_its_place(server: Serving, tty: Tty) -> None:
    for number in range(8):
        server.spawn("sleep", "1000", name=f"web{number}")
    tty.resize(80, 6)

    tty.run("ls", "-w")
    tty.wait_for(b"5 more")
    tty.wait_for(b"\x1b[5A\x1b[J")
    tty.type(b"\x03")

    assert tty.wait() == 130
    assert b"web3" not in tty.shown


def test_an_empty_list_tells_people_how_to_begin(server: Serving, tty: Tty) -> None:
    assert b"ptymux run -d" in shown_by(tty, "ls")


@pytest.mark.requirement("FR-001")
def test_failures_are_listed_until_somebody_has_looked(own_server: Serving) -> None:
    for status in range(1, 5):
        own_server.run("--name", f"bad{status}", "-c", f"exit {status}")
    own_server.run("--name", "good", "true")
    wait_until(lambda: own_server.live() == [])
    assert own_server.ok("ls").count("exited (") == 4
    assert "good" not in own_server.ok("ls")
    assert own_server.json("ls")["ptys"] == []
    assert own_server.ok("ls", "-q") == ""
    assert own_server.ok("ls", "--failed", "-q").count("pty_") == 4

    own_server.ok("logs", "bad1")
    own_server.ok("stats", "bad2")
    own_server.world.run("wait", "bad3")
    assert [pty["name"] for pty in own_server.json("ls", "--failed")["ptys"]] == ["bad4"]

    own_server.ok("rm", "bad4")
    assert own_server.ok("ls") == ""
    assert [pty["unseen"] for pty in own_server.json("ls", "-a")["ptys"]] == [False] * 4


@pytest.mark.requirement("FR-001")
def test_who_was_attached_has_seen_the_failure(own_server: Serving) -> None:
    assert own_server.world.run("run", "-c", "exit 3").returncode == 3
    assert own_server.world.run("run", "no-such-program").returncode == 127
    own_server.world.run("run", "-d", "no-such-program")

    assert [pty["number"] for pty in own_server.json("ls", "--failed")["ptys"]] == [3]


def test_that_nobody_has_looked_survives_the_server(own_server: Serving) -> None:
    own_server.run("--name", "seen", "-c", "exit 1")
    own_server.run("--name", "unseen", "-c", "exit 1")
    wait_until(lambda: own_server.live() == [])
    own_server.ok("stats", "seen")

    own_server.kill_server()

    assert [pty["name"] for pty in own_server.json("ls", "--failed")["ptys"]] == ["unseen"]


def test_those_that_ended_say_when(own_server: Serving, tty: Tty) -> None:
    own_server.run("true")
    own_server.run("sleep", "1000")
    wait_until(lambda: len(own_server.live()) == 1)

    header, ended, live = own_server.ok("ls", "-a").splitlines()

    at = header.index("ENDED")
    assert re.match(r"\d+s ago, [\w :]*\d\d:\d\d:\d\d ", ended[at:])
    assert live[at] == "-"
    tty.resize(80, 24)
    lines = shown_by(tty, "ls", "-a").decode().splitlines()
    assert re.search(r"\d+s ago", lines[1])
    assert "ENDED" not in own_server.ok("ls")


def test_red_is_for_failures_that_nobody_has_looked_at(own_server: Serving, tty: Tty) -> None:
    own_server.run("-c", "exit 1")
    own_server.run("-c", "kill -9 $$")
    own_server.world.run("run", "-d", "no-such-program")
    own_server.run("--name", "asked", "sleep", "1000")
    own_server.ok("kill", "asked")
    wait_until(lambda: own_server.live() == [])

    lines = shown_by(tty, "ls", "-a").splitlines()
    red = [line.split()[0] for line in lines if b"\x1b[31m" in line]

    assert red == [b"1", b"2", b"3"]
    assert b"\x1b[31mexited (1)" in lines[1]
    assert b"\x1b[31mkilled (KILL)" in lines[2]
    assert b"\x1b[31mfailed to start" in lines[3]
    for number in "123":
        own_server.ok("stats", number)
    assert b"\x1b[31m" not in shown_by(tty, "ls", "-a")


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colour_there_is_none(server: Serving, tty: Tty, env: dict[str, str]) -> None:
    server.world.run("run", "-d", "--name", "failed", "no-such-program")

    assert b"\x1b" not in shown_by(tty, "ls", "-a", env=env)
    (failed,) = server.call("list", all=True)["ptys"]
    assert b"\x1b" not in shown_by(tty, "stats", failed["pty_id"], env=env)


def test_a_name_cannot_draw(server: Serving) -> None:
    pty = server.run("sh", "-c", "sleep 1000", "\x1b]0;owned\x07\x9b31m")

    assert "\x1b" not in server.ok("ls") + server.ok("stats", pty)
    assert "\x9b" not in server.ok("ls") + server.ok("stats", pty)


@pytest.mark.requirement("STATS")
def test_stats_say_where_every_byte_went(server: Serving) -> None:
    pty = server.run("--buffer-size", "64k", "-c", "stty -opost; head -c 100000 /dev/zero")
    wait_until(lambda: server.live() == [])

    text = server.ok("stats", pty)
    told = server.json("stats", pty)["pty"]

    assert "100.0 kB (100,000)" in text
    assert "34.5 kB (34,464) while nobody was" in text
    assert "exited, pid" in text
    assert told["buffer"]["total_dropped"] == told["buffer"]["dropped_unattended"] == 34_464
    assert [step["to"] for step in told["history"]] == ["spawning", "active", "stopped"]


def test_stats_tell_of_signals_and_why_a_start_failed(server: Serving) -> None:
    server.world.run("run", "-d", "no-such-program")
    pty = server.run("--name", "x", "sleep", "1000")
    server.ok("kill", "x")
    failed = server.call("list", all=True)["ptys"][0]["pty_id"]

    assert "no-such-program: command not found" in server.ok("stats", failed)
    assert re.search(r"TERM to \d+ delivered", server.ok("stats", pty))


def test_stats_can_be_watched_until_the_end(server: Serving) -> None:
    server.run("--name", "x", "sleep", "1000")

    with server.world.start("stats", "-w", "--json", "x", stdout=subprocess.PIPE) as watching:
        first = json.loads(watching.read_line())
        server.ok("kill", "x")
        last = json.loads(watching.communicate()[0].splitlines()[-1])

    assert watching.returncode == 0
    assert (first["schema"], first["pty"]["shown"]) == (1, "running")
    assert last["pty"]["shown"] == "killed (TERM)"


def test_watching_ends_quietly_by_an_interrupt(server: Serving) -> None:
    server.run("--name", "x", "sleep", "1000")

    pipe = subprocess.PIPE
    with server.world.start("stats", "--watch", "x", stdout=pipe, stderr=pipe) as watching:
        watching.read_line()
        watching.send_signal(signal.SIGINT)

        assert watching.communicate()[1].strip() == b""
    assert watching.returncode == 130


def test_watched_on_a_terminal_the_numbers_stay_in_their_place(server: Serving, tty: Tty) -> None:
    server.run("--name", "x", "sleep", "1000")
    tty.resize(80, 10)
    tty.run("stats", "--watch", "x")
    tty.wait_for(b"\x1b[9A\x1b[J")

    tty.type(b"\x03")

    assert tty.wait() == 130
    assert tty.is_canonical


def test_the_client_imports_neither_asyncio_nor_rich(server: Serving) -> None:
    server.run("--name", "x", "sleep", "1000")
    code = (
        "import sys; sys.argv[0] = 'ptymux'\n"
        "from ptymux.cli.main import main\n"
        "try: main()\n"
        "finally: print(sorted({'asyncio', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    python = PTYMUX.removesuffix("ptymux") + "python"

    for words in (["stats", "--json", "x"], ["ls"], ["ls", "--json"], ["events"]):
        done = server.world.run(python, "-c", code, *words)
        assert (done.returncode, done.stderr) == (0, b"[]\n")


def test_nobody_reading_is_no_trouble(server: Serving) -> None:
    server.run("sleep", "1000")

    done = server.world.run("/bin/sh", "-c", f"({PTYMUX} ls; echo $? >&2) | true")

    assert done.stderr in (b"0\n", b"141\n")


def test_what_programs_ask_most_is_answered_without_click(server: Serving) -> None:
    server.run("--name", "x", "sleep", "1000")
    code = "import sys; from ptymux.cli.main import main\n"
    code += "try: main()\nfinally: print('click' in sys.modules)"
    python = PTYMUX.removesuffix("ptymux") + "python"

    for words in (["--json", "x"], ["x", "--json"]):
        quick = server.world.run(python, "-c", code, "stats", *words)
        assert quick.stdout.endswith(b"}\nFalse\n")
    ordinary = server.world.run(python, "-c", code, "--socket", server.path, "stats", "--json", "x")

    assert ordinary.stdout.endswith(b"}\nTrue\n")
    assert json.loads(ordinary.stdout[:-5]).keys() == json.loads(quick.stdout[:-6]).keys()
    assert server.refused("stats", "--json", "y")[0] == 125
    assert server.refused("stats", "--json", "--nonsense")[0] == 2

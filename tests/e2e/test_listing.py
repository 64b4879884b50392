"""`ptymux ls` and `ptymux stats`, in a pipe and on a terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Mapping

import pytest

from tests.e2e.conftest import PTYMUX, Tty
from tests.e2e.serving import Served
from tests.timing import wait_until

_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


def shown_by(tty: Tty, *words: str, env: Mapping[str, str] | None = None) -> bytes:
    """Return what a command shows on a terminal."""
    tty.shown.clear()
    tty.run(*words, env=env)
    assert tty.wait() == 0
    return bytes(tty.shown)


def test_without_a_server_nothing_is_listed_and_none_is_started(served: Served) -> None:
    assert served.ok("ls") == served.ok("ps") == served.ok("list", "-q") == ""
    assert served.json("ls") == {"schema": 1, "ptys": [], "ended": 0}
    assert served.refused("stats", "web") == (
        125,
        "ptymux: no PTY 'web'; `ptymux ls -a` lists them all\n",
    )

    assert served.processes() == {}


def test_ls_in_a_pipe_is_a_plain_table_with_every_column(served: Served) -> None:
    served.start("--name", "a-name-of-more-than-sixteen-cells", "--lane", "ci", "sleep", "1000")
    served.start("sleep", "2000")

    header, first, second = served.ok("ls").splitlines()

    assert header.split()[:5] == ["#", "NAME", "LANE", "COMMAND", "STATE"]
    assert re.match(r"1 +a-name-of-more-than-sixteen-cells +ci +sleep 1000 +running +\d+", first)
    assert re.match(r"2 +- +default +sleep 2000 +running +\d+ +\ds +0% +0 +0$", second)


def test_ended_ones_are_listed_when_asked_for(served: Served) -> None:
    served.start("--name", "gone", "-c", "exit 3")
    wait_until(lambda: served.live() == [])
    alive = served.start("sleep", "1000")

    assert served.json("ls")["ended"] == 1
    assert served.ok("ls", "-q") == f"{alive}\n"
    assert "exited (3)" in served.ok("ls", "--all")
    assert [pty["number"] for pty in served.json("ls", "-a")["ptys"]] == [1, 2]


def test_what_is_listed_can_be_chosen(served: Served) -> None:
    served.start("--lane", "a", "--session", "s", "sleep", "1000")
    served.start("--lane", "a", "sleep", "1000")
    served.start("--lane", "b", "-c", "exit 1")
    wait_until(lambda: len(served.live()) == 2)

    def numbers(*words: str) -> list[int]:
        return [pty["number"] for pty in served.json("ls", *words)["ptys"]]

    assert numbers("--lane", "a") == [1, 2]
    assert numbers("--session", "s") == [1]
    assert numbers("--lane", "b") == []
    assert numbers("--lane", "b", "-a") == [3]
    assert numbers("--state", "running") == numbers("--state", "active") == [1, 2]
    assert numbers("--state", "errored") == numbers("--state", "exited (1)") == [3]


def test_long_lists_come_in_pages_and_are_listed_whole(served: Served) -> None:
    words = "x" * 100_000
    for _ in range(6):
        served.start("sh", "-c", "exec sleep 1000", words)

    assert [pty["number"] for pty in served.live()] == [1, 2, 3, 4, 5, 6]


def test_on_a_terminal_the_table_fits_and_says_what_has_ended(served: Served, tty: Tty) -> None:
    served.start("--name", "n" * 60, "--lane", "l" * 60, "sleep", "1" * 90)
    served.start("true")
    wait_until(lambda: len(served.live()) == 1)

    for cols in (200, 80, 40):
        tty.resize(cols, 24)
        lines = _COLOUR.sub(b"", shown_by(tty, "ls")).decode().splitlines()
        assert lines[-1] == "1 ended, ls -a"
        assert max(map(len, lines)) <= cols
        assert "running" in lines[1]


def test_an_empty_list_tells_people_how_to_begin(served: Served, tty: Tty) -> None:
    assert b"ptymux run -d" in shown_by(tty, "ls")


def test_red_is_for_what_nobody_asked_for(served: Served, tty: Tty) -> None:
    served.start("-c", "exit 1")
    served.start("-c", "kill -9 $$")
    served.world.run("run", "-d", "no-such-program")
    served.start("--name", "asked", "sleep", "1000")
    served.ok("kill", "asked")
    wait_until(lambda: served.live() == [])

    lines = shown_by(tty, "ls", "-a").splitlines()
    red = [line.split()[0] for line in lines if b"\x1b[31m" in line]

    assert red == [b"2", b"3"]
    assert b"\x1b[31mkilled (KILL)" in lines[2]
    assert b"\x1b[31mfailed to start" in lines[3]


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colour_there_is_none(served: Served, tty: Tty, env: dict[str, str]) -> None:
    served.world.run("run", "-d", "no-such-program")

    assert b"\x1b" not in shown_by(tty, "ls", "-a", env=env)
    assert b"\x1b" not in shown_by(tty, "stats", "1", env=env)


def test_a_name_cannot_draw(served: Served) -> None:
    served.start("sh", "-c", "sleep 1000", "\x1b]0;owned\x07\x9b31m")

    assert "\x1b" not in served.ok("ls") + served.ok("stats", "1")
    assert "\x9b" not in served.ok("ls") + served.ok("stats", "1")


@pytest.mark.requirement("STATS")
def test_stats_say_where_every_byte_went(served: Served) -> None:
    served.start("--buffer-size", "64k", "-c", "stty -opost; head -c 100000 /dev/zero")
    wait_until(lambda: served.live() == [])

    text = served.ok("stats", "1")
    told = served.pty("1")

    assert "100.0 kB (100,000)" in text
    assert "34.5 kB (34,464) while nobody was" in text
    assert "exited, pid" in text
    assert told["buffer"]["total_dropped"] == told["buffer"]["dropped_unattended"] == 34_464
    assert [step["to"] for step in told["history"]] == ["spawning", "active", "stopped"]


def test_stats_tell_of_signals_and_why_a_start_failed(served: Served) -> None:
    served.world.run("run", "-d", "no-such-program")
    served.start("--name", "x", "sleep", "1000")
    served.ok("kill", "x")

    assert "no-such-program: command not found" in served.ok("stats", "1")
    assert re.search(r"TERM to \d+ delivered", served.ok("stats", "2"))


def test_stats_can_be_watched_until_the_end(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")

    with served.world.start("stats", "-w", "--json", "x", stdout=subprocess.PIPE) as watching:
        assert watching.stdout
        first = json.loads(watching.stdout.readline())
        served.ok("kill", "x")
        last = json.loads(watching.stdout.readlines()[-1])

    assert watching.returncode == 0
    assert (first["schema"], first["pty"]["shown"]) == (1, "running")
    assert last["pty"]["shown"] == "killed (TERM)"


def test_watching_ends_quietly_by_an_interrupt(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")

    pipe = subprocess.PIPE
    with served.world.start("stats", "--watch", "x", stdout=pipe, stderr=pipe) as watching:
        assert watching.stdout
        assert watching.stderr
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 130
        assert watching.stderr.read().strip() == b""


def test_watched_on_a_terminal_the_numbers_stay_in_their_place(served: Served, tty: Tty) -> None:
    served.start("--name", "x", "sleep", "1000")
    tty.resize(80, 10)
    tty.run("stats", "--watch", "x")
    tty.wait_for(b"\x1b[9A\x1b[J")

    tty.type(b"\x03")

    assert tty.wait() == 130
    assert tty.is_canonical


def test_the_client_imports_neither_asyncio_nor_rich(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")
    code = (
        "import sys; sys.argv[0] = 'ptymux'\n"
        "from ptymux.cli.main import main\n"
        "try: main()\n"
        "finally: print(sorted({'asyncio', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    python = PTYMUX.removesuffix("ptymux") + "python"

    for words in (["stats", "--json", "x"], ["ls"], ["ls", "--json"], ["events"]):
        done = served.world.run(python, "-c", code, *words)
        assert (done.returncode, done.stderr) == (0, b"[]\n")


def test_nobody_reading_is_no_trouble(served: Served) -> None:
    served.start("sleep", "1000")

    done = served.world.run("/bin/sh", "-c", f"({PTYMUX} ls; echo $? >&2) | true")

    assert done.stderr in (b"0\n", b"141\n")


def test_what_programs_ask_most_is_answered_without_click(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")
    code = "import sys; from ptymux.cli.main import main\n"
    code += "try: main()\nfinally: print('click' in sys.modules)"
    python = PTYMUX.removesuffix("ptymux") + "python"

    for words in (["--json", "x"], ["x", "--json"]):
        quick = served.world.run(python, "-c", code, "stats", *words)
        assert quick.stdout.endswith(b"}\nFalse\n")
    ordinary = served.world.run(python, "-c", code, "--socket", served.path, "stats", "--json", "x")

    assert ordinary.stdout.endswith(b"}\nTrue\n")
    assert json.loads(ordinary.stdout[:-5]).keys() == json.loads(quick.stdout[:-6]).keys()
    assert served.refused("stats", "--json", "y")[0] == 125
    assert served.refused("stats", "--json", "--nonsense")[0] == 2

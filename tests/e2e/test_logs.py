"""`ptymux logs`: what a PTY keeps, and what comes."""

from __future__ import annotations

import os
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from ptymux.core.model import KIB, OnFull
from tests.e2e.conftest import Tty
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX, World

COLOURED = r"printf 'one\n\033[31mtwo\033[0m\033[?25h\033]0;title\007\nthree'"


def test_bytes_as_they_were_or_without_what_the_terminal_added(server: Serving) -> None:
    pty = server.sh(COLOURED, name="a")["pty_id"]
    server.call("wait", pty=pty)
    whole = "one\r\n\x1b[31mtwo\x1b[0m\x1b[?25h\x1b]0;title\x07\r\nthree"

    assert server.world.run("logs", "--raw", pty).stdout.decode() == whole
    assert server.world.run("logs", pty).stdout.decode() == whole.replace("\r\n", "\n")
    assert server.world.run("logs", "--raw", "--from", "10", pty).stdout.decode() == whole[10:]
    assert server.ok("logs", "--plain", pty) == "one\ntwo\nthree"


@pytest.mark.parametrize(
    ("lines", "shown"), [(0, b""), (1, b"d"), (2, b"c\nd"), (4, b"a\nb\nc\nd")]
)
def test_tail(server: Serving, lines: int, shown: bytes) -> None:
    pty = server.sh(r"printf 'a\nb\nc\nd'", name="a")["pty_id"]
    server.call("wait", pty=pty)

    assert server.world.run("logs", "--tail", str(lines), pty).stdout == shown


def test_text_and_colours_only_on_a_terminal(server: Serving, tty: Tty) -> None:
    pty = server.sh(COLOURED, name="a")["pty_id"]
    server.call("wait", pty=pty)

    tty.run("logs", pty)

    assert tty.wait() == 0
    assert tty.shown == b"one\r\n\x1b[31mtwo\x1b[0m\r\nthree\x1b[0m"


def test_of_a_live_pty_what_there_is_by_now(server: Serving) -> None:
    server.sh("echo one; read x", name="a")
    wait_until(lambda: server.get("a")["buffer"]["total_written"] == len("one\r\n"))

    assert server.world.run("logs", "a").stdout == b"one\n"


@pytest.mark.requirement("FR-012")
def test_following_ends_with_the_pty(server: Serving) -> None:
    server.sh("echo past; read x; echo 1; echo 2; printf end", name="a")
    with server.world.start("logs", "-f", "--tail", "1", "a", stdout=subprocess.PIPE) as following:
        assert following.read_line() == b"past\n"
        server.ok("send", "a", "--enter")

        assert following.communicate()[0] == b"\n1\n2\nend"
    assert following.returncode == 0


@pytest.mark.slow
def test_following_goes_on_when_the_server_is_killed(own_server: Serving, tmp_path: Path) -> None:
    own_server.sh("read x; seq 1 100000; read x; seq 100001 200000", name="a")
    with (tmp_path / "out").open("wb") as out:
        following = own_server.world.start("logs", "-f", "a", stdout=out)
    wait_until(lambda: own_server.get("a")["clients"] == 1)

    own_server.ok("send", "a", "--enter")
    own_server.kill_server()
    wait_until(lambda: own_server.get("a")["clients"] == 1)
    own_server.ok("wait", "a", "--text", "100000")  # the echo of the key is not to come within
    own_server.ok("send", "a", "--enter")

    assert following.wait() == 0
    assert (tmp_path / "out").read_bytes().split() == [b"%d" % n for n in range(1, 200_001)]


@pytest.mark.parametrize("writes", ["yes", "echo y; echo y; read x"])
def test_closed_pipe_ends_it_quietly(server: Serving, writes: str) -> None:
    server.sh(writes, name="a", on_full=OnFull.BLOCK)  # so that the first byte is there still
    reading, writing = os.pipe()
    words = ("logs", "-f", "--lossless", "a")
    with server.world.start(*words, stdout=writing, stderr=subprocess.PIPE) as following:
        os.close(writing)
        assert os.read(reading, 1) == b"y"
        os.close(reading)

        assert following.communicate()[1] == b""
    assert following.returncode == 141


def test_gap_is_told(server: Serving, tty: Tty) -> None:
    pty = server.sh("seq 100000 199999", name="a", buffer_size=64 * KIB)["pty_id"]
    server.call("wait", pty=pty)

    raw = server.world.run("logs", "--raw", pty)
    assert len(raw.stdout) == 65536
    missing = "734,464 bytes of output are missing here, from offset 0 on"
    assert raw.stderr.decode() == f"ptymux: {missing}\n"
    cut = raw.stdout.index(b"\n") + 1
    left_out = f"; the rest of the line that they cut, {cut} bytes, is left out"

    for words in ((), ("--plain",), ("--from", "0"), ("--tail", "99999")):
        done = server.world.run("logs", *words, pty)
        assert done.stdout == raw.stdout[cut:].replace(b"\r", b"")
        assert done.stderr.decode() == f"ptymux: {missing}{left_out}\n"
    tty.run("logs", pty)

    assert tty.wait() == 0
    assert f"[ptymux: {missing}{left_out}]\r\n191".encode() in tty.shown
    tail = server.world.run("logs", "--tail", "2", pty)
    assert (tail.stdout, tail.stderr) == (b"199998\n199999\n", b"")


def test_what_has_no_end_of_a_line_is_not_left_out(server: Serving) -> None:
    pty = server.sh("head -c 5000 /dev/zero | tr '\\0' x", buffer_size=4 * KIB)["pty_id"]
    server.call("wait", pty=pty)

    done = server.world.run("logs", pty)

    assert done.stdout == b"x" * 4096
    assert done.stderr == b"ptymux: 904 bytes of output are missing here, from offset 0 on\n"


PROGRESS = (
    r"for n in 1 2 3; do printf '\r%d0%% of 30' $n; done; printf '\nab\bc\n\r100%%\033[2K\rend'"
)


def test_a_progress_bar_is_its_last_state_on_a_terminal_and_as_plain_text(
    server: Serving, tty: Tty
) -> None:
    pty = server.sh(PROGRESS)["pty_id"]
    server.call("wait", pty=pty)

    assert server.ok("logs", "--plain", pty) == "30% of 30\nac\nend"
    assert server.ok("logs", pty).count("of 30") == 3
    tty.run("logs", pty)

    assert tty.wait() == 0
    assert tty.shown == b"30% of 30\r\nac\r\nend"


def test_a_progress_bar_moves_for_who_follows_it_on_a_terminal(server: Serving, tty: Tty) -> None:
    server.sh(
        "stty -echo; printf 10%%; read x; printf '\\r20%%'; read x; echo; echo done; read x",
        name="a",
    )
    tty.run("logs", "-f", "a")
    tty.wait_for(b"10%")

    server.ok("send", "a", "--enter")
    tty.wait_for(b"\r\x1b[K20%")
    server.ok("send", "a", "--enter")
    tty.wait_for(b"done\r\n")

    server.ok("kill", "a")
    assert tty.wait() == 0


def test_what_ran_in_a_pipe_is_printed_as_it_was(server: Serving) -> None:
    assert server.world.run("run", "--", "printf", r"a\r\nb\r\n").stdout == b"a\r\nb\r\n"
    (pty,) = server.call("list", all=True)["ptys"]

    assert server.world.run("logs", pty["pty_id"]).stdout == b"a\r\nb\r\n"


@pytest.mark.requirement("BLOCK")
@pytest.mark.parametrize("words", [(), ("--lossless",)])
def test_follower_gets_all_from_a_pty_that_blocks(server: Serving, words: tuple[str, ...]) -> None:
    server.sh("read x; seq 1 300000", name="a", on_full=OnFull.BLOCK, buffer_size=64 * KIB)
    with server.world.start("logs", "-f", *words, "a", stdout=subprocess.PIPE) as following:
        wait_until(lambda: server.get("a")["clients"] == 1)
        server.ok("send", "a", "--enter")
        shown = following.communicate()[0]

    assert shown.split() == [b"%d" % n for n in range(1, 300_001)]


def test_unknown_pty_is_one_line(world: World) -> None:
    done = world.run("logs", "nobody")

    assert done.returncode == 125
    assert done.stderr == b"ptymux: no PTY 'nobody'; `ptymux ls -a` lists them all\n"


def test_following_the_pty_that_it_runs_in_is_refused_but_into_a_file(
    server: Serving, tmp_path: Path
) -> None:
    line = f"{PTYMUX} logs -f a; exec {PTYMUX} logs -f a > {tmp_path / 'out'}"
    pty = server.run("--name", "a", "-c", line)

    wait_until(lambda: server.get(pty)["clients"] == 1)
    told = "itself; it cannot be shown in itself"
    wait_until(lambda: told in (tmp_path / "out").read_text())


@pytest.mark.parametrize("way", ["logs -f", "attach"])
def test_circles_of_ptys_that_show_each_other_are_refused(server: Serving, way: str) -> None:
    env = {"PATH": os.environ["PATH"], "TERM": "xterm"}
    go_on = f"{PTYMUX} {way} $0 | cat; echo over; exec sleep 1000"
    go_on = go_on if way == "logs -f" else go_on.replace(" | cat", "")
    a = server.spawn("/bin/sh", "-c", f"read x; {go_on}", "c", name="a", env=env)
    b = server.spawn("/bin/sh", "-c", go_on, "a", name="b", env=env)
    wait_until(lambda: server.get(a)["clients"] == 1)
    c = server.spawn("/bin/sh", "-c", go_on, "b", name="c", env=env)
    wait_until(lambda: server.get(b)["clients"] == 1)

    server.ok("send", "a", "--enter")

    server.await_text(
        "a", f"PTY {c['number']} .c. shows the output of PTY {a['number']} .a., where"
    )
    server.await_text("a", "^over")
    assert server.get(c)["clients"] == 0
    server.ok("kill", "c")  # and with the circle goes the reason to refuse
    d = server.spawn("/bin/sh", "-c", f"exec {PTYMUX} logs -f b > /dev/null", name="d", env=env)
    wait_until(lambda: server.get(b)["clients"] == 1 and server.get(d)["shown"] == "running")


@pytest.mark.requirement("BLOCK")
def test_the_command_waits_for_a_follower_that_is_stalled_unless_it_is_lossy(
    server: Serving,
) -> None:
    server.sh("seq 1 300000; read x", name="a", on_full=OnFull.BLOCK, buffer_size=64 * KIB)
    with server.world.start("logs", "-f", "a", stdout=subprocess.PIPE) as stalled:
        wait_until(lambda: server.get("a")["clients"] == 1)
        wait_until(lambda: server.get("a")["held_ms"] > 0)
        assert server.get("a")["buffer"]["total_dropped"] == 0
        stalled.kill()

    with server.world.start("logs", "-f", "--lossy", "a", stdout=subprocess.PIPE) as lossy:
        wait_until(lambda: server.get("a")["buffer"]["dropped_attended"] > 0)
        assert b"not for terminals and --lossy" in server.world.run("stats", "a").stdout
        lossy.kill()


def test_tail_counts_only_what_is_printed_as_read(server: Serving) -> None:
    pty = server.sh("seq 1 10000", name="a", plain_output=True)["pty_id"]
    server.call("wait", pty=pty, until="gone")

    assert server.ok("logs", "--tail", "2", pty) == "9999\n10000\n"
    assert server.ok("logs", "-f", "--tail", "1", pty) == "10000\n"

    assert server.get(pty)["buffer"]["total_consumed"] == len("9999\n10000\n")


def test_times_of_lines_and_what_came_since(server: Serving) -> None:
    pty = server.sh("echo one; read x; echo two; printf three", name="a")["pty_id"]
    server.ok("wait", "a", "--text", "one")
    first = server.call("times", pty=pty)["times"][0][1]
    wait_until(lambda: time.time() >= first + 1)
    server.ok("send", "a", "--enter")
    server.call("wait", pty=pty, until="gone")
    second = server.call("times", pty=pty)["times"][1][1]

    def local(at: int) -> str:
        return datetime.fromtimestamp(at).astimezone().isoformat()

    early, late = local(first), local(second)
    lines = f"{early} one\n{late} \n{late} two\n{late} three"
    for words in (("-t",), ("-t", "-f"), ("-t", "--plain"), ("-t", "--since", "1h")):
        assert server.ok("logs", *words, "a") == lines
    assert server.ok("logs", "-t", "--tail", "1", "a") == f"{late} three"
    assert server.ok("logs", "--since", late, "a") == "\ntwo\nthree"
    assert server.ok("logs", "--since", late, "--tail", "2", "a") == "two\nthree"
    assert server.ok("logs", "--until", early, "a") == "one\n"
    assert server.ok("logs", "--since", local(second + 60), "a") == ""


def test_what_was_evicted_since_is_told(server: Serving) -> None:
    pty = server.sh("seq 100000 199999", name="a", buffer_size=64 * KIB)["pty_id"]
    server.call("wait", pty=pty)

    done = server.world.run("logs", "-t", "--since", "1h", pty)

    assert done.stderr.startswith(b"ptymux: 734,464 bytes of output are missing here, from offset")
    lines = done.stdout.splitlines()
    assert all(line.startswith(b"20") and line[25:26] == b" " for line in lines)
    assert [int(line[26:]) for line in lines] == list(range(200_000 - len(lines), 200_000))

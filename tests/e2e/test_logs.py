"""`ptymux logs`: what a PTY keeps, and what comes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ptymux.core.model import KIB, OnFull
from tests.e2e.conftest import Tty
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import World

COLOURED = r"printf 'one\n\033[31mtwo\033[0m\033[6n\033]0;title\007\nthree'"


def test_bytes_as_they_were_in_a_pipe(server: Serving) -> None:
    pty = server.sh(COLOURED, name="a")["pty_id"]
    server.call("wait", pty=pty)
    whole = "one\r\n\x1b[31mtwo\x1b[0m\x1b[6n\x1b]0;title\x07\r\nthree"

    assert server.world.run("logs", pty).stdout.decode() == whole
    assert server.world.run("logs", "--from", "10", pty).stdout.decode() == whole[10:]
    assert server.ok("logs", "--plain", pty) == "one\ntwo\nthree"


@pytest.mark.parametrize(
    ("lines", "shown"), [(0, b""), (1, b"d"), (2, b"c\r\nd"), (4, b"a\r\nb\r\nc\r\nd")]
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

    assert server.world.run("logs", "a").stdout == b"one\r\n"


@pytest.mark.requirement("FR-012")
def test_following_ends_with_the_pty(server: Serving) -> None:
    server.sh("echo past; read x; echo 1; echo 2; printf end", name="a")
    with server.world.start("logs", "-f", "--tail", "1", "a", stdout=subprocess.PIPE) as following:
        assert following.read_line() == b"past\r\n"
        server.ok("send", "a", "--enter")

        assert following.communicate()[0] == b"\r\n1\r\n2\r\nend"
    assert following.returncode == 0


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

    done = server.world.run("logs", "--from", "0", pty)
    tty.run("logs", "--from", "0", pty)

    assert len(done.stdout) == 65536
    assert done.stderr == b"ptymux: 734,464 bytes of output are missing here, from offset 0 on\n"
    assert tty.wait() == 0
    assert b"[ptymux: 734,464 bytes of output are missing here, from offset 0 on]\r\n" in tty.shown


@pytest.mark.requirement("BLOCK")
def test_lossless_follower_gets_all_from_a_pty_that_blocks(server: Serving) -> None:
    server.sh("read x; seq 1 300000", name="a", on_full=OnFull.BLOCK, buffer_size=64 * KIB)
    with server.world.start("logs", "-f", "--lossless", "a", stdout=subprocess.PIPE) as following:
        wait_until(lambda: server.get("a")["clients"] == 1)
        server.ok("send", "a", "--enter")
        shown = following.communicate()[0]

    assert shown.split() == [b"%d" % n for n in range(1, 300_001)]


def test_unknown_pty_is_one_line(world: World) -> None:
    done = world.run("logs", "nobody")

    assert done.returncode == 125
    assert done.stderr == b"ptymux: no PTY 'nobody'; `ptymux ls -a` lists them all\n"

"""`ptymux logs`: what a PTY keeps, and what comes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Tty, World
from tests.e2e.server import Server, running_server
from tests.timing import wait_until

COLOURED = r"printf 'one\n\033[31mtwo\033[0m\033[6n\033]0;title\007\nthree'"


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with running_server(world) as server:
        yield server


def test_bytes_as_they_were_in_a_pipe(server: Server) -> None:
    pty = server.start("a", COLOURED)
    server.call("wait", pty=pty)
    whole = "one\r\n\x1b[31mtwo\x1b[0m\x1b[6n\x1b]0;title\x07\r\nthree"

    assert server.world.run("logs", pty).stdout.decode() == whole
    assert server.world.run("logs", "--from", "10", pty).stdout.decode() == whole[10:]
    assert server.text("logs", "--plain", pty) == "one\ntwo\nthree"


@pytest.mark.parametrize(
    ("lines", "shown"), [(0, b""), (1, b"d"), (2, b"c\r\nd"), (4, b"a\r\nb\r\nc\r\nd")]
)
def test_tail(server: Server, lines: int, shown: bytes) -> None:
    pty = server.start("a", r"printf 'a\nb\nc\nd'")
    server.call("wait", pty=pty)

    assert server.world.run("logs", "--tail", str(lines), pty).stdout == shown


def test_text_and_colours_only_on_a_terminal(server: Server, tty: Tty) -> None:
    pty = server.start("a", COLOURED)
    server.call("wait", pty=pty)

    tty.run("logs", pty)

    assert tty.wait() == 0
    assert tty.shown == b"one\r\n\x1b[31mtwo\x1b[0m\r\nthree\x1b[0m"


def test_of_a_live_pty_what_there_is_by_now(server: Server) -> None:
    server.start("a", "echo one; read x")
    server.text("wait", "a", "--text", "one")

    assert server.world.run("logs", "a").stdout == b"one\r\n"


@pytest.mark.requirement("FR-012")
def test_following_ends_with_the_pty(server: Server) -> None:
    server.start("a", "echo past; read x; echo 1; echo 2; printf end")
    with server.world.start("logs", "-f", "--tail", "1", "a", stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"past\r\n"
        server.text("send", "a", "--enter")

        assert following.stdout.read() == b"\r\n1\r\n2\r\nend"
        assert following.wait(10) == 0


def test_following_goes_on_when_the_server_is_killed(server: Server, tmp_path: Path) -> None:
    server.start("a", "read x; seq 1 100000; read x; seq 100001 200000")
    with (tmp_path / "out").open("wb") as out:
        following = server.world.start("logs", "-f", "a", stdout=out)
    wait_until(lambda: server.pty("a")["clients"] == 1)

    server.text("send", "a", "--enter")
    server.kill()
    wait_until(lambda: server.pty("a")["clients"] == 1)
    server.text("send", "a", "--enter")

    assert following.wait(10) == 0
    assert (tmp_path / "out").read_bytes().split() == [b"%d" % n for n in range(1, 200_001)]


@pytest.mark.parametrize("writes", ["yes", "echo y; echo y; read x"])
def test_closed_pipe_ends_it_quietly(server: Server, writes: str) -> None:
    server.start("a", writes)
    reading, writing = os.pipe()
    errors = subprocess.PIPE
    with server.world.start("logs", "-f", "a", stdout=writing, stderr=errors) as following:
        os.close(writing)
        assert os.read(reading, 1) == b"y"
        os.close(reading)

        assert following.wait(10) == 141
        assert following.stderr is not None
        assert following.stderr.read() == b""


def test_gap_is_told(server: Server, tty: Tty) -> None:
    pty = server.start("a", "seq 100000 199999", "--buffer-size", "64k")
    server.call("wait", pty=pty)

    done = server.world.run("logs", "--from", "0", pty)
    tty.run("logs", "--from", "0", pty)

    assert len(done.stdout) == 65536
    assert done.stderr == b"ptymux: 734,464 bytes of output are missing here, from offset 0 on\n"
    assert tty.wait() == 0
    assert b"[ptymux: 734,464 bytes of output are missing here, from offset 0 on]\r\n" in tty.shown


@pytest.mark.requirement("BLOCK")
def test_lossless_follower_gets_all_from_a_pty_that_blocks(server: Server) -> None:
    options = ("--on-full", "block", "--buffer-size", "64k")
    server.start("a", "read x; seq 1 300000", *options)
    with server.world.start("logs", "-f", "--lossless", "a", stdout=subprocess.PIPE) as following:
        wait_until(lambda: server.pty("a")["clients"] == 1)
        server.text("send", "a", "--enter")
        assert following.stdout is not None
        shown = following.stdout.read()

    assert shown.split() == [b"%d" % n for n in range(1, 300_001)]


def test_unknown_pty_is_one_line(world: World) -> None:
    done = world.run("logs", "nobody")

    assert done.returncode == 125
    assert done.stderr == b"ptymux: no PTY 'nobody'; `ptymux ls -a` lists them all\n"

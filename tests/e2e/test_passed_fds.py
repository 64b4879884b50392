"""What a shell opens above stderr for `ptymux run`, the command has."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptymux.core.model import Limits
from tests.e2e.conftest import Tty
from tests.processes import kill
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX

pytestmark = pytest.mark.requirement("FR-003")

# Through this path the program may be on a file system that has to be waited for.
SLOW = "/proc/self/root/bin/bash"
WAYS = ["/bin/bash", SLOW]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that is closed at the end; a test may close one itself."""
    ends = os.pipe()
    files = [os.fstat(fd) for fd in ends]
    yield ends
    for fd, file in zip(ends, files, strict=True):
        try:
            if os.path.samestat(os.fstat(fd), file):
                os.close(fd)
        except OSError:
            continue


@pytest.mark.parametrize("bash", WAYS)
def test_a_command_reads_what_the_shell_opened_for_it(server: Serving, bash: str) -> None:
    line = f"{PTYMUX} run -- {bash} -c 'diff $@; cat <&5' x <(seq 3) <(seq 4) 5< <(echo five)"

    done = server.world.run("/bin/bash", "-c", line)

    assert (done.stdout, done.stderr) == (b"3a4\n> 4\nfive\n", b"")


def test_make_gives_the_tokens_of_its_jobserver(server: Serving, tmp_path: Path) -> None:
    (tmp_path / "inner").write_text("all: a b\na b:\n\t@echo $@\n")
    (tmp_path / "outer").write_text(f"all:\n\t+@{PTYMUX} run -- $(MAKE) -f inner\n")

    done = server.world.run("/usr/bin/make", "-s", "-j2", "-f", "outer", cwd=tmp_path)

    assert sorted(done.stdout.split()) == [b"a", b"b"]
    assert done.stderr == b""  # where the inner make would miss the jobserver


def test_on_a_terminal_too_and_not_in_the_background(server: Serving, tty: Tty) -> None:
    fd, other = os.pipe()
    os.write(other, b"passed")
    os.close(other)
    line = f"cat /proc/self/fd/{fd}; sleep 0.3"
    try:
        tty.run("run", "--", "/bin/sh", "-c", line, pass_fds=[fd])
        tty.wait_for(b"passed")
        assert tty.wait() == 0
        os.set_inheritable(fd, True)
        pty = server.world.run("run", "-d", "--", "/bin/sh", "-c", line, pass_fds=[fd])
    finally:
        os.close(fd)

    name = pty.stdout.decode().strip()
    server.ok("wait", name)
    assert "No such file" in server.ok("logs", name)


@pytest.mark.parametrize("bash", WAYS)
def test_the_other_ends_see_what_the_command_closes(
    server: Serving, pipe: tuple[int, int], bash: str
) -> None:
    inside, outside = pipe
    line = f"exec {outside}>&-; read word"
    with server.world.start(
        "run", "--", bash, "-c", line, pass_fds=[outside], stdin=subprocess.PIPE
    ) as run:
        os.close(outside)
        assert os.read(inside, 1) == b""
        assert run.poll() is None
        run.communicate(b"word\n")
    assert run.returncode == 0


def test_a_command_that_cannot_start_leaves_nothing_open(
    server: Serving, pipe: tuple[int, int]
) -> None:
    inside, outside = pipe

    done = server.world.run("run", "--", "/no/such/program", pass_fds=[outside])
    os.close(outside)

    assert (done.returncode, os.read(inside, 1)) == (127, b"")


def test_each_of_many_has_its_number_whatever_we_use_ourselves(server: Serving) -> None:
    files = {
        number: os.memfd_create(f"file-{number}") for number in range(3, 3 + Limits.PASSED_FDS)
    }
    for number, fd in files.items():
        os.write(fd, b"%d\n" % number)
    script = 'for fd in "$@"; do cat /proc/self/fd/$fd; done; ls /proc/self/fd | wc -l'
    words = ["-c", script, "x", *map(str, files)]
    try:
        for bash in WAYS:
            pty = server.spawn(bash, *words, pass_fds=files, plain_output=True)
            shown = server.output(pty)[0].split()
            assert shown == [b"%d" % number for number in (*files, len(files) + 4)]
    finally:
        for fd in files.values():
            os.close(fd)


def test_too_many_are_said_and_the_first_ones_passed(server: Serving) -> None:
    ends = [os.open("/dev/null", os.O_RDONLY) for _ in range(Limits.PASSED_FDS + 2)]
    try:
        done = server.world.run("run", "--", "/bin/ls", "/proc/self/fd", pass_fds=ends)
    finally:
        for fd in ends:
            os.close(fd)

    told = f"the command gets {len(ends) - 2} of our {len(ends)} fds, up to {ends[-3]}"
    assert done.stderr.decode() == f"ptymux: {told}\n"
    assert {*map(str, ends[:-2])} <= {*done.stdout.decode().split()}
    assert str(ends[-1]) not in done.stdout.decode().split()


@pytest.mark.parametrize("victim", ["keeper_pid", "pid"])
def test_after_a_kill_in_the_middle_the_command_has_them(
    own_server: Serving, pipe: tuple[int, int], victim: str
) -> None:
    inside, outside = pipe
    os.write(outside, b"passed\n")
    status = own_server.status()
    os.kill(status["keeper_pid"], signal.SIGSTOP)  # so that the request waits for it
    with own_server.world.start(
        "run", "--", "/bin/cat", f"/proc/self/fd/{inside}",
        pass_fds=[inside], stdout=subprocess.PIPE,
    ) as run:  # fmt: skip
        os.close(outside)
        wait_until(lambda: own_server.call("list")["ptys"], "a spawn that waits")
        kill(status[victim])
        if victim == "pid":
            os.kill(status["keeper_pid"], signal.SIGCONT)
        assert run.communicate()[0] == b"passed\n"
    assert run.returncode == 0
    own_server.status()

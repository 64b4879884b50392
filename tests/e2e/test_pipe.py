"""`ptymux run` with something else than a terminal at stdin or stdout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Shell
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX, World

LINES = b"".join(b"%078d\n" % number for number in range(250_000))  # 20 MB that tell their place


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe; a test that closes one itself sets nothing."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue  # the test did


@contextmanager
def large_file(path: Path, data: bytes) -> Iterator[str]:
    path.write_bytes(data)
    yield str(path)
    path.unlink()


def wait_full(fd: int) -> None:
    """Wait until the pipe behind `fd` has no room, so that whoever writes into it has to wait."""
    poll = select.poll()
    writing = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        poll.register(writing, select.POLLOUT)
        wait_until(lambda: not poll.poll(0), "a pipe that is full")
    finally:
        os.close(writing)


def read_all(fd: int) -> bytes:
    return b"".join(iter(lambda: os.read(fd, 1 << 20), b""))


# What comes out ------------------------------------------------------------------------------


@pytest.mark.requirement("FR-005")
def test_output_is_what_the_command_wrote(world: World) -> None:
    every_byte = bytes(range(256))
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) + b'a\\nb\\r\\n')"

    done = world.run("run", sys.executable, "-c", program)

    assert (done.returncode, done.stdout, done.stderr) == (0, every_byte + b"a\nb\r\n", b"")


@pytest.mark.requirement("FR-010")
def test_input_is_not_echoed(world: World) -> None:
    done = world.run("run", "cat", input=b"hello\n\x03\x04\n")

    assert done.stdout == b"hello\n\x03\x04\n"


@pytest.mark.requirement("BLOCK", "LAW-PTY")
def test_50_mb_through_a_pipe_are_exact(world: World, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 48
    with large_file(tmp_path / "data", data) as path:
        done = world.run("run", "cat", path)

    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


@pytest.mark.requirement("FR-010")
def test_50_mb_of_input_are_exact(world: World) -> None:
    data = os.urandom(1 << 20) * 48

    done = world.run("run", "sha256sum", input=data)

    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.requirement("BLOCK")
def test_reader_that_sleeps_loses_nothing(
    world: World, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    with large_file(tmp_path / "data", LINES) as path:
        process = world.start("run", "cat", path, stdout=pipe[1], stderr=subprocess.PIPE)
        os.close(pipe[1])
        wait_full(pipe[0])

        assert hashlib.sha256(read_all(pipe[0])).digest() == hashlib.sha256(LINES).digest()
        assert process.communicate()[1] == b""
        assert process.returncode == 0


@pytest.mark.requirement("LAW-READER")
def test_what_a_slow_reader_was_asked_to_miss_is_told(
    world: World, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    done = tmp_path / "done"
    options = ("--on-full", "drop", "--buffer-size", "64k")
    with large_file(tmp_path / "data", LINES) as path:
        process = world.start(
            *("run", *options, "-c", 'cat "$1" && echo > "$2"', path, str(done)),
            stdout=pipe[1],
            stderr=subprocess.PIPE,
        )
        os.close(pipe[1])
        wait_until(done.exists)

    got = read_all(pipe[0])
    told = process.communicate()[1].decode()
    missing = [
        int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:more )?by", told)
    ]
    assert len(got) + sum(missing) == len(LINES)
    assert LINES.endswith(got[-60_000:])
    assert "bytes of output are missing here, from offset " in told


def test_many_gaps_are_few_lines(world: World) -> None:
    done = world.run("run", "--buffer-size", "0", "head", "-c", "10000000", "/dev/zero")

    told = done.stderr.decode()
    missing = [
        int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:more )?by", told)
    ]
    assert (done.returncode, done.stdout, sum(missing)) == (0, b"", 10_000_000)
    # How often a line may come is judged in tests/cli/output/test_gaps.py, by a clock of its own.
    gaps = told.count(" from offset ") + sum(map(int, re.findall(r", in (\d+) places", told)))
    assert len(told.splitlines()) < gaps


def test_summary_is_one_line_on_stderr(world: World) -> None:
    done = world.run("run", "--summary", "grep", "-c", "x", "/dev/null")

    assert done.stdout == b"0\n"
    told = rb"\[grep: exit 1, \d+ m?s, 2 B, 0 dropped; ptymux logs \d+\]\n"
    assert re.fullmatch(told, done.stderr)


def test_summary_of_a_shell_line_names_it_and_a_signal(world: World) -> None:
    done = world.run("run", "--summary", "-c", "kill -35 $$")

    assert done.returncode == 128 + 35
    assert re.match(rb"\[kill -35 \$\$: killed \(35\), ", done.stderr)


# How it ends ---------------------------------------------------------------------------------


@pytest.mark.requirement("FR-012")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -40 $$", 168),
    ],
)
def test_exit_code_is_that_of_the_command(world: World, line: str, status: int) -> None:
    assert world.run("run", "-c", line).returncode == status


@pytest.mark.parametrize("words", [("run", "echo"), ("run", "--", "echo")])
def test_options_end_at_the_command(world: World, words: tuple[str, ...]) -> None:
    assert world.run(*words, "-la", "--name", "x").stdout == b"-la --name x\n"


def test_shell_line_has_arguments(world: World) -> None:
    assert world.run("run", "-c", 'echo "$2-$1"', "a", "b c").stdout == b"b c-a\n"


def test_no_command_is_the_shell(world: World) -> None:
    done = world.run("run", input=b"echo $0; exit 5\n")

    assert (done.returncode, done.stdout) == (5, b"/bin/sh\n")


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_reaches_the_command(world: World, signum: signal.Signals) -> None:
    process = world.start("run", "-c", "echo ready; exec sleep 100", stdout=subprocess.PIPE)
    process.read_line()

    process.send_signal(signum)

    assert process.communicate()[0] == b""
    assert process.returncode == 128 + signum


@pytest.mark.requirement("FR-004")
def test_what_the_command_makes_of_a_signal_decides(world: World) -> None:
    line = "trap 'echo bye; exit 9' TERM; echo ready; while :; do :; done"
    process = world.start("run", "-c", line, stdout=subprocess.PIPE)
    process.read_line()

    process.terminate()

    assert process.communicate()[0] == b"bye\n"
    assert process.returncode == 9


@pytest.mark.requirement("FR-004")
def test_signal_that_we_were_started_to_ignore_is_ignored(world: World) -> None:
    nohup = f"trap '' HUP; exec {PTYMUX} run cat"
    process = world.start(
        "/bin/sh", "-c", nohup, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    process.stdin.write(b"ready\n")
    process.read_line()

    process.send_signal(signal.SIGHUP)

    assert process.communicate(b"here\n")[0] == b"here\n"
    assert process.returncode == 0


@pytest.mark.requirement("FR-012")
def test_status_survives_a_parent_that_ignores_its_children(world: World) -> None:
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = (sys.executable, "-c", ignoring, PTYMUX, "run", "-c", "exit 3")

    assert world.run(*words).returncode == 3


@pytest.mark.requirement("FR-007")
def test_closed_pipe_hangs_up_quietly(no_server: Serving, tmp_path: Path) -> None:
    no_server.start(hangup=1000)  # nobody is ended by force amid its cleaning up
    line = "trap 'echo hup > \"$1\"; exit' HUP; sleep 100 & while :; do echo y; done"
    process = no_server.world.start(
        *("run", "--grace", "1h", "-c", line, str(tmp_path / "told")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.read_line()
    wait_until(lambda: "sleep 100 " in no_server.world.processes().values())

    process.stdout.close()

    assert process.communicate()[1] == b""
    assert process.returncode == 141
    wait_until(lambda: not no_server.world.processes())
    assert (tmp_path / "told").read_text() == "hup\n"


@pytest.mark.requirement("FR-007")
def test_command_that_ignores_a_closed_pipe_is_killed_after_the_grace(world: World) -> None:
    line = "trap '' HUP TERM PIPE; while :; do echo y; done"
    process = world.start("run", "--grace", "200ms", "-c", line, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.read_line()

    process.stdout.close()

    assert process.wait() == 141


@pytest.mark.requirement("FR-007", "BLOCK")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_reader_that_never_reads_does_not_outlast_a_signal(
    world: World, pipe: tuple[int, int], signum: signal.Signals
) -> None:
    process = world.start("run", "--grace", "500ms", "yes", stdout=pipe[1], stderr=subprocess.PIPE)
    wait_full(pipe[0])

    process.send_signal(signum)

    _, told = process.communicate()
    assert process.returncode == 128 + signum
    assert re.fullmatch(rb"ptymux: nobody reads stdout; [\d,]+ bytes of .* not written\n", told)


@pytest.mark.requirement("BLOCK")
def test_command_that_outlives_a_signal_keeps_its_slow_reader(
    world: World, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    reloaded = tmp_path / "reloaded"
    line = 'trap \'echo > "$2"\' HUP; cat "$1" & wait; wait'
    with large_file(tmp_path / "data", LINES) as path:
        process = world.start(
            "run", "--grace", "0", "-c", line, path, str(reloaded), stdout=pipe[1]
        )
        os.close(pipe[1])
        wait_full(pipe[0])
        pid = next(pid for pid, words in world.processes().items() if words.startswith("/bin/sh"))

        os.kill(pid, signal.SIGHUP)  # as `ptymux` forwards it, but to the shell alone
        wait_until(reloaded.exists)

        assert read_all(pipe[0]) == LINES
        assert process.wait() == 0


@pytest.mark.requirement("FR-012")
def test_job_left_in_the_background_does_not_hold_us(world: World) -> None:
    done = world.run("run", "-c", "sleep 100 & echo hi")

    assert (done.returncode, done.stdout) == (0, b"hi\n")


@pytest.mark.requirement("FR-012")
def test_our_own_death_hangs_the_command_up(world: World) -> None:
    process = world.start("run", "-c", "echo ready; sleep 100", stdout=subprocess.PIPE)
    process.read_line()

    process.kill()

    process.communicate()
    wait_until(lambda: not world.processes())


# What stdout can be --------------------------------------------------------------------------


def test_stdout_may_be_a_socket(world: World, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, large_file(tmp_path / "data", LINES) as path:
        process = world.start("run", "cat", path, stdout=theirs)
        theirs.close()
        got = b"".join(iter(lambda: ours.recv(1 << 20), b""))
        process.wait()

    assert process.returncode == 0
    assert got == LINES


@pytest.mark.requirement("FR-007")
def test_closed_socket_is_a_closed_pipe(world: World) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = world.start("run", "yes", stdout=theirs, stderr=subprocess.PIPE)
        theirs.close()
        ours.recv(10)
        ours.close()

        assert process.communicate()[1] == b""
        assert process.returncode == 141


def test_stdout_may_be_a_file_in_append_mode(world: World, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    with log.open("ab") as file:
        done = world.run("run", "-c", "echo one; echo two", stdout=file)

    assert done.returncode == 0
    assert log.read_bytes() == b"before\none\ntwo\n"


def test_stdout_may_be_dev_null(world: World) -> None:
    done = world.run("run", "-c", "seq 100000; exit 4", stdout=subprocess.DEVNULL)

    assert (done.returncode, done.stderr) == (4, b"")


def test_flags_of_a_pipe_stay_as_they_are(world: World, pipe: tuple[int, int]) -> None:
    before = fcntl.fcntl(pipe[1], fcntl.F_GETFL)
    process = world.start("run", "yes", stdout=pipe[1])
    wait_full(pipe[0])

    during = fcntl.fcntl(pipe[1], fcntl.F_GETFL)
    os.close(pipe[0])

    assert process.wait() == 141
    assert before == during


def test_pipe_that_does_not_block_loses_nothing(
    world: World, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    os.set_blocking(pipe[1], False)
    with large_file(tmp_path / "data", LINES) as path:
        process = world.start("run", "cat", path, stdout=pipe[1])
        os.close(pipe[1])
        wait_full(pipe[0])

        assert read_all(pipe[0]) == LINES
        assert process.wait() == 0


@pytest.mark.parametrize("end", [0, 1], ids=["master", "slave"])
def test_stdout_may_be_an_end_of_another_terminal(world: World, end: int) -> None:
    ends = pty.openpty()
    modes = termios.tcgetattr(ends[1])
    modes[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(ends[1], termios.TCSANOW, modes)
    try:
        process = world.start("run", "echo", "hi", stdin=subprocess.DEVNULL, stdout=ends[end])
        assert process.wait() == 0
        shown = b""
        while not shown.endswith(b"\n"):
            shown += os.read(ends[1 - end], 99)
        assert shown == (b"hi\n" if end == 0 else b"hi\r\n")
    finally:
        for fd in ends:
            os.close(fd)


# What the command is given -------------------------------------------------------------------


@pytest.mark.requirement("FR-010")
def test_our_stdin_is_the_commands_whatever_it_is(world: World, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"text")
    with file.open("rb") as stdin:
        done = world.run("run", "readlink", "/proc/self/fd/0", stdin=stdin)

    assert done.stdout.decode() == f"{file}\n"


def test_command_has_a_terminal_all_the_same(world: World) -> None:
    line = "tty < /dev/tty; stty size < /dev/tty"

    done = world.run("run", "--size", "101x31", "-c", line)

    assert re.fullmatch(rb"/dev/(tty|pts/\d+)\n31 101\n", done.stdout)


@pytest.mark.requirement("FR-003")
def test_no_fd_reaches_the_command_but_those_passed_to_us(
    world: World, pipe: tuple[int, int]
) -> None:
    done = world.run("run", "ls", "/proc/self/fd", pass_fds=pipe)

    others = {int(word) for word in done.stdout.split()} - {0, 1, 2, *pipe}
    assert len(others) == 1  # the listing's own


@pytest.mark.requirement("FR-003")
def test_environment_is_the_callers_and_told_where_it_runs(world: World) -> None:
    given = {"MINE": "a=b", "TMUX": "stale", "COLUMNS": "7", "OVER": "old"}

    done = world.run("run", "-e", "OVER=new", "-e", "TERM=vt100", "env", env=given)

    env = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert (env["MINE"], env["OVER"], env["TERM"], env["PTYMUX"]) == ("a=b", "new", "vt100", "1")
    assert env["PTYMUX_ID"].startswith("pty_")
    assert not env.keys() & {"TMUX", "COLUMNS"}


@pytest.mark.requirement("FR-003")
def test_what_python_sets_for_itself_does_not_reach_the_command(world: World) -> None:
    bare = {key: value for key, value in world.env.items() if key not in ("LANG", "LC_ALL")}
    world.env = bare

    assert b"LC_CTYPE" not in world.run("run", "env").stdout
    assert b"LC_CTYPE=C" in world.run("run", "env", env={"LC_CTYPE": "C"}).stdout


@pytest.mark.requirement("FR-003")
def test_directory_umask_and_limits_are_the_callers(world: World, tmp_path: Path) -> None:
    line = f"cd {tmp_path}; umask 027; ulimit -n 200; exec {PTYMUX} run -c 'pwd; umask; ulimit -n'"

    assert world.run("/bin/sh", "-c", line).stdout.decode().split() == [
        str(tmp_path),
        "0027",
        "200",
    ]
    assert world.run("run", "--cwd", str(tmp_path), "pwd").stdout.decode() == f"{tmp_path}\n"


def test_removed_directory_is_no_obstacle(world: World, tmp_path: Path) -> None:
    line = f"mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; {PTYMUX} run echo x"

    assert world.run("/bin/sh", "-c", line).stdout == b"x\n"


# From a shell --------------------------------------------------------------------------------


@pytest.mark.requirement("FR-004")
def test_interrupt_at_the_terminal_ends_a_pipeline(world: World, shell: Shell) -> None:
    shell.sendline("ptymux run -c 'echo up >&2; exec sleep 100' | cat")
    shell.expect_exact("up")
    wait_until(lambda: "sleep 100 " in world.processes().values())

    shell.sendintr()
    shell.expect_exact("$ ")

    shell.sendline("echo status ${PIPESTATUS[0]}")
    shell.expect_exact("status 130")
    shell.expect_exact("$ ")
    assert not any("sleep" in words for words in world.processes().values())


def test_pipeline_can_be_stopped_and_continued(world: World, shell: Shell) -> None:
    shell.sendline("ptymux run -c 'echo up; cat; echo down' | tr a-z A-Z")
    wait_until(lambda: any(words == "cat " for words in world.processes().values()))

    shell.expect_exact("UP\r\n")
    shell.sendcontrol("z")
    shell.expect_exact("Stopped")
    shell.expect_exact("$ ")
    shell.sendline("fg")
    shell.expect_exact("tr a-z A-Z")
    shell.sendline("hello")
    shell.sendcontrol("d")

    shell.expect_exact("HELLO\r\n")
    shell.expect_exact("DOWN\r\n")
    shell.expect_exact("$ ")
    shell.sendline("jobs; echo status $?")
    shell.expect_exact("\nstatus 0")
    shell.expect_exact("$ ")


def test_pager_at_the_end_of_a_pipeline_gets_the_keys(world: World, shell: Shell) -> None:
    pager = "{ read x; read y < /dev/tty; echo $x-$y; }"
    shell.sendline(f"ptymux run -c 'echo up; exec sleep 100' | {pager}")
    wait_until(lambda: "sleep 100 " in world.processes().values())

    shell.sendline("key")

    shell.expect_exact("up-key")
    shell.sendintr()
    shell.expect_exact("$ ")

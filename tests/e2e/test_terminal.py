"""`ptymux run` on a terminal."""

from __future__ import annotations

import array
import fcntl
import hashlib
import os
import re
import shutil
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ENDING_SIGNALS, Shell, Tty, job_of
from tests.processes import is_stopped, stop
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX, World, windows

MOST_WAITING = 4095  # bytes for a master to read. Source: N_TTY_BUF_SIZE, linux/drivers/tty/n_tty.c

RAW_READER = """
import hashlib, os, sys, tty
tty.setraw(0)
os.write(1, b"ready")
size = int(sys.argv[1])
data = b""
while len(data) < size:
    data += os.read(0, 65536)
os.write(1, b"<" + hashlib.sha256(data).hexdigest().encode() + b">")
"""

DRAWS_ITS_SIZE = """
import fcntl, os, signal, termios
last = None
def draw(*_):
    global last
    size = termios.tcgetwinsize(0)
    if size != last:  # as curses and neovim do
        os.write(1, b"[%dx%d]" % size[::-1])
    last = size
signal.signal(signal.SIGWINCH, draw)
draw()
while True:
    signal.pause()
"""


def output(tty: Tty) -> bytes:
    """Return what was shown before the line that sums the run up."""
    found = re.fullmatch(rb"(.*?)\[[^\n]*; ptymux logs \d+\]\r\n", tty.shown, re.DOTALL)
    assert found, tty.shown[-500:]
    return found[1]


# Keys and output -----------------------------------------------------------------------------


@pytest.mark.requirement("FR-010", "FR-012")
def test_keys_go_in_and_output_comes_out(tty: Tty) -> None:
    tty.run("run", "-c", "read line; echo got $line; exit 7")
    tty.wait_raw()

    tty.type(b"hello\r")

    assert tty.wait() == 7
    assert output(tty) == b"hello\r\ngot hello\r\n"


@pytest.mark.requirement("FR-010")
def test_every_key_reaches_a_program_in_raw_mode(tty: Tty) -> None:
    tty.run("run", sys.executable, "-c", RAW_READER, "256")
    tty.wait_for(b"ready")
    keys = bytes(range(256))

    tty.type(keys.replace(b"\x1c", b"\x1c\x1c"))  # the prefix of keys that are for us

    assert tty.wait() == 0
    tty.wait_for(hashlib.sha256(keys).hexdigest().encode())


@pytest.mark.requirement("FR-010")
def test_1_mb_pasted_arrives_whole(tty: Tty) -> None:
    paste = os.urandom(1_000_000).replace(b"\x1c", b"")  # the prefix of keys that are for us
    tty.run("run", sys.executable, "-c", RAW_READER, str(len(paste)))
    tty.wait_for(b"ready")

    tty.type(paste)

    assert tty.wait() == 0
    tty.wait_for(hashlib.sha256(paste).hexdigest().encode())


@pytest.mark.requirement("FR-004")
def test_interrupt_key_reaches_the_command(tty: Tty) -> None:
    tty.run("run", "-c", "echo up; exec sleep 100")
    tty.wait_for(b"up\r\n")

    tty.type(b"\x03")

    assert tty.wait() == 130
    assert output(tty) == b"up\r\n^C\r\n"


@pytest.mark.requirement("FR-004")
def test_interrupt_key_ends_a_flood_at_once(tty: Tty) -> None:
    tty.run("run", "yes")
    wait_until(lambda: tty.read() and len(tty.shown) > 1_000_000)

    tty.type(b"\x03")

    assert tty.wait() == 130


@pytest.mark.requirement("FR-004")
def test_interrupt_key_ends_a_flood_on_a_slow_terminal(server: Serving, tty: Tty) -> None:
    tty.run("run", "--name", "flood", "yes", env=windows(stale=1000))
    tty.read_slowly(lambda: len(tty.shown) > 200_000)
    wait_until(lambda: server.get("flood")["buffer"]["total_written"] > 8_000_000)
    before = len(tty.shown)

    tty.type(b"\x03", reading=False)
    server.call("wait", pty="flood")  # while nobody reads the terminal

    assert tty.wait() == 130
    assert len(tty.shown) - before < 1_000_000  # of the 4 MiB that waited
    assert b" bytes not shown]" in tty.shown


@pytest.mark.requirement("LAW-READER")
def test_what_an_interrupt_key_leaves_out_is_told(tty: Tty, tmp_path: Path) -> None:
    done = tmp_path / "done"
    line = f"stty -opost -echo -isig; seq 1000000; echo > {done}; read x"
    tty.run("run", "--buffer-size", "16M", "-c", line, env=windows(stale=1000))
    tty.read_slowly(lambda: len(tty.shown) > 200_000)
    wait_until(done.exists)

    tty.type(b"\x03\r", reading=False)

    assert tty.wait() == 0
    whole = b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    gap = rb"\x1b\[!p\x1b\[0m\r\n\[ptymux: ([\d,]+) bytes not shown\]\r\n"
    missing = [int(number.replace(b",", b"")) for number in re.findall(gap, tty.shown)]
    shown = re.sub(gap, b"", output(tty))
    assert missing
    assert len(shown) + sum(missing) == len(whole)
    assert shown.endswith(whole[-1000:])


@pytest.mark.requirement("FR-003")
def test_term_is_that_of_the_terminal(tty: Tty) -> None:
    tty.run("run", "-c", "echo $TERM-$COLORTERM", env={"TERM": "vt100", "COLORTERM": ""})

    assert tty.wait() == 0
    assert output(tty) == b"vt100-\r\n"


def test_job_control_works_inside(tty: Tty) -> None:
    bash = ("/bin/bash", "--norc", "--noprofile", "-i")
    tty.run("run", *bash, env={"PS1": "% ", "HISTFILE": ""})
    tty.wait_for(b"% ")

    tty.type(b"cat\r")
    wait_until(lambda: "cat " in tty.world.processes().values())
    tty.type(b"one\r")
    tty.wait_for(b"one\r\none\r\n")
    tty.shown.clear()
    tty.type(b"\x1a")
    tty.wait_for(b"Stopped")
    tty.wait_for(b"% ")
    tty.type(b"fg\r")
    tty.wait_for(b"\rcat\r\n")
    tty.type(b"two\r")
    tty.wait_for(b"two\r\ntwo\r\n")
    tty.shown.clear()
    tty.type(b"\x04")
    tty.wait_for(b"% ")
    tty.type(b"exit 5\r")

    assert tty.wait() == 5


# Its size ------------------------------------------------------------------------------------


@pytest.mark.requirement("FR-011")
def test_size_is_that_of_the_terminal(tty: Tty) -> None:
    tty.run("run", "stty", "size")

    assert tty.wait() == 0
    assert output(tty) == b"30 100\r\n"


@pytest.mark.requirement("FR-011")
def test_size_follows_the_terminal(tty: Tty) -> None:
    tty.run("run", sys.executable, "-c", DRAWS_ITS_SIZE)
    tty.wait_for(b"[100x30]")

    tty.resize(132, 43)

    tty.wait_for(b"[132x43]")
    tty.type(b"\x03")
    assert tty.wait() == 130


@pytest.mark.requirement("FR-011")
def test_size_that_was_asked_for_stays(tty: Tty) -> None:
    tty.run("run", "--size", "90x20", "-c", "read x; stty size")
    tty.wait_raw()

    tty.resize(132, 43)
    tty.type(b"\r")

    assert tty.wait() == 0
    assert output(tty).endswith(b"20 90\r\n")


@pytest.mark.requirement("FR-011")
def test_terminal_without_a_size_has_the_default(tty: Tty) -> None:
    tty.resize(0, 0)
    tty.run("run", "stty", "size")

    assert tty.wait() == 0
    assert output(tty) == b"24 80\r\n"


def test_terminal_alone_answers_what_the_program_asks(tty: Tty) -> None:
    tty.run("run", "-c", r"stty raw -echo; printf '\033[c'; head -c 5 | od -c; read x")
    tty.wait_for(b"\x1b[c")

    tty.type(b"own\rc")

    tty.wait_for(b"o   w   n  \\r   c")
    tty.type(b"\n")
    tty.wait()


# How it is left ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("true",), 0),
        (("false",), 1),
        (("-c", "kill -9 $$"), 137),
        (("no-such-program",), 127),
        (("--cwd", "/no/such/directory", "true"), 125),
        (("-c", "stty raw -echo; exit 3"), 3),
    ],
)
def test_terminal_is_restored(tty: Tty, words: tuple[str, ...], status: int) -> None:
    tty.run("run", *words)

    assert tty.wait() == status
    assert termios.tcgetattr(tty.slave) == tty.modes


@pytest.mark.requirement("FR-007")
@pytest.mark.parametrize("signum", ENDING_SIGNALS)
def test_terminal_is_restored_after_a_signal(tty: Tty, signum: signal.Signals) -> None:
    tty.run("run", "--hangup", "-c", "echo up; sleep 100 & wait")
    tty.wait_for(b"up")
    tty.wait_raw()

    tty.process.send_signal(signum)

    assert tty.wait() == 128 + signum
    assert termios.tcgetattr(tty.slave) == tty.modes


def test_terminal_is_raw_again_after_a_stop(no_server: Serving, tty: Tty) -> None:
    no_server.start(nudge=1000)  # however late the program looks at its size
    tty.run("run", sys.executable, "-c", DRAWS_ITS_SIZE)
    tty.wait_for(b"[100x30]")
    tty.wait_raw()

    stop(tty.process.pid)
    termios.tcsetattr(tty.slave, termios.TCSANOW, tty.modes)  # as a shell does
    tty.resize(111, 22)
    tty.process.send_signal(signal.SIGCONT)
    tty.wait_raw()

    tty.wait_for(b"[111x21]")  # it was made to draw, as a shell wrote over it
    tty.type(b"\x03")
    assert tty.wait() == 130
    assert termios.tcgetattr(tty.slave) == tty.modes


def test_program_killed_amid_its_drawing_leaves_nothing_on(tty: Tty) -> None:
    line = r"printf '\033[?1049h\033[?25l\033[?1000;1006h\033[>1u\033=drawn'; read x; kill -9 $$"
    tty.run("run", "-c", line)
    tty.wait_for(b"drawn")

    tty.type(b"\r")

    assert tty.wait() == 137
    undone = tty.shown.partition(b"drawn")[2]
    for undo in (
        b"\x1b[?1049l",
        b"\x1b[?25h",
        b"\x1b[?1000l",
        b"\x1b[?1006l",
        b"\x1b[<u",
        b"\x1b>",
    ):
        assert undo in undone


@pytest.mark.parametrize("line", [r"printf '\033[?25l\033[?25hx'; kill -9 $$", "printf x; kill $$"])
def test_what_is_not_on_is_not_undone(tty: Tty, line: str) -> None:
    tty.run("run", "-c", line)

    assert tty.wait() in (137, 143)
    assert b"\x1b[?" not in tty.shown.partition(b"x")[2]


def test_what_a_program_leaves_on_by_itself_stays(tty: Tty) -> None:
    tty.run("run", "-c", r"printf '\033[?25l'")

    assert tty.wait() == 0
    assert output(tty) == b"\x1b[?25l\r\n"


def test_summary_follows_on_a_line_of_its_own(tty: Tty) -> None:
    tty.run("run", "printf", "hi")

    assert tty.wait() == 0
    told = rb"hi\r\n\[printf: exit 0, [^,]+, 2 B, 0 dropped; ptymux logs (\d+)\]\r\n"
    found = re.fullmatch(told, tty.shown)
    assert found
    assert tty.world.run("logs", found[1].decode()).stdout == b"hi"


@pytest.mark.requirement("FR-007", "FR-012")
def test_terminal_that_hangs_up_ends_the_command(
    no_server: Serving, tty: Tty, tmp_path: Path
) -> None:
    no_server.start(hangup=1000)  # nobody is ended by force amid its cleaning up
    told = tmp_path / "told"
    line = f"trap 'echo hup > {told}; exit' HUP; echo up; while :; do sleep 0.01; done"
    tty.run("run", "--hangup", "--grace", "1h", "-c", line)
    tty.wait_for(b"up")
    tty.wait_raw()

    tty.hang_up()

    assert tty.process.wait() == 129
    wait_until(lambda: no_server.live() == [])
    assert told.read_text() == "hup\n"


def test_error_of_our_own_is_one_line_on_a_terminal_that_is_restored(tty: Tty) -> None:
    broken = (
        "import sys; from ptymux.cli import main; from ptymux.cli.terminal import viewer\n"
        "def fail(*_): raise ZeroDivisionError('of our own')\n"
        "viewer.Viewer._read_keys = fail\n"
        "sys.argv = ['ptymux', 'run', '--hangup', 'cat']; main.main()"
    )
    tty.run(sys.executable, "-c", broken)
    tty.wait_raw()

    tty.type(b"x")

    assert tty.wait() == 125
    told = b"ptymux: internal error, ZeroDivisionError: of our own; PTYMUX_DEBUG=1 shows where"
    assert tty.shown.strip() == told
    assert termios.tcgetattr(tty.slave) == tty.modes


# A terminal that is not read -----------------------------------------------------------------


@pytest.mark.requirement("FR-005", "LAW-READER")
def test_flood_never_waits_for_a_terminal_and_is_told(tty: Tty, tmp_path: Path) -> None:
    done = tmp_path / "done"
    line = f"stty -opost; seq 2000000; echo > {done}"
    tty.run("run", "--buffer-size", "256k", "-c", line)
    wait_until(done.exists)  # while nobody reads the terminal

    assert tty.wait() == 0
    missing = [
        int(n.replace(b",", b"")) for n in re.findall(rb"([\d,]+) bytes not shown", tty.shown)
    ]
    told = rb"\x1b\[!p\x1b\[0m\r\n\[ptymux: [\d,]+ bytes not shown\]\r\n"
    whole = b"".join(b"%d\n" % number for number in range(1, 2_000_001))
    assert missing
    assert len(re.sub(told, b"", output(tty))) + sum(missing) == len(whole)
    assert output(tty).endswith(whole[-100_000:])


@pytest.mark.requirement("FR-005")
def test_program_repaints_after_a_gap(no_server: Serving, tty: Tty, tmp_path: Path) -> None:
    no_server.start(nudge=1000)  # however late the program looks at its size
    flooded = tmp_path / "flooded"
    flood = f"os.write(1, b'x' * 5_000_000); open({str(flooded)!r}, 'w').close()\n"
    program = DRAWS_ITS_SIZE.replace("while True", f"{flood}while True")
    tty.run("run", "--buffer-size", "64k", sys.executable, "-c", program)
    wait_until(flooded.exists)

    tty.wait_for(b"bytes not shown")
    tty.wait_for(b"[100x29]")
    tty.type(b"\x03")
    assert tty.wait() == 130


@pytest.mark.requirement("FR-007")
def test_terminal_that_never_reads_does_not_outlast_a_signal(tty: Tty) -> None:
    tty.run("run", "--hangup", "--grace", "500ms", "yes", env=windows(last_words=0.01))
    wait_until(lambda: waiting(tty.master) == MOST_WAITING, "a terminal that is full")

    tty.process.send_signal(signal.SIGTERM)

    assert tty.process.wait() == 143
    assert termios.tcgetattr(tty.slave) == tty.modes


def waiting(master: int) -> int:
    """Return how many bytes of a terminal's output could be read now."""
    count = array.array("i", [0])
    fcntl.ioctl(master, termios.FIONREAD, count)
    return count[0]


# Judged by others ----------------------------------------------------------------------------


def test_stopped_and_continued_by_a_shell(shell: Shell) -> None:
    shell.sendline("ptymux run -c 'echo up; read x; echo got $x'")
    shell.expect_exact("up\r\n")

    os.kill(job_of(shell), signal.SIGSTOP)
    shell.expect_exact("Stopped")
    shell.expect_exact("$ ")
    shell.sendline("fg")
    shell.expect_exact("read x")
    shell.expect_exact("\n")
    shell.sendline("hello")

    shell.expect_exact("got hello\r\n")
    shell.expect_exact("$ ")
    shell.sendline("stty -a; echo status $?")
    shell.expect_exact(" icanon ")
    shell.expect_exact("status 0")
    shell.expect_exact("$ ")


def test_suspend_key_stops_run_and_its_command_as_a_job(server: Serving, shell: Shell) -> None:
    shell.sendline(f"export PTYMUX_SOCKET={server.path}")
    shell.sendline("ptymux run --name e -c 'echo up; while read x; do echo got $x; done'")
    shell.expect_exact("up\r\n")
    running = job_of(shell)

    shell.send("\x1a")
    shell.expect_exact("Stopped")
    shell.expect_exact("$ ")
    assert server.get("e")["shown"] == "suspended"
    shell.sendline("echo between; fg")
    shell.expect_exact("between\r\n")
    shell.expect_exact("ptymux run")
    wait_until(lambda: server.get("e")["shown"] == "running")
    shell.sendline("one")
    shell.expect_exact("got one\r\n")

    shell.send("\x1a")
    shell.expect_exact("Stopped")
    shell.expect_exact("$ ")
    shell.sendline("bg")
    wait_until(lambda: server.get("e")["shown"] == "running")
    server.ok("send", "e", "--enter", "behind")
    shell.expect_exact("got behind\r")  # as a job in the background may write
    shell.sendline("echo shell")  # and not read
    shell.expect_exact("shell\r\n")
    shell.sendline("fg")
    shell.expect_exact("ptymux run")
    wait_until(lambda: not termios.tcgetattr(shell.child_fd)[3] & termios.ICANON)
    shell.sendline("two")
    shell.expect_exact("got two\r\n")
    assert job_of(shell) == running
    shell.send("\x1cd")
    shell.expect_exact("detached")
    shell.expect_exact("$ ")


def test_full_screen_does_not_go_on_in_the_background(server: Serving, shell: Shell) -> None:
    shell.sendline(f"export PTYMUX_SOCKET={server.path}")
    script = "printf '\\033[?1049hdrawn'; exec sleep 1000"
    shell.sendline(f'ptymux run --name draws -- sh -c "{script}"')
    shell.expect_exact("\x1b[?1049hdrawn")
    running = job_of(shell)

    shell.send("\x1a")
    shell.expect_exact("\x1b[?1049l")
    shell.expect_exact("Stopped")
    shell.expect_exact("$ ")
    shell.sendline("bg")
    shell.expect_exact("$ ")
    wait_until(lambda: is_stopped(running))
    assert server.get("draws")["shown"] == "suspended"

    shell.sendline("fg")
    shell.expect_exact("\x1b[?1049h")
    wait_until(lambda: server.get("draws")["shown"] == "running")
    shell.send("\x1cd")
    shell.expect_exact("detached")
    shell.expect_exact("$ ")


def test_suspend_key_is_the_programs_where_it_stops_no_job(server: Serving, shell: Shell) -> None:
    shell.sendline(f"export PTYMUX_SOCKET={server.path}")
    shell.sendline(
        "ptymux run --name e sh -c 'trap \"\" TSTP; echo up; while read x; do echo got; done'"
    )
    shell.expect_exact("up\r\n")

    shell.send("\x1a")
    shell.sendline("one")
    shell.expect_exact("got\r\n")
    shell.send("\x1c\x1a")  # after the prefix it stops us, and us only
    shell.expect_exact("Stopped")
    shell.expect_exact("$ ")

    assert server.get("e")["shown"] == "running"
    shell.sendline("fg")
    shell.expect_exact("ptymux run")
    shell.send("\x1cd")
    shell.expect_exact("detached")
    shell.expect_exact("$ ")


def test_started_in_the_background_it_leaves_the_terminal_alone(
    server: Serving, shell: Shell
) -> None:
    shell.sendline(f"export PTYMUX_SOCKET={server.path}")
    shell.sendline("ptymux run --name e -c 'echo up; while read x; do echo got $x; done' &")
    shell.expect_exact("up\r")

    shell.sendline("echo shell")
    shell.expect_exact("shell\r\n")
    shell.sendline("fg")
    shell.expect_exact("ptymux run")
    wait_until(lambda: not termios.tcgetattr(shell.child_fd)[3] & termios.ICANON)
    shell.sendline("one")

    shell.expect_exact("got one\r\n")
    shell.send("\x1cd")
    shell.expect_exact("detached")
    shell.expect_exact("$ ")


Tmux = Callable[..., str]


@pytest.fixture
def tmux(world: World) -> Iterator[Tmux]:
    """A tmux of 80x24 in which a shell runs; calls give what it prints."""
    program = shutil.which("tmux")
    if program is None:
        pytest.skip("tmux, which judges the screen, is not installed")
    env = world.env | {"PS1": "% ", "PATH": f"{Path(PTYMUX).parent}:{world.env['PATH']}"}

    def call(*words: str) -> str:
        done = world.run(program, "-L", world.mark, "-f", "/dev/null", *words, env=env)
        return done.stdout.decode()

    call("new-session", "-d", "-x", "80", "-y", "24", "/bin/sh")
    yield call
    call("kill-server")
    socket = Path(f"/tmp/tmux-{os.getuid()}/{world.mark}")  # where tmux puts it
    socket.unlink(missing_ok=True)


def test_screen_is_the_users_again_after_a_kill(tmux: Tmux, tmp_path: Path) -> None:
    drawing = tmp_path / "drawing"
    drawing.write_text(r"printf '\033[?1049h\033[2J\033[?25l\033[?1003hDRAWN'; read x; kill -9 $$")
    state = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"

    tmux("send-keys", f"echo before; ptymux run sh {drawing}", "Enter")
    wait_until(lambda: tmux("display-message", "-p", state) == "1 0 1\n")
    tmux("send-keys", "Enter")
    wait_until(lambda: tmux("display-message", "-p", state) == "0 1 0\n")
    wait_until(lambda: tmux("capture-pane", "-p").rstrip().endswith("\n%"), "the shell's prompt")
    tmux("send-keys", "echo after $?", "Enter")

    wait_until(lambda: "after 137\n" in tmux("capture-pane", "-p"))
    assert "before\n" in tmux("capture-pane", "-p")  # after a prompt, if the shell was slow
    assert "DRAWN" not in tmux("capture-pane", "-p")

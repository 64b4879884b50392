"""`ptymux attach`: a terminal at a PTY of the server."""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ptymux.core.model import WindowSize
from tests.e2e.conftest import ENDING_SIGNALS, Shell, Tty, job_of
from tests.processes import is_stopped, kill_at_once, stop
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import World, windows

ECHOES = "stty -echo; echo up; while read line; do echo got $line; done"
TELLS_SIZE = "trap 'stty size' WINCH; echo up; while :; do sleep 0.02; done"


@pytest.fixture
def second(world: World) -> Iterator[Tty]:
    tty = Tty(world, 100, 30)
    yield tty
    tty.close()


@pytest.fixture
def third(world: World) -> Iterator[Tty]:
    tty = Tty(world, 100, 30)
    yield tty
    tty.close()


def attach(tty: Tty, pty: str, *options: str, **more: Any) -> None:
    # A terminal without a title, as the title may have the words that a test waits for.
    more.setdefault("env", tty.world.env | {"TERM": "linux"})
    tty.run("attach", *options, pty, **more)
    tty.wait_for(b"attached to")
    tty.wait_raw()


def restored(tty: Tty) -> bool:
    return bool(termios.tcgetattr(tty.slave) == tty.modes)


def test_terminal_has_the_title_of_the_pty_while_it_shows_it(server: Serving, tty: Tty) -> None:
    server.sh("read x", name="e")

    attach(tty, "e", env=tty.world.env)
    tty.wait_for(b"\x1b[22;2t\x1b]2;e \xe2\x80\x94 /bin/sh -c read x\x07")
    tty.type(b"\x1cd")

    assert tty.wait() == 0
    assert tty.shown.count(b"\x1b[23;2t") == 1


@pytest.mark.requirement("FR-010")
def test_keys_go_in_output_comes_out_and_the_prefix_detaches(server: Serving, tty: Tty) -> None:
    number = server.sh(ECHOES, name="e")["number"]
    attach(tty, "e")

    tty.type(b"one\r")
    tty.wait_for(b"got one\r\n")
    tty.type(b"\x1cd")

    assert tty.wait() == 0
    assert restored(tty)
    assert b"C-\\ d detaches]\r\n" in tty.shown
    assert b"[detached from %d (e); ptymux attach %d]\r\n" % (number, number) in tty.shown
    assert server.get("e")["shown"] == "running"


@pytest.mark.requirement("FR-010")
def test_answers_to_keys_come_while_the_server_does_nothing(no_server: Serving, tty: Tty) -> None:
    no_server.start(typing=1000)  # however late an answer comes, it is one
    no_server.sh(ECHOES, name="e")
    attach(tty, "e")
    tty.type(b"first\r")
    tty.wait_for(b"got first\r\n")
    pid = no_server.status()["pid"]

    stop(pid)
    try:
        tty.type(b"one\r")
        tty.wait_for(b"got one\r\n")
    finally:
        os.kill(pid, signal.SIGCONT)
    tty.type(b"two\r")
    tty.wait_for(b"got two\r\n")
    tty.type(b"\x1cd")
    tty.wait()

    assert [tty.shown.count(b"got " + word) for word in (b"first", b"one", b"two")] == [1, 1, 1]


def test_other_keys_detach_if_wanted(server: Serving, tty: Tty) -> None:
    server.sh(ECHOES, name="e")
    attach(tty, "e", "--detach-keys", "C-a q")

    tty.type(b"\x01q")

    assert tty.wait() == 0


@pytest.mark.parametrize(("wanted", "typed"), [("C-]", b"\x1d"), ("none", b"")])
def test_one_key_detaches_or_none(server: Serving, tty: Tty, wanted: str, typed: bytes) -> None:
    server.sh(f"stty -isig; {ECHOES}", name="e")
    server.await_text("e", "up")
    attach(tty, "e", "--detach-keys", wanted)

    tty.type(b"\x1cd\r")
    tty.wait_for(b"got \x1cd\r\n")
    if typed:
        assert b"C-] detaches]" in tty.shown
        tty.type(typed)
    else:
        assert b"detaches" not in tty.shown
        tty.process.send_signal(signal.SIGTERM)

    assert tty.wait() == (0 if typed else 128 + signal.SIGTERM)


def test_key_that_means_nothing_after_the_prefix_kills_nobody(server: Serving, tty: Tty) -> None:
    server.sh(ECHOES, name="e")
    attach(tty, "e")

    tty.type(b"\x1cx")
    tty.wait_for(b"\a")
    tty.type(b"\x1c\x03one\r")

    tty.wait_for(b"got one\r\n")
    assert tty.shown.count(b"\a") == 2
    tty.type(b"\x1cd")
    assert tty.wait() == 0


def test_it_starts_at_the_present(server: Serving, tty: Tty) -> None:
    server.sh(f"echo the past; {ECHOES}", name="e")
    server.await_text("e", "up")
    attach(tty, "e")

    tty.type(b"one\r")
    tty.wait_for(b"got one")

    assert b"the past" not in tty.shown
    tty.type(b"\x1cd")
    tty.wait()


@pytest.mark.requirement("FR-012")
def test_end_of_the_command_is_told_and_is_the_exit_code(server: Serving, tty: Tty) -> None:
    pty = server.sh("read x; printf last; exit 7", name="e")
    attach(tty, "e")

    tty.type(b"\r")

    assert tty.wait() == 7
    assert restored(tty)
    assert b"last\r\n[e: exit 7, " in tty.shown
    ends = b"ptymux logs %d]\r\n" % pty["number"]
    assert tty.shown.endswith(b"0 dropped; " + ends)
    tty.shown.clear()
    tty.run("attach", pty["pty_id"])
    assert tty.wait() == 7
    assert tty.shown.startswith(b"[")
    assert tty.shown.endswith(ends)


def test_killed_command(server: Serving, tty: Tty) -> None:
    server.sh(r"printf '\033[?1049h\033[?25l'; echo up; exec sleep 100", name="e")
    server.await_text("e", "up")
    attach(tty, "e")

    server.call("signal", pty="e", signal="KILL")

    assert tty.wait() == 128 + signal.SIGKILL
    assert b"e: killed (KILL)" in tty.shown


def test_what_the_program_switched_on_is_undone_at_a_detach(server: Serving, tty: Tty) -> None:
    server.sh(r"read x; printf '\033[?1049h\033[?1000h\033[?25l'; echo up; read x", name="e")
    attach(tty, "e")
    tty.type(b"\r")
    tty.wait_for(b"up")

    tty.type(b"\x1cd")
    tty.wait()

    for undo in (b"\x1b[?1049l", b"\x1b[?1000l", b"\x1b[?25h"):
        assert undo in tty.shown


def test_what_the_program_switched_on_before_is_on_after_an_attach(
    server: Serving, tty: Tty
) -> None:
    modes = b"\x1b[?1049h\x1b[?1000h\x1b[?1h\x1b=\x1b[?2004h"
    shown = modes.decode().replace("\x1b", r"\033")
    server.sh(rf"printf '{shown}\033[31m'; echo up; exec cat", name="e")
    server.await_text("e", "up")

    for _ in range(2):
        tty.shown.clear()
        attach(tty, "e")
        tty.wait_for(modes)
        tty.type(b"\x1cd")
        tty.wait()
        for undo in (b"\x1b[?1049l", b"\x1b[?1000l", b"\x1b[?1l", b"\x1b>", b"\x1b[?2004l"):
            assert undo in tty.shown


def test_read_only_sends_no_key_and_no_size(server: Serving, tty: Tty) -> None:
    server.sh(f"{ECHOES}", name="e", size=WindowSize(77, 11))
    attach(tty, "e", "--read-only")

    tty.type(b"forbidden\r")
    server.ok("send", "e", "allowed", "--enter")
    tty.wait_for(b"got allowed")

    assert b"forbidden" not in tty.shown
    assert (server.get("e")["cols"], server.get("e")["rows"]) == (77, 11)
    tty.type(b"\x1cd")
    assert tty.wait() == 0


@pytest.mark.requirement("FR-011")
def test_two_clients_see_the_same_and_the_last_to_type_sets_the_size(
    server: Serving, tty: Tty, second: Tty
) -> None:
    server.sh(ECHOES, name="e")
    second.resize(60, 20)
    attach(tty, "e")
    attach(second, "e")
    wait_until(lambda: server.get("e")["cols"] == 60)

    type_until(tty, b"one\r", lambda: server.get("e")["cols"] == 100)
    tty.wait_for(b"got one")
    second.wait_for(b"got one")
    type_until(second, b"two\r", lambda: server.get("e")["cols"] == 60)
    tty.wait_for(b"got two")

    assert server.get("e")["clients"] == 2
    for each in (tty, second):
        each.type(b"\x1cd")
        assert each.wait() == 0


@pytest.mark.requirement("FR-011")
@pytest.mark.parametrize("leaves", ["detaches", "dies"])
def test_size_is_that_of_who_remains_and_typed_last(
    server: Serving, tty: Tty, second: Tty, third: Tty, leaves: str
) -> None:
    tty.run("run", "--name", "e", "-c", ECHOES)
    tty.wait_for(b"up")
    tty.wait_raw()
    for each, cols in ((third, 70), (second, 60)):
        each.resize(cols, 20)
        attach(each, "e")
        await_cols(server, cols)
    type_until(third, b"one\r", lambda: server.get("e")["cols"] == 70)
    type_until(second, b"two\r", lambda: server.get("e")["cols"] == 60)

    for each, cols in ((second, 70), (third, 100)):
        if leaves == "dies":
            each.process.kill()
        else:
            each.type(b"\x1cd")
        each.wait()
        await_cols(server, cols)

    tty.type(b"\x1cd")
    tty.wait()


def await_cols(server: Serving, cols: int) -> None:
    wait_until(lambda: server.get("e")["cols"] == cols)


def type_until(tty: Tty, keys: bytes, condition: Callable[[], bool]) -> None:
    """Type again and again: a client gives its size once it has heard that another did."""

    def is_so() -> bool:
        tty.type(keys)
        return condition()

    wait_until(is_so, "what typing brings about")


@pytest.mark.requirement("FR-011")
def test_size_follows_the_terminal(server: Serving, tty: Tty) -> None:
    server.sh(TELLS_SIZE, name="e")
    server.await_text("e", "up")
    attach(tty, "e")
    tty.wait_for(b"30 100")

    tty.resize(50, 10)

    tty.wait_for(b"10 50")
    tty.type(b"\x1cd")
    tty.wait()


@pytest.mark.parametrize("signum", ENDING_SIGNALS)
def test_terminal_is_restored_after_a_signal(
    server: Serving, tty: Tty, signum: signal.Signals
) -> None:
    server.sh(ECHOES, name="e")
    attach(tty, "e")

    tty.process.send_signal(signum)

    assert tty.wait() == 128 + signum
    assert restored(tty)
    assert server.get("e")["shown"] == "running"


def test_terminal_that_hangs_up_ends_only_the_client(server: Serving, tty: Tty) -> None:
    server.sh(ECHOES, name="e")
    attach(tty, "e")

    tty.hang_up()

    wait_until(lambda: tty.process.poll() is not None)
    assert tty.process.returncode == 128 + signal.SIGHUP
    wait_until(lambda: server.get("e")["clients"] == 0)


def test_stopped_from_outside_and_continued(server: Serving, shell: Shell) -> None:
    server.sh(ECHOES, name="e")
    shell.sendline(f"export PTYMUX_SOCKET={server.path}; ptymux attach e")
    shell.expect("attached to.*\r\n")
    shell.sendline("one")
    shell.expect("got one")
    attached = job_of(shell)
    modes = termios.tcgetattr(shell.child_fd)

    os.kill(attached, signal.SIGTSTP)
    shell.expect_exact("Stopped")
    shell.expect_exact("$ ")
    assert is_stopped(attached)
    shell.sendline("echo between")
    shell.expect_exact("between")
    shell.sendline("fg")
    wait_until(lambda: termios.tcgetattr(shell.child_fd) == modes)
    shell.sendline("two")
    shell.expect("got two")

    shell.send("\x1cd")
    shell.expect_exact("detached")
    shell.expect_exact("$ ")


def test_what_a_program_switched_on_is_on_again_after_a_stop(server: Serving, shell: Shell) -> None:
    shell.sendline(f"export PTYMUX_SOCKET={server.path}")
    script = "printf '\\033[?1049h\\033[?2004hdrawn'; exec sleep 1000"
    shell.sendline(f'ptymux run --name draws -- sh -c "{script}"')
    shell.expect_exact("\x1b[?1049h\x1b[?2004hdrawn")
    running = job_of(shell)

    os.kill(running, signal.SIGTSTP)
    shell.expect_exact("\x1b[?2004l\x1b[?1049l")
    shell.expect_exact("Stopped")
    shell.expect_exact("$ ")
    shell.sendline("fg")
    shell.expect_exact("\x1b[?1049h\x1b[?2004h")

    shell.send("\x1cd")
    shell.expect_exact("\x1b[?2004l\x1b[?1049l")
    shell.expect_exact("detached")
    server.call("kill", ptys=["draws"])


def test_goes_on_when_the_server_is_killed(own_server: Serving, tty: Tty) -> None:
    own_server.sh(ECHOES, name="e")
    attach(tty, "e")
    tty.type(b"one\r")
    tty.wait_for(b"got one\r\n")

    own_server.kill_server()
    tty.type(b"two\r")
    tty.wait_for(b"got two\r\n")
    own_server.kill_server()
    tty.type(b"three\r")
    tty.wait_for(b"got three\r\n")

    assert tty.shown.count(b"got one") == tty.shown.count(b"got two") == 1
    assert b"not shown" not in tty.shown
    tty.type(b"\x1cd")
    assert tty.wait() == 0


@pytest.mark.slow
def test_terminal_is_restored_when_all_is_gone(own_server: Serving, tty: Tty) -> None:
    own_server.sh(ECHOES, name="e")
    attach(tty, "e")

    status = own_server.status()
    kill_at_once(status["keeper_pid"], status["pid"])

    assert tty.wait() == 125
    assert restored(tty)
    assert tty.shown.splitlines()[-1].startswith(b"ptymux: ")
    own_server.start()  # which tidies up


def test_a_terminal_that_takes_nothing_blocks_nobody(
    server: Serving, tty: Tty, second: Tty
) -> None:
    # Far more than the ring and all buffers on the way to a terminal hold.
    flood = "read x; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo done; read x"
    server.sh(flood, name="f", buffer_size=65536)
    attach(tty, "f")
    attach(second, "f")

    second.type(b"\r")  # and nobody reads `tty` now
    second.wait_for(b"done")

    tty.wait_for(b"bytes not shown]")
    for each in (second, tty):
        each.type(b"\x1cd")
        assert each.wait() == 0


def test_interrupt_key_ends_a_flood_on_a_slow_terminal(server: Serving, tty: Tty) -> None:
    server.sh("trap 'echo ended; exit 5' INT; read x; while :; do seq 100000; done", name="f")
    attach(tty, "f", env=windows(stale=1000))
    tty.type(b"\r")

    tty.read_slowly(lambda: len(tty.shown) > 200_000)
    wait_until(lambda: server.get("f")["buffer"]["total_written"] > 8_000_000)
    before = len(tty.shown)
    tty.type(b"\x03", reading=False)
    server.call("wait", pty="f")  # while nobody reads the terminal

    assert tty.wait() == 5
    assert b"ended" in tty.shown
    assert len(tty.shown) - before < 1_000_000  # of the 4 MiB that waited


def test_own_pty_is_refused(server: Serving) -> None:
    server.sh("exec sh", name="shell")
    ptymux = os.path.join(os.path.dirname(sys.executable), "ptymux")

    offset = server.ok("send", "shell", f"{ptymux} attach shell; echo code $?", "--enter")
    found = server.ok("wait", "shell", "--from", offset.strip(), "--text", "itself|code [0-9]+$")

    assert "itself" in found
    server.ok("wait", "shell", "--from", offset.strip(), "--text", "^code 125")


def test_without_a_terminal_it_is_refused(server: Serving) -> None:
    server.sh(ECHOES, name="e")

    done = server.world.run("attach", "e")

    assert done.returncode == 125
    assert done.stderr.count(b"\n") == 1
    assert b"terminal" in done.stderr


def test_run_attach_comes_back_to_the_one_of_that_name(server: Serving, tty: Tty) -> None:
    tty.run("run", "-A", "e", "sh", "-c", ECHOES)
    tty.wait_for(b"up\r\n")
    tty.type(b"\x1cd")
    assert tty.wait() == 0
    (pty,) = server.live()

    tty.shown.clear()
    tty.run("run", "-A", "e", "sh", "-c", ECHOES)
    tty.wait_for(b"attached to")
    tty.wait_raw()
    tty.type(b"one\r")
    tty.wait_for(b"got one\r\n")
    tty.type(b"\x1cd")

    assert tty.wait() == 0
    assert [each["pty_id"] for each in server.live()] == [pty["pty_id"]]


def test_others_can_be_detached(server: Serving, tty: Tty, second: Tty) -> None:
    server.sh(ECHOES, name="e")
    attach(tty, "e")
    attach(second, "e", "--only")

    assert tty.wait() == 0
    assert b"[detached from " in tty.shown
    assert server.world.run("detach", "e", "nope").returncode == 1
    assert second.wait() == 0
    assert restored(second)
    assert server.get("e")["shown"] == "running"
    assert "0 terminals detached" in server.world.run("detach", "--all").stderr.decode()


def test_without_a_name_it_is_the_only_one(server: Serving, tty: Tty) -> None:
    server.sh("echo $PTYMUX_NAME; " + ECHOES, name="new")
    tty.run("attach")

    tty.wait_for(b"(new); ")
    tty.wait_raw()
    server.await_text("new", "^new")

    tty.type(b"\x1cd")
    assert tty.wait() == 0


def test_without_a_name_one_of_several_is_chosen(server: Serving, tty: Tty) -> None:
    server.sh(ECHOES, name="old")
    server.sh(ECHOES, name="new")
    tty.resize(40, 10)
    for answer, name in ((b"\r", b"(new); "), (b"ol\r", b"(old); ")):
        tty.shown.clear()
        tty.run("attach", env={"TERM": "dumb"})
        tty.wait_for(b"the newest] ")
        tty.type(answer)
        tty.wait_for(name)
        tty.wait_raw()
        tty.type(b"\x1cd")
        assert tty.wait() == 0


@pytest.mark.parametrize("key", [b"\x03", b"\x04"])
def test_no_choice_ends_as_an_interrupt(server: Serving, tty: Tty, key: bytes) -> None:
    server.sh("sleep 100")
    server.sh("sleep 100")
    tty.run("attach")
    tty.wait_for(b"the newest] ")

    tty.type(b"nope\r")
    tty.wait_for(b"no PTY 'nope'; a number or a name, ^C leaves")
    tty.wait_for(b"newest] nope")
    tty.type(key)

    assert tty.wait() == 130
    assert restored(tty)

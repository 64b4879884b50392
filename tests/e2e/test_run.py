"""`ptymux run` in the foreground, and the server that runs the command."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Tty
from tests.processes import kill_at_once
from tests.program import Program
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import PTYMUX, World

ECHOES = "stty -echo; echo up; while read line; do echo got $line; done"
SLEEPS = "echo up; exec sleep 100"


def in_pipe(world: World, *words: str) -> Program:
    """Run something in a pipe and return once it said `up`."""
    process = world.start(
        *("run", *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.read_line() == b"up\n"
    return process


def on_terminal(tty: Tty, *words: str, **more: Any) -> None:
    tty.run("run", *words, **more)
    tty.wait_for(b"up\r\n")
    tty.wait_raw()


def restored(tty: Tty) -> bool:
    return bool(termios.tcgetattr(tty.slave) == tty.modes)


def kill_both(server: Serving) -> None:
    status = server.status()
    kill_at_once(status["keeper_pid"], status["pid"])


# What a shell user expects -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "out"),
    [
        ("ptymux run ls -la /etc | grep 'passwd$'", 0, "passwd\n"),
        ("echo hi | ptymux run cat", 0, "hi\n"),
        ("ptymux run yes | head -1", 0, "y\n"),
        ("ptymux run ls -d /etc </dev/null", 0, "/etc\n"),
        ("ptymux run 'echo a && echo b'", 127, ""),
        ("ptymux run -c 'echo a && echo b' </dev/null", 0, "a\nb\n"),
        ("echo 'echo $0' | ptymux run", 0, "/bin/sh\n"),
        ("ptymux run sh -c 'echo out; echo err >&2' </dev/null 2>/dev/null", 0, "out\nerr\n"),
        ("a=$(ptymux run printf 'x y'); echo $a", 0, "x y\n"),
    ],
)
def test_a_shell_line_does_what_is_expected(world: World, line: str, status: int, out: str) -> None:
    path = f"{Path(PTYMUX).parent}:{world.env['PATH']}"

    done = world.run("/bin/sh", "-c", line, env={"PATH": path})

    assert done.returncode == status
    assert done.stdout.decode().endswith(out)


@pytest.mark.slow
@pytest.mark.requirement("FR-012")
def test_nothing_of_many_short_commands_is_lost(server: Serving) -> None:
    written = [server.world.run("run", "printf", "%s", f"<{n}>").stdout for n in range(30)]

    assert written == [b"<%d>" % n for n in range(30)]


def test_what_starts_fast_loads_neither_asyncio_nor_what_draws(world: World) -> None:
    program = (
        "import sys; from ptymux.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules)"
    )

    done = world.run(sys.executable, "-c", program, "run", "true")

    assert done.returncode == 0
    assert not {"asyncio", "rich", "ptymux.manager"} & set(done.stdout.decode().split())


# What the server knows -----------------------------------------------------------------------


def test_it_is_listed_and_its_output_stays(server: Serving) -> None:
    process = in_pipe(server.world, "--name", "n", "-c", "echo up; read x < /dev/tty; exit 3")
    (pty,) = server.call("list")["ptys"]
    assert (pty["name"], pty["shown"], pty["attended"]) == ("n", "running", True)
    server.ok("send", "n", "--enter", "x")

    assert process.communicate()[0] == b""
    assert process.returncode == 3
    assert server.call("list") == {"ptys": [], "ended": 1, "next": None}
    assert server.ok("logs", pty["pty_id"]) == "up\n"
    assert server.world.run("run", "--name", "n", "true").returncode == 0  # the name is free


@pytest.mark.parametrize("options", [("--rm",), ("--rm", "--keep")])
def test_with_rm_nothing_stays(server: Serving, options: tuple[str, ...]) -> None:
    for _ in range(4):
        done = server.world.run("run", *options, "--summary", "echo", "hi")

        assert (done.returncode, done.stdout) == (0, b"hi\n")
        assert done.stderr.endswith(b", 3 B, 0 dropped]\n")
        wait_until(lambda: server.call("list", all=True)["ptys"] == [])


def test_json_is_the_pty_at_its_end(server: Serving) -> None:
    done = server.world.run("run", "--json", "--name", "n", "-c", "echo hi; exit 4")

    told = json.loads(done.stderr)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (4, b"hi\n", 1)
    assert (told["schema"], told["pty"]["name"], told["pty"]["exit_code"]) == (1, "n", 4)
    assert told["pty"]["buffer"]["total_written"] == 3


# Detaching -----------------------------------------------------------------------------------


def test_detached_it_goes_on(server: Serving, tty: Tty) -> None:
    on_terminal(tty, "--name", "e", "-c", ECHOES)

    tty.type(b"\x1cd")

    assert tty.wait() == 0
    assert restored(tty)
    pty = server.get("e")
    told = b"[detached from %d (e); ptymux attach %d]\r\n" % (pty["number"], pty["number"])
    assert tty.shown.endswith(told)
    assert pty["shown"] == "running"
    tty.run("attach", "e")
    tty.wait_for(b"attached to")
    tty.wait_raw()
    tty.type(b"again\r")
    tty.wait_for(b"got again\r\n")
    tty.type(b"\x04")
    assert tty.wait() == 0


def test_other_keys_detach_if_wanted(server: Serving, tty: Tty) -> None:
    on_terminal(tty, "--name", "e", "--detach-keys", "C-a q", "-c", SLEEPS)

    tty.type(b"\x01q")

    assert tty.wait() == 0
    assert server.get("e")["shown"] == "running"


def test_detached_while_the_server_is_replaced_it_goes_on(own_server: Serving, tty: Tty) -> None:
    on_terminal(tty, "--name", "e", "-c", SLEEPS)

    os.kill(int(own_server.call("status")["pid"]), signal.SIGKILL)
    tty.type(b"\x1cd")

    assert tty.wait() == 0
    assert own_server.get("e")["shown"] == "running"


# Our own end ---------------------------------------------------------------------------------


@pytest.mark.requirement("FR-007")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_with_hangup_a_signal_to_us_on_a_terminal_hangs_up(
    no_server: Serving, tty: Tty, tmp_path: Path, signum: signal.Signals
) -> None:
    no_server.start(hangup=1000)  # nobody is ended by force amid its cleaning up
    told = tmp_path / "told"
    line = f"trap 'echo hup > {told}; exit' HUP; echo up; while :; do sleep 0.01; done"
    on_terminal(tty, "--name", "e", "--hangup", "--grace", "1h", "-c", line)

    tty.process.send_signal(signum)

    assert tty.wait() == (-signum if signum == signal.SIGKILL else 128 + signum)
    assert restored(tty) == (signum != signal.SIGKILL)
    wait_until(lambda: no_server.live() == [])
    assert told.read_text() == "hup\n"


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]
)
def test_signal_to_us_on_a_terminal_detaches(
    server: Serving, tty: Tty, signum: signal.Signals
) -> None:
    on_terminal(tty, "--name", "e", "-c", ECHOES)
    number = server.get("e")["number"]

    tty.process.send_signal(signum)

    assert tty.wait() == (-signum if signum == signal.SIGKILL else 128 + signum)
    told = b"[detached from %d (e); ptymux attach %d]\r\n" % (number, number)
    assert tty.shown.endswith(told) == (signum != signal.SIGKILL)
    wait_until(lambda: server.get("e")["clients"] == 0)
    server.ok("send", "e", "--enter", "still here")
    server.await_text("e", "got still here")


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false", "/bin/true", "none"])
def test_a_shell_that_is_none_is_not_used(server: Serving, shell: str) -> None:
    done = server.world.run("run", "-c", "echo $0", env={"SHELL": shell})

    assert done.stdout == b"/bin/sh\n"


@pytest.mark.parametrize("options", [(), ("--keep",)])
def test_terminal_that_hangs_up_detaches(
    server: Serving, tty: Tty, options: tuple[str, ...]
) -> None:
    on_terminal(tty, "--name", "e", *options, "-c", ECHOES)

    tty.hang_up()

    assert tty.process.wait() == 128 + signal.SIGHUP
    wait_until(lambda: server.get("e")["clients"] == 0)
    server.ok("send", "e", "--enter", "still here")
    server.await_text("e", "got still here")


def test_hang_up_may_be_wanted_by_the_config(server: Serving, tty: Tty, tmp_path: Path) -> None:
    (tmp_path / "ptymux").mkdir()
    (tmp_path / "ptymux" / "config.toml").write_text("hangup = true\n")
    config = {"XDG_CONFIG_HOME": str(tmp_path)}
    on_terminal(tty, "--name", "ends", "-c", ECHOES, env=config)
    tty.process.kill()
    tty.wait()
    wait_until(lambda: server.live() == [])
    tty.shown.clear()

    on_terminal(tty, "--name", "stays", "--keep", "-c", ECHOES, env=config)
    tty.process.kill()

    tty.wait()
    wait_until(lambda: server.get("stays")["clients"] == 0)
    assert server.get("stays")["shown"] == "running"


@pytest.mark.requirement("FR-007")
def test_our_death_in_a_pipe_hangs_up(server: Serving) -> None:
    process = in_pipe(server.world, "--name", "e", "-c", SLEEPS)

    process.kill()

    process.communicate()
    wait_until(lambda: server.call("list")["ptys"] == [])
    assert server.get("e")["shown"] == "killed (HUP)"


def test_with_keep_our_death_in_a_pipe_ends_only_us(server: Serving) -> None:
    process = in_pipe(server.world, "--name", "e", "--keep", "-c", SLEEPS)

    process.kill()

    process.communicate()
    wait_until(lambda: server.get("e")["clients"] == 0)
    assert server.get("e")["shown"] == "running"


def test_with_keep_a_closed_pipe_ends_only_us(server: Serving) -> None:
    line = "echo up; read x < /dev/tty; echo more; exec sleep 100"
    process = in_pipe(server.world, "--name", "e", "--keep", "-c", line)
    assert process.stdout is not None
    process.stdout.close()

    server.ok("send", "e", "--enter", "x")

    assert process.communicate()[1] == b""
    assert process.returncode == 141
    assert server.get("e")["shown"] == "running"


def test_death_while_the_server_is_replaced_hangs_up(own_server: Serving) -> None:
    process = in_pipe(own_server.world, "--name", "e", "-c", SLEEPS)

    os.kill(int(own_server.call("status")["pid"]), signal.SIGKILL)
    process.kill()

    process.communicate()
    wait_until(lambda: not own_server.world.processes())


# A server that dies --------------------------------------------------------------------------


@pytest.mark.requirement("BLOCK")
def test_kill_of_the_server_changes_nothing_in_a_pipe(own_server: Serving) -> None:
    process = own_server.world.start(
        *("run", "seq", "1000000"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    whole = hashlib.sha256()
    size = 0
    for _ in range(3):
        piece = process.stdout.read(1_000_000)
        whole.update(piece)
        size += len(piece)
        own_server.kill_server()
    while piece := process.stdout.read(1 << 20):
        whole.update(piece)
        size += len(piece)

    assert process.wait() == 0
    process.stdout.close()
    wanted = b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    assert (size, whole.digest()) == (len(wanted), hashlib.sha256(wanted).digest())


@pytest.mark.requirement("FR-010")
def test_kill_of_the_server_is_not_seen_on_a_terminal(own_server: Serving, tty: Tty) -> None:
    on_terminal(tty, "-c", ECHOES)

    for word in (b"one", b"two", b"three"):
        own_server.kill_server()
        tty.type(word + b"\r")
        tty.wait_for(b"got " + word + b"\r\n")
    tty.type(b"\x04")

    assert tty.wait() == 0
    assert tty.shown.count(b"got ") == 3
    assert b"not shown" not in tty.shown


@pytest.mark.requirement("FR-007")
def test_after_a_kill_of_the_server_our_death_hangs_up_still(own_server: Serving, tty: Tty) -> None:
    process = in_pipe(own_server.world, "-c", SLEEPS)
    on_terminal(tty, "--hangup", "-c", SLEEPS)
    own_server.kill_server()
    wait_until(lambda: [pty["clients"] for pty in own_server.call("list")["ptys"]] == [1, 1])

    process.kill()
    tty.process.kill()

    process.communicate()
    tty.wait()
    wait_until(lambda: not own_server.world.processes())


@pytest.mark.requirement("FR-004")
def test_signal_arrives_although_the_server_is_being_replaced(own_server: Serving) -> None:
    process = in_pipe(own_server.world, "-c", SLEEPS)

    os.kill(int(own_server.call("status")["pid"]), signal.SIGKILL)
    process.terminate()

    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.slow
def test_without_any_server_left_it_is_told(own_server: Serving, tty: Tty) -> None:
    process = in_pipe(own_server.world, "-c", SLEEPS)
    on_terminal(tty, "-c", SLEEPS)

    kill_both(own_server)

    assert tty.wait() == 125
    assert restored(tty)
    assert tty.shown.splitlines()[-1].startswith(b"ptymux: ")
    told = process.communicate()[1]
    assert process.returncode == 125
    assert (told.startswith(b"ptymux: the server went away"), told.count(b"\n")) == (True, 1)
    own_server.start()  # which tidies up

"""Commands on a file system that never answers wait alone; what starts slowly is as any other."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dead_mount import dead_mount
from tests.processes import kill
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import windows

SLOW = "/proc/self/root"  # leads to /, and only looking tells that


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[Path]:
    with dead_mount(tmp_path / "dead") as folder:
        yield folder


def script(path: Path, first_line: str) -> str:
    path.write_text(f"{first_line}\n")
    path.chmod(0o755)
    return str(path)


def waiting(server: Serving) -> list[str]:
    return [pty["pty_id"] for pty in server.call("list")["ptys"] if pty["state"] == "spawning"]


@pytest.mark.requirement("FR-003", "SC-002")
def test_commands_that_wait_for_a_file_system_stop_nobody_and_can_be_killed(
    own_server: Serving, dead: Path, tmp_path: Path
) -> None:
    busy = own_server.sh("while read x; do echo got-$x; done")
    interpreter = script(tmp_path / "script", f"#!{dead}/sh")
    commands = ([interpreter], ["--", f"{dead}/program"], ["--cwd", str(dead), f"{dead}/x", "y"])
    runs = [
        own_server.world.start("run", *words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for words in commands
    ]
    wait_until(lambda: len(waiting(own_server)) == len(runs))

    own_server.ok("send", busy["pty_id"], "still", "--enter")
    own_server.await_text(busy["pty_id"], "got-still")
    assert own_server.ok("run", "echo", "other") == "other\n"
    assert own_server.ok("ls").count("starting") == len(runs)
    own_server.ok("kill", *waiting(own_server))

    for run in runs:
        with run:
            _, err = run.communicate()
            assert run.returncode == 125
            assert b"ended while it waited for a file system" in err
    assert not waiting(own_server)


@pytest.mark.requirement("FR-003")
def test_a_command_whose_file_system_does_not_answer_is_given_up(
    no_server: Serving, dead: Path
) -> None:
    no_server.world.env |= windows(launch=0.1)

    done = no_server.world.run("run", f"{dead}/program")

    assert done.returncode == 125
    assert b"does not answer; given up after" in done.stderr
    assert no_server.ok("ls", "-a").count("failed to start") == 1


@pytest.mark.requirement("SC-002")
def test_a_dead_keeper_leaves_none_that_waits(own_server: Serving, dead: Path) -> None:
    run = own_server.world.start(
        "run", f"{dead}/program", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_until(lambda: len(waiting(own_server)) == 1)
    before = own_server.status()["keeper_pid"]

    kill(before)

    wait_until(lambda: own_server.status()["keeper_pid"] != before)
    for pty in waiting(own_server):  # a run may have had itself repeated
        own_server.ok("kill", pty)
    with run:
        run.communicate()
    assert run.returncode == 125


@pytest.mark.requirement("FR-003")
def test_what_starts_the_slow_way_starts_as_any_other(server: Serving, tmp_path: Path) -> None:
    world = server.world
    told = world.run(
        "run", "--cwd", str(tmp_path), "-e", "X=1", "--",
        f"{SLOW}/bin/sh", "-c", "pwd; echo $X; umask; ulimit -n; tty; ls -l /proc/self/fd | wc -l",
    ).stdout.decode().split()  # fmt: skip
    same = world.run(
        "run", "--cwd", str(tmp_path), "-e", "X=1", "--",
        "/bin/sh", "-c", "pwd; echo $X; umask; ulimit -n; tty; ls -l /proc/self/fd | wc -l",
    ).stdout.decode().split()  # fmt: skip

    assert told[:4] == same[:4]
    assert told[4].startswith("/dev/pts/") or told[4:6] == same[4:6]
    assert told[-1] == same[-1]
    assert world.run("run", f"{SLOW}/bin/cat", input=b"in").stdout == b"in"
    assert world.run("run", f"{SLOW}/bin/sh", "-c", "kill -9 $$").returncode == 137


@pytest.mark.requirement("FR-003")
def test_what_fails_the_slow_way_fails_as_any_other(server: Serving, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo ran $1\n")
    slow = f"{SLOW}{tmp_path}"

    assert server.refused("run", f"{slow}/absent") == (
        127, f"ptymux: {slow}/absent: command not found\n"
    )  # fmt: skip
    code, text = server.refused("run", f"{slow}/plain")
    assert (code, "is not executable" in text) == (126, True)
    script(tmp_path / "bad", "#!/no/such -x")
    code, text = server.refused("run", f"{slow}/bad")
    assert (code, "bad interpreter: /no/such" in text) == (126, True)
    code, text = server.refused("run", f"{SLOW}/{'x' * 100_000}")
    assert (code, text.endswith("name too long\n"), len(text) < 1000) == (126, True, True)
    plain.chmod(0o755)
    done = server.world.run("run", f"{slow}/plain", "it")  # no program: a shell runs it
    assert (done.returncode, done.stdout) == (0, b"ran it\n")
    os.truncate(plain, 0)
    assert server.world.run("run", f"{slow}/plain").returncode == 0

"""Ends: of clients that hang up, of both processes at once, and of what they leave behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptymux.client import autostart
from ptymux.errors import LinkClosedError
from tests.faults.laws import EventFollower
from tests.faults.test_keeper_killed import kill_keeper
from tests.processes import is_alive, kill
from tests.serving import Serving, read_until
from tests.timing import deadline_seconds, wait_until

KEPT = {"PATH": os.environ["PATH"]}


def gone(server: Serving, pty: dict[str, Any]) -> bool:
    return server.get(pty)["state"] in ("stopped", "errored") and not is_alive(pty["pid"])


# Hang-up -------------------------------------------------------------------------------------

OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ptymux.client.attach_request import AttachRequest
from ptymux.client.server_connection import ServerConnection
from ptymux.client.stream import attach
from ptymux.core.model import SpawnOptions
connection = ServerConnection(sys.argv[2])
options = SpawnOptions(argv=tuple(sys.argv[4:]), cwd="/")
pty = connection.spawn(options, hangup=True)["pty"]
if sys.argv[3] != "spawned":
    request = AttachRequest(pty["pty_id"], "lossless", lifeline=True, hangup=True)
    stream = attach(connection, request)
print(pty["pty_id"], flush=True)
if sys.argv[3] == "detaches":
    sys.stdin.readline()
    stream.detach()
    for frame in stream: pass
    print("left", flush=True)
time.sleep(3600)
"""


class Owner:
    """A client process that hangs its PTY up when it ends."""

    def __init__(self, server: Serving, stage: str, script: str) -> None:
        root = str(Path(__file__).parents[2])
        words = [sys.executable, "-c", OWNER, root, server.path, stage, "/bin/sh", "-c", script]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, text=True, env={**KEPT, "SECRET": server.secret}
        )
        assert self.process.stdout is not None
        self.stdout = self.process.stdout
        self.pty = server.get({"pty_id": self.stdout.readline().strip()})

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("stage", [pytest.param("spawned", marks=pytest.mark.faults), "attached"])
@pytest.mark.parametrize(
    "when", [pytest.param("alive", marks=pytest.mark.faults), "server dead", "keeper dead"]
)
def test_a_client_that_is_killed_hangs_its_pty_up(
    own_server: Serving, stage: str, when: str
) -> None:
    owner = Owner(own_server, stage, "sleep 3600")
    if when == "alive":
        owner.end()
    elif when == "server dead":
        server = own_server.status()["pid"]
        os.kill(server, signal.SIGSTOP)
        owner.end()
        kill(server)
    else:
        kill(own_server.status()["keeper_pid"])
        owner.end()
    wait_until(lambda: gone(own_server, owner.pty))
    wait_until(lambda: len(EventFollower(own_server).of["pty.stopped"]) == 1)
    EventFollower(own_server).check()


@pytest.mark.parametrize(
    "kills", [pytest.param("none", marks=pytest.mark.faults), "server", "keeper"]
)
def test_a_client_that_took_leave_hangs_nothing_up(own_server: Serving, kills: str) -> None:
    owner = Owner(own_server, "detaches", "while read x; do echo got-$x; done")
    assert owner.process.stdin is not None
    owner.process.stdin.write("\n")
    owner.process.stdin.flush()
    assert owner.stdout.readline() == "left\n"
    if kills == "server":
        kill(own_server.status()["pid"])
    elif kills == "keeper":
        kill_keeper(own_server)
    owner.end()
    wait_until(lambda: own_server.get(owner.pty)["clients"] == 0)  # a hang-up would begin with that
    with own_server.attach(owner.pty) as stream:
        assert stream.lifeline is not None
        stream.lifeline.send_all(b"it\n")
        wait_until(lambda: own_server.get(owner.pty)["buffer"]["total_written"] > len("it\r\n"))
    assert own_server.get(owner.pty)["state"] == "active"
    own_server.call("kill", all=True)


@pytest.mark.parametrize("rounds", [1, pytest.param(200, marks=pytest.mark.faults)])
def test_whoever_dies_an_owned_pty_ends_with_its_owner(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    for _ in range(rounds):
        owner = Owner(own_server, "attached", "sleep 3600")
        status = own_server.status()
        victims: list[Callable[[], None]] = [owner.end]
        other = moments.choice(("pid", "keeper_pid", ""))
        if other:
            victims.append(lambda pid=status[other]: kill(pid))  # type: ignore[misc]
        moments.shuffle(victims)
        for victim in victims:
            victim()
            time.sleep(moments.choice((0, moments.uniform(0, 0.2))))
        wait_until(lambda owner=owner: gone(own_server, owner.pty))  # type: ignore[misc]
        own_server.call("remove", all=True)
    EventFollower(own_server).check()


# Both at once --------------------------------------------------------------------------------


def kill_both(server: Serving) -> None:
    status = server.status()
    for name in ("keeper_pid", "pid"):
        os.kill(status[name], signal.SIGSTOP)
    for name in ("keeper_pid", "pid"):
        kill(status[name])


@pytest.mark.requirement("FR-008", "SC-003")
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.faults)])
def test_what_both_left_behind_is_ended_and_told(own_server: Serving, rounds: int) -> None:
    marked = KEPT | {
        "PTYMUX_ID": "pty_x",
        "PTYMUX_SOCKET": own_server.path,
        "SECRET": own_server.secret,
    }
    stranger = subprocess.Popen(["sleep", "3600"], env=marked, start_new_session=True)
    try:
        for _ in range(rounds):
            stubborn = [
                own_server.sh("trap '' HUP; sleep 3600 & while :; do sleep 1; done")
                for _ in range(2)
            ]
            gentle = own_server.sh("sleep 3600")
            wait_until(lambda stubborn=stubborn: all(ignores_hup(p["pid"]) for p in stubborn))  # type: ignore[misc]
            kill_both(own_server)
            wait_until(lambda gentle=gentle: not is_alive(gentle["pid"]))  # type: ignore[misc]
            assert all(is_alive(pty["pid"]) for pty in stubborn)
            own_server.start()
            wait_until(lambda: EventFollower(own_server).of["pty.reconciled"])
            (told,) = EventFollower(own_server).of["pty.reconciled"]
            assert told["payload"] == {"found": 2, "reattached": 0, "terminated": 2}
            assert not any(is_alive(pty["pid"]) for pty in stubborn)
            assert own_server.call("list", all=True)["ptys"] == []
            known = {*own_server.keepers, *own_server.own(), stranger.pid}
            wait_until(lambda known=known: set(own_server.processes()) <= known)  # type: ignore[misc]
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def ignores_hup(pid: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigIgn:"):
            return bool(int(line.split()[1], 16) & 1)
    return False


@pytest.mark.parametrize("script", ["", "sleep 3600", "trap '' HUP TERM; sleep 3600"])
@pytest.mark.parametrize("rounds", [1, pytest.param(100, marks=pytest.mark.faults)])
def test_a_stop_is_not_forgotten_while_a_keeper_is_replaced(
    own_server: Serving, moments: random.Random, rounds: int, script: str
) -> None:
    for _ in range(rounds):
        own_server.start()
        pty = own_server.sh(script, grace_seconds=0.1) if script else None
        if "trap" in script:
            wait_until(lambda pty=pty: ignores_hup(pty["pid"]))  # type: ignore[misc]
        with own_server.connect() as connection:
            kill(own_server.status()["keeper_pid"])
            time.sleep(moments.choice((0, 0.008, 0.03, moments.uniform(0, 0.2))))
            connection.call("shutdown", force=True)
        wait_until(lambda: not own_server.processes())
        assert not os.path.exists(own_server.path)
        assert pty is None or not is_alive(pty["pid"])


@pytest.mark.parametrize("when", ["stopping", "no server"])
def test_what_no_server_could_end_any_more_the_keeper_ends(own_server: Serving, when: str) -> None:
    pty = own_server.sh("trap '' HUP TERM; while :; do sleep 1; done", grace_seconds=60.0)
    wait_until(lambda: ignores_hup(pty["pid"]))
    status = own_server.status()
    if when == "stopping":
        own_server.call("shutdown", force=True)
        kill(status["pid"])
    else:  # stopped, or it might have another server before it is asked to end
        os.kill(status["keeper_pid"], signal.SIGSTOP)
        kill(status["pid"])
        os.kill(status["keeper_pid"], signal.SIGTERM)
        os.kill(status["keeper_pid"], signal.SIGCONT)
    wait_until(lambda: not own_server.processes())
    assert not is_alive(pty["pid"])


# Spawns --------------------------------------------------------------------------------------

DIES_AT_ITS_SECOND = """
import os, time
import {module} as module
plain = module.{owner}.{method}
def deadly(self, slot, *rest):
    if slot == 2 and not {after}:
        {wait}
        os.kill(os.getpid(), 9)
    result = plain(self, slot, *rest)
    if slot == 2:
        {wait}
        os.kill(os.getpid(), 9)
    return result
module.{owner}.{method} = deadly
"""


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize(
    ("module", "owner", "method"),
    [
        ("ptymux.keeper.pty_table", "PtyTable", "_enter"),  # before it wrote the child down
        ("ptymux.handover.state_file", "StateFile", "enter"),  # before it told of it
    ],
)
def test_child_that_no_keeper_told_of_is_taken_over_and_not_started_twice(
    no_server: Serving,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    module: str,
    owner: str,
    method: str,
) -> None:
    code = DIES_AT_ITS_SECOND.format(
        module=module, owner=owner, method=method, after=method == "enter", wait="time.sleep(0.1)"
    )
    monkeypatch.setattr(autostart, "_KEEPER", code + autostart._KEEPER)
    no_server.start()
    first = no_server.sh("sleep 3600")

    script = f"trap '' HUP; echo ran >> {tmp_path}/runs; echo out; read x; exit 3"
    second = no_server.sh(script, plain_output=True)

    assert no_server.get(first)["state"] == no_server.get(second)["state"] == "active"
    wait_until(lambda: no_server.status()["keeper_replaced"] == 1)
    with no_server.attach(second) as stream:
        assert stream.lifeline is not None
        assert read_until(stream, b"out\n") == b"out\n"
        stream.lifeline.send_all(b"\n")
        no_server.call("wait", pty=second["pty_id"], until="gone")
    assert (tmp_path / "runs").read_text() == "ran\n"
    no_server.call("kill", ptys=[first["pty_id"]], grace=0.0)
    no_server.await_only_own()


@pytest.mark.requirement("FR-003")
def test_child_that_ended_before_any_keeper_told_of_it_is_not_started_again(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = DIES_AT_ITS_SECOND.format(
        module="ptymux.keeper.pty_table",
        owner="PtyTable",
        method="_enter",
        after=False,
        wait="os.waitid(os.P_PID, rest[0].pid, os.WEXITED | os.WNOWAIT)",
    )
    monkeypatch.setattr(autostart, "_KEEPER", code + autostart._KEEPER)
    no_server.start()
    no_server.sh("sleep 3600")

    with pytest.raises(LinkClosedError, match="look, then try again"):
        no_server.sh(f"echo ran >> {tmp_path}/runs")

    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize("which", ["pid", "keeper_pid"])
@pytest.mark.parametrize("rounds", [1, pytest.param(200, marks=pytest.mark.faults)])
def test_a_spawn_under_way_fails_or_is_there_and_nothing_in_between(
    own_server: Serving, moments: random.Random, rounds: int, which: str
) -> None:
    script = "trap '' HUP TERM; while :; do sleep 1; done"
    command = str(Path(sys.executable).with_name("ptymux"))
    outcomes = {"there": 0, "failed": 0}
    for number in range(rounds):
        name = f"n{number}"
        victim = own_server.status()[which]
        words = [command, "run", "-d", "--name", name, "--", "sh", "-c"]
        run = subprocess.Popen(
            [*words, script],
            env={**KEPT, "PTYMUX_SOCKET": own_server.path, "SECRET": own_server.secret},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(moments.uniform(0.05, 0.3))
        kill(victim)
        _out, error = run.communicate(timeout=deadline_seconds())
        listed = [p["name"] for p in own_server.call("list")["ptys"]]
        assert listed in ([name], [])
        if run.returncode == 0:
            assert listed == [name]
            outcomes["there"] += 1
        else:
            assert error.startswith("ptymux: ")
            assert "Traceback" not in error
            outcomes["failed"] += 1
        own_server.call("kill", all=True, grace=0.0)
        own_server.await_only_own()
        own_server.call("remove", all=True)
    print(outcomes)
    EventFollower(own_server).check()

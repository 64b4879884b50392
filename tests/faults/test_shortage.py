"""Too little of something, or something in the way, at the moment when a process is replaced."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ptymux.client import autostart
from ptymux.client.attach_request import AttachRequest
from ptymux.client.server_connection import ServerConnection
from ptymux.client.stream import attach
from ptymux.core.model import SpawnOptions
from ptymux.errors import PtymuxError
from tests.faults.laws import EventFollower, Watch
from tests.faults.streams import Client, goes_on, streaming
from tests.faults.test_keeper_killed import kill_keeper
from tests.processes import fd_count, is_alive, kill
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

MIB = 1024 * 1024
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")


@contextmanager
def few_files(pid: int, count: int) -> Iterator[None]:
    """Let a process open no more files than so many."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def small_disk(server: Serving) -> Iterator[None]:
    """Put the server on a file system of its own."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", server.folder], check=True
    )
    try:
        yield
    finally:
        server.stop()
        assert "Traceback" not in server.log()
        # The keeper's log is open a little longer than the keeper has a command line.
        unmount = ["umount", server.folder]
        wait_until(lambda: not subprocess.run(unmount, capture_output=True).returncode)


def fill(server: Serving) -> None:
    with suppress(OSError), open(f"{server.folder}/filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.faults
@pytest.mark.parametrize(("limited", "killed"), [("pid", "keeper_pid"), ("keeper_pid", "pid")])
def test_a_successor_comes_once_there_are_files_again(
    own_server: Serving, limited: str, killed: str
) -> None:
    pty, client = streaming(own_server)
    status = own_server.status()
    with few_files(status[limited], 3):
        kill(status[killed])
        time.sleep(3)  # in which several tries to start one fail
        assert is_alive(pty["pid"])
        assert is_alive(status[limited])
    goes_on(client)
    assert own_server.status()[limited] == status[limited]
    assert own_server.get(pty)["state"] == "active"
    own_server.call("kill", all=True)
    client.stop()


@pytest.mark.parametrize("which", ["pid", "keeper_pid"])
def test_without_files_a_request_fails_and_nothing_else(own_server: Serving, which: str) -> None:
    pty, client = streaming(own_server)
    status = own_server.status()
    before = fd_count(status[which])
    with own_server.connect() as connection, few_files(status[which], before + 1):
        for _ in range(5):
            # On connections of their own, which are not tried again when they are refused.
            with suppress(PtymuxError), ServerConnection(own_server.path) as other:
                other.spawn(SpawnOptions(argv=("sleep", "60"), env={"PATH": os.environ["PATH"]}))
            with suppress(PtymuxError), ServerConnection(own_server.path) as other:
                attach(other, AttachRequest(pty["pty_id"])).close()
            with suppress(PtymuxError):
                connection.call("status")
    goes_on(client)
    own_server.call("kill", all=True)
    client.stop()
    own_server.call("remove", all=True)
    wait_until(lambda: fd_count(own_server.status()["pid"]) <= before + 10)
    now = own_server.status()
    assert (now["pid"], now["keeper_pid"]) == (status["pid"], status["keeper_pid"])


@pytest.mark.parametrize("killed", [pytest.param("pid", marks=pytest.mark.faults), "keeper_pid"])
def test_a_folder_that_is_gone_keeps_no_successor_away(own_server: Serving, killed: str) -> None:
    pty, client = streaming(own_server)
    status = own_server.status()
    shutil.rmtree(own_server.folder)
    kill(status[killed])
    goes_on(client)
    assert own_server.get(pty)["state"] == "active"
    wait_until(lambda: os.path.exists(f"{own_server.folder}/s.state"))
    kill_keeper(own_server)
    goes_on(client)
    own_server.call("kill", all=True)
    client.stop()


def replaced_again_and_again(server: Serving, client: Client) -> None:
    for name in ("pid", "keeper_pid", "pid"):
        kill(server.status()[name])
        goes_on(client)
    assert server.sh("exit 3")["pid"]
    server.call("kill", all=True)
    client.stop()


@root_only
@pytest.mark.faults
def test_a_full_disk_keeps_no_successor_away(no_server: Serving) -> None:
    with small_disk(no_server):
        no_server.start()
        _pty, client = streaming(no_server)
        fill(no_server)
        replaced_again_and_again(no_server, client)
        os.unlink(f"{no_server.folder}/filler")


def test_files_that_cannot_be_opened_keep_no_successor_away(own_server: Serving) -> None:
    _pty, client = streaming(own_server)
    names = [f"{own_server.folder}/s.{kind}" for kind in ("log", "state")]
    for name in names:
        os.unlink(name)
        os.mkdir(name)
    replaced_again_and_again(own_server, client)
    for name in names:
        os.rmdir(name)


@root_only
@pytest.mark.faults
def test_a_log_on_a_full_disk_hurts_nobody(no_server: Serving) -> None:
    with small_disk(no_server):
        fill(no_server)
        with pytest.raises(PtymuxError) as refused:
            autostart.start_server(no_server.path)
        assert "space" in str(refused.value).lower()
        os.unlink(f"{no_server.folder}/filler")
        no_server.start()


@pytest.mark.parametrize("which", [pytest.param("pid", marks=pytest.mark.faults), "keeper_pid"])
@pytest.mark.parametrize("rounds", [1, pytest.param(200, marks=pytest.mark.faults)])
def test_a_process_that_stands_still_for_a_while_costs_nothing(
    own_server: Serving, moments: random.Random, rounds: int, which: str
) -> None:
    pty, client = streaming(own_server)
    watch = Watch(own_server)
    for _ in range(rounds):
        status = own_server.status()
        os.kill(status[which], signal.SIGSTOP)
        time.sleep(moments.uniform(0, 0.3))
        if moments.random() < 0.3:
            with suppress(ProcessLookupError):  # it is being replaced already
                kill(status["pid" if which == "keeper_pid" else "keeper_pid"])
        os.kill(status[which], signal.SIGCONT)
        goes_on(client)
        watch.look(pty)
    own_server.call("kill", all=True)
    client.stop()
    EventFollower(own_server).check()


def test_what_a_dying_keeper_had_just_started_is_ended(own_server: Serving) -> None:
    """Its spawn was not answered yet: nobody knows of it but the file of children."""
    from ptymux.handover.state_file import _SLOT
    from ptymux.posix.procfs import boot_id, read_stat

    child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    try:
        stat = read_stat(child.pid)
        assert stat is not None
        with open(f"{own_server.folder}/s.state", "r+b") as file:
            file.write(_SLOT.pack(child.pid, stat.start_time, 77, boot_id().encode()))
        kill_keeper(own_server)
        wait_until(lambda: child.poll() is not None)
        wait_until(lambda: EventFollower(own_server).of["pty.reconciled"])
        (told,) = EventFollower(own_server).of["pty.reconciled"]
        assert told["payload"] == {"found": 1, "reattached": 0, "terminated": 1}
    finally:
        child.kill()
        child.wait()


@pytest.mark.faults
def test_a_hang_up_is_not_forgotten_by_a_spawn_under_way(own_server: Serving) -> None:
    from tests.faults.test_ends import OWNER

    status = own_server.status()
    os.kill(status["keeper_pid"], signal.SIGSTOP)
    root = str(Path(__file__).parents[2])
    env = {"PATH": os.environ["PATH"], "SECRET": own_server.secret}
    words = ["python3", "-c", OWNER, root, own_server.path, "spawned", "sleep", "3600"]
    owner = subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL)
    wait_until(lambda: [pty["state"] for pty in own_server.call("list")["ptys"]] == ["spawning"])
    kill(status["pid"])
    os.kill(status["keeper_pid"], signal.SIGCONT)
    assert owner.wait(30) != 0
    wait_until(lambda: not own_server.call("list")["ptys"])
    wait_until(lambda: set(own_server.processes()) == own_server.own())
    assert own_server.status()["keeper_pid"] == status["keeper_pid"]


ORDINARY = """
import os, resource, sys, time
sys.path.insert(0, sys.argv[1])
from ptymux.core.model import SpawnOptions
from ptymux.errors import PtymuxError
from tests.processes import is_alive, kill
from tests.serving import Serving
from tests.timing import wait_until

server = Serving()
try:
    server.start()
    pty = server.sh("while read x; do echo got-$x; done")
    for limited, killed in (("keeper_pid", "pid"), ("pid", "keeper_pid")):
        status = server.status()
        before = resource.prlimit(status[limited], resource.RLIMIT_NPROC)
        resource.prlimit(status[limited], resource.RLIMIT_NPROC, (0, before[1]))
        if limited == "keeper_pid":
            try:
                server.sh("sleep 60")
            except PtymuxError as error:
                print("refused:", error)
        kill(status[killed])
        time.sleep(2)  # in which several tries to start one fail
        assert is_alive(pty["pid"])
        assert is_alive(status[limited])
        resource.prlimit(status[limited], resource.RLIMIT_NPROC, before)
        wait_until(lambda: server.get(pty)["state"] == "active")
    with server.attach(pty) as stream:
        stream.lifeline.send_all(b"it\\n")
        wait_until(lambda: server.get(pty)["buffer"]["total_written"] > 5)
    server.call("kill", all=True)
    server.stop()
    assert "Traceback" not in server.log(), server.log()
    print("went on")
finally:
    server.end()
"""


# May read this interpreter wherever it is, and nothing else that an ordinary user may not.
CAPABILITIES = "-all,+dac_override"
AS_ANOTHER = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
for name in ("bounding-set", "inh-caps", "ambient-caps"):
    AS_ANOTHER += [f"--{name}", CAPABILITIES]


@root_only
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
@pytest.mark.faults
def test_a_successor_comes_once_there_are_processes_again() -> None:
    """Root is not held to a number of processes, so it is tried as somebody else."""
    root = str(Path(__file__).parents[2])
    run = subprocess.run(
        [*AS_ANOTHER, "--", sys.executable, "-B", "-c", ORDINARY, root],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=deadline_seconds(4),
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "went on"
    assert "processes" in run.stdout


def size_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


@pytest.mark.parametrize("which", ["pid", "keeper_pid"])
def test_without_memory_a_spawn_fails_and_nothing_else(own_server: Serving, which: str) -> None:
    pty, client = streaming(own_server)
    pid = own_server.status()[which]
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (size_of(pid) + 16 * MIB, before[1]))
    for _ in range(3):
        with pytest.raises(PtymuxError, match="memory"):
            own_server.sh("sleep 60", buffer_size=64 * MIB)
    resource.prlimit(pid, resource.RLIMIT_AS, before)
    goes_on(client)
    assert own_server.get(pty)["state"] == "active"
    assert own_server.status()[which] == pid
    assert [told["pty_id"] for told in own_server.call("list")["ptys"]] == [pty["pty_id"]]
    known = own_server.own() | {pty["pid"]}
    wait_until(lambda: set(own_server.processes()) == known)
    own_server.call("kill", all=True)
    client.stop()


UPGRADED = """
import ptymux.keeper.zygote_client as zygote

usual, count, spawn = zygote._ZYGOTE, 0, zygote.Zygote._spawn

def another(self, *given):
    global count
    count += 1
    other = "import ptymux.link.process_link as a; a.LINK_VERSION += %d; "
    zygote._ZYGOTE = {2: other % 1, 3: other % -1}.get(count, "") + usual
    return spawn(self, *given)

zygote.Zygote._spawn = another
from ptymux.keeper.daemon import main
main()
"""


def test_a_server_of_another_version_leaves_and_the_ptys_stay(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autostart, "_KEEPER", UPGRADED)
    no_server.start()
    pty, client = streaming(no_server)
    keeper = no_server.status()["keeper_pid"]
    kill(no_server.zygote())  # the next is newer, the one after that older
    wait_until(no_server.zygote)
    kill(no_server.status()["pid"])
    goes_on(client)
    assert no_server.status()["keeper_pid"] == keeper
    assert no_server.get(pty)["state"] == "active"
    assert no_server.log().count("speaks version") == 2
    no_server.call("kill", all=True)
    client.stop()

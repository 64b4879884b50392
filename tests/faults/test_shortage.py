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
from tests.server.conftest import Place
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
def small_disk(place: Place) -> Iterator[None]:
    """Put the place on a file system of its own."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", place.folder], check=True
    )
    try:
        yield
    finally:
        place.stop()
        assert "Traceback" not in place.log()
        # The keeper's log is open a little longer than the keeper has a command line.
        unmount = ["umount", place.folder]
        wait_until(lambda: not subprocess.run(unmount, capture_output=True).returncode)


def fill(place: Place) -> None:
    with suppress(OSError), open(f"{place.folder}/filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.faults
@pytest.mark.parametrize(("limited", "killed"), [("pid", "keeper_pid"), ("keeper_pid", "pid")])
def test_a_successor_comes_once_there_are_files_again(
    place: Place, limited: str, killed: str
) -> None:
    pty, client = streaming(place)
    status = place.status()
    with few_files(status[limited], 3):
        kill(status[killed])
        time.sleep(3)  # in which none can be started
        assert is_alive(pty["pid"])
        assert is_alive(status[limited])
    goes_on(client)
    assert place.status()[limited] == status[limited]
    assert place.get(pty)["state"] == "active"
    place.call("kill", all=True)
    client.stop()


@pytest.mark.parametrize("which", ["pid", "keeper_pid"])
def test_without_files_a_request_fails_and_nothing_else(place: Place, which: str) -> None:
    pty, client = streaming(place)
    status = place.status()
    before = fd_count(status[which])
    with place.connect() as connection, few_files(status[which], before + 1):
        for _ in range(5):
            # On connections of their own, which are not tried again when they are refused.
            with suppress(PtymuxError), ServerConnection(place.path) as other:
                other.spawn(SpawnOptions(argv=("sleep", "60"), env={"PATH": os.environ["PATH"]}))
            with suppress(PtymuxError), ServerConnection(place.path) as other:
                attach(other, AttachRequest(pty["pty_id"])).close()
            with suppress(PtymuxError):
                connection.call("status")
    goes_on(client)
    place.call("kill", all=True)
    client.stop()
    place.call("remove", all=True)
    wait_until(lambda: fd_count(place.status()["pid"]) <= before + 10)
    now = place.status()
    assert (now["pid"], now["keeper_pid"]) == (status["pid"], status["keeper_pid"])


@pytest.mark.parametrize("killed", [pytest.param("pid", marks=pytest.mark.faults), "keeper_pid"])
def test_a_folder_that_is_gone_keeps_no_successor_away(place: Place, killed: str) -> None:
    pty, client = streaming(place)
    status = place.status()
    shutil.rmtree(place.folder)
    kill(status[killed])
    goes_on(client)
    assert place.get(pty)["state"] == "active"
    wait_until(lambda: os.path.exists(f"{place.folder}/s.state"))
    kill_keeper(place)
    goes_on(client)
    place.call("kill", all=True)
    client.stop()


def replaced_again_and_again(place: Place, client: Client) -> None:
    for name in ("pid", "keeper_pid", "pid"):
        kill(place.status()[name])
        goes_on(client)
    assert place.sh("exit 3")["pid"]
    place.call("kill", all=True)
    client.stop()


@root_only
@pytest.mark.faults
def test_a_full_disk_keeps_no_successor_away(fresh: Place) -> None:
    with small_disk(fresh):
        fresh.start()
        _pty, client = streaming(fresh)
        fill(fresh)
        replaced_again_and_again(fresh, client)
        os.unlink(f"{fresh.folder}/filler")


def test_files_that_cannot_be_opened_keep_no_successor_away(place: Place) -> None:
    _pty, client = streaming(place)
    names = [f"{place.folder}/s.{kind}" for kind in ("log", "state")]
    for name in names:
        os.unlink(name)
        os.mkdir(name)
    replaced_again_and_again(place, client)
    for name in names:
        os.rmdir(name)


@root_only
@pytest.mark.faults
def test_a_log_on_a_full_disk_hurts_nobody(fresh: Place) -> None:
    with small_disk(fresh):
        fill(fresh)
        with pytest.raises(PtymuxError) as refused:
            autostart.start_server(fresh.path)
        assert "space" in str(refused.value).lower()
        os.unlink(f"{fresh.folder}/filler")
        fresh.start()


@pytest.mark.parametrize("which", [pytest.param("pid", marks=pytest.mark.faults), "keeper_pid"])
@pytest.mark.parametrize("rounds", [1, pytest.param(200, marks=pytest.mark.faults)])
def test_a_process_that_stands_still_for_a_while_costs_nothing(
    place: Place, moments: random.Random, rounds: int, which: str
) -> None:
    pty, client = streaming(place)
    watch = Watch(place)
    for _ in range(rounds):
        status = place.status()
        os.kill(status[which], signal.SIGSTOP)
        time.sleep(moments.uniform(0, 0.3))
        if moments.random() < 0.3:
            with suppress(ProcessLookupError):  # it is being replaced already
                kill(status["pid" if which == "keeper_pid" else "keeper_pid"])
        os.kill(status[which], signal.SIGCONT)
        goes_on(client)
        watch.look(pty)
    place.call("kill", all=True)
    client.stop()
    EventFollower(place).check()


def test_what_a_dying_keeper_had_just_started_is_ended(place: Place) -> None:
    """Its spawn was not answered yet: nobody knows of it but the file of children."""
    from ptymux.handover.state_file import _SLOT
    from ptymux.posix.procfs import boot_id, read_stat

    child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    try:
        stat = read_stat(child.pid)
        assert stat is not None
        with open(f"{place.folder}/s.state", "r+b") as file:
            file.write(_SLOT.pack(child.pid, stat.start_time, 77, boot_id().encode()))
        kill_keeper(place)
        wait_until(lambda: child.poll() is not None)
        wait_until(lambda: EventFollower(place).of["pty.reconciled"])
        (told,) = EventFollower(place).of["pty.reconciled"]
        assert told["payload"] == {"found": 1, "reattached": 0, "terminated": 1}
    finally:
        child.kill()
        child.wait()


@pytest.mark.faults
def test_a_hang_up_is_not_forgotten_by_a_spawn_under_way(place: Place) -> None:
    from tests.faults.test_ends import OWNER

    status = place.status()
    os.kill(status["keeper_pid"], signal.SIGSTOP)
    root = str(Path(__file__).parents[2])
    env = {"PATH": os.environ["PATH"], "SECRET": place.secret}
    words = ["python3", "-c", OWNER, root, place.path, "spawned", "sleep", "3600"]
    owner = subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL)
    wait_until(lambda: [pty["state"] for pty in place.call("list")["ptys"]] == ["spawning"])
    kill(status["pid"])
    os.kill(status["keeper_pid"], signal.SIGCONT)
    assert owner.wait(30) != 0
    wait_until(lambda: not place.call("list")["ptys"])
    wait_until(lambda: set(place.processes()) == place.own())
    assert place.status()["keeper_pid"] == status["keeper_pid"]


ORDINARY = """
import os, resource, sys, time
sys.path.insert(0, sys.argv[1])
from ptymux.core.model import SpawnOptions
from ptymux.errors import PtymuxError
from tests.processes import is_alive, kill
from tests.server.conftest import Place
from tests.timing import wait_until

place = Place()
try:
    place.start()
    pty = place.sh("while read x; do echo got-$x; done")
    for limited, killed in (("keeper_pid", "pid"), ("pid", "keeper_pid")):
        status = place.status()
        before = resource.prlimit(status[limited], resource.RLIMIT_NPROC)
        resource.prlimit(status[limited], resource.RLIMIT_NPROC, (0, before[1]))
        if limited == "keeper_pid":
            try:
                place.sh("sleep 60")
            except PtymuxError as error:
                print("refused:", error)
        kill(status[killed])
        time.sleep(2)  # in which none can be started
        assert is_alive(pty["pid"])
        assert is_alive(status[limited])
        resource.prlimit(status[limited], resource.RLIMIT_NPROC, before)
        wait_until(lambda: place.get(pty)["state"] == "active")
    with place.attach(pty) as stream:
        stream.lifeline.send_all(b"it\\n")
        wait_until(lambda: place.get(pty)["buffer"]["total_written"] > 5)
    place.call("kill", all=True)
    place.stop()
    assert "Traceback" not in place.log(), place.log()
    print("went on")
finally:
    place.end()
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
def test_without_memory_a_spawn_fails_and_nothing_else(place: Place, which: str) -> None:
    pty, client = streaming(place)
    pid = place.status()[which]
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (size_of(pid) + 16 * MIB, before[1]))
    for _ in range(3):
        with pytest.raises(PtymuxError, match="memory"):
            place.sh("sleep 60", buffer_size=64 * MIB)
    resource.prlimit(pid, resource.RLIMIT_AS, before)
    goes_on(client)
    assert place.get(pty)["state"] == "active"
    assert place.status()[which] == pid
    assert [told["pty_id"] for told in place.call("list")["ptys"]] == [pty["pty_id"]]
    known = place.own() | {pty["pid"]}
    wait_until(lambda: set(place.processes()) == known)
    place.call("kill", all=True)
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
    fresh: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autostart, "_KEEPER", UPGRADED)
    fresh.start()
    pty, client = streaming(fresh)
    keeper = fresh.status()["keeper_pid"]
    kill(fresh.zygote())  # the next is newer, the one after that older
    wait_until(fresh.zygote)
    kill(fresh.status()["pid"])
    goes_on(client)
    assert fresh.status()["keeper_pid"] == keeper
    assert fresh.get(pty)["state"] == "active"
    assert fresh.log().count("speaks version") == 2
    fresh.call("kill", all=True)
    client.stop()

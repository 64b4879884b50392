"""The zygote is killed, stopped, or gone when it is needed: nobody but the keeper notices."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.laws import EventFollower, Watch
from tests.faults.streams import Client, goes_on, streaming
from tests.processes import children_of, fd_count, is_alive, kill, stop
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

VICTIMS = ("zygote", "pid", "keeper_pid")


def has_pidfd_of_the_dead(pid: int) -> bool:
    """Whether a process has open what it watched another one by, which has ended."""
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):  # closed during the look
            if "Pid:\t-1\n" in file.read_text():
                return True
    return False


def end(server: Serving, client: Client) -> None:
    """End the PTYs; check that everything is told, and that the usual three are all that runs."""
    server.call("kill", all=True, grace=0.0)
    client.stop()
    EventFollower(server).check()
    wait_until(lambda: set(server.processes()) == server.own())


def serves_again(server: Serving, before: int) -> None:
    wait_until(lambda: server.status()["pid"] != before)


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.faults)])
def test_kills_of_the_zygote_disturb_nobody(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    _pty, client = streaming(own_server)
    before = own_server.status()
    for _ in range(rounds):
        zygote = own_server.zygote()
        kill(zygote, moments.choice((signal.SIGKILL, signal.SIGTERM)))
        wait_until(lambda zygote=zygote: own_server.zygote() != zygote)  # type: ignore[misc]
    goes_on(client)

    after = own_server.status()
    for name in ("pid", "keeper_pid", "server_replaced", "keeper_replaced"):
        assert after[name] == before[name]
    assert client.attachments == 1
    end(own_server, client)


def test_keys_do_not_end_the_zygote(own_server: Serving) -> None:
    zygote = own_server.zygote()
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        os.kill(zygote, signum)
    server = own_server.status()["pid"]
    kill(server)

    serves_again(own_server, server)

    assert own_server.zygote() == zygote
    assert children_of(zygote) == [own_server.status()["pid"]]


@pytest.mark.parametrize("rounds", [2, pytest.param(30, marks=pytest.mark.faults)])
def test_a_server_killed_after_its_zygote_is_replaced(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    pty, client = streaming(own_server)
    watch = Watch(own_server)
    for _ in range(rounds):
        server, zygote = own_server.status()["pid"], own_server.zygote()
        kill(zygote)
        time.sleep(moments.choice((0, moments.uniform(0, 0.2))))  # another may be starting
        kill(server)
        serves_again(own_server, server)
        watch.look(pty)
    goes_on(client)
    assert own_server.status()["server_replaced"] == rounds
    end(own_server, client)


@pytest.mark.parametrize("rounds", [2, pytest.param(30, marks=pytest.mark.faults)])
@pytest.mark.parametrize("first", ["server", "zygote"])
def test_both_killed_at_once_are_replaced(own_server: Serving, first: str, rounds: int) -> None:
    pty, client = streaming(own_server)
    watch = Watch(own_server)
    for _ in range(rounds):
        victims = {"server": own_server.status()["pid"], "zygote": own_server.zygote()}
        keeper = own_server.status()["keeper_pid"]
        stop(keeper)  # so that it learns of both at the same moment
        for name in sorted(victims, key=lambda name: name != first):
            kill(victims[name])
        os.kill(keeper, signal.SIGCONT)
        serves_again(own_server, victims["server"])
        watch.look(pty)
    goes_on(client)
    assert own_server.status()["server_replaced"] == rounds
    end(own_server, client)


def test_a_zygote_that_stands_still_is_replaced_when_it_is_needed(no_server: Serving) -> None:
    no_server.start(come=0.2)  # doubled until the next one is quick enough for that
    pty, client = streaming(no_server)
    server, zygote = no_server.status()["pid"], no_server.zygote()
    stop(zygote)
    kill(server)

    serves_again(no_server, server)

    goes_on(client)
    assert not is_alive(zygote)
    assert no_server.status()["server_replaced"] == 1
    assert no_server.get(pty)["state"] == "active"
    end(no_server, client)


def test_a_zygote_that_stood_still_for_a_moment_serves_once(no_server: Serving) -> None:
    no_server.start(come=deadline_seconds())  # else it may be given up
    _pty, client = streaming(no_server)
    status, zygote = no_server.status(), no_server.zygote()
    stop(zygote)
    kill(status["pid"])
    wait_until(lambda: not has_pidfd_of_the_dead(status["keeper_pid"]))  # it asks for another
    os.kill(zygote, signal.SIGCONT)

    serves_again(no_server, status["pid"])

    goes_on(client)
    assert no_server.zygote() == zygote
    assert children_of(zygote) == [no_server.status()["pid"]]
    end(no_server, client)


def test_a_socket_bound_again_while_a_server_is_awaited_is_served(own_server: Serving) -> None:
    _pty, client = streaming(own_server)
    server, zygote = own_server.status()["pid"], own_server.zygote()
    stop(zygote)
    shutil.rmtree(own_server.folder)
    kill(server)

    wait_until(lambda: os.path.exists(own_server.path))
    with suppress(ProcessLookupError):  # it may have been given up by then
        os.kill(zygote, signal.SIGCONT)

    serves_again(own_server, server)
    goes_on(client)
    end(own_server, client)


@pytest.mark.parametrize("rounds", [20, pytest.param(300, marks=pytest.mark.faults)])
def test_kills_of_the_server_leave_nothing_in_keeper_and_zygote(
    own_server: Serving, rounds: int
) -> None:
    keeper, zygote = own_server.status()["keeper_pid"], own_server.zygote()
    before = [(fd_count(pid), len(children_of(pid))) for pid in (keeper, zygote)]
    ids = set()
    for _ in range(rounds):
        kill(own_server.status()["pid"])
        ids.add(own_server.sh("true")["pty_id"])
    status = own_server.status()
    own_server.call("remove", all=True)

    assert (status["keeper_pid"], status["server_replaced"]) == (keeper, rounds)
    assert own_server.zygote() == zygote
    wait_until(
        lambda: [(fd_count(pid), len(children_of(pid))) for pid in (keeper, zygote)] == before
    )
    wait_until(lambda: set(own_server.processes()) == own_server.own())
    assert len(ids) == rounds  # what is forked does not draw the same lots
    EventFollower(own_server).check()


def test_a_zygote_ends_with_its_keeper_and_the_next_has_its_own(own_server: Serving) -> None:
    _pty, client = streaming(own_server)
    before, zygote = own_server.status(), own_server.zygote()
    kill(before["keeper_pid"])
    wait_until(lambda: own_server.status()["keeper_pid"] != before["keeper_pid"])

    wait_until(lambda: not is_alive(zygote))
    assert own_server.zygote() != zygote
    assert own_server.status()["pid"] == before["pid"]
    kill(before["pid"])  # of the zygote that is gone
    serves_again(own_server, before["pid"])
    goes_on(client)
    assert children_of(own_server.zygote()) == [own_server.status()["pid"]]
    end(own_server, client)


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.faults)])
def test_whichever_dies_next_everything_goes_on(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    pty, client = streaming(own_server)
    watch = Watch(own_server)
    for _ in range(rounds):
        for name in moments.sample(VICTIMS, len(VICTIMS)):
            before = own_server.pid_of(name)
            kill(before)
            if name != "zygote":  # else whoever is next may die before there is another
                wait_until(lambda name=name, before=before: own_server.pid_of(name) != before)  # type: ignore[misc]
            watch.look(pty)
        goes_on(client)
    assert own_server.status()["server_replaced"] == rounds
    assert own_server.status()["keeper_replaced"] == rounds
    end(own_server, client)

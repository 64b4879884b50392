"""The zygote is killed, stopped, or gone when it is needed: nobody but the keeper notices."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from contextlib import suppress

import pytest

from ptymux.posix.procfs import read_stat
from tests.faults.laws import EventFollower, Watch
from tests.faults.streams import Client, goes_on, streaming
from tests.processes import children_of, fd_count, is_alive, kill
from tests.server.conftest import Place
from tests.timing import wait_until

VICTIMS = ("zygote", "pid", "keeper_pid")


def stop(pid: int) -> None:
    """Stop a process; return once it stands still."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: (stat := read_stat(pid)) is not None and stat.state == "T")


def end(place: Place, client: Client) -> None:
    """End the PTYs; check that everything is told, and that the usual three are all that runs."""
    place.call("kill", all=True, grace=0.0)
    client.stop()
    EventFollower(place).check()
    wait_until(lambda: set(place.processes()) == place.own())


def serves_again(place: Place, server: int) -> None:
    wait_until(lambda: place.status()["pid"] != server)


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.faults)])
def test_kills_of_the_zygote_disturb_nobody(
    place: Place, moments: random.Random, rounds: int
) -> None:
    _pty, client = streaming(place)
    before = place.status()
    for _ in range(rounds):
        zygote = place.zygote()
        kill(zygote, moments.choice((signal.SIGKILL, signal.SIGTERM)))
        wait_until(lambda zygote=zygote: place.zygote() != zygote)  # type: ignore[misc]
    goes_on(client)

    after = place.status()
    for name in ("pid", "keeper_pid", "server_replaced", "keeper_replaced"):
        assert after[name] == before[name]
    assert client.attachments == 1
    end(place, client)


def test_keys_do_not_end_the_zygote(place: Place) -> None:
    zygote = place.zygote()
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        os.kill(zygote, signum)
    server = place.status()["pid"]
    kill(server)

    serves_again(place, server)

    assert place.zygote() == zygote
    assert children_of(zygote) == [place.status()["pid"]]


@pytest.mark.parametrize("rounds", [2, pytest.param(30, marks=pytest.mark.faults)])
def test_a_server_killed_after_its_zygote_is_replaced(
    place: Place, moments: random.Random, rounds: int
) -> None:
    pty, client = streaming(place)
    watch = Watch(place)
    for _ in range(rounds):
        server, zygote = place.status()["pid"], place.zygote()
        kill(zygote)
        time.sleep(moments.choice((0, moments.uniform(0, 0.2))))  # another may be starting
        kill(server)
        serves_again(place, server)
        watch.look(pty)
    goes_on(client)
    assert place.status()["server_replaced"] == rounds
    end(place, client)


@pytest.mark.parametrize("rounds", [2, pytest.param(30, marks=pytest.mark.faults)])
@pytest.mark.parametrize("first", ["server", "zygote"])
def test_both_killed_at_once_are_replaced(place: Place, first: str, rounds: int) -> None:
    pty, client = streaming(place)
    watch = Watch(place)
    for _ in range(rounds):
        victims = {"server": place.status()["pid"], "zygote": place.zygote()}
        keeper = place.status()["keeper_pid"]
        stop(keeper)  # so that it learns of both at the same moment
        for name in sorted(victims, key=lambda name: name != first):
            kill(victims[name])
        os.kill(keeper, signal.SIGCONT)
        serves_again(place, victims["server"])
        watch.look(pty)
    goes_on(client)
    assert place.status()["server_replaced"] == rounds
    end(place, client)


def test_a_zygote_that_stands_still_is_replaced_when_it_is_needed(place: Place) -> None:
    pty, client = streaming(place)
    server, zygote = place.status()["pid"], place.zygote()
    stop(zygote)
    kill(server)

    serves_again(place, server)

    goes_on(client)
    assert not is_alive(zygote)
    assert place.status()["server_replaced"] == 1
    assert place.get(pty)["state"] == "active"
    end(place, client)


def test_a_zygote_that_stood_still_for_a_moment_serves_once(place: Place) -> None:
    _pty, client = streaming(place)
    server, zygote = place.status()["pid"], place.zygote()
    stop(zygote)
    kill(server)
    time.sleep(0.3)  # the keeper has asked for another
    os.kill(zygote, signal.SIGCONT)

    serves_again(place, server)

    goes_on(client)
    assert place.zygote() == zygote
    assert children_of(zygote) == [place.status()["pid"]]
    end(place, client)


def test_a_socket_bound_again_while_a_server_is_awaited_is_served(place: Place) -> None:
    _pty, client = streaming(place)
    server, zygote = place.status()["pid"], place.zygote()
    stop(zygote)
    shutil.rmtree(place.folder)
    kill(server)

    wait_until(lambda: os.path.exists(place.path))
    with suppress(ProcessLookupError):  # it may have been given up by then
        os.kill(zygote, signal.SIGCONT)

    serves_again(place, server)
    goes_on(client)
    end(place, client)


@pytest.mark.parametrize("rounds", [20, pytest.param(300, marks=pytest.mark.faults)])
def test_kills_of_the_server_leave_nothing_in_keeper_and_zygote(place: Place, rounds: int) -> None:
    keeper, zygote = place.status()["keeper_pid"], place.zygote()
    before = [(fd_count(pid), len(children_of(pid))) for pid in (keeper, zygote)]
    ids = set()
    for _ in range(rounds):
        kill(place.status()["pid"])
        ids.add(place.sh("true")["pty_id"])
    status = place.status()
    place.call("remove", all=True)

    assert (status["keeper_pid"], status["server_replaced"]) == (keeper, rounds)
    assert place.zygote() == zygote
    assert [(fd_count(pid), len(children_of(pid))) for pid in (keeper, zygote)] == before
    assert set(place.processes()) == place.own()
    assert len(ids) == rounds  # what is forked does not draw the same lots
    EventFollower(place).check()


def test_a_zygote_ends_with_its_keeper_and_the_next_has_its_own(place: Place) -> None:
    _pty, client = streaming(place)
    before, zygote = place.status(), place.zygote()
    kill(before["keeper_pid"])
    wait_until(lambda: place.status()["keeper_pid"] != before["keeper_pid"])

    wait_until(lambda: not is_alive(zygote))
    assert place.zygote() != zygote
    assert place.status()["pid"] == before["pid"]
    kill(before["pid"])  # of the zygote that is gone
    serves_again(place, before["pid"])
    goes_on(client)
    assert children_of(place.zygote()) == [place.status()["pid"]]
    end(place, client)


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.faults)])
def test_whichever_dies_next_everything_goes_on(
    place: Place, moments: random.Random, rounds: int
) -> None:
    pty, client = streaming(place)
    watch = Watch(place)
    for _ in range(rounds):
        for name in moments.sample(VICTIMS, len(VICTIMS)):
            before = place.pid_of(name)
            kill(before)
            if name != "zygote":  # else whoever is next may die before there is another
                wait_until(lambda name=name, before=before: place.pid_of(name) != before)  # type: ignore[misc]
            watch.look(pty)
        goes_on(client)
    assert place.status()["server_replaced"] == rounds
    assert place.status()["keeper_replaced"] == rounds
    end(place, client)

"""kill -9 of the keeper, or of both in turn: every PTY lives on, and what it writes is kept."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ptymux.core.model import OnFull
from tests.faults.laws import EventFollower, Watch, memfds_of
from tests.faults.streams import FLOOD, PACED, Client
from tests.processes import is_alive, kill, stop
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
TELLS_STATUS = KERNEL >= (6, 15)  # of a child that is not ours


def kill_keeper(server: Serving) -> int:
    """Kill the keeper; return the pid of the next one."""
    before = server.status()["keeper_pid"]
    kill(before)
    wait_until(lambda: server.status()["keeper_pid"] != before)
    return int(server.status()["keeper_pid"])


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.faults)])
def test_kills_of_the_keeper_cost_no_pty_and_no_byte(
    own_server: Serving, moments: random.Random, rounds: int
) -> None:
    flood = own_server.spawn(*FLOOD, plain_output=True, on_full=OnFull.BLOCK)
    paced = own_server.spawn(*PACED, plain_output=True)
    others = [own_server.sh("while read x; do echo got-$x; done") for _ in range(18)]
    watch = Watch(own_server)
    pipe, raw = (
        Client(own_server, flood, "lossless", lifeline=True),
        Client(own_server, paced, types=True),
    )
    status = own_server.status()
    memfds = [memfds_of(status[name]) for name in ("keeper_pid", "pid")]
    seen = 0
    for _ in range(rounds):
        time.sleep(moments.uniform(0, 0.3))
        kill_keeper(own_server)
        told = watch.look(flood, paced, *others)
        assert {pty["state"] for pty in told} == {"active"}
        now = told[1]["buffer"]["total_written"]
        assert now >= seen
        wait_until(lambda now=now: raw.offset > now)  # type: ignore[misc]
        seen = raw.offset
    for number, pty in enumerate(others):
        with own_server.attach(pty) as stream:
            assert stream.lifeline is not None
            stream.lifeline.send_all(b"%d\n" % number)
            wait_until(lambda pty=pty: own_server.get(pty)["buffer"]["total_written"] > 8)  # type: ignore[misc]
    own_server.call("kill", all=True)
    for client in (pipe, raw):
        client.join(deadline_seconds())
        client.stop()
    end, paced_end = watch.look(flood, paced)
    assert pipe.skipped == 0
    assert pipe.delivered == end["buffer"]["total_written"]
    assert raw.delivered + raw.skipped == paced_end["buffer"]["total_written"]
    assert {pty["signal"] for pty in watch.look(*others)} == {15 if TELLS_STATUS else None}
    EventFollower(own_server).check()
    status = own_server.status()
    assert status["keeper_replaced"] == rounds
    wait_until(lambda: [memfds_of(status[name]) for name in ("keeper_pid", "pid")] == memfds)


def content(kind: str, moments: random.Random) -> bytes:
    """Return output of a kind whose end is hard to see, some 6 MB of it."""
    size = 6_000_000
    if kind == "NULs":
        return b"".join(moments.randbytes(3) + bytes(moments.randrange(9000)) for _ in range(1300))
    return moments.randbytes(size) if kind == "random" else moments.randbytes(1) * size


@pytest.mark.parametrize("kind", ["NULs", "random", "one byte"])
@pytest.mark.parametrize("rounds", [pytest.param(20, marks=pytest.mark.faults)])
def test_a_pipe_is_told_of_every_byte_that_a_cut_read_may_lack(
    own_server: Serving, moments: random.Random, tmp_path: Path, kind: str, rounds: int
) -> None:
    file, out = tmp_path / "in", tmp_path / "out"
    uncertain = short = 0
    for _ in range(rounds):
        file.write_bytes(content(kind, moments))
        whole = file.stat().st_size
        with (
            out.open("wb") as stdout,
            own_server.world.start(
                "run", "--json", "--", "cat", str(file), stdout=stdout, stderr=subprocess.PIPE
            ) as run,
        ):
            for part in range(1, 4):
                at = whole * part // 4
                wait_until(lambda at=at: out.stat().st_size >= at or run.poll() is not None)  # type: ignore[misc]
                kill_keeper(own_server)
            _, err = run.communicate()
        told, last = err.decode().splitlines()[:-1], err.splitlines()[-1]
        pty = json.loads(last)["pty"]
        lacks = whole - out.stat().st_size
        assert pty["buffer"]["total_written"] == out.stat().st_size
        assert 0 <= lacks <= pty["uncertain"]
        assert bool(told) == bool(pty["uncertain"]), told
        assert lacks or out.read_bytes() == file.read_bytes()
        uncertain += pty["uncertain"]
        short += lacks
    print(f"{kind}: {uncertain} cut reads in {rounds} runs; {short} bytes lacked, all told")


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.faults)])
def test_both_in_turn_cost_no_pty_and_no_byte(
    no_server: Serving, moments: random.Random, rounds: int
) -> None:
    no_server.start(quick=0)
    pty = no_server.spawn(*PACED, plain_output=True, on_full=OnFull.BLOCK)
    pipe = Client(no_server, pty, "lossless", lifeline=True)
    watch = Watch(no_server)
    for _ in range(rounds):
        for which in moments.sample(("keeper_pid", "pid"), 2):
            before, victim = pipe.offset, no_server.status()[which]
            kill(victim)
            wait_until(lambda which=which, victim=victim: no_server.status()[which] != victim)  # type: ignore[misc]
            watch.look(pty)
            wait_until(lambda before=before: pipe.offset > before)  # type: ignore[misc]
            time.sleep(moments.uniform(0, 0.3))
    no_server.call("kill", all=True)
    pipe.join(deadline_seconds())
    pipe.stop()
    (end,) = watch.look(pty)
    assert pipe.delivered == end["buffer"]["total_written"] == end["buffer"]["total_consumed"]
    EventFollower(no_server).check()


@pytest.mark.parametrize(
    ("script", "code", "signum"),
    [("exit 7", 7, None), ("exit 0", 0, None), ("kill -9 $$", None, 9)],
)
def test_an_exit_status_outlives_the_keeper(
    own_server: Serving, script: str, code: int | None, signum: int | None
) -> None:
    pty = own_server.sh(f"read x; {script}")
    kill_keeper(own_server)
    with own_server.attach(pty) as stream:
        assert stream.lifeline is not None
        stream.lifeline.send_all(b"\n")
        own_server.call("wait", pty=pty["pty_id"], until="gone")
    end = own_server.get(pty)
    told = (end["exit_code"], end["signal"])
    assert told == ((code, signum) if TELLS_STATUS else (None, None))
    wait_until(lambda: not is_alive(pty["pid"]))


def test_a_stop_is_seen_by_the_next_keeper(own_server: Serving) -> None:
    before, during, after = (own_server.sh("sleep 60") for _ in range(3))
    own_server.call("signal", pty=before["pty_id"], signal="STOP")
    wait_until(lambda: own_server.get(before)["suspended"])
    keeper = own_server.status()["keeper_pid"]
    kill(keeper)
    os.kill(before["pid"], signal.SIGCONT)
    os.kill(during["pid"], signal.SIGSTOP)
    wait_until(lambda: own_server.status()["keeper_pid"] != keeper)
    os.kill(after["pid"], signal.SIGSTOP)

    def told() -> list[bool]:
        return [own_server.get(pty)["suspended"] for pty in (before, during, after)]

    wait_until(lambda: told() == [False, True, True])
    kill(own_server.status()["pid"])
    assert told() == [False, True, True]
    os.kill(during["pid"], signal.SIGCONT)
    wait_until(lambda: told() == [False, False, True])
    own_server.call("kill", all=True, grace=0.2)
    assert all(not is_alive(pty["pid"]) for pty in (before, during, after))


def test_a_stop_that_a_dying_server_did_not_hear_of_is_told(own_server: Serving) -> None:
    got = f"{own_server.folder}/got"
    pty = own_server.sh(f"exec cat > {got}")
    with own_server.attach(pty) as stream:
        assert stream.lifeline is not None
        own_server.call("signal", pty=pty["pty_id"], signal="STOP")
        wait_until(lambda: own_server.get(pty)["suspended"])
        own_server.call("resize", pty=pty["pty_id"], cols=90, rows=30)  # what is kept: suspended
        server = own_server.status()["pid"]
        stop(server)
        os.kill(pty["pid"], signal.SIGCONT)
        stream.lifeline.send_all(b"it\n")  # once it has arrived the keeper has heard of that
        wait_until(lambda: os.path.getsize(got))
        kill(server)
        wait_until(lambda: not own_server.get(pty)["suspended"])
    os.unlink(got)


def test_kill_ends_what_an_earlier_keeper_started(own_server: Serving) -> None:
    stubborn = own_server.sh("trap '' TERM HUP; while :; do sleep 0.1; done")
    kill_keeper(own_server)
    told: dict[str, Any] = own_server.call("kill", ptys=[stubborn["pty_id"]], grace=0.3)["ptys"][0]
    assert not is_alive(stubborn["pid"])
    assert told["signal"] == (9 if TELLS_STATUS else None)

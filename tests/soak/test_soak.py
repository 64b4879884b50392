"""300 PTYs, clients that come and go, a server that is killed each minute: for as long as asked."""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from collections import Counter

import pytest

from ptymux.client.blocking import Client, connect
from ptymux.core.model import MIB
from ptymux.core.notifications import BufferStats
from ptymux.stress.verdict import law_faults
from tests.processes import fd_count, kill, proportional
from tests.serving import Serving
from tests.soak.population import Follower, Residents, Visitor, spawn_residents

VISITORS = 4
MINUTE_SECONDS = 60.0
# After the rings are full and the event log is: what grows then is a leak.
FEWEST_MINUTES = 10
MOST_GROWTH = 1 * MIB  # of memory, a minute
MOST_FDS = 250  # more than at first: of 100 PTYs that ended, and of the visitors of the moment
MOST_TOLD = 20
MOST_MORE_FDS = 5  # a minute


class Soak:
    """What lives, and what was seen of it minute by minute."""

    def __init__(self, server: Serving, client: Client, seed: int) -> None:
        self._serving = server
        self.client = client
        self.residents: Residents = spawn_residents(client)
        self.stop = threading.Event()
        path, residents = server.path, self.residents
        self.followers = [
            *(Follower(path, self.stop, pty_id, "consumer") for pty_id in residents.paced),
            *(Follower(path, self.stop, pty_id, "lossless") for pty_id in residents.held),
        ]
        self.visitors = [
            Visitor(path, self.stop, seed + index, residents, (index, VISITORS))
            for index in range(VISITORS)
        ]
        self.samples: list[tuple[int, int, int, int]] = []
        self.kills = 0
        self.faults: list[str] = []

    def look(self, moment: str) -> str:
        """Hold every PTY against the laws, and take the measures; return them in one line."""
        listed = self.client.list(all=True)
        for pty in listed:
            for fault in law_faults(BufferStats(**pty["buffer"])):
                self.faults.append(f"{moment}: {pty['pty_id']}: {fault}")
        status = self._serving.status()
        keeper, server = status["keeper_pid"], status["pid"]
        shared = proportional(server) + proportional(
            self._serving.zygote()
        )  # most of a zygote is the server's too
        sample = (proportional(keeper), shared, fd_count(keeper), fd_count(server))
        self.samples.append(sample)
        done = sum((visitor.done for visitor in self.visitors), Counter[str]())
        silence = max(follower.silence_seconds for follower in self.followers)
        return (
            f"{moment:>6}: {status['live']} live, "
            f"{status['ptys'] - status['live']} ended, killed {self.kills}, "
            f"keeper {sample[0] / MIB:.1f} MiB {sample[2]} fds, "
            f"server {sample[1] / MIB:.1f} MiB {sample[3]} fds, "
            f"{done.total()} visits, {sum(f.check.size for f in self.followers) / 1e6:.0f} MB "
            f"checked, longest silence {1000 * silence:.0f} ms, "
            f"{len(self.all_faults())} violations"
        )

    def kill_server(self) -> None:
        """Kill the server that is there."""
        kill(self._serving.status()["pid"])
        self.kills += 1

    def end(self) -> None:
        """Send everybody home."""
        self.stop.set()
        for one in (*self.followers, *self.visitors):
            one.thread.join()

    def all_faults(self) -> list[str]:
        """Return what was wrong so far."""
        found = list(self.faults)
        for one in self.visitors:
            found += [f"visitor of seed {one.seed}: {wrong}" for wrong in one.wrong]
        for follower in self.followers:
            found += follower.faults()
        return found

    def slopes(self) -> list[float]:
        """Return the growth of each measure a minute, in the second half."""
        late = self.samples[len(self.samples) // 2 :]
        if len(late) < 2:
            return [0.0] * 4
        minutes = list(range(len(late)))
        return [statistics.linear_regression(minutes, row).slope for row in zip(*late, strict=True)]

    def growth_faults(self) -> list[str]:
        """Return what grew."""
        found = []
        first, last = self.samples[0], self.samples[-1]
        for slope, at, what, most in zip(
            self.slopes(),
            range(4),
            ("the keeper's memory", "the server's memory", "the keeper's fds", "the server's fds"),
            (MOST_GROWTH, MOST_GROWTH, MOST_MORE_FDS, MOST_MORE_FDS),
            strict=True,
        ):
            if len(self.samples) > FEWEST_MINUTES and slope > most:
                found.append(f"{what} grow by {slope:.0f} a minute")
            if at >= 2 and last[at] > first[at] + MOST_FDS:
                found.append(f"{what}: {first[at]} at first, then {last[at]}")
        return found


@pytest.mark.soak
def test_nothing_is_lost_or_grows_however_long_it_lasts(
    own_server: Serving, capsys: pytest.CaptureFixture[str]
) -> None:
    minutes = float(os.environ.get("PTYMUX_MINUTES", "10"))
    seed = random.SystemRandom().randrange(1 << 32)

    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)  # noqa: T201 - what it was asked for

    say(f"\n{minutes:g} minutes, seed {seed}")
    with connect(own_server.path, start=False) as client:
        soak = Soak(own_server, client, seed)
        try:
            began = time.monotonic()
            say(soak.look("0 min"))
            while time.monotonic() < began + 60 * minutes:
                left = began + 60 * minutes - time.monotonic()
                soak.stop.wait(min(MINUTE_SECONDS, left))
                say(soak.look(f"{(time.monotonic() - began) / 60:.0f} min"))
                soak.kill_server()
        finally:
            soak.end()
        growth, slopes = soak.growth_faults(), soak.slopes()
        say(soak.look("end"))  # of a server that has just begun
        keeper, server, keeper_fds, server_fds = slopes
        say(
            f"slopes a minute: keeper {keeper / MIB:+.2f} MiB {keeper_fds:+.1f} fds, "
            f"server {server / MIB:+.2f} MiB {server_fds:+.1f} fds"
        )
        faults = soak.all_faults() + growth
        status = own_server.status()
        if (status["server_replaced"], status["keeper_replaced"]) != (soak.kills, 0):
            faults.append(f"killed {soak.kills} times: {status}")
        own_server.call("kill", all=True, grace=0.2)
    assert not faults, "\n".join(faults[:MOST_TOLD])

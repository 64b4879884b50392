"""Keeper and server are killed as a child starts that ignores the HUP: the next start ends it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ptymux.client import autostart
from ptymux.handover.state_file import read_intents, read_proofs
from tests.processes import is_alive, is_stopped, kill, kill_at_once
from tests.serving import Serving
from tests.timing import wait_until

# Where the keeper stops; it has done what the step says.
STEPS = {
    "it is about to start one": """
import ptymux.keeper.pty_table as table
unlock = table.unlock_terminal
def stops(master):
    unlock(master)
    os.kill(os.getpid(), 19)
table.unlock_terminal = stops
""",
    "one was started at once": """
import ptymux.posix.spawn as spawn
def stops(pid):
    os.kill(os.getpid(), 19)
spawn._open_child = stops
""",
    "one was forked": """
import ptymux.posix.launch as launch, ptymux.posix.local_paths as local_paths
local_paths.LocalPaths.may_wait = lambda *_: True
def stops(self):
    os.kill(os.getpid(), 19)
launch.Launch.answer = stops
""",
    "it was written down": """
import ptymux.handover.state_file as state_file
enter = state_file.StateFile.enter
def stops(self, *args):
    enter(self, *args)
    os.kill(os.getpid(), 19)
state_file.StateFile.enter = stops
""",
}


def kill_both_at(server: Serving, step: str, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have a command started; kill keeper and server at this step, and the client before."""
    with monkeypatch.context() as patch:
        patch.setattr(autostart, "_KEEPER", f"import os\n{STEPS[step]}\n{autostart._KEEPER}")
        server.start()
    status = server.status()
    client = server.world.start("run", "-d", "--", "sh", "-c", script)
    wait_until(lambda: is_stopped(status["keeper_pid"]))
    if step != "it is about to start one":
        wait_until(lambda: os.path.exists(f"{server.folder}/pid"))
    kill(client.pid)
    client.wait()
    kill_at_once(status["keeper_pid"], status["pid"])


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize("step", [step for step in STEPS if step != "it is about to start one"])
@pytest.mark.parametrize("how", ["trap", "nohup"])
@pytest.mark.slow
def test_a_child_that_ignores_the_hang_up_is_ended_by_the_next_start(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch, step: str, how: str
) -> None:
    told = Path(no_server.folder, "pid")
    tell = f"echo $$ > {told}.new; mv {told}.new {told}"
    script = f"trap '' HUP; {tell}; while :; do sleep 100; done"
    if how == "nohup":
        script = f"exec nohup sh -c '{tell}; exec sleep 100' > /dev/null 2>&1 < /dev/null"
    kill_both_at(no_server, step, monkeypatch, script)
    child = int(told.read_text())
    assert is_alive(child)

    told.unlink()
    if (step, how) == ("one was started at once", "trap"):
        found = json.loads(no_server.world.run("doctor", "--dry-run", "--json").stdout)
        assert child in [each["pid"] for each in found["processes"] if each["proven"]]
    no_server.start()

    wait_until(lambda: not is_alive(child))
    wait_until(lambda: no_server.processes().keys() == no_server.own())
    wait_until(lambda: "of 1 PTYs that it left, 1 were ended" in no_server.log())
    wait_until(lambda: not read_proofs(f"{no_server.folder}/s.state"))


def test_what_never_began_is_forgotten_by_the_next_start(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_both_at(no_server, "it is about to start one", monkeypatch, "sleep 100")
    state = f"{no_server.folder}/s.state"
    assert [intent.number for intent in read_intents(state)] == [1]

    no_server.start()

    assert not read_intents(state)
    assert not read_proofs(state)
    assert no_server.own() == no_server.processes().keys()

"""A restart is a transaction: whoever dies in it, the PTYs and one of each process live on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from ptymux.errors import LinkClosedError
from tests.processes import is_alive, kill, stop
from tests.server.code import run_in_next_keepers, run_in_next_servers
from tests.serving import Serving
from tests.timing import wait_until

pytestmark = pytest.mark.slow  # keepers and servers come and go

# Where the process that is to take over dies once; `{once}` is a file that says that it has.
_BEFORE = """
import os, {module} as module
take = module.take_token
def dies(token):
    if not os.path.exists({once!r}):
        open({once!r}, 'w').close()
        {then}os.kill(os.getpid(), 9)
    return take(token)
module.take_token = dies
"""
_MODULES = {"keeper": "ptymux.keeper.server_keeper", "server": "ptymux.link.server_link"}


def die_once(monkeypatch: pytest.MonkeyPatch, server: Serving, which: str, *, after: bool) -> Path:
    """Have the next keeper or server die as it takes over, after the token was taken or before."""
    once = f"{server.folder}/once"
    then = "take(token); " if after else ""
    code = _BEFORE.format(module=_MODULES[which], once=once, then=then)
    (run_in_next_keepers if which == "keeper" else run_in_next_servers)(monkeypatch, code)
    return Path(once)


def echo_of(server: Serving, pty: dict[str, object]) -> None:
    """Return once the PTY has answered."""
    before = server.get(pty)["buffer"]["total_written"]
    with server.attach(pty) as stream:
        assert stream.lifeline is not None
        stream.lifeline.send_all(b"it\n")
        wait_until(lambda: server.get(pty)["buffer"]["total_written"] > before + 5)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("which", ["keeper", "server"])
def test_one_that_dies_as_it_takes_over_costs_nothing(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch, which: str, after: bool
) -> None:
    once = die_once(monkeypatch, no_server, which, after=after)
    no_server.start()
    pty = no_server.sh("while read x; do echo got-$x; done")
    before = no_server.status()

    assert "serves now" in no_server.ok("server", "restart")

    once.unlink()
    now = no_server.status()
    assert now["pid"] != before["pid"]
    assert now["keeper_pid"] != before["keeper_pid"]
    assert not is_alive(before["pid"])
    assert not is_alive(before["keeper_pid"])
    assert is_alive(int(str(pty["pid"])))
    echo_of(no_server, pty)
    wait_until(lambda: set(no_server.processes()) == {*no_server.own(), pty["pid"]})


@pytest.mark.parametrize("which", ["keeper_pid", "pid"])
def test_one_that_is_killed_while_the_next_gets_ready_is_replaced(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    there, go = Path(no_server.folder, "there"), Path(no_server.folder, "go")
    waits = f"""
import os, time
open({str(there)!r}, 'w').close()
while not os.path.exists({str(go)!r}): time.sleep(0.005)
"""
    run_in_next_keepers(monkeypatch, waits)
    no_server.start()
    pty = no_server.sh("while read x; do echo got-$x; done")
    before = no_server.status()
    restart = no_server.world.start("server", "restart", stdout=subprocess.DEVNULL)
    wait_until(there.exists)
    kill(before[which])
    replaced = {"keeper_pid": "keeper_replaced", "pid": "server_replaced"}[which]
    wait_until(lambda: no_server.status()[replaced] == 1)
    go.touch()

    assert restart.wait() == 0

    there.unlink()
    go.unlink()
    assert no_server.status()["pid"] != before["pid"]
    echo_of(no_server, pty)


def test_an_installation_that_is_none_changes_nothing(own_server: Serving, tmp_path: Path) -> None:
    pty = own_server.sh("while read x; do echo got-$x; done")
    before = own_server.status()

    with own_server.connect() as connection:
        for python in ("/bin/python-that-is-none", "/bin/false", os.path.realpath("/bin/sh")):
            with pytest.raises(LinkClosedError, match=f"nothing was replaced.*{tmp_path}"):
                connection.call("restart", python=python, folder=str(tmp_path))

    assert {
        name: own_server.status()[name] for name in ("pid", "keeper_pid", "keeper_replaced")
    } == {name: before[name] for name in ("pid", "keeper_pid", "keeper_replaced")}
    echo_of(own_server, pty)


def test_one_that_is_never_ready_is_given_up(no_server: Serving, tmp_path: Path) -> None:
    no_server.start(restart=0.5)
    before = no_server.status()
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 1000\n")
    python.chmod(0o700)

    with no_server.connect() as connection, pytest.raises(LinkClosedError, match="not ready"):
        connection.call("restart", python=str(python), folder=str(tmp_path))

    assert no_server.status()["keeper_pid"] == before["keeper_pid"]
    wait_until(lambda: set(no_server.processes()) == no_server.own())


def test_a_keeper_that_hangs_is_not_replaced_and_goes_on_later(no_server: Serving) -> None:
    no_server.start(restart=0.5)
    pty = no_server.sh("while read x; do echo got-$x; done")
    before = no_server.status()
    stop(before["keeper_pid"])

    with no_server.connect() as connection, pytest.raises(LinkClosedError, match="replaced"):
        connection.call("restart")
    os.kill(before["keeper_pid"], signal.SIGCONT)

    echo_of(no_server, pty)
    assert no_server.status()["keeper_pid"] == before["keeper_pid"]


def test_restarts_at_once_are_one_restart(own_server: Serving) -> None:
    before = own_server.status()
    words = ("server", "restart")
    restarts = [own_server.world.start(*words, stdout=subprocess.PIPE) for _ in range(4)]

    outputs = {restart.communicate()[0] for restart in restarts}

    assert {restart.returncode for restart in restarts} == {0}
    assert len(outputs) <= own_server.status()["keeper_replaced"] <= 4
    assert own_server.status()["pid"] != before["pid"]


def test_one_that_leaves_serves_nothing_more(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects then is served by the next one."""
    gate = f"{no_server.folder}/gate"
    os.mkfifo(gate)
    waiting = f"""
import ptymux.link.server_link as module
take = module.take_token
def waits(token):
    open({gate!r}).close()
    return take(token)
module.take_token = waits
"""
    run_in_next_servers(monkeypatch, waiting)
    no_server.start()
    old = no_server.status()["pid"]
    with no_server.connect() as connection:
        connection.call("restart")
    with open(gate, "w"), socket.socket(socket.AF_UNIX) as late:  # the next one is there
        late.connect(no_server.path)
        late.sendall(
            b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":[1,1],"client":"x"}}\n'
        )

        assert b'"pid":' in (answer := late.recv(4096))

        assert f'"pid":{old}'.encode() not in answer.replace(b" ", b"")
    os.unlink(gate)

"""A spawn whose server dies before it answers: asked again, it is done once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptymux.client.blocking import connect
from ptymux.client.spawn_request import new_request
from ptymux.core.model import SpawnOptions
from ptymux.errors import InvalidValueError
from tests.processes import is_alive, kill, stop
from tests.server.code import run_in_servers
from tests.serving import Serving
from tests.timing import deadline_seconds, wait_until

PTYMUX = str(Path(sys.executable).parent / "ptymux")


def names(server: Serving) -> list[str]:
    return [pty["name"] for pty in server.call("list", all=True)["ptys"]]


@contextmanager
def killed_before_it_answers(server: Serving) -> Iterator[None]:
    """Have the server die while what the block starts waits for the keeper to spawn."""
    status = server.status()
    stop(status["keeper_pid"])
    try:
        yield
        wait_until(lambda: [pty["state"] for pty in server.call("list")["ptys"]] == ["spawning"])
        kill(status["pid"])
    finally:
        os.kill(status["keeper_pid"], signal.SIGCONT)


def test_the_same_request_is_the_same_pty(server: Serving) -> None:
    request = new_request()
    options = SpawnOptions(argv=("sleep", "100"))
    with server.connect() as connection:
        first = connection.spawn(options, request=request)["pty"]
        again = connection.spawn(options, request=request)["pty"]
        other = connection.spawn(options, request=new_request())["pty"]

    assert first["pty_id"] == again["pty_id"] != other["pty_id"]


def test_one_that_could_not_be_started_is_tried_again(server: Serving, tmp_path: Path) -> None:
    request = new_request()
    options = SpawnOptions(argv=(str(tmp_path / "program"),))
    with server.connect() as connection:
        with pytest.raises(Exception, match="program"):
            connection.spawn(options, request=request)
        (tmp_path / "program").symlink_to("/bin/true")

        assert connection.spawn(options, request=request)["pty"]["pid"]
        assert len(connection.call("list", all=True)["ptys"]) == 1


@pytest.mark.parametrize("request_id", ["", "a b", "é", "a\x1b[0m", "x" * 65])
def test_an_odd_request_is_refused(server: Serving, request_id: str) -> None:
    with server.connect() as connection, pytest.raises(InvalidValueError):
        connection.spawn(SpawnOptions(argv=("true",)), request=request_id)


@pytest.mark.parametrize("options", [("-d",), ()])
def test_a_command_is_run_once_though_its_server_dies(
    own_server: Serving, tmp_path: Path, options: tuple[str, ...]
) -> None:
    ran = tmp_path / "ran"
    with killed_before_it_answers(own_server):
        run = subprocess.Popen(
            [PTYMUX, "run", *options, "--name", "once", "-c", f"echo once >> {ran}; echo out"],
            env={**os.environ, "PTYMUX_SOCKET": own_server.path, "SECRET": own_server.secret},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    out, error = run.communicate(timeout=deadline_seconds())

    assert (run.returncode, error) == (0, b"")
    assert out == b"out\n" or options
    wait_until(ran.exists)
    assert ran.read_text() == "once\n"
    assert len(own_server.call("list", all=True)["ptys"]) == 1


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize("options", [("-d",), ()])
def test_a_command_is_run_once_though_the_keeper_dies(
    own_server: Serving, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """It had not begun with it: the server has the next one do it."""
    ran = tmp_path / "ran"
    keeper = own_server.status()["keeper_pid"]
    stop(keeper)
    words = ("run", *options, "--name", "once", "-c", f"echo once >> {ran}; echo out")
    run = own_server.world.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: [pty["state"] for pty in own_server.call("list")["ptys"]] == ["spawning"])
    kill(keeper)
    out, error = run.communicate()

    assert (run.returncode, error) == (0, b"")
    assert out == b"out\n" or options
    wait_until(ran.exists)
    assert ran.read_text() == "once\n"
    assert len(own_server.call("list", all=True)["ptys"]) == 1


def test_one_to_be_forgotten_is_there_while_its_client_may_come_back(no_server: Serving) -> None:
    """Else that would start it again, or miss its end."""
    no_server.start(clients_return=deadline_seconds(10))
    with killed_before_it_answers(no_server):
        run = subprocess.Popen(
            [PTYMUX, "run", "--rm", "-c", "echo out; exit 3"],
            env={**os.environ, "PTYMUX_SOCKET": no_server.path, "SECRET": no_server.secret},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    out, error = run.communicate(timeout=deadline_seconds())

    assert (run.returncode, out, error) == (3, b"out\n", b"")
    wait_until(lambda: not no_server.call("list", all=True)["ptys"])  # it asked once more for that


@pytest.mark.parametrize("dies", ["server", "client alone"])
@pytest.mark.parametrize("options", [("--rm",), ("-d", "--rm")])
def test_one_to_be_forgotten_is_forgotten_though_its_client_was_never_answered(
    no_server: Serving, options: tuple[str, ...], dies: str
) -> None:
    """Whether the keeper then reads first what was sent, or that the server has ended."""
    no_server.start(clients_return=0.05)
    status = no_server.status()
    stop(status["keeper_pid"])
    run = no_server.world.start("run", *options, "true")
    wait_until(lambda: [pty["state"] for pty in no_server.call("list")["ptys"]] == ["spawning"])
    kill(run.pid)
    if dies == "server":
        kill(status["pid"])
    os.kill(status["keeper_pid"], signal.SIGCONT)
    run.wait()

    wait_until(lambda: not no_server.call("list", all=True)["ptys"])


@pytest.mark.parametrize("options", [("--rm",), ("-d", "--rm")])
def test_one_to_be_forgotten_that_cannot_be_started_is_forgotten_at_once(
    server: Serving, options: tuple[str, ...]
) -> None:
    status, told = server.refused("run", *options, "/nowhere")

    assert (status, "/nowhere" in told) == (127, True)
    wait_until(lambda: not server.call("list", all=True)["ptys"])


@pytest.mark.parametrize("ends", ["while no server lives", "later"])
def test_one_to_be_forgotten_is_forgotten_once_its_client_had_time_to_come_back(
    no_server: Serving, ends: str
) -> None:
    no_server.start(clients_return=0.05)
    pty = no_server.sh("read x", remove=True)
    with no_server.attach(pty) as stream:
        assert stream.lifeline is not None
        server = no_server.status()["pid"]
        if ends == "later":
            no_server.kill_server()
            stream.lifeline.send_all(b"\n")
        else:
            stop(server)
            stream.lifeline.send_all(b"\n")
            wait_until(lambda: not is_alive(pty["pid"]))
            kill(server)

    wait_until(lambda: not no_server.call("list", all=True)["ptys"])


def test_the_library_asks_again_too(own_server: Serving) -> None:
    with connect(own_server.path) as client, ThreadPoolExecutor() as pool:
        with killed_before_it_answers(own_server):
            started = pool.submit(client.run, ["sleep", "100"], name="once")
        assert started.result(deadline_seconds())["name"] == "once"

    assert names(own_server) == ["once"]


@pytest.mark.parametrize("options", [("-d",), (), ("--rm",)])
def test_one_whose_keeper_never_heard_of_it_leaves_nothing_behind(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    once = f"{no_server.folder}/once"
    dying = f"""
import os, ptymux.link.process_link as process_link
Link = process_link.ProcessLink
spawn = Link.spawn
async def dies(link, slot, options, env):
    if not os.path.exists({once!r}):
        open({once!r}, 'w').close()
        os.kill(os.getpid(), 9)
    return await spawn(link, slot, options, env)
Link.spawn = dies
"""
    run_in_servers(monkeypatch, dying)
    no_server.start(clients_return=deadline_seconds(10))
    result = no_server.world.run("run", *options, "-c", "echo out; exit 3")
    os.unlink(once)

    assert (result.returncode, result.stderr) == (0 if "-d" in options else 3, b"")
    wait_until(lambda: len(no_server.call("list", all=True)["ptys"]) == ("--rm" not in options))


@pytest.mark.requirement("FR-006")
def test_one_whose_server_dies_before_it_answers_the_attach_is_not_hung_up(
    no_server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lifeline dies with the reply that has it."""
    once, gate = f"{no_server.folder}/once", f"{no_server.folder}/gate"
    os.mkfifo(gate)
    dying = f"""
import os, ptymux.server.attach_method as attachment
line = attachment._line
async def dies(*args):
    number = await line(*args)
    if not os.path.exists({once!r}):
        open({once!r}, 'w').close()
        os.kill(os.getpid(), 9)
    return number
attachment._line = dies
"""
    run_in_servers(monkeypatch, dying)
    no_server.start(clients_return=deadline_seconds(10))

    words = ["run", "--", "sh", "-c", f"read x < {gate}; echo out; exit 3"]
    run = no_server.world.start(*words, stdout=subprocess.PIPE)
    wait_until(lambda: no_server.status()["server_replaced"] == 1)
    wait_until(lambda: [pty["clients"] for pty in no_server.call("list")["ptys"]] == [1])
    Path(gate).write_text("\n")
    out, _error = run.communicate()

    for name in (once, gate):
        os.unlink(name)
    assert (run.returncode, out) == (3, b"out\n")


@pytest.mark.requirement("FR-006")
def test_a_restart_hangs_up_nothing_that_somebody_is_about_to_attach_to(
    no_server: Serving,
) -> None:
    no_server.start(clients_return=deadline_seconds(10))
    request = new_request()
    options = SpawnOptions(argv=("sleep", "100"))
    with no_server.connect() as connection:
        pty = connection.spawn(options, hangup=True, request=request)["pty"]
        no_server.call("restart")
        wait_until(lambda: no_server.status()["server_replaced"] == 1)
        with no_server.connect() as again:
            told = again.spawn(options, hangup=True, request=request)["pty"]
            assert (told["pty_id"], told["state"]) == (pty["pty_id"], "active")
            assert is_alive(pty["pid"])
    no_server.call("kill", all=True)

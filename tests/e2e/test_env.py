"""What a shell needs of the terminal that attached last: an agent's socket, a display."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Tty
from tests.serving import Serving
from tests.timing import wait_until

FIRST = {"SSH_AUTH_SOCK": "/agents/first", "DISPLAY": ":1"}
SECOND = {"SSH_AUTH_SOCK": "/agents/second", "DISPLAY": "host:2 3"}


def link(serving: Serving) -> str:
    return serving.path.replace(".sock", ".env") + "/SSH_AUTH_SOCK"


@pytest.mark.requirement("FR-003")
def test_the_agents_socket_follows_whoever_attaches(own_server: Serving, tty: Tty) -> None:
    own_server.world.run("run", "-d", "--name", "sh", "-c", "echo $SSH_AUTH_SOCK; cat", env=FIRST)
    wait_until(lambda: own_server.get({"pty_id": "sh"})["buffer"]["total_written"])
    shown = own_server.world.run("logs", "sh").stdout

    assert shown.strip().decode() == link(own_server)
    assert os.readlink(link(own_server)) == "/agents/first"

    tty.run("attach", "sh", env=SECOND)
    tty.wait_for(b"attached to")
    assert os.readlink(link(own_server)) == "/agents/second"
    tty.type(b"\x1cd")
    tty.wait()


def test_env_prints_what_a_shell_reads(own_server: Serving) -> None:
    own_server.world.run("run", "-d", "cat", env=SECOND)

    told = own_server.world.run("env", "--refresh").stdout.decode()
    lines = subprocess.check_output(
        ["sh", "-c", f'{told}\necho "$SSH_AUTH_SOCK"; echo "$DISPLAY"'], text=True
    ).splitlines()

    assert lines == [link(own_server), "host:2 3"]


def test_in_a_pipe_a_command_has_the_path_itself(own_server: Serving) -> None:
    done = own_server.world.run("run", "--", "printenv", "SSH_AUTH_SOCK", env=FIRST)

    assert done.stdout == b"/agents/first\n"
    assert not os.path.lexists(link(own_server))


def test_the_configuration_names_the_variables(own_server: Serving) -> None:
    config = Path(own_server.world.env["XDG_CONFIG_HOME"]) / "ptymux" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('refresh-env = "DISPLAY WINDOW"\n')

    own_server.world.run("run", "-d", "cat", env=SECOND | {"WINDOW": "7"})
    shown = own_server.world.run("env").stdout
    config.unlink()
    config.parent.rmdir()
    config.parent.parent.rmdir()

    assert shown == b"DISPLAY=host:2 3\nWINDOW=7\n"

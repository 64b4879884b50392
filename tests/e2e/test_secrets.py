"""What must not get out: values of the environment, input, and escape codes in what is shown."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.e2e.conftest import Shell
from tests.serving import Serving
from tests.timing import wait_until

READING = [
    ["ls"],
    ["ls", "-a"],
    ["ls", "--json"],
    ["stats", "1"],
    ["stats", "1", "--json"],
    ["dashboard", "--once"],
    ["dashboard", "--json"],
    ["events", "--since", "0"],
    ["events", "--since", "0", "--json"],
    ["server", "status"],
    ["server", "status", "--json"],
]


def said(server: Serving) -> dict[str, bytes]:
    """Return what every reading command prints, by its words."""
    told = {}
    for words in READING:
        done = server.world.run(*words)
        assert done.returncode == 0, (words, done.stderr)
        told[" ".join(words)] = done.stdout + done.stderr
    return told


@pytest.mark.slow
@pytest.mark.requirement("FR-002")
def test_no_value_of_the_environment_and_no_input_gets_anywhere(no_server: Serving) -> None:
    secret = secrets.token_hex(16)
    no_server.world.env["HIDDEN"] = secret
    no_server.run(
        "-e", f"MORE={secret}", "-c", "stty -echo; echo ready; read a; echo $a >/dev/null"
    )
    no_server.await_text("1", "ready")
    no_server.ok("send", "1", secret, "--enter")
    no_server.ok("wait", "1")
    refused = [
        no_server.world.run("run", "-d", "-e", f"MORE={secret}", "no-such-program"),
        no_server.world.run("run", "-d", "-e", f"={secret}", "true"),
        no_server.world.run("send", "1", secret),
    ]
    no_server.ok("again", "-d", "1")  # for which the environment is kept
    no_server.kill_server()
    told = said(no_server)
    del no_server.world.env["HIDDEN"]

    for done in refused:
        assert done.returncode
        assert secret.encode() not in done.stdout + done.stderr
    assert "MORE" in no_server.ok("stats", "1", "--json")
    for command, text in told.items():
        assert secret.encode() not in text, command
    for path in Path(no_server.folder).iterdir():
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    status = no_server.status()
    serving = {pid for pid, words in no_server.processes().items() if "from ptymux." in words}
    assert serving > {status["pid"], status["keeper_pid"]}  # and the zygote
    for pid in serving:
        for name in ("environ", "cmdline"):
            assert secret.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


EVIL = "\x1b]0;evil\x07\x1b[2J\x9b5n\u202e\r\n"


@pytest.mark.slow
def test_what_is_listed_cannot_draw(own_server: Serving, tmp_path: Path) -> None:
    folder = tmp_path / f"x{EVIL}"
    folder.mkdir()
    own_server.run("--cwd", str(folder), "sh", "-c", "exec sleep 100", EVIL)
    own_server.run("--cwd", str(folder), "sh", "-c", "exit 3", EVIL)
    assert own_server.world.run("wait", "2").returncode == 3
    for words in (("--name", f"a{EVIL}"), ("--lane", EVIL), ("--session", EVIL)):
        code, line = own_server.refused("run", "-d", *words, "true")
        assert code in (2, 125)
        check_tame(line.encode())
    for command in ("stats", "kill", "logs", "attach", "rm"):
        done = own_server.world.run(command, EVIL)
        assert done.returncode
        check_tame(done.stdout + done.stderr)

    told = said(own_server)
    assert b"evil" in told["ls"]
    for text in told.values():
        check_tame(text)


def check_tame(text: bytes) -> None:
    assert not {char for char in text.decode() if not (char.isprintable() or char == "\n")}


def test_what_a_terminal_is_told_of_a_pty_cannot_draw(server: Serving, shell: Shell) -> None:
    """On a terminal there are colours; the codes of the name must not be among them."""
    pty = server.spawn("sh", "-c", f"read x && : '{EVIL}'")
    shell.sendline(f"ptymux ls; ptymux attach {pty['pty_id']}; echo ov''er")
    wait_until(lambda: server.get(pty)["clients"] == 1)
    shell.send("\r")
    shell.expect_exact("over")

    shown = shell.before
    assert b"evil" in shown
    assert b"\x1b]0;" not in shown
    assert b"\x1b[2J" not in shown
    assert "\x9b5n".encode() not in shown


# The directory --------------------------------------------------------------------------------


def test_a_directory_that_is_not_ours_alone_is_refused_in_one_line(
    no_server: Serving, tmp_path: Path
) -> None:
    shared, link = tmp_path / "shared", tmp_path / "link"
    shared.mkdir()
    shared.chmod(0o770)
    link.symlink_to(no_server.folder)
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    reasons = {shared: "others may enter it; chmod 700", link: "it is no directory"}
    if os.geteuid() == 0:
        os.chown(foreign, 65534, 65534)
        reasons[foreign] = "it belongs to user 65534"

    for folder, reason in reasons.items():
        socket = os.path.relpath(folder / "s", os.getcwd())
        code, line = no_server.refused("--socket", socket, "run", "-d", "true")

        assert code == 125
        assert reason in line
        assert os.listdir(folder) == []

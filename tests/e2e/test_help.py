"""`ptymux help` and `ptymux completion`."""

from __future__ import annotations

import re
import shutil

import pytest

from ptymux.cli.root import ALIASES, COMMANDS
from tests.serving import Serving
from tests.world import PTYMUX, World


def test_help_for_those_who_know_tmux_is_found_by_a_mistake(server: Serving) -> None:
    assert server.refused("help", "tmx") == (
        2,
        "ptymux help: no help on 'tmx', did you mean 'tmux'; see `ptymux help --help`\n",
    )


def test_the_table_for_those_who_know_tmux_names_only_what_exists(server: Serving) -> None:
    text = server.ok("help", "tmux")
    rows = server.json("help", "tmux")["rows"]

    assert "tmux ls" in text
    assert max(map(len, text.splitlines())) <= 80
    for row in rows:
        word = re.sub(r"^ptymux (--socket PATH ?)?", "", row["ptymux"]).split(" ")[0]
        assert word == "" or word in COMMANDS


@pytest.mark.parametrize("command", ["ls", "ps", "kill", "server"])
def test_help_of_a_command_is_its_help(server: Serving, command: str) -> None:
    text = server.ok("help", command)

    assert text.startswith(f"Usage: ptymux {ALIASES.get(command, command)} ")
    assert "Example" in text


def test_help_alone_is_that_of_ptymux(server: Serving) -> None:
    assert server.ok("help") == server.ok("--help")
    assert server.refused("help", "nonsense")[0] == 2


@pytest.mark.parametrize("command", [["start"], ["stop"], ["status"], ["restart"]])
def test_help_of_a_part_of_a_command_has_examples(server: Serving, command: list[str]) -> None:
    assert "Example" in server.ok("server", *command, "--help")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(server: Serving, shell: str) -> None:
    assert "_PTYMUX_COMPLETE" in server.ok("completion", shell)


def complete(server: Serving, line: str) -> list[str]:
    """Return what bash offers for the last word of a line."""
    words = line.split(" ")
    script = (
        f'eval "$({PTYMUX} completion bash)"; COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}"); '
        f"COMP_CWORD={len(words) - 1}; _ptymux_completion {PTYMUX}; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    bash = shutil.which("bash")
    assert bash is not None
    done = server.world.run(bash, "--norc", "-c", script)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split()


def test_commands_and_ptys_are_completed(server: Serving) -> None:
    server.run("--name", "web", "sleep", "1000")
    server.run("--name", "worker", "sleep", "1000")
    unnamed = server.get(server.run("sleep", "1000"))

    assert complete(server, "ptymux ren") == ["rename"]
    assert complete(server, "ptymux stats w") == ["web", "worker"]
    assert complete(server, "ptymux kill web wo") == ["worker"]
    assert complete(server, "ptymux resize ") == ["web", "worker", str(unnamed["number"])]
    assert complete(server, "ptymux rename web w") == []
    assert complete(server, "ptymux set web --on-full b") == ["block"]


def test_lanes_are_completed(server: Serving) -> None:
    server.run("--lane", "ci", "sleep", "1000")
    server.run("--lane", "work", "sleep", "1000")

    for command in ("ls", "kill", "dashboard"):
        assert complete(server, f"ptymux {command} --lane w") == ["work"]
    assert complete(server, "ptymux ls --lane ") == ["ci", "work"]


def test_ended_ptys_are_completed_where_they_can_be_meant(server: Serving) -> None:
    server.run("--name", "over", "true")
    server.ok("wait", "over")

    assert complete(server, "ptymux kill ov") == []
    assert complete(server, "ptymux rm ov") == ["over"]
    assert complete(server, "ptymux stats ov") == ["over"]


def test_without_a_server_no_pty_is_completed(no_server: Serving) -> None:
    assert complete(no_server, "ptymux stats w") == []
    assert no_server.processes() == {}


@pytest.mark.parametrize("line", ["ptymux run bas", "ptymux run -- bas", "ptymux run -d -- bas"])
def test_the_command_of_run_is_completed_as_a_command(server: Serving, line: str) -> None:
    assert "bash" in complete(server, line)


@pytest.mark.parametrize(
    "words", ["run ls fi", "run -- ls fi", "run ./fi", "run -- no-such-program-fi"]
)
def test_arguments_of_the_command_of_run_are_completed_as_files(world: World, words: str) -> None:
    line = f"ptymux {words}"
    env = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}

    done = world.run(env=env | {"_PTYMUX_COMPLETE": "bash_complete"})

    assert done.stdout.decode() == f"file,{line.split()[-1]}\n"

"""`ptymux help` and `ptymux completion`."""

from __future__ import annotations

import re
import shutil

import pytest

from ptymux.cli.root import ALIASES, COMMANDS
from tests.e2e.conftest import PTYMUX
from tests.e2e.serving import Served


def test_the_table_for_those_who_know_tmux_names_only_what_exists(served: Served) -> None:
    text = served.ok("help", "tmux")
    rows = served.json("help", "tmux")["rows"]

    assert "tmux ls" in text
    assert max(map(len, text.splitlines())) <= 80
    for row in rows:
        word = re.sub(r"^ptymux (--socket PATH ?)?", "", row["ptymux"]).split(" ")[0]
        assert word == "" or word in COMMANDS


@pytest.mark.parametrize("command", ["ls", "ps", "kill", "server"])
def test_help_of_a_command_is_its_help(served: Served, command: str) -> None:
    text = served.ok("help", command)

    assert text.startswith(f"Usage: ptymux {ALIASES.get(command, command)} ")
    assert "Example" in text


def test_help_alone_is_that_of_ptymux(served: Served) -> None:
    assert served.ok("help") == served.ok("--help")
    assert served.refused("help", "nonsense")[0] == 2


@pytest.mark.parametrize("command", [["start"], ["stop"], ["status"], ["restart"]])
def test_help_of_a_part_of_a_command_has_examples(served: Served, command: list[str]) -> None:
    assert "Example" in served.ok("server", *command, "--help")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(served: Served, shell: str) -> None:
    assert "_PTYMUX_COMPLETE" in served.ok("completion", shell)


def complete(served: Served, line: str) -> list[str]:
    """Return what bash offers for the last word of a line."""
    words = line.split(" ")
    script = (
        f'eval "$({PTYMUX} completion bash)"; COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}"); '
        f"COMP_CWORD={len(words) - 1}; _ptymux_completion {PTYMUX}; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    bash = shutil.which("bash")
    assert bash is not None
    done = served.world.run(bash, "--norc", "-c", script)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split()


def test_commands_and_ptys_are_completed(served: Served) -> None:
    served.start("--name", "web", "sleep", "1000")
    served.start("--name", "worker", "sleep", "1000")
    served.start("sleep", "1000")

    assert complete(served, "ptymux ren") == ["rename"]
    assert complete(served, "ptymux stats w") == ["web", "worker"]
    assert complete(served, "ptymux kill web wo") == ["worker"]
    assert complete(served, "ptymux resize ") == ["web", "worker", "3"]
    assert complete(served, "ptymux set web --on-full b") == ["block"]


def test_lanes_are_completed(served: Served) -> None:
    served.start("--lane", "ci", "sleep", "1000")
    served.start("--lane", "work", "sleep", "1000")

    for command in ("ls", "kill", "dashboard"):
        assert complete(served, f"ptymux {command} --lane w") == ["work"]
    assert complete(served, "ptymux ls --lane ") == ["ci", "work"]


def test_ended_ptys_are_completed_where_they_can_be_meant(served: Served) -> None:
    served.start("--name", "over", "true")
    served.ok("wait", "over")

    assert complete(served, "ptymux kill ov") == []
    assert complete(served, "ptymux rm ov") == ["over"]
    assert complete(served, "ptymux stats ov") == ["over"]


def test_without_a_server_no_pty_is_completed(served: Served) -> None:
    assert complete(served, "ptymux stats w") == []
    assert served.processes() == {}

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import ptymux
from ptymux.cli.root import COMMANDS, cli

ROOT = Path(ptymux.__file__).parent.parent


def modules_after(*words: str) -> set[str]:
    """Return what is imported in a process of its own once the command line ended."""
    program = (
        "import sys; from ptymux.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print('\\n', *sys.modules)"
    )
    # Without the environment by which coverage measures subprocesses and loads itself.
    env = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": "/nobody/configured/anything"}
    ran = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=env,
        text=True,
    )
    assert ran.stderr == ""
    return set(ran.stdout.splitlines()[-1].split())


def every_command() -> list[tuple[str, ...]]:
    """Return the words of every command, of groups within groups too."""

    def walk(command: click.Command, words: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = [words]
        if isinstance(command, click.Group):
            ctx = click.Context(command)
            for name in command.list_commands(ctx):
                inner = command.get_command(ctx, name)
                assert inner is not None
                found += walk(inner, (*words, name))
        return found

    return walk(cli, ())


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_help_of_every_command_ends_with_examples(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(cli, [*words, "--help"], prog_name="ptymux")

    assert shown.exit_code == 0
    assert shown.output.startswith("Usage: ptymux ")
    _, found, examples = shown.output.rpartition("Example")
    assert found
    assert "ptymux " in examples
    assert max(map(len, shown.output.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_command_of_the_list_is_there_and_says_the_same(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert command.name == name
    assert command.help


def test_no_command_shows_the_list() -> None:
    shown = CliRunner().invoke(cli, [], prog_name="ptymux")

    assert shown.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert f"  {name} " in shown.output
        assert text in shown.output


def test_version_is_that_of_the_package() -> None:
    run = CliRunner().invoke

    assert run(cli, ["--version"]).output == f"ptymux {ptymux.__version__}\n"
    assert run(cli, ["version"]).output.startswith(f"ptymux {ptymux.__version__} (Python 3.")
    assert json.loads(run(cli, ["version", "--json"]).output)["ptymux"] == ptymux.__version__


@pytest.mark.parametrize("words", [("version",), ("--version",), ("--help",), ("run", "--help")])
def test_what_needs_little_loads_little(words: tuple[str, ...]) -> None:
    loaded = modules_after(*words)

    assert not {"asyncio", "rich", "ptymux.manager", "ptymux.stress"} & loaded
    assert "ptymux.cli.main" in loaded


def test_importing_the_package_loads_nothing_else() -> None:
    program = (
        "import sys; before = set(sys.modules); import ptymux; print(set(sys.modules) - before)"
    )
    ran = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"],
        capture_output=True,
        check=True,
        text=True,
    )

    assert not {"click", "asyncio", "ptymux.core", "ptymux.errors"} & set(ran.stdout.split("'"))


def test_entry_point_is_main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["scripts"] == {"ptymux": "ptymux.cli.main:main"}

"""What commands print with --json is what `schema.json` says, member by member."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import click
import pytest

from ptymux.cli.root import cli
from tests.cli.test_main import every_command
from tests.serving import Serving
from tests.timing import wait_until
from tests.world import World

SCHEMA = json.loads(resources.files("ptymux.cli.output").joinpath("schema.json").read_text())
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def is_of(value: object, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def check(value: Any, rule: dict[str, Any], path: str = "$") -> None:
    """Hold a value to the parts of JSON Schema that are used; members not told of are refused."""
    if "$ref" in rule:
        check(value, SCHEMA["$defs"][rule["$ref"].rpartition("/")[2]], path)
        return
    assert value == rule.get("const", value), path
    assert value in rule.get("enum", [value]), path
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    assert not kinds or any(is_of(value, kind) for kind in kinds), f"{path} is {value!r}"
    if isinstance(value, (int, float)):
        assert rule.get("minimum", value) <= value <= rule.get("maximum", value), path
    if isinstance(value, list):
        for index, item in enumerate(value):
            check(item, rule["items"], f"{path}[{index}]")
    if isinstance(value, dict) and "properties" in rule:
        assert set(rule["required"]) <= value.keys() <= rule["properties"].keys(), path
        for name, member in value.items():
            check(member, rule["properties"][name], f"{path}.{name}")


def holds(value: Any, name: str) -> None:
    check(value, SCHEMA["$defs"][name])


def test_lists_and_single_ptys_hold_the_schema(own_server: Serving) -> None:
    holds(json.loads(own_server.ok("run", "-d", "--json", "--name", "x", "sleep", "1000")), "run")
    holds(json.loads(own_server.ok("again", "-d", "--json", "--name", "y", "x")), "again")
    own_server.ok("kill", "y")
    own_server.ok("rm", "y")
    own_server.run("-c", "exit 3")
    own_server.world.run("run", "-d", "no-such-program")
    wait_until(lambda: len(own_server.live()) == 1)

    holds(own_server.json("ls"), "ls")
    holds(own_server.json("ls", "-a"), "ls")
    for pty in own_server.json("ls", "-a")["ptys"]:
        holds(own_server.json("stats", str(pty["number"])), "stats")


def test_what_changes_a_pty_holds_the_schema(server: Serving) -> None:
    pty = server.run("--name", "x", "sleep", "1000")

    holds(server.json("resize", "x", "100x30"), "resize")
    holds(server.json("clear", "x"), "clear")
    holds(server.json("set", "x", "--on-full", "block"), "set")
    holds(server.json("rename", "x", "y"), "rename")
    holds(server.json("signal", "y", "CONT"), "signal_command")
    holds(server.json("kill", "y"), "kill")
    holds(server.json("rm", pty), "rm")
    for line in server.ok("events", "--json").splitlines():
        holds(json.loads(line), "event")


def test_the_server_command_holds_the_schema(no_server: Serving) -> None:
    holds(json.loads(no_server.world.run("server", "status", "--json").stdout), "server_status")
    for word in ("start", "status", "restart"):
        holds(no_server.json("server", word), "server_status")
    holds(no_server.json("server", "stop"), "server_stop")
    holds(no_server.json("version"), "version")
    holds(no_server.json("help", "tmux"), "help_tmux")


def test_waiting_and_sending_hold_the_schema(server: Serving) -> None:
    server.run("--name", "x", "sh", "-c", "echo ready; read x; exit 3")

    holds(server.json("wait", "x", "--text", "ready"), "wait")
    holds(server.json("wait", "x", "--quiet", "10ms"), "wait")
    holds(server.json("wait", "x", "--state", "running"), "wait")
    holds(server.json("wait", "x", "--prompt"), "wait")
    late = server.world.run("wait", "x", "--json", "--timeout", "1ms")
    holds(json.loads(late.stdout), "wait")
    holds(server.json("send", "x", "--enter"), "send")
    ended = server.world.run("wait", "x", "--exit", "--json")
    holds(json.loads(ended.stdout), "wait")
    ended_before = server.world.run("wait", "x", "--text", "never", "--json")
    holds(json.loads(ended_before.stdout), "wait")
    assert ended_before.returncode == 1


def test_looking_at_all_holds_the_schema(no_server: Serving) -> None:
    holds(no_server.json("dashboard"), "dashboard")
    no_server.run("--name", "x", "sh", "-c", "echo ready; exec sleep 1000")

    holds(no_server.json("dashboard", "--once"), "dashboard")
    for words in (("doctor", "--json"), ("doctor", "--dry-run", "--json")):
        holds(json.loads(no_server.world.run(*words).stdout), "doctor")


@pytest.mark.slow
def test_stress_holds_the_schema(world: World) -> None:
    words = ("stress", "--json", "--no-timing", "--size", "64k", "--bytes", "300000")

    holds(json.loads(world.run(*words).stdout), "stress")
    chaos = ("stress", "--json", "--chaos", "1", "--bytes", "1100k")
    holds(json.loads(world.run(*chaos).stdout), "stress_chaos")


def test_every_command_that_prints_json_has_a_definition() -> None:
    named = {"signal": "signal_command", "events": "event", "help": "help_tmux"}
    named |= dict.fromkeys(("server start", "server status", "server restart"), "server_status")
    printing = [words for words in every_command() if takes_json(words)]

    missing = [
        " ".join(words)
        for words in printing
        if named.get(" ".join(words), "_".join(words)) not in SCHEMA["$defs"]
    ]
    assert not missing
    assert len(printing) >= 20


def takes_json(words: tuple[str, ...]) -> bool:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word) or cli
    return any("--json" in parameter.opts for parameter in command.params)


@pytest.mark.parametrize(
    "broken", [{"schema": 2}, {"ptys": None}, {"ended": -1}, {"more": 1}, {"ended": True}]
)
def test_the_check_finds_what_does_not_hold(broken: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        holds({"schema": 1, "ptys": [], "ended": 0} | broken, "ls")

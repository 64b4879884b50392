"""What commands print with --json is what `schema.json` says, member by member."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from tests.e2e.conftest import wait_until
from tests.e2e.serving import Served

SCHEMA = json.loads(resources.files("ptymux.cli").joinpath("schema.json").read_text())
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


def test_lists_and_single_ptys_hold_the_schema(served: Served) -> None:
    holds(json.loads(served.ok("run", "-d", "--json", "--name", "x", "sleep", "1000")), "run")
    served.start("-c", "exit 3")
    served.world.run("run", "-d", "no-such-program")
    wait_until(lambda: len(served.live()) == 1)

    holds(served.json("ls"), "ls")
    holds(served.json("ls", "-a"), "ls")
    for number in "123":
        holds(served.json("stats", number), "stats")


def test_what_changes_a_pty_holds_the_schema(served: Served) -> None:
    served.start("--name", "x", "sleep", "1000")

    holds(served.json("resize", "x", "100x30"), "resize")
    holds(served.json("clear", "x"), "clear")
    holds(served.json("set", "x", "--on-full", "block"), "set")
    holds(served.json("rename", "x", "y"), "rename")
    holds(served.json("signal", "y", "CONT"), "signal_command")
    holds(served.json("kill", "y"), "kill")
    holds(served.json("rm", "1"), "rm")
    for line in served.ok("events", "--json").splitlines():
        holds(json.loads(line), "event")


def test_the_server_command_holds_the_schema(served: Served) -> None:
    holds(json.loads(served.world.run("server", "status", "--json").stdout), "server_status")
    for word in ("start", "status", "restart"):
        holds(served.json("server", word), "server_status")
    holds(served.json("server", "stop"), "server_stop")
    holds(served.json("version"), "version")
    holds(served.json("help", "tmux"), "help_tmux")


@pytest.mark.parametrize(
    "broken", [{"schema": 2}, {"ptys": None}, {"ended": -1}, {"more": 1}, {"ended": True}]
)
def test_the_check_finds_what_does_not_hold(broken: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        holds({"schema": 1, "ptys": [], "ended": 0} | broken, "ls")

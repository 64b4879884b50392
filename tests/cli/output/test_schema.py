"""`schema.json` and the types for type checkers, written by hand, describe the same JSON."""

from __future__ import annotations

import json
from importlib import resources
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from ptymux.client.answers import (
    Buffer,
    Event,
    Missed,
    PastDelivery,
    Pty,
    PtyStats,
    SignalDelivery,
    Step,
)

SCHEMA = json.loads(resources.files("ptymux.cli.output").joinpath("schema.json").read_text())
DEFS = SCHEMA["$defs"]
NAMES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    NoneType: "null",
}


def kinds_of(hint: Any) -> set[str]:
    """Return the types of JSON that a type of Python allows."""
    if is_typeddict(hint):
        return {"object"}
    if get_origin(hint) is Literal:
        return {"string"}
    plain = get_origin(hint) or hint
    if plain in NAMES:
        return {NAMES[plain]}
    return set().union(*map(kinds_of, get_args(hint)))


def kinds_in(rule: dict[str, Any]) -> set[str]:
    """Return the types of JSON that a rule of the schema allows."""
    if "$ref" in rule:
        return kinds_in(DEFS[rule["$ref"].rpartition("/")[2]])
    if "enum" in rule:
        return {NAMES[type(value)] for value in rule["enum"]}
    kinds = rule["type"]
    return {kinds} if isinstance(kinds, str) else set(kinds)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("buffer", Buffer),
        ("pty", Pty),
        ("full_pty", PtyStats),
        ("step", Step),
        ("signal", PastDelivery),
        ("envelope", SignalDelivery),
        ("event", Event),
        ("missed", Missed),
    ],
)
def test_the_schema_has_the_members_of_the_type(name: str, answer: type) -> None:
    members = {member: kinds_in(each) for member, each in DEFS[name]["properties"].items()}

    assert members == {member: kinds_of(hint) for member, hint in get_type_hints(answer).items()}


def test_every_number_of_a_buffer_is_always_there() -> None:
    assert DEFS["buffer"]["required"] == list(get_type_hints(Buffer))

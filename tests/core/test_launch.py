"""How a PTY was started is kept, and gives the same options again."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from ptymux.core.launch import launch_of, options_from_launch, with_present
from ptymux.core.model import (
    LaneId,
    Limits,
    OnFull,
    SessionId,
    SpawnOptions,
    TerminalId,
    WindowSize,
)

OPTIONS = SpawnOptions(
    argv=("make", "caf\udce9", "é"),
    env={"PATH": "/bin", "ODD": "\udcff", "SECRET": "x"},
    overrides={"MORE": "1"},
    cwd="/tmp",
    umask=0o27,
    nofile=512,
    size=WindowSize(99, 33),
    name="web",
    lane=LaneId("ci"),
    session=SessionId("s"),
    terminal=TerminalId("t"),
    buffer_size=12345,
    threshold=0.5,
    on_full=OnFull.BLOCK,
    idle_timeout_seconds=1.0,
    grace_seconds=2.0,
    timeout_seconds=3.0,
    ttl_seconds=4.0,
    echo=False,
)
# What is so because of where it is started, and not because of what it is.
_PLACE = {"plain_output", "stdin_fd", "keep_term"}


def kept(options: SpawnOptions, **different: Any) -> dict[str, Any]:
    launch = launch_of(options)
    assert launch is not None
    present: dict[str, Any] = {
        "name": options.name,
        "size": options.size,
        "on_full": options.on_full,
    }
    values = with_present(launch, options, **(present | different))
    return dict(json.loads(json.dumps(values)))  # as it comes on a connection


def test_the_same_options_come_back() -> None:
    again = options_from_launch(kept(OPTIONS))

    for field in fields(SpawnOptions):
        if field.name not in _PLACE:
            assert getattr(again, field.name) == getattr(OPTIONS, field.name), field.name
    assert {field.name for field in fields(SpawnOptions)} > _PLACE


def test_what_was_changed_since_the_start_counts() -> None:
    values = kept(OPTIONS, name="other", size=WindowSize(10, 20), on_full=OnFull.DROP)

    again = options_from_launch(values)

    assert (again.name, again.size, again.on_full) == ("other", WindowSize(10, 20), OnFull.DROP)


def test_what_is_given_now_counts_and_variables_come_on_top() -> None:
    again = options_from_launch(
        kept(OPTIONS), name="b", size="80x24", ttl_seconds=None, overrides={"EVEN": "2"}
    )

    assert (again.name, again.size, again.ttl_seconds) == ("b", WindowSize(80, 24), None)
    assert again.overrides == {"MORE": "1", "EVEN": "2"}


@pytest.mark.parametrize(
    ("was_in_pipe", "is_in_pipe", "on_full"),
    [
        (False, False, OnFull.BLOCK),
        (True, True, OnFull.BLOCK),
        (True, False, OnFull.DROP),  # else it would wait for a reader that nobody is
        (False, True, OnFull.BLOCK),
    ],
)
def test_what_a_full_ring_does_follows_the_place(
    was_in_pipe: bool, is_in_pipe: bool, on_full: OnFull
) -> None:
    values = kept(replace(OPTIONS, plain_output=was_in_pipe))

    assert options_from_launch(values, plain_output=is_in_pipe).on_full is on_full
    given = options_from_launch(values, plain_output=is_in_pipe, on_full=OnFull.DROP)
    assert given.on_full is OnFull.DROP


def test_without_a_ring_nothing_blocks() -> None:
    values = kept(replace(OPTIONS, buffer_size=0, on_full=OnFull.DROP))

    assert options_from_launch(values, plain_output=True).on_full is OnFull.DROP


def test_what_is_too_long_is_not_kept() -> None:
    env = {"LONG": "x" * Limits.LAUNCH}

    assert launch_of(replace(OPTIONS, env=env)) is None

"""What a caller gives is of the right type, is parsed as the commands parse it, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ptymux.core.given_values import instance_of, texts
from ptymux.core.model import Limits, OnFull, SpawnOptions, WindowSize
from ptymux.core.ring import RingBuffer
from ptymux.errors import InvalidDimensionsError, InvalidValueError


def options(**changes: Any) -> SpawnOptions:
    return SpawnOptions(**({"argv": ("make",)} | changes))


@pytest.mark.parametrize(
    ("field", "given", "taken"),
    [
        ("argv", ["ls", Path("/tmp"), "-la"], ("ls", "/tmp", "-la")),
        ("size", "80x24", WindowSize(80, 24)),
        ("size", (100, 30), WindowSize(100, 30)),
        ("size", [100, 30], WindowSize(100, 30)),
        ("cwd", Path("/tmp"), "/tmp"),
        ("buffer_size", "4M", 4 * 1024 * 1024),
        ("threshold", "0.5", 0.5),
        ("on_full", "block", OnFull.BLOCK),
        ("idle_timeout_seconds", "5m", 300.0),
        ("grace_seconds", "500ms", 0.5),
        ("grace_seconds", 0, 0),
        ("umask", 0o22, 0o22),
        ("env", {"A": "1"}, {"A": "1"}),
    ],
)
def test_what_is_meant_is_taken(field: str, given: object, taken: object) -> None:
    found = getattr(options(**{field: given}), field)

    assert (found, type(found)) == (taken, type(taken))


@pytest.mark.parametrize(
    ("field", "given", "remedy"),
    [
        ("argv", "ls -la", r"\['ls', '-la'\]; for a shell line \['/bin/sh', '-c', LINE\]"),
        ("argv", "", "list of words"),
        ("argv", b"ls", "list of words"),
        ("argv", None, "list of words"),
        ("argv", ["ls", 5], "a str"),
        ("argv", [b"ls"], "os.fsdecode"),
        ("size", 80, r"\(columns, rows\)"),
        ("size", (80,), r"\(columns, rows\)"),
        ("size", "big", "80x24"),
        ("size", ("80", "24"), "whole number"),
        ("size", (True, 24), "whole number"),
        ("cwd", 5, "pathlib.Path"),
        ("cwd", "", "a path"),
        ("name", 5, "a str"),
        ("name", b"web", "a str"),
        ("lane", None, "a str"),
        ("env", "A=1", "mapping"),
        ("env", {5: "1"}, "a str"),
        ("overrides", {"A": 1}, "a str"),
        ("overrides", None, "mapping"),
        ("buffer_size", 4.0, "'4M'"),
        ("buffer_size", "much", "4M"),
        ("buffer_size", None, "'4M'"),
        ("buffer_size", True, "'4M'"),
        ("threshold", "half", "0.75"),
        ("threshold", None, "0.75"),
        ("threshold", True, "0.75"),
        ("on_full", "wait", "'drop' or 'block'"),
        ("idle_timeout_seconds", "soon", "5s"),
        ("grace_seconds", None, "'5s'"),
        ("grace_seconds", True, "'5s'"),
        ("umask", 0o1777, "0 to 511"),
        ("umask", "022", "whole number"),
        ("nofile", -1, "whole number"),
        ("stdin_fd", "0", "whole number"),
        ("pass_fds", 5, "a tuple of fds above 2"),
        ("pass_fds", (2,), "a tuple of fds above 2"),
        ("pass_fds", (3, True), "a tuple of fds above 2"),
        ("pass_fds", ([3],), "a tuple of fds above 2"),
        ("pass_fds", {3: -1}, "a dict of them"),
        ("pass_fds", {"3": 5}, "a dict of them"),
        ("plain_output", 1, "True or False"),
        ("echo", None, "True or False"),
        ("keep_term", "no", "True or False"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_pass(
    field: str, given: object, remedy: str
) -> None:
    with pytest.raises(InvalidValueError, match=f"must be .*{remedy}"):
        options(**{field: given})


@pytest.mark.requirement("FR-002")
@pytest.mark.parametrize("given", [["hunter2"], {"A": b"hunter2"}, "A=hunter2"])
def test_no_value_of_an_environment_of_a_wrong_type_is_told(given: object) -> None:
    with pytest.raises(InvalidValueError) as caught:
        options(env=given)

    assert "hunter2" not in f"{caught.value!r} {caught.value.value!r}"


def test_a_size_out_of_range_is_refused_however_it_is_given() -> None:
    for size in ("0x24", (0, 24)):
        with pytest.raises(InvalidDimensionsError):
            options(size=size)


def test_a_ring_takes_its_capacity_as_text() -> None:
    assert RingBuffer("64k").capacity == 65536
    for capacity in ("much", None, 1.5):
        with pytest.raises(InvalidValueError, match="capacity"):
            RingBuffer(capacity)  # type: ignore[arg-type]


def test_limits_are_whole_numbers_and_sizes_may_be_text() -> None:
    assert Limits(event_log="4M").event_log == 4 * 1024 * 1024  # type: ignore[arg-type]
    for limits in ({"ptys": "50"}, {"ptys": -1}, {"event_log": "much"}, {"connections": 1.5}):
        with pytest.raises(InvalidValueError, match=next(iter(limits))):
            Limits(**limits)


def test_an_object_of_another_kind_is_refused_with_an_example() -> None:
    instance_of("data", b"x", bytes | bytearray, "b'x'")
    for kind in (bytes, bytes | bytearray):
        with pytest.raises(InvalidValueError, match=r"must be bytes.*, such as b'x'"):
            instance_of("data", "x", kind, "b'x'")


def test_one_text_is_a_list_of_one() -> None:
    assert texts("keys", "Up") == ("Up",)
    assert texts("keys", iter(["Up", "C-c"])) == ("Up", "C-c")
    for given in (5, b"Up", ["Up", 5]):
        with pytest.raises(InvalidValueError, match="keys"):
            texts("keys", given)

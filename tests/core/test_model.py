"""The nouns: what is refused when they are made, and what the limits add up to."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.model import (
    KIB,
    MIB,
    LaneId,
    Limits,
    OnFull,
    PtyId,
    SpawnOptions,
    WindowSize,
    check_label,
    check_name,
    child_environment,
    ulid,
)
from ptymux.errors import InvalidDimensionsError, InvalidValueError

ENTROPY = st.binary(min_size=10, max_size=10)


def options(**changes: Any) -> SpawnOptions:
    return SpawnOptions(**({"argv": ("make",)} | changes))


def test_a_ulid_is_26_characters_of_crockfords_base_32() -> None:
    # The timestamp of the specification's own example, 01ARZ3NDEK...
    text = ulid(1469922850259, bytes(10))

    assert text == "01ARZ3NDEK" + "0" * 16
    assert ulid((1 << 48) - 1, b"\xff" * 10) == "7" + "Z" * 25


@given(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 48) - 1), ENTROPY, ENTROPY)
def test_ulids_sort_by_time(one: int, other: int, first: bytes, second: bytes) -> None:
    if one != other:
        assert (ulid(one, first) < ulid(other, second)) == (one < other)
    else:
        assert (ulid(one, first) == ulid(other, second)) == (first == second)


@pytest.mark.requirement("FR-011")
@pytest.mark.parametrize(("cols", "rows"), [(1, 1), (10_000, 10_000), (80, 24)])
def test_a_window_has_1_to_10000_columns_and_rows(cols: int, rows: int) -> None:
    assert str(WindowSize(cols, rows)) == f"{cols}x{rows}"


@pytest.mark.requirement("FR-011")
@pytest.mark.parametrize(("cols", "rows"), [(0, 24), (80, 0), (-1, 24), (10_001, 1), (1, 10_001)])
def test_a_window_of_another_size_is_refused(cols: int, rows: int) -> None:
    with pytest.raises(InvalidDimensionsError, match=f"{cols}x{rows}"):
        WindowSize(cols, rows)


@pytest.mark.parametrize("text", ["web", "a" * 64, "3rd", "größe", "a/b:c", "pty_x"])
def test_a_name_is_any_printable_word(text: str) -> None:
    assert check_name(text) == text


@pytest.mark.parametrize("text", ["", "a" * 65, "a b", "a\tb", "a\x1b", "a\n", "\u202ea", "\0"])
def test_a_label_that_a_terminal_or_a_shell_would_act_on_is_refused(text: str) -> None:
    for check in (check_name, lambda text: check_label("lane", text)):
        with pytest.raises(InvalidValueError):
            check(text)


@pytest.mark.parametrize("text", ["3", "007", "٣"])
def test_a_name_of_digits_only_is_refused_and_a_lane_of_digits_is_not(text: str) -> None:
    with pytest.raises(InvalidValueError, match="number"):
        check_name(text)

    assert check_label("lane", text) == text


def test_a_spawn_has_the_documented_defaults() -> None:
    plain = options()

    assert (plain.size, plain.lane) == (WindowSize(80, 24), "default")
    assert (plain.buffer_size, plain.threshold) == (4 * MIB, 0.75)
    assert (plain.idle_timeout_seconds, plain.grace_seconds) == (300.0, 5.0)
    assert plain.on_full is OnFull.DROP


@pytest.mark.parametrize("argv", [(), ("",), ("make", "a\0b")])
def test_a_command_needs_a_program_and_no_nul(argv: tuple[str, ...]) -> None:
    with pytest.raises(InvalidValueError):
        options(argv=argv)


def test_arguments_may_be_empty_or_not_utf_8() -> None:
    assert options(argv=("grep", "", "\udcff")).argv == ("grep", "", "\udcff")


@pytest.mark.parametrize("threshold", [0.1, 1.0, 0.0, -0.5, 1.5, float("nan"), float("inf")])
def test_a_threshold_outside_its_open_interval_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidValueError, match="threshold"):
        options(threshold=threshold)


@pytest.mark.parametrize("threshold", [0.1000001, 0.5, 0.9999999])
def test_a_threshold_inside_its_open_interval_is_taken(threshold: float) -> None:
    assert options(threshold=threshold).threshold == threshold


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, 1024 * MIB])
def test_a_buffer_has_0_bytes_to_a_gibibyte(size: int) -> None:
    assert options(buffer_size=size).buffer_size == size


@pytest.mark.parametrize("size", [-1, 1024 * MIB + 1])
def test_a_buffer_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidValueError, match="buffer size"):
        options(buffer_size=size)


def test_a_pty_that_blocks_needs_a_buffer() -> None:
    with pytest.raises(InvalidValueError, match="blocks"):
        options(on_full=OnFull.BLOCK, buffer_size=0)

    assert options(on_full=OnFull.BLOCK, buffer_size=1).on_full is OnFull.BLOCK


@pytest.mark.parametrize("field", ["idle_timeout_seconds", "grace_seconds"])
@pytest.mark.parametrize("seconds", [-0.001, float("nan"), float("inf"), float("-inf")])
def test_a_time_is_finite_and_not_negative(field: str, seconds: float) -> None:
    with pytest.raises(InvalidValueError):
        options(**{field: seconds})


@pytest.mark.parametrize("field", ["idle_timeout_seconds", "grace_seconds"])
def test_a_time_of_zero_is_allowed(field: str) -> None:
    assert getattr(options(**{field: 0.0}), field) == 0.0


@pytest.mark.parametrize("field", ["name", "lane", "session", "terminal"])
def test_every_label_of_a_spawn_is_checked(field: str) -> None:
    with pytest.raises(InvalidValueError, match=field):
        options(**{field: "a\x1bb"})


@pytest.mark.parametrize("env", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "x\0y"}])
def test_an_environment_that_no_exec_takes_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(InvalidValueError, match="environment"):
        options(env=env)


@pytest.mark.requirement("FR-002")
def test_no_value_of_the_environment_is_ever_told() -> None:
    assert "hunter2" not in repr(options(env={"PASSWORD": "hunter2"}))
    with pytest.raises(InvalidValueError) as caught:
        options(env={"PASSWORD": "hunter2\0"})

    assert "hunter2" not in str(caught.value)
    assert caught.value.value == "PASSWORD"


def environment_of(caller: dict[str, str], **overrides: str) -> dict[str, str]:
    asked = options(env=caller, overrides=overrides, lane=LaneId("main"))
    return child_environment(asked, {}, pty_id=PtyId("pty_1"), socket="/tmp/s")


@pytest.mark.requirement("FR-003")
def test_a_child_gets_its_callers_environment_and_is_told_where_it_runs() -> None:
    env = environment_of({"HOME": "/home/me"})

    assert env == {
        "HOME": "/home/me",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "PTYMUX": "1",
        "PTYMUX_ID": "pty_1",
        "PTYMUX_LANE": "main",
        "PTYMUX_SOCKET": "/tmp/s",
    }


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize("name", ["LINES", "COLUMNS", "TMUX", "TMUX_PANE", "STY", "WINDOWID"])
def test_what_describes_the_callers_own_terminal_is_taken_out(name: str) -> None:
    assert name not in environment_of({name: "x"})


@pytest.mark.requirement("FR-003")
def test_what_the_user_sets_wins_over_everything() -> None:
    caller = {"TERM": "screen", "PTYMUX": "outer"}

    env = environment_of(caller, TERM="vt100", COLUMNS="20", PTYMUX_ID="mine")

    assert (env["TERM"], env["COLUMNS"], env["PTYMUX_ID"]) == ("vt100", "20", "mine")
    assert env["PTYMUX"] == "1"
    assert caller == {"TERM": "screen", "PTYMUX": "outer"}


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize(
    ("caller", "told"),
    [
        ({}, ("xterm-256color", "truecolor", "cat", "cat")),
        ({"TERM": "dumb"}, ("dumb", None, "cat", "cat")),
        ({"TERM": "screen", "PAGER": "less"}, ("xterm-256color", "truecolor", "less", "cat")),
    ],
)
def test_in_a_pipe_nobody_uses_a_pager_and_a_dumb_terminal_stays_so(
    caller: dict[str, str], told: tuple[str | None, ...]
) -> None:
    asked = options(env=caller, plain_output=True)

    env = child_environment(asked, {}, pty_id=PtyId("pty_1"), socket=None)

    assert tuple(env.get(name) for name in ("TERM", "COLORTERM", "PAGER", "GIT_PAGER")) == told
    assert "PAGER" not in environment_of({"TERM": "dumb"})
    assert environment_of({"TERM": "dumb"})["TERM"] == "xterm-256color"


@pytest.mark.requirement("FR-003")
def test_a_caller_that_gives_no_environment_means_that_of_this_process() -> None:
    env = child_environment(options(), {"HOME": "/here"}, pty_id=PtyId("pty_1"), socket=None)

    assert env["HOME"] == "/here"


@pytest.mark.requirement("FR-003")
def test_a_child_shown_on_the_callers_terminal_keeps_its_term() -> None:
    asked = options(env={"TERM": "linux", "PTYMUX_SOCKET": "outer"}, keep_term=True)

    env = child_environment(asked, {}, pty_id=PtyId("pty_1"), socket=None)

    assert env["TERM"] == "linux"
    assert not {"COLORTERM", "PTYMUX_SOCKET"} & env.keys()


def test_the_limits_add_up_to_every_ring_and_what_surrounds_it() -> None:
    none = Limits(ptys=0, connections=0, ended_ptys=0, ended_bytes=0, event_log=0, subscribers=0)

    one = dataclasses.replace(none, ptys=1)
    assert none.worst_case_bytes == 0
    launches = 2 * 128 * KIB  # in the keeper and in the server
    ring = 4 * MIB + 64 * KIB + 8 * KIB + 32 * KIB
    assert one.worst_case_bytes == ring + 64 * KIB + 64 * KIB + launches
    assert dataclasses.replace(none, event_log=MIB).worst_case_bytes == MIB
    assert dataclasses.replace(none, ended_ptys=2).worst_case_bytes == 2 * (64 * KIB + launches)
    assert dataclasses.replace(none, ended_bytes=5).worst_case_bytes == 5
    assert dataclasses.replace(none, connections=2).worst_case_bytes == 2 * none.connection_bytes
    assert none.connection_bytes == 4 * MIB + 3 * 64 * KIB + MIB
    two = dataclasses.replace(none, subscribers=2, event_size=5)
    assert two.worst_case_bytes == 2 * (1024 + 64) * 5


@pytest.mark.parametrize(
    "field",
    [
        "ptys",
        "connections",
        "default_buffer",
        "ended_ptys",
        "ended_bytes",
        "event_log",
        "subscribers",
        "subscriber_queue",
        "event_size",
    ],
)
def test_a_larger_bound_never_lowers_the_worst_case(field: str) -> None:
    limits = Limits()

    larger = dataclasses.replace(limits, **{field: getattr(limits, field) + 1})

    assert larger.worst_case_bytes > limits.worst_case_bytes


def test_a_spawn_that_names_no_size_takes_the_buffer_that_is_added_up() -> None:
    assert options().buffer_size == Limits().default_buffer


def test_descriptors_add_up_and_fit_under_a_common_hard_limit() -> None:
    limits = Limits(ptys=0, ended_ptys=0, connections=0)

    assert limits.worst_case_fds == 64
    assert dataclasses.replace(limits, connections=3).worst_case_fds == 64 + 3
    assert dataclasses.replace(limits, ptys=3).worst_case_fds == 64 + 3 * 6
    assert dataclasses.replace(limits, ended_ptys=3).worst_case_fds == 64 + 3
    assert Limits().worst_case_fds < 4096

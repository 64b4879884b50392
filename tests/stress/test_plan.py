from __future__ import annotations

import select
import subprocess

import pytest

from ptymux.core.model import KIB, MIB, OnFull
from ptymux.errors import InvalidValueError
from ptymux.stress.child import ChildKind, argv, first_difference, text, written_bytes
from ptymux.stress.plan import LATENESS_SECONDS, Conduct, Scenario, make_plan
from tests.program import Program

REACH = 200_000


def find(name: str, capacity: int, child_bytes: int) -> Scenario:
    scenarios = make_plan([capacity], child_bytes).scenarios
    return next(each for each in scenarios if each.name == name)


def test_default_plan_has_every_conduct_for_every_size_then_no_buffer_then_paced() -> None:
    plan = make_plan()

    assert plan.is_default
    assert [each.title for each in plan.scenarios] == [
        *(
            f"{name} {size}"
            for size in ("1M", "4M", "16M")
            for name in ("never reads", "slow", "fast", "block")
        ),
        "no buffer 0",
        "paced 1M",
    ]
    assert {each.total for each in plan.scenarios} == {50_000_000}
    assert plan.scenarios[-1].pace == 20e6
    assert [each.on_full for each in plan.scenarios].count(OnFull.BLOCK) == 3


def test_sizes_are_taken_once_each_in_their_order_and_zero_is_there_in_any_case() -> None:
    plan = make_plan([4 * MIB, 0, MIB, 4 * MIB], 5_000_000)

    assert not plan.is_default
    assert plan.sizes == (4 * MIB, 0, MIB)
    assert [each.capacity for each in plan.scenarios] == [*[4 * MIB] * 4, *[MIB] * 4, 0, 1_000_000]


def test_held_child_writes_no_more_than_a_thousand_buffers() -> None:
    assert find("block", 100, 50_000_000).total == 100_000
    assert find("block", 1, 50_000_000).total == 1000
    assert find("block", 64 * KIB, 50_000_000).total == 50_000_000


def test_size_zero_alone_leaves_the_scenarios_without_a_buffer() -> None:
    assert [(each.name, each.capacity) for each in make_plan([0]).scenarios] == [
        ("no buffer", 0),
        ("paced", 0),
    ]


@pytest.mark.parametrize("child_bytes", [1000, 123_456, 50_000_000, 10_000_000_000])
@pytest.mark.parametrize("size", [0, 1000, MIB, 1024 * MIB])
def test_paced_scenario_has_time_for_two_reports_whatever_was_asked_for(
    size: int, child_bytes: int
) -> None:
    paced = make_plan([size], child_bytes).scenarios[-1]

    overflows_from = paced.capacity / paced.pace
    lasts = paced.total / paced.pace

    assert lasts - overflows_from >= 1.99
    assert paced.pace <= 20e6
    assert paced.reports == 2


@pytest.mark.parametrize(
    ("size", "child_bytes", "name"),
    [(-1, 5000, "--size"), (1024 * MIB + 1, 5000, "--size"), (0, 999, "--bytes"),
     (0, 10**12, "--bytes")],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused(size: int, child_bytes: int, name: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        make_plan([size], child_bytes)

    assert caught.value.name == name


@pytest.mark.parametrize(
    ("name", "dropped", "raises"),
    [
        ("never reads", (9_000_000, 9_000_000), True),
        ("slow", (6_500_000, 9_000_000), True),
        ("fast", (0, 0), False),
        ("block", (0, 0), True),
    ],
)
def test_conduct_says_what_must_be_dropped(
    name: str, dropped: tuple[int, int], raises: bool
) -> None:
    scenario = find(name, 1_000_000, 10_000_000)

    assert scenario.dropped == dropped
    assert scenario.raises_backpressure is raises
    assert scenario.reports == (1 if dropped[0] else 0)


@pytest.mark.parametrize("name", ["never reads", "slow", "fast", "block"])
def test_what_fits_must_not_be_dropped(name: str) -> None:
    scenario = find(name, MIB, 500_000)

    assert scenario.dropped == (0, 0)
    assert not scenario.raises_backpressure
    assert scenario.reports == 0


def test_fast_consumer_of_a_buffer_smaller_than_a_burst_may_lose() -> None:
    assert find("fast", 64 * KIB, 500_000).dropped == (0, 500_000 - 64 * KIB)


@pytest.mark.parametrize("size", [256 * KIB, MIB, 4 * MIB, 16 * MIB])
def test_fast_consumer_that_comes_as_late_as_a_timer_may_loses_nothing(size: int) -> None:
    fast = find("fast", size, 50_000_000)

    written_meanwhile = (fast.pace or 200e6) * LATENESS_SECONDS

    assert fast.dropped == (0, 0)
    assert written_meanwhile <= size
    assert fast.total / (fast.pace or 200e6) < 10


def test_only_a_counter_that_must_not_overflow_a_buffer_is_paced() -> None:
    assert find("fast", 64 * KIB, 500_000).pace == 0
    assert {s.pace for s in make_plan([MIB], child=ChildKind.YES).scenarios[:-1]} == {0}
    assert [find(each.value, MIB, 500_000).pace > 0 for each in Conduct] == [
        False,
        False,
        True,
        False,
    ]


def test_no_buffer_means_no_backpressure() -> None:
    scenario = find("no buffer", MIB, 5000)

    assert scenario.dropped == (5000, 5000)
    assert not scenario.raises_backpressure


def test_yes_is_what_people_type_and_half_as_much_again_on_a_terminal() -> None:
    plan = make_plan(child=ChildKind.YES)

    assert argv(ChildKind.YES, 50_000_000, 0) == ("sh", "-c", "yes | head -c 50000000")
    assert plan.scenarios[0].total == 75_000_000
    assert written_bytes(ChildKind.YES, 7) == 10  # y\r\ny\r\ny\r\ny
    assert plan.scenarios[-1].child is ChildKind.COUNTER


def test_deadline_leaves_room_for_the_slowest_pace() -> None:
    for scenario in make_plan([MIB], 1000).scenarios:
        if scenario.pace:
            assert scenario.deadline_seconds > scenario.total / scenario.pace + 10


@pytest.mark.parametrize("pace", [0.0, 4e6])
def test_counter_writes_the_text_that_is_expected_of_it(pace: float) -> None:
    command = argv(ChildKind.COUNTER, REACH - 7, pace)

    written = subprocess.run(command, capture_output=True, check=True).stdout

    assert written == text(ChildKind.COUNTER, 0, REACH - 7)
    assert {len(line) for line in written.splitlines(keepends=True)[:-1]} == {80}
    assert written.splitlines()[2001].startswith(b"0000002001 ")


@pytest.mark.parametrize("kind", list(ChildKind))
def test_child_that_waits_writes_once_its_stdin_has_ended(kind: ChildKind) -> None:
    command = argv(kind, 999, 0, waits=True)

    with Program(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        before = select.select([child.stdout], [], [], 0.1)[0]
        child.stdin.close()
        written = child.stdout.read()

    assert before == []
    assert len(written) == 999


@pytest.mark.parametrize("kind", list(ChildKind))
def test_any_piece_of_the_text_is_that_of_the_whole(kind: ChildKind) -> None:
    whole = text(kind, 0, REACH)

    for offset, size in [(0, 0), (1, 1), (79, 3), (79_999, 2), (80_000, 80_000), (3, REACH - 3)]:
        assert text(kind, offset, size) == whole[offset : offset + size]


@pytest.mark.parametrize("kind", list(ChildKind))
def test_first_wrong_byte_is_found(kind: ChildKind) -> None:
    data = bytearray(text(kind, 1000, 100_000))

    assert first_difference(kind, 1000, bytes(data)) is None
    data[90_001] ^= 1
    data[90_500] ^= 1
    assert first_difference(kind, 1000, bytes(data)) == 91_001
    assert first_difference(kind, 1001, text(kind, 1000, 100_000)) is not None


def test_conduct_names_are_those_of_the_scenarios() -> None:
    assert [each.value for each in Conduct] == ["never reads", "slow", "fast", "block"]

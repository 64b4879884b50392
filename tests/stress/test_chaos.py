"""`ptymux stress --chaos`: what it plans, what its verdicts say, and a small real run."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptymux.core.model import MIB
from ptymux.core.notifications import BufferStats
from ptymux.core.ring import Part
from ptymux.errors import InvalidValueError
from ptymux.stress.chaos import (
    ChaosJudged,
    ChaosMeasured,
    ChaosPlan,
    ReaderMeasured,
    ReaderPlan,
    judge_chaos,
    make_chaos_plan,
)
from ptymux.stress.chaos_display import chaos_frame
from ptymux.stress.chaos_report import chaos_as_json, render_chaos_plain
from ptymux.stress.child import ChildKind, text
from ptymux.stress.measurements import ContentCheck
from ptymux.stress.verdict import VerdictOutcome
from tests.processes import marked
from tests.program import Program
from tests.timing import deadline_seconds, wait_until

COMMAND = [sys.executable, "-c", "from ptymux.cli.main import main; main()", "stress"]
GAP = (2_000_000, 2_100_000)

Doctor = Callable[[ReaderMeasured], ReaderMeasured]


def got(plan: ReaderPlan, total: int, gap: tuple[int, int] | None = None) -> ReaderMeasured:
    """Return what a reader measures that got all but a gap, told as it was."""
    check = ContentCheck(ChildKind.COUNTER, 0)
    start, end = gap or (total, total)
    check.add(Part(0, 0, text(ChildKind.COUNTER, 0, start)))
    if gap:
        check.add(Part(end, end - start, text(ChildKind.COUNTER, end, total - end)))
    lost = end - start
    stats = BufferStats(
        capacity=4 * MIB,
        retained=0,
        unread=0,
        available=0,
        backlog=0,
        utilization=0.0,
        high_water=1000,
        total_written=total,
        total_consumed=total - lost,
        total_dropped=lost,
        dropped_attended=lost,
        dropped_unattended=0,
        trimmed=total - lost,
        merged=0,
        overflow_events=1,
        backpressure=False,
        backpressure_events=0,
    )
    return ReaderMeasured(
        plan=plan,
        check=check,
        seconds=4.0,
        silence_seconds=0.2,
        kills=3,
        failure=None,
        exit_code=0,
        stats=stats,
        overflow_dropped=lost,
    )


@pytest.fixture(scope="module")
def perfect() -> ChaosMeasured:
    plan = make_chaos_plan(3, 3_000_000)
    follower, lossless = plan.readers
    return ChaosMeasured(
        plan=plan,
        seconds=5.0,
        is_stuck=False,
        kills=3,
        server_replaced=3,
        keeper_replaced=0,
        events_missed=0,
        readers=(got(follower, plan.child_bytes, GAP), got(lossless, plan.child_bytes)),
    )


def doctored(m: ChaosMeasured, index: int, doctor: Doctor) -> ChaosMeasured:
    readers = list(m.readers)
    readers[index] = doctor(readers[index])
    return replace(m, readers=tuple(readers))


def with_stats(**changes: int) -> Doctor:
    def doctor(r: ReaderMeasured) -> ReaderMeasured:
        assert r.stats is not None
        return replace(r, stats=replace(r.stats, **changes))  # type: ignore[arg-type]

    return doctor


def with_check(**changes: int | None) -> Doctor:
    return lambda r: replace(r, check=replace(r.check, **changes))  # type: ignore[arg-type]


def failed(judged: ChaosJudged) -> list[tuple[str, VerdictOutcome]]:
    return [(v.name, v.outcome) for v in judged.verdicts if not v.has_passed]


# The plan --------------------------------------------------------------------------------------


def test_kills_are_spread_evenly_over_what_the_lossless_reader_gets() -> None:
    plan = make_chaos_plan(4, 5_000_000)

    assert [plan.kill_offset(i) for i in range(4)] == [1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_readers_wait_for_a_kill_that_is_late_and_have_not_got_everything_then() -> None:
    plan = make_chaos_plan(4, 5_000_000)

    assert [plan.pause_offset(kills) for kills in range(4)] == [
        *(1_500_000, 2_500_000, 3_500_000, 4_500_000)
    ]
    assert plan.pause_offset(4) > plan.child_bytes


def test_by_default_it_is_ten_kills_of_fifty_megabytes_through_four_mebibytes() -> None:
    assert make_chaos_plan() == ChaosPlan(kills=10, child_bytes=50_000_000, capacity=4 * MIB)
    assert make_chaos_plan(1000).child_bytes > 50_000_000


def test_the_follower_is_still_at_it_when_the_last_kill_comes() -> None:
    follower, lossless = make_chaos_plan().readers

    assert follower.child_pace < lossless.reader_pace
    assert (follower.reader_pace, lossless.child_pace) == (0, 0)


@pytest.mark.parametrize(
    ("kills", "child_bytes", "sizes", "told"),
    [
        (0, None, (), "--chaos"),
        (10_001, None, (), "--chaos"),
        (10, 1_000_000, (), "with --chaos 10"),
        (1, None, (0,), "--size"),
        (1, None, (2 << 30,), "--size"),
        (1, None, (4096, 8192), "once"),
    ],
)
def test_what_would_prove_nothing_is_refused(
    kills: int, child_bytes: int | None, sizes: tuple[int, ...], told: str
) -> None:
    with pytest.raises(InvalidValueError, match=told):
        make_chaos_plan(kills, child_bytes, sizes)


# The verdicts ----------------------------------------------------------------------------------


def test_every_byte_or_a_gap_that_was_told_passes(perfect: ChaosMeasured) -> None:
    judged = judge_chaos(perfect)

    assert judged.has_passed, judged.verdicts
    assert "100.0 kB in gaps that were told" in render_chaos_plain(judged)


@pytest.mark.parametrize(
    "doctor",
    [
        with_check(wrong_at=5),
        with_check(gap_at=5),
        with_check(size=2_899_999),
        with_check(end=2_999_999),
        with_stats(total_written=2_999_999),
        with_stats(total_consumed=2_900_001),
        with_stats(total_dropped=100_001),
        with_stats(retained=1),
        with_stats(unread=1, available=1),
        with_stats(dropped_attended=0, dropped_unattended=100_000),
        lambda r: replace(r, overflow_dropped=99_999),
        lambda r: replace(r, exit_code=1),
        lambda r: replace(r, failure="the server went away"),
        lambda r: replace(r, stats=None),
    ],
)
def test_a_byte_more_or_less_fails_its_reader(perfect: ChaosMeasured, doctor: Doctor) -> None:
    judged = judge_chaos(doctored(perfect, 0, doctor))

    assert failed(judged) == [("follower", VerdictOutcome.FAILED)]
    assert "follower failed: " in render_chaos_plain(judged)


def test_the_lossless_reader_may_miss_nothing_even_if_it_is_told(perfect: ChaosMeasured) -> None:
    plan = perfect.plan
    judged = judge_chaos(doctored(perfect, 1, lambda r: got(r.plan, plan.child_bytes, GAP)))

    assert failed(judged) == [("lossless", VerdictOutcome.FAILED)]


@pytest.mark.parametrize("changes", [{"kills": 2, "server_replaced": 2}, {"server_replaced": 2}])
def test_a_server_that_was_not_replaced_as_often_proves_nothing(
    perfect: ChaosMeasured, changes: dict[str, Any]
) -> None:
    judged = judge_chaos(replace(perfect, **changes))

    assert failed(judged) == [("replaced", VerdictOutcome.NOT_EXERCISED)]


def test_a_reader_that_no_kill_hit_proves_nothing(perfect: ChaosMeasured) -> None:
    judged = judge_chaos(doctored(perfect, 0, lambda r: replace(r, kills=0)))

    assert failed(judged) == [("follower", VerdictOutcome.NOT_EXERCISED)]


@pytest.mark.parametrize(
    "changes",
    [{"server_replaced": 4}, {"keeper_replaced": 1}, {"events_missed": 1}, {"is_stuck": True}],
)
def test_what_died_by_itself_or_was_not_told_fails_the_run(
    perfect: ChaosMeasured, changes: dict[str, Any]
) -> None:
    judged = judge_chaos(replace(perfect, **changes))

    assert failed(judged) == [("replaced", VerdictOutcome.FAILED)]


def test_numbers_that_nobody_could_tell_are_null_for_machines(perfect: ChaosMeasured) -> None:
    told: Any = chaos_as_json(
        judge_chaos(doctored(perfect, 0, lambda r: replace(r, stats=None))), {}
    )

    assert [reader["written"] for reader in told["readers"]] == [None, 3_000_000]
    assert told["longest_silence_ms"] == 200


def test_progress_fits_into_a_narrow_screen(perfect: ChaosMeasured) -> None:
    for width in (20, 80, 300):
        frame = chaos_frame(perfect.plan, 1, (1_000_000, 3_000_000), 0.1, width)
        assert len(frame.renderables) == 3


def folders_of(pid: int) -> list[str]:
    return [str(path) for path in Path("/tmp").glob(f"ptymux-chaos-{pid}-*")]


# Real runs -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.requirement("LAW-PTY", "LAW-READER", "BLOCK")
def test_a_small_run_survives_its_kills_with_every_byte() -> None:
    words = ["--chaos", "2", "--size", "64k", "--bytes", "2M", "--json"]

    ended = subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=deadline_seconds(4)
    )

    told = json.loads(ended.stdout)
    assert (ended.returncode, told["passed"]) == (0, True), told
    assert (told["kills"], told["server_replaced"]) == (2, 2)
    follower, lossless = told["readers"]
    assert follower["delivered"] + follower["skipped"] == 2 * MIB
    assert lossless["delivered"] == lossless["consumed"] == 2 * MIB
    assert ended.stderr.splitlines()[-1].startswith("[2/2] the server was killed at ")
    assert told["longest_silence_ms"] > 0


@pytest.mark.stress
@pytest.mark.requirement("LAW-PTY", "LAW-READER", "BLOCK")
def test_fifty_megabytes_survive_ten_kills() -> None:
    ended = subprocess.run(
        [*COMMAND, "--chaos", "--json"], capture_output=True, text=True, timeout=deadline_seconds(6)
    )

    told = json.loads(ended.stdout)
    assert (ended.returncode, told["passed"]) == (0, True), told
    assert told["kills"] == told["server_replaced"] == 10
    assert [reader["written"] for reader in told["readers"]] == [50_000_000] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_run_leaves_no_server_no_child_and_no_file(signum: str, status: int) -> None:
    with Program([*COMMAND, "--chaos", "50"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
        assert it.stderr is not None
        assert select.select([it.stderr], [], [], deadline_seconds(2))[0]
        assert it.stderr.readline().startswith(b"[1/50]")
        (folder,) = folders_of(it.pid)
        assert len(marked(folder)) >= 3  # a keeper and two children at least

        it.send_signal(signal.Signals[signum])

        out, err = it.communicate(timeout=deadline_seconds())
    assert it.returncode == status
    assert out == b""
    assert b"Traceback" not in err
    wait_until(lambda: not marked(folder))
    assert not folders_of(it.pid)

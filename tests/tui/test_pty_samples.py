"""Rates, and what deserves a look."""

from __future__ import annotations

import pytest

from ptymux.errors import ProtocolError
from ptymux.tui.pty_samples import Model, PtySample
from tests.tui.conftest import Told


def test_a_rate_is_bytes_over_the_time_between_samples(told: Told) -> None:
    model = Model()
    rows = []
    for at, written in ((10.0, 1000), (10.5, 3000)):
        model.take([told(total_written=written)], at)
        rows += model.rows

    assert [row.rate for row in rows] == [None, 4000]
    assert list(rows[1].rates) == [4000.0]
    assert model.totals.rate == 4000


def test_a_rate_forgets_what_was_long_ago(told: Told) -> None:
    model = Model()
    for tick in range(9):
        model.take([told(total_written=1_000_000 if tick else 0)], at=tick / 4)

    assert model.rows[0].rate == 0


def test_a_trend_has_a_bar_a_second(told: Told) -> None:
    model = Model()
    for tick in range(13):
        model.take([told(total_written=100 * tick)], at=tick / 4)

    assert model.rows[0].rates == (400,) * 3


def test_a_loss_is_news_for_a_while(told: Told) -> None:
    model = Model()
    model.take([told(dropped_attended=5, total_dropped=5)], at=0.0)
    old = model.rows[0].is_losing
    model.take([told(dropped_attended=6, total_dropped=6)], at=0.25)
    new = model.rows[0].is_losing
    model.take([told(dropped_attended=6, total_dropped=6)], at=9.0)

    assert (old, new, model.rows[0].is_losing) == (False, True, False)


def test_one_that_waits_for_a_reader_is_held(told: Told) -> None:
    assert PtySample.from_json(told(on_full="block", utilization=1.0)).is_held
    assert not PtySample.from_json(told(on_full="block", utilization=0.9)).is_held
    assert not PtySample.from_json(told(on_full="drop", utilization=1.0)).is_held
    assert not PtySample.from_json(told(on_full="block", utilization=1.0, state="stopped")).is_held


def test_totals_count_states_and_losses(told: Told) -> None:
    model = Model()
    model.take(
        [
            told(1, suspended=True, total_dropped=7),
            told(2, state="stopped", shown="exited", dropped_attended=3, total_dropped=3),
            told(3, on_full="block", utilization=1.0),
        ],
        at=0.0,
    )

    totals = model.totals
    assert (totals.live, totals.ended, totals.suspended, totals.held) == (2, 1, 1, 1)
    assert (totals.dropped, totals.dropped_attended) == (10, 3)


def test_names_and_commands_with_escape_codes_are_cleaned(told: Told) -> None:
    nasty = "a\x1b[31m\x1b]0;t\x07\x9b2J\nb\u202e"

    pty = PtySample.from_json(told(name=nasty, lane_id=nasty, command=["sh", nasty], shown=nasty))

    for text in (pty.name, pty.lane, pty.shown):
        assert text.isprintable()


def test_a_pty_without_a_name_has_that_of_its_program(told: Told) -> None:
    assert PtySample.from_json(told(name=None)).name == "make"
    worker = told(name=None, command=["/usr/bin/python3", "-u", "app/worker.py", "-v"])
    assert PtySample.from_json(worker).name == "worker.py"


def test_a_failure_is_one_until_somebody_has_looked(told: Told) -> None:
    ended = {"state": "errored", "shown": "exited (1)"}

    assert PtySample.from_json(told(**ended, unseen=True)).is_unseen
    assert not PtySample.from_json(told(**ended, unseen=False)).is_unseen


@pytest.mark.parametrize(
    ("signal", "pid", "alarms"), [(9, 7, True), (None, None, True), (None, 7, False)]
)
def test_of_an_older_server_what_nobody_expects_is_a_failure(
    told: Told, signal: int | None, pid: int | None, alarms: bool
) -> None:
    pty = told(state="errored", shown="it ended", signal=signal, pid=pid)
    del pty["unseen"]

    assert PtySample.from_json(pty).is_unseen is alarms


def test_what_the_dashboard_draws_itself_is_not_counted(told: Told) -> None:
    model = Model(own="pty_1")
    for second in range(4):
        model.take([told(1, total_written=1000 * second), told(2, total_written=second)], second)

    assert [row.rate for row in model.rows] == [None, 1.0]
    assert model.rows[0].rates == ()
    assert model.totals.rate == 1.0


def test_what_is_missing_is_told_in_a_sentence(told: Told) -> None:
    with pytest.raises(ProtocolError, match="state"):
        PtySample.from_json({k: v for k, v in told().items() if k != "state"})

"""What `ls` and `stats` write, from the JSON of PTYs to lines."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.cli.output.ls_table import draw_table, held_words
from ptymux.cli.output.printing import wrap
from ptymux.cli.output.stats_report import draw_bar, draw_report
from ptymux.core.cells import cells, cut

BUFFER = {
    "capacity": 1000,
    "retained": 10,
    "unread": 10,
    "available": 10,
    "backlog": 0,
    "utilization": 0.01,
    "high_water": 10,
    "total_written": 10,
    "total_consumed": 0,
    "total_dropped": 0,
    "dropped_attended": 0,
    "dropped_unattended": 0,
    "trimmed": 0,
    "merged": 0,
    "overflow_events": 0,
    "backpressure": False,
    "backpressure_events": 0,
}
PTY = {
    "pty_id": "pty_01M8472Y1VSCKQC5YYTZSN425E",
    "number": 1,
    "name": "web",
    "lane_id": "default",
    "session_id": "ses_01M8472Y1VM5SHK0TDHG020CWC",
    "terminal_id": "ter_01M8472Y1VM5SHK0TDHG020CWC",
    "pid": 4242,
    "state": "active",
    "shown": "running",
    "suspended": False,
    "command": ["make", "-j8"],
    "cwd": "/src",
    "cols": 80,
    "rows": 24,
    "created_at": 1000.0,
    "updated_at": 1060.0,
    "spawn_ms": 2.5,
    "exit_code": None,
    "signal": None,
    "reason": None,
    "on_full": "drop",
    "threshold": 0.75,
    "held_ms": 0,
    "clients": 0,
    "attended": False,
}


def pty(buffer: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return PTY | {"buffer": BUFFER | (buffer or {})} | changes


def table(*ptys: dict[str, Any], width: int | None = None, colour: bool = False) -> list[str]:
    return draw_table(ptys, now=1100.0, width=width, colour=colour)


def report(told: dict[str, Any], width: int | None = None, **options: Any) -> str:
    return "\n".join(draw_report(told, now=1100.0, width=width, **options))


def test_columns_are_aligned() -> None:
    lines = table(pty(), pty(number=10, name="a-longer-name", pid=7, lane_id="ci"))

    assert lines == [
        " #  NAME           LANE     COMMAND   STATE     PID    AGE  USED  DROPPED  CLIENTS",
        " 1  web            default  make -j8  running  4242  1m40s    1%        0        0",
        "10  a-longer-name  ci       make -j8  running     7  1m40s    1%        0        0",
    ]


def test_an_ended_one_has_the_age_that_it_reached() -> None:
    line = table(pty(state="stopped", shown="exited", pid=1))[1]

    assert line.split()[6:9] == ["1", "1m00s", "-"]


@given(
    st.integers(40, 300),
    st.lists(
        st.builds(
            lambda name, lane, words, state: pty(
                name=name, lane_id=lane, command=words, shown=state, number=3
            ),
            st.none() | st.text(min_size=1, max_size=64),
            st.text(min_size=1, max_size=64),
            st.lists(st.text(max_size=100), min_size=1, max_size=3),
            st.sampled_from(["running", "failed to start", "exited (127)"]),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_a_table_fits_its_width(width: int, ptys: list[dict[str, Any]]) -> None:
    lines = table(*ptys, width=width)

    assert len(lines) == len(ptys) + 1
    assert max(map(cells, lines)) <= width
    assert all(pty["shown"] in line for pty, line in zip(ptys, lines[1:], strict=True))


def test_lanes_go_where_there_is_little_room_and_all_are_the_default() -> None:
    assert "LANE" not in table(pty(), width=80)[0]
    assert "LANE" in table(pty(lane_id="ci"), width=80)[0]
    assert "LANE" in table(pty())[0]


def test_a_wide_table_has_what_was_measured() -> None:
    measured = pty(cpu=0.256, memory=12_300_000, title="vim", cwd="/src")
    ended = pty(number=2, state="stopped", shown="exited", cpu=None, memory=None, title="")

    lines = draw_table([measured, ended], now=1100.0, width=None, wide=True)

    assert lines[0].split()[-4:] == ["CPU", "MEMORY", "TITLE", "CWD"]
    assert lines[1].split()[-5:] == ["26%", "12.3", "MB", "vim", "/src"]
    assert lines[2].split()[-4:] == ["-", "-", "-", "/src"]
    deep = measured | {"cwd": "/home/me/project/some/where/tools"}
    assert "/home…ools" in draw_table([deep], now=1100.0, width=74, wide=True)[1]
    for width in (60, 80, 120):
        narrow = draw_table([measured, ended], now=1100.0, width=width, wide=True)
        assert max(map(cells, narrow)) <= width
        assert "CPU" in narrow[0]


def test_colour_changes_no_width() -> None:
    alarming = pty(state="errored", shown="killed (KILL)", signal=9)
    coloured = table(alarming, colour=True)[1]

    assert re.sub(r"\x1b\[\d*m", "", coloured) == table(alarming)[1]


@pytest.mark.parametrize(
    ("told", "is_red"),
    [
        (pty(), False),
        (pty({"total_dropped": 9, "dropped_unattended": 9}), False),
        (pty({"total_dropped": 9, "dropped_attended": 9}), True),
        (pty(state="errored", shown="exited (1)", exit_code=1), False),
        (pty(state="errored", shown="killed (KILL)", signal=9), True),
        (pty(state="stopped", shown="killed (TERM)", signal=15), False),
        (pty(state="errored", shown="failed to start", pid=None), True),
    ],
)
def test_red_is_for_loss_and_for_what_nobody_asked_for(told: dict[str, Any], is_red: bool) -> None:
    assert ("\x1b[31m" in table(told, colour=True)[1]) is is_red
    assert ("\x1b[31m" in report(told, colour=True)) is is_red


def test_a_command_that_is_held_is_said_to_be() -> None:
    full = {"unread": 1000, "utilization": 1.0}
    held = pty(full, on_full="block", held_ms=180_000)

    assert held_words(held) == "held 3m00s"
    assert "held 3m00s" in table(held)[1]
    assert "held 3m00s: nobody is reading" in report(held)
    assert held_words(held | {"attended": True}) == ""
    assert held_words(held | {"state": "stopped"}) == ""
    assert held_words(held | {"on_full": "drop"}) == ""


@pytest.mark.parametrize(
    ("share", "bar"),
    [
        (0.0, "-------|--"),
        (0.001, "#------|--"),
        (0.5, "#####--|--"),
        (0.9, "#######|#-"),
        (1.0, "#######|##"),
    ],
)
def test_a_bar_shows_share_and_threshold(share: float, bar: str) -> None:
    assert draw_bar(share, 0.75, 10, blocks=False) == bar


def test_a_report_names_the_loss_of_those_who_were_there() -> None:
    lost = {"total_dropped": 2_001_500, "dropped_attended": 1500, "dropped_unattended": 2_000_000}

    text = report(pty(lost))

    assert "2.0 MB (2,001,500) that nobody read" in text
    assert "1.5 kB (1,500) while somebody was attached" in text


def test_a_report_on_a_ring_without_capacity_has_no_bar() -> None:
    assert "waiting" not in report(pty({"capacity": 0, "retained": 0}))


def test_a_report_has_history_and_signals() -> None:
    history = [{"from": "active", "to": "stopped", "event": "ended-well", "at": 0.0}]
    signals = [{"signal": "TERM", "pid": 7, "outcome": "failed", "error": "gone", "at": 0.0}]

    text = report(pty(history=history, signals=signals))

    assert "active -> stopped (ended-well)" in text
    assert "TERM to 7 failed: gone" in text


@given(st.integers(20, 200))
def test_a_report_fits_its_width(width: int) -> None:
    told = pty(cwd="/" + "deep/" * 40, reason="no such thing " * 10)

    assert max(map(cells, report(told, width).split("\n"))) <= max(width, 27)


@given(st.text(), st.integers(2, 30))
def test_wrapped_text_fits_and_loses_no_word(text: str, width: int) -> None:
    pieces = wrap(text, width)

    assert max(map(cells, pieces)) <= width
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


@given(st.text(), st.integers(0, 30))
def test_cut_text_fits_and_is_marked(text: str, width: int) -> None:
    short = cut(text, width)

    assert cells(short) <= width
    assert short == text or not width or short.endswith("…")

"""Texts, bars and sparklines."""

from __future__ import annotations

import pytest

from ptymux.tui.widgets import ASCII, WARN, bar, fit, plain, sparkline, width_of


@pytest.mark.parametrize("width", [0, 1, 5, 9])
@pytest.mark.parametrize(
    "text", ["", "ab", "abcdefghijkl", "日本語の名前", "e\u0301e\u0301e\u0301"]
)
def test_a_text_has_exactly_its_width(text: str, width: int) -> None:
    assert width_of(fit(text, width)) == width
    assert width_of(fit(text, width, right=True)) == width


def test_a_text_that_is_cut_says_so() -> None:
    assert plain(fit("abcdef", 4)) == "abc…"
    assert plain(fit("abcd", 4)) == "abcd"
    assert plain(fit("ab", 4, right=True)) == "  ab"


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "────────"),
        (0.001, "╸───────"),
        (0.5, "━━━━────"),
        (0.56, "━━━━╸───"),
        (0.999, "━━━━━━━╸"),
        (1.0, "━━━━━━━━"),
        (7.0, "━━━━━━━━"),
        (-1.0, "────────"),
    ],
)
def test_a_bar_is_as_full_as_its_share(share: float, shown: str) -> None:
    assert plain(bar(share, 8)) == shown


def test_the_mark_stands_where_it_alarms() -> None:
    assert plain(bar(0.5, 8, 0.75)) == "━━━━──┃─"
    assert plain(bar(1.0, 8, 0.75)) == "━━━━━━╋━"
    assert plain(bar(1.0, 8, 0.75, glyphs=ASCII)) == "======+="
    assert [piece.style for piece in bar(0.5, 8, 0.75) if piece.text == "┃"] == [WARN]
    assert plain(bar(0.5, 0, 0.75)) == ""


def test_a_sparkline_rises_a_level_with_ten_times_the_rate() -> None:
    rates = [0.0, 0.4, 99.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e12]

    assert plain(sparkline(rates, 11)) == " ▁▁▂▃▄▅▆▇██"


def test_a_sparkline_shows_the_newest_at_the_right() -> None:
    assert plain(sparkline([1e8, 0, 1e2], 2)) == " ▂"
    assert plain(sparkline([1e2], 3)) == "  ▂"
    assert plain(sparkline([1e2], 0)) == ""

"""Moments as people read them."""

from __future__ import annotations

import time

import pytest

from ptymux.cli.output.clock import format_moment


@pytest.mark.parametrize(
    ("ago", "text"),
    [(60, "11:59:00"), (86_400, "Nov 26 12:00:00"), (366 * 86_400, "2025-11-26 12:00:00")],
)
def test_a_moment_has_a_date_where_that_is_not_today(ago: int, text: str) -> None:
    now = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))

    assert format_moment(now - ago, now) == text


def test_milliseconds_are_shown_where_they_are_wanted() -> None:
    now = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))

    assert format_moment(now + 0.25, now, milliseconds=True) == "12:00:00.250"

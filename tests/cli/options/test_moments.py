from __future__ import annotations

from datetime import datetime

import pytest

from ptymux.cli.options.moments import parse_moment
from ptymux.errors import InvalidValueError

NOW = datetime(2026, 11, 27, 14, 5, 30)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("10m", datetime(2026, 11, 27, 13, 55, 30)),
        ("30d", datetime(2026, 10, 28, 14, 5, 30)),
        ("14:05", datetime(2026, 11, 27, 14, 5)),
        ("9:00:01", datetime(2026, 11, 27, 9, 0, 1)),
        ("14:06", datetime(2026, 11, 26, 14, 6)),  # is to come today
        ("2026-11-27", datetime(2026, 11, 27)),
        ("2026-11-27T14:05", datetime(2026, 11, 27, 14, 5)),
        ("2026-11-27 14:05:09", datetime(2026, 11, 27, 14, 5, 9)),
        ("2026-11-27T14:05+00:00", datetime.fromisoformat("2026-11-27T14:05+00:00")),
    ],
)
def test_moments_as_people_type_them(text: str, moment: datetime) -> None:
    found = parse_moment(text, NOW.timestamp())

    assert abs(found - moment.timestamp()) <= 3600 * (text == "30d")  # the clock of summer


@pytest.mark.parametrize("text", ["", "soon", "25:00", "14:60", "2026-13-01", "2026-11-27T", "-5m"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="14:05"):
        parse_moment(text, NOW.timestamp())

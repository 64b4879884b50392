"""The templates of `ls --format`."""

from __future__ import annotations

from typing import Any

import pytest

from ptymux.cli.output.ls_template import Template
from ptymux.errors import InvalidValueError
from tests.cli.output.test_ls_table import pty


def filled(text: str, **changes: Any) -> str:
    return Template(text).fill(pty(**changes), now=1100.0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{number} {name}", "1 web"),
        (r"{pid}\t{shown}\\", "4242\trunning\\"),
        ("{{{name}}}", "{web}"),
        ("[{name:<6}|{name:>6}|{name:^5}|{name:2}]", "[web   |   web| web |web]"),
        ("{command}, {lane}, {age}, {used}", "make -j8, default, 1m40s, 1%"),
        ("{buffer.total_written} {suspended}", "10 false"),
        ("{exit_code}{ended}|", "|"),
        ("", ""),
    ],
)
def test_fields_are_filled_in(text: str, line: str) -> None:
    assert filled(text) == line


def test_of_an_ended_one_it_says_how_long_ago() -> None:
    assert filled("{ended}, {age}", state="errored", updated_at=1060.0) == "40s ago, 1m00s"


def test_what_is_filled_in_cannot_draw_and_is_measured_in_cells() -> None:
    assert filled("{name:6}|", name="日本\x1b[2J") == "日本[2J|"
    assert filled("{name:6}|", name="日本") == "日本  |"


def test_only_measured_fields_need_a_measurement() -> None:
    assert not Template("{name}").needs_usage
    assert Template("{cpu:>4}").needs_usage
    assert filled("{cpu} {memory}", cpu=0.123, memory=2_000_000) == "12% 2.0 MB"
    assert filled("{cpu}{memory}", cpu=None, memory=None) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{nme}", "{nme} is none, {name} is"),
        ("{zzzz}", "some are number, name"),
        ("{}", "{} is none"),
        ("{{.Name}}", "not {{.Name}}"),
        ("{name", "such as {name}"),
        ("{name!r}", "{name:<10}"),
        ("{name:.3f}", "{name:<10}"),
        ("{buffer.nothing}", "is none"),
        ("{buffer}", "is none"),
        ("{name.__class__}", "is none"),
    ],
)
def test_what_no_pty_has_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        Template(text)

    assert words in str(refused.value)

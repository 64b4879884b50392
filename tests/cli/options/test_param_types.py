from __future__ import annotations

from typing import Any

import click
import pytest

from ptymux.cli.options.param_types import COUNT, DURATION, SIZE, VARIABLE, WINDOW_SIZE
from ptymux.core.model import WindowSize


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (COUNT, "0", 0),
        (COUNT, "20", 20),
        (SIZE, "4M", 4_194_304),
        (SIZE, "0", 0),
        (DURATION, "500ms", 0.5),
        (DURATION, "0", 0.0),
        (WINDOW_SIZE, "120x40", WindowSize(120, 40)),
        (VARIABLE, "A=b", ("A", "b")),
        (VARIABLE, "A=", ("A", "")),
        (VARIABLE, "A=b=c\n", ("A", "b=c\n")),
    ],
)
def test_text_becomes_a_value(kind: click.ParamType[Any], text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (COUNT, "x", "'x' must be a whole number, 0 or more"),
        (COUNT, "-3", "a whole number"),
        (COUNT, "9" * 5000, "a whole number"),
        (SIZE, "4X", "a whole number of bytes such as 4M"),
        (SIZE, "-1", "a whole number of bytes such as 4M"),
        (DURATION, "-1s", "a time such as 500ms"),
        (DURATION, "nan", "a time such as 500ms"),
        (WINDOW_SIZE, "80", "columns by rows such as 80x24"),
        (WINDOW_SIZE, "99999x1", "1 to 10000 columns"),
        (VARIABLE, "NAME", "'NAME' must be NAME=VALUE"),
    ],
)
def test_other_text_is_refused_with_what_is_expected(
    kind: click.ParamType[Any], text: str, expected: str
) -> None:
    with pytest.raises(click.BadParameter, match=expected):
        kind.convert(text, None, None)


@pytest.mark.parametrize("kind", [SIZE, DURATION, WINDOW_SIZE, VARIABLE])
def test_default_that_is_no_text_stays(kind: click.ParamType[Any]) -> None:
    assert kind.convert(None, None, None) is None


def test_value_without_a_name_is_not_told() -> None:
    with pytest.raises(click.BadParameter) as refused:
        VARIABLE.convert("=secret", None, None)

    assert "secret" not in refused.value.format_message()

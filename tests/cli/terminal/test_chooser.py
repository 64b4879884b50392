"""The list of PTYs from which `ptymux attach` has one chosen."""

from __future__ import annotations

from typing import Any

import pytest

from ptymux.cli.terminal.chooser import chosen, draw_choices
from tests.cli.output.test_ls_table import BUFFER, PTY


def ptys(*names: str | None) -> list[dict[str, Any]]:
    return [
        PTY | {"buffer": BUFFER, "number": number, "name": name, "pty_id": f"pty_{number}"}
        for number, name in enumerate(names, 1)
    ]


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("", 4),
        ("2", 2),
        ("pty_2", 2),
        ("web", 1),
        ("we", 1),
        ("build-a", 2),
        ("build", None),
        ("5", None),
        ("x", None),
    ],
)
def test_an_answer_is_a_number_a_name_or_its_beginning(answer: str, number: int | None) -> None:
    found = chosen(answer, ptys("web", "build-a", "build-b", None))

    assert (None if found is None else found["number"]) == number


@pytest.mark.parametrize(("cols", "rows"), [(40, 10), (100, 30), (20, 3), (0, 0)])
def test_the_newest_are_shown_and_the_question_has_room(cols: int, rows: int) -> None:
    lines = draw_choices(ptys(*(f"p{n}" for n in range(12))), now=1100.0, cols=cols, rows=rows)

    assert "p11" in lines[-1]
    assert not rows or len(lines) < rows or rows == 3
    assert not any("\033" in line for line in lines)
    assert any("older, `ptymux ls`" in line for line in lines) == (0 < rows < 15)
    assert cols < 40 or max(map(len, lines)) <= cols

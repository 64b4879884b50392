from __future__ import annotations

import pytest

from ptymux.cli.waiting.shell_prompt import Marks

MARK = b"\x1b]133;A\x07$ "


@pytest.mark.parametrize("size", range(1, len(MARK) + 1))
def test_mark_is_found_however_it_is_cut(size: int) -> None:
    marks = Marks()
    output = b"make: done\r\n" + MARK

    found = [marks.feed(output[at : at + size]) for at in range(0, len(output), size)]

    assert found.count(True) == 1


def test_other_marks_of_a_shell_are_none() -> None:
    marks = Marks()

    assert not marks.feed(b"\x1b]133;B\x07\x1b]133;C\x07\x1b]133;D;0\x07")


def test_mark_is_not_put_together_across_a_gap() -> None:
    marks = Marks()

    assert not marks.feed(MARK[:4])
    marks.skip()
    assert not marks.feed(MARK[4:])


def test_mark_is_told_once() -> None:
    marks = Marks()

    assert [marks.feed(data) for data in (MARK, b"", b"x")] == [True, False, False]

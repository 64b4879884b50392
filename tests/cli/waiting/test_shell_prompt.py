from __future__ import annotations

from typing import cast

import pytest

from ptymux.cli.waiting import shell_prompt
from ptymux.cli.waiting.shell_prompt import Marks
from ptymux.client.stream import Stream
from tests.cli.waiting.conftest import LateOutput

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


def test_shell_is_at_its_prompt_only_after_what_it_said_before(
    output: LateOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_prompt, "waits_for_typing", lambda _pid: True)
    output.write(5)
    output.look_seconds = 1000.0
    watch = shell_prompt._PromptWatch(1, 0, needs_output=False)

    assert watch.wait(cast(Stream, output)) == "foreground"

    assert watch.offset == 5

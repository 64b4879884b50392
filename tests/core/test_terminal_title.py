"""Bells are counted and titles noticed as a terminal would, wherever the output is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.terminal_title import TITLE_LENGTH, TerminalTitle

PIECES = (
    *(b"\x07", b"text", b"\x1b[31mred", b"\x1b]0;one\x07", b"\x1b]2;two\x1b\\", b"\x1b]2;\x07"),
    *(b"\x1b]1;icon\x07", b"\x1b]11;?\x07", b"\x1b]8;;http://x\x1b\\", b"\x1b]2;cut\x18\x07"),
    *(b"\x1b[22;2t", b"\x1b[23;2t", b"\x1b[22t", b"\x1b[23;0t", b"\x1b[23;1t", b"\x1b[22m"),
    *(b"\x1bPtmux;\x07\x1b\\", b"\x1b_G\x07\x1b\\", b"\x1b]2;x\x1b[m\x07", b"\x1b", b"\x1b["),
    "\x1b]2;größe ⏳\x07".encode(),
)


def seen(*chunks: bytes) -> TerminalTitle:
    title = TerminalTitle()
    for chunk in chunks:
        title.see(chunk)
    return title


@pytest.mark.parametrize(
    ("output", "title", "bells"),
    [
        (b"a\x07b\x07\x07", "", 3),
        (b"\x1b]0;one\x07", "one", 0),
        (b"\x1b]2;two\x1b\\\x07", "two", 1),
        (b"\x1b]1;icon\x07\x1b]11;?\x07\x1b]52;c;aGk=\x07", "", 0),
        (b"\x1b]2;one\x07\x1b]2;\x07", "", 0),
        (b"\x1b]2;cut\x18\x07", "", 1),
        (b"\x1b]2;cut\x1b[31m\x07", "", 1),
        (b"\x1bPq\x07\x07\x1b\\\x07", "", 1),
        (b"\x1b_Gi=1\x07\x1b\\", "", 0),
        (b"\x1b]2;sh\x07\x1b[22;2t\x1b]2;vim\x07\x1b[23;2t", "sh", 0),
        (b"\x1b]2;sh\x07\x1b[22;0t\x1b]2;vim\x07\x1b[23;1t", "vim", 0),
        (b"\x1b[23;2t\x1b]2;sh\x07\x1b[23t", "sh", 0),
        (b"\x1b]2;a\tb\x01\xc2\x9bc  \x07", "a bc", 0),
        (b"\x1b]2;" + b"x" * 9000 + b"\x07", "x" * TITLE_LENGTH, 0),
        (b"\x1b]2;\xff\xe2\x80\xae!\x07", "�!", 0),
        (b"\x1b]2;one\x1b]2;two\x07", "two", 0),
    ],
)
def test_titles_and_bells_are_those_of_a_terminal(output: bytes, title: str, bells: int) -> None:
    whole = seen(output)

    assert (whole.title, whole.bells) == (title, bells)
    bytewise = seen(*(output[at : at + 1] for at in range(len(output))))
    assert (bytewise.title, bytewise.bells) == (title, bells)


@given(st.lists(st.sampled_from(PIECES), max_size=20), st.data())
def test_cuts_change_nothing_nor_does_another_that_goes_on(
    pieces: list[bytes], data: st.DataObject
) -> None:
    output = b"".join(pieces)
    whole = seen(output)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(output)), max_size=5)) | {len(output)})

    title, at, bells, changes = TerminalTitle(), 0, 0, 0
    for cut in cuts:
        title.see(output[at:cut])
        at = cut
        in_other_string = title._string is not None and title._string != ord("]")
        if data.draw(st.booleans()) and not in_other_string:
            at -= title.pending
            bells, changes = bells + title.bells, changes + title.changes
            title = TerminalTitle(title.titles)
    title.see(output[at:])

    assert title.titles == whole.titles
    assert (bells + title.bells, changes + title.changes) == (whole.bells, whole.changes)


def test_each_change_counts_and_setting_the_same_again_does_not() -> None:
    assert seen(b"\x1b]2;a\x07" * 3 + b"\x1b]2;b\x07").changes == 2


def test_the_stack_is_bounded_as_in_xterm() -> None:
    output = b"".join(b"\x1b]2;%d\x07\x1b[22t" % number for number in range(30))

    assert seen(output).titles == [*map(str, range(20, 30)), "29"]


def test_after_missing_output_no_string_goes_on() -> None:
    title = seen(b"\x1b]2;half")
    title.skip()
    title.see(b"way\x07")

    assert (title.title, title.bells, title.pending) == ("", 1, 0)

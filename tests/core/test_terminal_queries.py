"""What programs ask their terminal."""

from __future__ import annotations

import pytest

from ptymux.core.model import WindowSize
from ptymux.core.terminal_modes import TerminalModes
from ptymux.core.terminal_queries import answers, unfinished


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (b"text", b""),
        (b"\x1b[c", b"\x1b[?62;22c"),
        (b"\x1b[0c", b"\x1b[?62;22c"),
        (b"\x1b[>c", b"\x1b[>41;390;0c"),
        (b"\x1b[=c", b"\x1bP!|00000000\x1b\\"),
        (b"\x1b[5n", b"\x1b[0n"),
        (b"\x1b[6n", b"\x1b[1;1R"),
        (b"\x1b[?2004$p", b"\x1b[?2004;1$y"),
        (b"\x1b[?1049$p", b"\x1b[?1049;2$y"),
        (b"\x1b[?25$p", b"\x1b[?25;1$y"),
        (b"\x1b[?7$p", b"\x1b[?7;2$y"),
        (b"\x1b[?4242$p", b"\x1b[?4242;0$y"),
        (b"\x1b[>q", b"\x1bP>|XTerm(390)\x1b\\"),
        (b"\x1b[18t", b"\x1b[8;24;80t"),
        (b"\x1b]11;?\x07", b"\x1b]11;rgb:0000/0000/0000\x07"),
        (b"\x1b]10;?\x1b\\", b"\x1b]10;rgb:e5e5/e5e5/e5e5\x1b\\"),
        (b"\x1b]4;1;?\x07", b"\x1b]4;1;rgb:cdcd/0000/0000\x07"),
        (b"\x1b]4;200;?\x07", b""),
        (b"\x1b[?62;22c", b""),  # an answer is no question
        (b"a\x1b[cb\x1b[5n", b"\x1b[?62;22c\x1b[0n"),
    ],
)
def test_answer_of_an_xterm(output: bytes, answer: bytes) -> None:
    modes = TerminalModes()
    modes.see(b"\x1b[?2004h\x1b[?7l")

    assert answers(output, modes, WindowSize(80, 24)) == answer


@pytest.mark.parametrize(
    "query", [b"\x1b[c", b"\x1b[>0c", b"\x1b[?2004$p", b"\x1b]11;?\x1b\\", b"\x1b]4;10;?\x07"]
)
def test_question_that_is_cut_is_shown_again(query: bytes) -> None:
    for end in range(1, len(query)):
        assert unfinished(b"text" + query[:end]) == end
    assert unfinished(b"text" + query) == unfinished(b"text") == unfinished(b"") == 0

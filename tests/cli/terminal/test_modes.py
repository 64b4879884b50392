from __future__ import annotations

import pytest

from ptymux.cli.terminal.modes import Modes

CALM = b"\x1b[0m\x1b(B"


def undo_of(*chunks: bytes) -> bytes:
    modes = Modes()
    for chunk in chunks:
        modes.see(chunk)
    return modes.undo


def test_plain_text_needs_no_undoing() -> None:
    assert undo_of(b"text\r\n" * 100) == b""


def test_colours_are_ended() -> None:
    assert undo_of(b"\x1b[31mred") == CALM


@pytest.mark.parametrize(
    ("drawn", "undo"),
    [
        (b"\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?25l", b"\x1b[?25h"),
        (b"\x1b[?1h\x1b=", b"\x1b>\x1b[?1l"),
        (b"\x1b[?1006;1000h", b"\x1b[?1000l\x1b[?1006l"),
        (b"\x1b[>4;2m", b"\x1b[>4;0m"),
        (b"\x1b[>1u", b"\x1b[<u"),
        (b"\x1b[=1u", b"\x1b[=0u"),
        (b"\x1b[?1049h\x1b[?25l\x1b[?25h", b"\x1b[?1049l"),
        (b"\x1b[?1049h\x1b[?1049l", b""),
        (b"\x1b[>1u\x1b[<u", b""),
        (b"\x1b[>4;1m\x1b[>4m", b""),
        (b"\x1b[?25h", b""),
        (b"\x1b[?12h\x1b[?99999999h\x1b[?h", b""),
    ],
)
def test_only_what_is_still_on_is_undone_last_one_first(drawn: bytes, undo: bytes) -> None:
    assert undo_of(drawn) == undo + CALM


def test_sequence_cut_by_the_end_of_a_chunk_is_seen() -> None:
    drawn = b"x" * 100 + b"\x1b[?1049h" + b"y" * 100

    for cut in range(len(drawn)):
        assert undo_of(drawn[:cut], drawn[cut:]) == b"\x1b[?1049l" + CALM


def test_chunks_of_single_bytes_are_seen_in_order() -> None:
    drawn = b"\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l\x1b[?2004h"

    assert undo_of(*(bytes([byte]) for byte in drawn)) == b"\x1b[?2004l" + CALM


@pytest.mark.parametrize(
    "drawn",
    [
        b"\x1b[?1049h\x1b[?25l",
        b"\x1b[?7l\x1b[?2004h",
        b"\x1b[?1h\x1b=",
        b"\x1b[>4;2m\x1b[>1u",
        b"\x1b[?1000h\x1b[?1006h\x1b[?1006l",
    ],
)
def test_what_was_undone_can_be_done_again_and_undone_again(drawn: bytes) -> None:
    modes, again = Modes(), Modes()
    modes.see(drawn)
    again.see(modes.redo)

    assert again.redo == modes.redo
    assert again.undo == modes.undo


def test_nothing_is_done_again_where_nothing_is_on() -> None:
    modes = Modes()
    modes.see(b"\x1b[31mred\x1b[?25l\x1b[?25h")
    assert modes.redo == b""

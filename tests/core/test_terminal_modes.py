from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.terminal_modes import TerminalModes

CALM = b"\x1b[0m\x1b(B"


def undo_of(*chunks: bytes) -> bytes:
    modes = TerminalModes()
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
        (b"\x1b[>1u\x1b[>5u\x1b[<u", b"\x1b[<u"),
        (b"\x1b[>1u\x1b[>5u\x1b[<2u\x1b[<u", b""),
        (b"\x1b[5 q", b"\x1b[0 q"),
        (b"\x1b[5 q\x1b[ q", b""),
        (b"\x1b[4h\x1b[20h", b"\x1b[20l\x1b[4l"),
        (b"\x1b(0", b"\x1b(B"),
        (b"\x1b[22;2t\x1b]2;vim\x07\x1b[22t", b"\x1b[23;2t" * 2),
        (b"\x1b[22;0t\x1b[23;1t\x1b[23;2t\x1b[23t", b""),
        (b"\x1b(0\x1b(B", b""),
        (b"\x1b[?1h\x1b=\x1b[?25l\x1b[?2004h\x1b[!p", b"\x1b[?2004l"),
        (b"\x1b[?1049h\x1b[?1000h\x1bc", b""),
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
    modes, again = TerminalModes(), TerminalModes()
    modes.see(drawn)
    again.see(modes.redo)

    assert again.redo == modes.redo
    assert again.undo == modes.undo


SEQUENCES = [
    *(b"\x1b[?%d%c" % (n, end) for n in (1, 7, 25, 1000, 1049, 2004) for end in b"hl"),
    *(b"\x1b[>1u", b"\x1b[>31u", b"\x1b[<u", b"\x1b[=5u", b"\x1b[=0u", b"\x1b[>4;2m", b"\x1b[>4m"),
    *(b"\x1b=", b"\x1b>", b"\x1b(0", b"\x1b(B", b"\x1b[2 q", b"\x1b[ q", b"\x1b[4h", b"\x1b[4l"),
    *(
        b"\x1b[!p",
        b"\x1bc",
        b"\x1b[31m",
        b"text\r\n",
        b"\x1b",
        b"\x1b[",
        b"\x1b[?",
        b"\x1b(",
        b"1049h",
    ),
]


@given(st.lists(st.sampled_from(SEQUENCES), max_size=30), st.lists(st.integers(0, 200), max_size=8))
def test_cuts_anywhere_change_nothing(pieces: list[bytes], cuts: list[int]) -> None:
    drawn = b"".join(pieces)
    whole, cut = TerminalModes(), TerminalModes()
    whole.see(drawn)

    places = [0, *sorted(min(place, len(drawn)) for place in cuts), len(drawn)]
    for start, end in itertools.pairwise(places):
        cut.see(drawn[start:end])

    assert (cut.redo, cut.undo) == (whole.redo, whole.undo)


@given(st.binary(max_size=300), st.lists(st.sampled_from(SEQUENCES), max_size=200))
def test_whatever_comes_the_state_is_short(noise: bytes, pieces: list[bytes]) -> None:
    modes, again = TerminalModes(), TerminalModes()
    modes.see(noise + b"".join(pieces) * 20)

    again.see(modes.redo)

    assert len(modes.redo) < 1024
    assert again.redo == modes.redo


def test_what_is_missing_joins_nothing() -> None:
    modes = TerminalModes()

    assert not modes.see(b"\x1b[?10")
    modes.skip()
    assert not modes.see(b"49h")

    assert not modes.has(1049)


def test_it_tells_whether_something_was_switched() -> None:
    modes = TerminalModes()

    assert [modes.see(data) for data in (b"text", b"\x1b[?1h", b"\x1b[?1h", b"\x1b[?1l")] == [
        False,
        True,
        False,
        True,
    ]


def test_nothing_is_done_again_where_nothing_is_on() -> None:
    modes = TerminalModes()
    modes.see(b"\x1b[31mred\x1b[?25l\x1b[?25h")
    assert modes.redo == b""

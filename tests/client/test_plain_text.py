"""Output without what a terminal would act upon."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ptymux.client.plain_text import Plain, Run

COLOURED = b"\x1b[1;38:5:9mred\x1b[0m"
NOISE = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from(
            [
                *(b"\x1b", b"\x1b[", b"\x1b]0;", b"\x1bP", b"\x1b\\", b"\x1b(B", b"\x07", b"\x18"),
                *(b"\xc2", b"\x9b", b"\xc2\x9b", b"\xc2\x9c", b"\xe2\x82\xac", b"\xf0\x9f\x98\x80"),
                *(b"31m", b"?25l", b"text\r\n"),
            ]
        ),
    ),
    max_size=20,
).map(b"".join)


def plain(data: bytes, *, colours: bool = False) -> bytes:
    machine = Plain(colours=colours)
    return b"".join(run.data for run in machine.feed(data) + machine.finish())


def offsets(runs: list[Run]) -> list[tuple[int, int]]:
    return [(run.offset + at, byte) for run in runs for at, byte in enumerate(run.data)]


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"one\r\ntwo\t3\n", b"one\ntwo\t3\n"),
        (COLOURED, b"red"),
        (b"\x1b[?25l\x1b[2J\x1b[10;20Hx\x1b[6n", b"x"),
        (b"\x1b]0;a title\x07x\x1b]8;;http://a\x1b\\y", b"xy"),
        (b"\x1bP1$r0m\x1b\\x\x1b_app\xc2\x9cy", b"xy"),
        (b"\x1b(Bx\x1b7\x1b=\x1b#8y\x1bcz", b"xyz"),
        (b"a\x08b\x00c\x7fd\x0ee", b"abcde"),
        ("é € 😀 ñ".encode(), "é € 😀 ñ".encode()),
        (b"\xc2\x9b31mx\xc2\x9d0;title\x07y\xc2\x85z", b"xyz"),
        (b"\x9bx\x80y", b"xy"),
        (b"caf\xe9 \xff", b"caf\xe9 \xff"),
        (b"\xe2\x9b", b"\xe2"),
        (b"\xc0\x9b31mx", b"\xc031mx"),
        (b"\x1b[31\nx", b"\nx"),
        (b"\x1b\x1b[31mx", b"x"),
        (b"\x1b[3\x1b[31mx", b"x"),
        (b"\x1b]0;cut\x18x", b"x"),
        (b"\x1b]0;cut\x1b[31mx", b"x"),
        (b"x\x1b[31", b"x"),
    ],
)
def test_text_is_left(data: bytes, kept: bytes) -> None:
    assert plain(data) == kept


def test_colours_are_kept_where_wanted() -> None:
    data = COLOURED + b"\x1b[2J\x1b[>4;1m\x1b[?4m\x1b[c\x1b[0 q\r\n"

    assert plain(data, colours=True) == COLOURED + b"\n"


def test_a_string_that_never_ends_hides_a_bounded_amount() -> None:
    assert plain(b"\x1bP" + b"x" * 1_100_000).startswith(b"x" * 1000)
    assert plain(b"\x1b]52;c;" + b"x" * 1_000_000 + b"\x07y") == b"y"


def test_offset_goes_on_behind_a_gap() -> None:
    machine = Plain(100)

    runs = machine.feed(b"ab\x1b]0;cut") + machine.skip(500) + machine.feed(b"cd")

    assert runs == [Run(100, b"ab"), Run(500, b"cd")]


@settings(max_examples=400)
@given(NOISE, st.booleans(), st.integers(0, 1 << 32))
@example(b"\x1b[" + b"1" * 300 + b"mx", False, 0)
@example(b"\x1b" + b" " * 20 + b"x", False, 1)
def test_pieces_do_not_matter(data: bytes, colours: bool, seed: int) -> None:
    whole, cut = Plain(7, colours=colours), Plain(7, colours=colours)
    chance = random.Random(seed)
    runs, at = [], 0
    while at < len(data):
        size = chance.randint(1, 4)
        runs += cut.feed(data[at : at + size])
        at += size

    assert offsets(runs + cut.finish()) == offsets(whole.feed(data) + whole.finish())


@settings(max_examples=400)
@given(NOISE)
def test_nothing_is_left_that_acts(data: bytes) -> None:
    kept = plain(data)

    text = kept.decode(errors="replace")
    assert all(char in "\n\t" or char >= " " for char in text)
    assert not any("\x7f" <= char <= "\x9f" for char in text)


@settings(max_examples=400)
@given(NOISE)
def test_every_byte_kept_is_that_at_its_offset(data: bytes) -> None:
    machine = Plain(3)

    for offset, byte in offsets(machine.feed(data) + machine.finish()):
        assert data[offset - 3] == byte


def test_a_line_is_one_run() -> None:
    data = b"a line of text\r\n" * 1000

    assert len(Plain().feed(data)) == 1001

"""Output without what a terminal would act upon."""

from __future__ import annotations

import random
import re

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


def seen(runs: list[Run]) -> list[tuple[int, int, bytes]]:
    """Return each byte that is no colour code, with its offset and the codes in force there."""
    found, pen = [], b""
    for run in runs:
        at = 0
        for code in [*re.finditer(rb"\x1b\[[0-9;:]*m", run.data), None]:
            end = len(run.data) if code is None else code.start()
            found += [(run.offset + i, run.data[i], pen) for i in range(at, end)]
            if code is not None:
                at = code.end()
                pen = b"" if re.match(rb"\x1b\[0*[;m]", code[0]) else pen
                pen += b"" if code[0] in (b"\x1b[m", b"\x1b[0m") else code[0]
    return found


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"one\r\ntwo\t3\n", b"one\ntwo\t3\n"),
        (COLOURED, b"red"),
        (b"\x1b[?25l\x1b[2J\x1b[10;20Hx\x1b[6n", b"x"),
        (b"\x1b]0;a title\x07x\x1b]8;;http://a\x1b\\y", b"xy"),
        (b"\x1bP1$r0m\x1b\\x\x1b_app\xc2\x9cy", b"xy"),
        (b"\x1b(Bx\x1b7\x1b=\x1b#8yz", b"xyz"),
        (b"b\x00c\x7fd\x0ee", b"bcde"),
        ("é € 😀 ñ".encode(), "é € 😀 ñ".encode()),
        (b"\xc2\x9b31mx\xc2\x9d0;title\x07y\xc2\x85z", b"xy\nz"),
        (b"\x9bx\x80y\x9f", b"\x9bx\x80y\x9f"),
        (b"caf\xe9 \xff", b"caf\xe9 \xff"),
        (b"\xe2\x9b", b"\xe2\x9b"),
        (b"\xc0\x9b31mx", b"\xc0\x9b31mx"),
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


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (b"10%\r 20%\r100%\r\nnext", b"100%\nnext"),
        (b"Loading 10%\rLoad 20%", b"Load 20%10%"),
        (b"abc\rX", b"Xbc"),
        (b"abc\r\n", b"abc\n"),
        (b"abc\r\r\r\nd", b"abc\nd"),
        (b"abc\x08\x08X", b"aXc"),
        (b"abc\x08 \x08\x08 \x08x", b"ax "),
        (b"\x08\x08a", b"a"),
        (b"abc\x1b[2K\rdef", b"def"),
        (b"abcdef\r\x1b[Kx", b"x"),
        (b"abcdef\x1b[3D\x1b[K", b"abc"),
        (b"abcdef\x1b[3D\x1b[1Kx", b"   xef"),
        (b"abcdef\x1b[2Gx\x1b[6Gy", b"axcdey"),
        (b"abc\x1b[3Cx", b"abc   x"),
        (b"abc\x1b[10Gx", b"abc      x"),
        (b"ab\x1b[Hcd\x1b[2;1Hef\x1b[Agh", b"ab\ncd\nef\ngh"),
        (b"\x1b[H\x1b[J\x1b[5;5Hx", b"x"),
        (b"one\x0btwo\x0cthree\x1bEfour", b"one\ntwo\nthree\nfour"),
        (b"a\tb\rX", b"X" + b"\tb"),
        (b"a\tb\x1b[4Gx", b"a  x    b"),
        (b"abcdef\r\x1b[2Px\r\x1b[1@y", b"yxdef"),
        (b"abcdef\r\x1b[2Xg", b"g cdef"),
        (b"ab\x1b[3b!", b"abbbb!"),
        (b"ab\x1b7cd\x1b8x", b"abxd"),
        (b"ab\x1b[scd\x1b[ux", b"abxd"),
        (b"ab\x1b[?1049hcd\x1b[?1049lef", b"ab\ncd\nef"),
        (b"ab\x1bcd", b"d"),
        ("日本x\r漢\x1b[2Gy".encode(), " y本x".encode()),
        ("e\u0301a\x08b".encode(), "e\u0301b".encode()),
        (b"caf\x82 \x9f\rC", b"Caf\x82 \x9f"),
    ],
)
def test_a_line_is_as_a_terminal_leaves_it(data: bytes, left: bytes) -> None:
    assert plain(data) == left


def test_a_progress_bar_keeps_its_last_colours() -> None:
    data = b"\x1b[31m10%\x1b[0m\r\x1b[32m99%\x1b[0m\r\nnext\n"

    assert plain(data, colours=True) == b"\x1b[32m99%\x1b[0m\nnext\n"


def test_versions_of_a_line_are_lines_but_what_was_erased_is_gone() -> None:
    machine = Plain(versions=True)
    data = b"Load 10%\rLoad 20%\r\x1b[Kgone\x1b[2K\rtyp\x08\x08ry\rdone!\r\n"

    text = b"".join(run.data for run in machine.feed(data))

    assert text == b"Load 10%\ntry\ndone!\n"


def test_the_line_of_the_cursor_can_be_seen() -> None:
    machine = Plain(colours=True)

    assert machine.feed(b"one\ntw\x1b[31mo") == [Run(0, b"one\n")]
    assert machine.pending() == [Run(4, b"tw"), Run(11, b"o")]
    assert machine.draw() == b"tw\x1b[31mo\x1b[0m"


def test_a_line_without_end_is_returned_when_it_is_too_long_to_change() -> None:
    machine = Plain()

    runs = machine.feed(b"x" * 25_000 + b"\ry") + machine.finish()

    assert b"".join(run.data for run in runs) == b"x" * 25_000 + b"y"


def test_marks_without_end_are_bounded() -> None:
    machine = Plain()

    for _ in range(100):
        machine.feed("\u0301a\r".encode() * 100)

    assert len(machine.pending()) < 5000


def test_colours_are_kept_where_wanted() -> None:
    data = COLOURED + b"\x1b[3J\x1b[>4;1m\x1b[?4m\x1b[c\x1b[0 q\r\n"

    assert plain(data, colours=True) == COLOURED + b"\n"


def test_a_string_that_never_ends_hides_a_bounded_amount() -> None:
    assert plain(b"\x1bP" + b"x" * 1_100_000).startswith(b"x" * 1000)
    assert plain(b"\x1b]52;c;" + b"x" * 1_000_000 + b"\x07y") == b"y"


def test_offset_goes_on_behind_a_gap() -> None:
    machine = Plain(100)

    runs = machine.feed(b"ab\x1b]0;cut") + machine.skip(500) + machine.feed(b"cd\n")

    assert runs == [Run(100, b"ab"), Run(500, b"cd"), Run(502, b"\n")]


@settings(max_examples=400)
@given(NOISE, st.booleans(), st.integers(0, 1 << 32))
@example(b"\x1b[" + b"1" * 300 + b"mx", False, 0)
@example(b"\x1b" + b" " * 20 + b"x", False, 1)
@example(b"\x00\x00\x00 \n\x1b[b", False, 0)
@example(b"\x1b[m \n", True, 0)
@example(b"\x1b[31mtext\r\n", True, 0)
def test_pieces_do_not_matter(data: bytes, colours: bool, seed: int) -> None:
    whole, cut = Plain(7, colours=colours), Plain(7, colours=colours)
    chance = random.Random(seed)
    runs, at = [], 0
    while at < len(data):
        size = chance.randint(1, 4)
        runs += cut.feed(data[at : at + size])
        at += size

    assert seen(runs + cut.finish()) == seen(whole.feed(data) + whole.finish())


@settings(max_examples=400)
@given(NOISE)
@example(b"\xc2\x00\x80\x80")
def test_nothing_is_left_that_acts(data: bytes) -> None:
    kept = plain(data)

    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", kept)


@settings(max_examples=400)
@given(NOISE)
@example(b" \x1b[b")
@example("a\u00e9\x1b[3bc".encode())
def test_every_byte_kept_is_that_at_its_offset(data: bytes) -> None:
    machine = Plain(3)

    for run in machine.feed(data) + machine.finish():
        is_there = data[run.offset - 3 :].startswith(run.data)
        assert is_there or run.data in (b"\n", b" ")  # what a move or an erasure stands for


def test_a_line_is_one_run() -> None:
    data = b"a line of text\r\n" * 1000

    assert len(Plain().feed(data)) == 1001

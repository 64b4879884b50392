"""A pattern looked for in output as it comes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.client.matching import Found, Matcher
from ptymux.errors import InvalidValueError


def test_match_has_the_offset_that_it_has_in_the_output() -> None:
    matcher = Matcher("R[a-z]+Y é")
    matcher.skip(100)

    assert matcher.feed(b"\x1b[31mnot yet\r\n\x1b[1mRea") is None
    assert matcher.feed("d\x1b[0mY é!".encode()) == Found("ReadY é", 118, 130)


def test_lines_begin_and_end() -> None:
    assert Matcher("^b$").feed(b"ab\r\nb\r\n") == Found("b", 4, 5)
    assert Matcher("^b").feed(b"ab") is None


def test_no_match_goes_across_a_gap() -> None:
    matcher = Matcher("ab")

    assert matcher.feed(b"a") is None
    matcher.skip(50)

    assert matcher.feed(b"b") is None
    assert matcher.feed(b"ab") == Found("ab", 51, 53)


def test_no_line_begins_where_old_text_was_forgotten() -> None:
    matcher = Matcher("^x|end")
    matcher.feed(b"a")

    assert matcher.feed(b"x" * 100_000) is None
    assert matcher.feed(b"x" * 100_000) is None
    assert matcher.feed(b"end") == Found("end", 200_001, 200_004)


def test_bad_pattern_is_refused_in_one_line() -> None:
    with pytest.raises(InvalidValueError, match="missing"):
        Matcher("(")


@given(st.integers(0, 1 << 32))
def test_pieces_do_not_matter(seed: int) -> None:
    chance = random.Random(seed)
    data = b"".join(
        chance.choice([b"x", b"\r\n", b"\x1b[1m", "é".encode(), b"\x1b]0;MARK\x07"])
        for _ in range(60)
    )
    start = len(data)
    data += b"MA\x1b[0mRK"
    matcher = Matcher("MARK")
    found, at = None, 0
    while found is None and at < len(data):
        size = chance.randint(1, 5)
        found = matcher.feed(data[at : at + size])
        at += size

    assert found == Found("MARK", start, len(data))

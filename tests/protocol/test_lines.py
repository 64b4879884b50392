"""Lines and payloads, fed in any pieces, also with junk."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.errors import ProtocolError
from ptymux.protocol.lines import LARGEST_LINE, LineDecoder
from tests.protocol.pieces import CUTS, pieces

SMALL = st.binary(max_size=200)


def lines_of(decoder: LineDecoder, parts: list[bytes]) -> list[bytes]:
    lines = []
    for part in parts:
        decoder.feed(part)
        lines += list(iter(decoder.next_line, None))
    return lines


@given(st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b""))), SMALL, CUTS)
def test_lines_come_out_whole_however_they_are_cut(
    lines: list[bytes], rest: bytes, cuts: list[int]
) -> None:
    rest = rest.replace(b"\n", b"")
    data = b"".join(line + b"\n" for line in lines) + rest
    decoder = LineDecoder()

    assert lines_of(decoder, pieces(data, cuts)) == lines
    assert decoder.take_rest() == rest


@given(st.binary(max_size=300), st.binary(max_size=300), CUTS)
def test_a_payload_is_what_follows_the_line_whatever_it_is(
    payload: bytes, rest: bytes, cuts: list[int]
) -> None:
    decoder = LineDecoder()
    line = taken = None
    for part in pieces(b"spawn\n" + payload + rest, cuts):
        decoder.feed(part)
        line = decoder.next_line() if line is None else line
        if line is not None and taken is None:
            taken = decoder.take_payload(len(payload))

    assert (line, taken, decoder.take_rest()) == (b"spawn", payload, rest)


def test_a_payload_may_be_larger_than_a_line() -> None:
    decoder = LineDecoder(largest=8)
    payload = b"x" * 100

    for byte in payload:
        assert decoder.take_payload(100) is None
        decoder.feed(bytes((byte,)))

    assert decoder.take_payload(100) == payload


def test_a_line_of_the_largest_size_is_taken_and_one_byte_more_is_not() -> None:
    decoder = LineDecoder(largest=8)

    decoder.feed(b"1234567\n12345678\n")

    assert decoder.next_line() == b"1234567"
    with pytest.raises(ProtocolError, match="longer than 8 bytes"):
        decoder.next_line()


@given(st.integers(1, 64))
def test_a_line_without_an_end_is_refused_before_more_of_it_is_held(size: int) -> None:
    decoder = LineDecoder(largest=64)
    for _ in range(0, 64 - size, size):
        decoder.feed(b"x" * size)
        assert decoder.next_line() is None

    decoder.feed(b"x" * size * 2)

    with pytest.raises(ProtocolError, match="longer than 64 bytes"):
        decoder.next_line()
    assert LARGEST_LINE == 1 << 20


def test_requests_sent_far_ahead_of_their_answers_are_refused() -> None:
    decoder = LineDecoder(largest=8)
    decoder.feed(b"a\n" * 5)

    with pytest.raises(ProtocolError, match="sent ahead"):
        decoder.feed(b"a\n")


@given(st.binary(max_size=2000), CUTS)
def test_junk_becomes_lines_or_a_protocol_error(junk: bytes, cuts: list[int]) -> None:
    with suppress(ProtocolError):
        lines_of(LineDecoder(largest=100), pieces(junk, cuts))

"""Text is made of bytes in any pieces, and each byte is in a text or in one error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.client.text_decoder import NOTHING, Decoded, TextDecoder, check_encoding

ODD = st.lists(
    st.one_of(st.sampled_from([b"a", "ä".encode(), "€".encode(), b"\xed\xbc"]), st.binary())
).map(b"".join)
CUTS = st.lists(st.integers(0, 40)).map(sorted)


def parts(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [*cuts, len(data)]
    return [data[start:end] for start, end in zip([0, *cuts], ends, strict=True)]


def bad(error: UnicodeDecodeError) -> bytes:
    return bytes(error.object[error.start : error.end])


def decoded(encoding: str, errors: str, pieces: list[bytes]) -> list[str | bytes]:
    """Return texts, and the bytes that were in errors, neighbours of a kind joined."""
    decoder = TextDecoder(encoding, errors)
    found: list[str | bytes] = []

    def note(one: Decoded) -> bytes:
        for each in (one.text, bad(one.error) if one.error else b""):
            if each and found and type(found[-1]) is type(each):
                found[-1] += each  # type: ignore[operator]
            elif each:
                found.append(each)
        return one.rest

    def use(rest: bytes) -> None:
        while rest:
            rest = note(decoder.decode(rest))

    for piece in pieces:
        use(piece)
    while (last := decoder.finish()) != NOTHING:
        use(note(last))
    return found


@given(ODD, CUTS, st.sampled_from(["utf-8", "ascii", "cp1252"]))
def test_strict_decoding_loses_nothing(data: bytes, cuts: list[int], encoding: str) -> None:
    found = decoded(encoding, "strict", parts(data, cuts))

    assert b"".join(x if isinstance(x, bytes) else x.encode(encoding) for x in found) == data


@given(ODD, CUTS, st.sampled_from(["utf-8", "gb18030", "shift_jis", "utf-16-le", "iso2022_jp"]))
def test_where_pieces_are_cut_makes_no_difference(
    data: bytes, cuts: list[int], encoding: str
) -> None:
    whole = decoded(encoding, "strict", [data])

    assert decoded(encoding, "strict", parts(data, cuts)) == whole


@given(ODD, CUTS)
def test_replacing_never_fails(data: bytes, cuts: list[int]) -> None:
    whole = data.decode("utf-8", "replace")

    assert "".join(map(str, decoded("utf-8", "replace", parts(data, cuts)))) == whole


def test_a_letter_that_was_begun_can_be_taken_as_bytes() -> None:
    decoder = TextDecoder("utf-8", "strict")

    assert decoder.decode(b"a\xe2\x82") == ("a", b"", None)
    assert decoder.take_held() == b"\xe2\x82"
    assert decoder.finish() == NOTHING


def test_an_unknown_encoding_is_refused() -> None:
    check_encoding(None, "whatever")
    check_encoding("utf-8", "replace")
    for encoding, errors in (("no-such", "strict"), ("utf-8", "no-such")):
        with pytest.raises(LookupError):
            check_encoding(encoding, errors)

"""Keys from what a terminal sends."""

from __future__ import annotations

import pytest

from ptymux.tui.key_decoder import KeyDecoder


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"jx", ["j", "x"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["pageup", "pagedown", "home", "end"]),
        (b"\x03\x1a\x0c", ["ctrl-c", "ctrl-z", "ctrl-l"]),
        ("é日".encode(), ["é", "日"]),
        (b"\x1b[1;5Aq", ["q"]),  # a key with no name is none
        (b"\x1bxq", ["q"]),  # Alt-x is not x
        (b"\xff\x00q", ["q"]),
    ],
)
def test_keys_are_told_by_name(data: bytes, keys: list[str]) -> None:
    assert KeyDecoder().feed(data) == keys


@pytest.mark.parametrize("data", [b"\x1b[A\x1b[5~q", b"\x1b[200~xy\x1b[201~q"])
def test_pieces_make_the_same_keys(data: bytes) -> None:
    whole, pieces = KeyDecoder().feed(data), KeyDecoder()

    assert [key for byte in data for key in pieces.feed(bytes([byte]))] == whole


def test_escape_is_a_key_if_nothing_follows() -> None:
    decoder = KeyDecoder()

    assert decoder.feed(b"\x1b") == []
    assert decoder.is_waiting
    assert decoder.flush() == ["escape"]
    assert not decoder.is_waiting


def test_what_is_pasted_is_no_key() -> None:
    assert KeyDecoder().feed(b"a\x1b[200~xyxy\x03\x1b[201~b") == ["a", "b"]


def test_a_sequence_without_an_end_is_given_up() -> None:
    decoder = KeyDecoder()

    decoder.feed(b"\x1b[" + b"1" * 500)

    assert decoder.feed(b"q")[-1:] == ["q"]

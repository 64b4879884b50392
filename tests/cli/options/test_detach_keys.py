"""The keys that detach, among all that a terminal sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptymux.cli.options.detach_keys import DetachKeys, Typed
from ptymux.errors import InvalidValueError

START, END = b"\x1b[200~", b"\x1b[201~"


@pytest.mark.parametrize(
    "text", ["", "d", "C-a b c", "Up d", "C-a Up", "C-a M-x", "none d", "None"]
)
def test_detach_keys_are_a_control_key_and_another(text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"--detach-keys|key"):
        DetachKeys(text)


@pytest.mark.parametrize(
    ("typed", "passed", "detaches", "rings"),
    [
        (b"ls\r", b"ls\r", False, False),
        (b"ls\x1cd", b"ls", True, False),
        (b"\x1c\x1c", b"\x1c", False, False),
        (b"\x1c\x1cd", b"\x1cd", False, False),
        (b"\x1cx", b"", False, True),
        (b"\x1cxy", b"y", False, True),
        (b"\x1cx\x1cd", b"", True, True),
        (b"\x1c\x03z", b"z", False, True),
        (b"\x1c\x1b[Az", b"z", False, True),  # a key of several bytes
        (b"\x1c\x1bOPz", b"z", False, True),
        (b"\x1c\x1b[1;5Rz", b"z", False, True),  # Control and F3
        (b"\x1c\x1bxz", b"z", False, True),
        (b"\x1c\x1b", b"", False, True),
        (b"\x1c\xc3\xa9z", b"z", False, True),
        (b"\x1c", b"", False, False),
        (b"a\x1cdrest", b"a", True, False),
        (b"\x1c\x1b[Id", b"\x1b[I", True, False),  # the window has the focus again
        (b"\x1c\x1b[<35;1;2Md", b"\x1b[<35;1;2M", True, False),  # the mouse moves
        (b"\x1c\x1b[M !!d", b"\x1b[M !!", True, False),
        (b"\x1c\x1b[?1;2cd", b"\x1b[?1;2c", True, False),  # answers to questions
        (b"\x1c\x1b]11;rgb:0/0/0\x1b\\d", b"\x1b]11;rgb:0/0/0\x1b\\", True, False),
        (b"\x1c\x1b[12;40Rd", b"\x1b[12;40R", True, False),
        (b"\x1b[92;5u\x1b[100u", b"", True, False),  # kitty
        (b"\x1b[92;5:1u\x1b[92;5:3u\x1b[57442;5:3ud", b"", True, False),  # with releases
        (b"\x1b[92;133ud", b"", True, False),  # with num lock
        (b"\x1b[27;5;92~d", b"", True, False),  # xterm
        (b"\x1b[92;5u\x1b[92;5u", b"\x1b[92;5u", False, False),
        (b"\x1b[92;5ux", b"", False, True),
        (b"\x1b[92;5u\x1b[120uz", b"z", False, True),
        (b"\x1b[92;6u\x1b[97;5u\x1b[A", b"\x1b[92;6u\x1b[97;5u\x1b[A", False, False),
        (b"\x1b[92;5:3ud", b"\x1b[92;5:3ud", False, False),  # only a release
    ],
)
def test_prefix(typed: bytes, passed: bytes, detaches: bool, rings: bool) -> None:
    assert DetachKeys().feed(typed) == Typed(passed, detaches, rings)


def test_prefix_and_key_may_come_apart() -> None:
    keys = DetachKeys("C-a q")

    assert keys.feed(b"x\x01") == Typed(b"x")
    assert keys.feed(b"q") == Typed(b"", detaches=True)


def test_suspend_key_after_the_prefix_is_for_us() -> None:
    assert DetachKeys().feed(b"a\x1c\x1ab") == Typed(b"ab", suspends=True)
    assert DetachKeys("C-a C-z").feed(b"\x01\x1a") == Typed(b"", detaches=True)


def test_key_that_comes_in_parts_after_the_prefix_is_swallowed_whole() -> None:
    keys = DetachKeys()

    assert keys.feed(b"\x1c") == keys.feed(b"\x1b[") == keys.feed(b"1;") == Typed(b"")
    assert keys.feed(b"5Az") == Typed(b"z", rings=True)


def test_one_key_detaches_alone() -> None:
    keys = DetachKeys("C-]")

    assert keys.shown == "C-]"
    assert keys.feed(b"\x1cd\x1b[93;6u") == Typed(b"\x1cd\x1b[93;6u")
    assert keys.feed(b"a\x1db") == Typed(b"a", detaches=True)
    assert DetachKeys("C-]").feed(b"\x1b[93;5u") == Typed(b"", detaches=True)


def test_none_detaches_by_no_key() -> None:
    keys = DetachKeys("none")
    typed = bytes(range(256)) + b"\x1cd"

    assert keys.shown == ""
    assert keys.feed(typed) == Typed(typed)


def test_a_long_paste_passes() -> None:
    paste = bytes(b for b in range(256) if b != 0x1C) * 4000

    assert DetachKeys().feed(paste) == Typed(paste)


def test_no_key_is_looked_for_between_the_marks_of_a_paste() -> None:
    keys = DetachKeys()
    paste = START + b"\x1cd\x1cx" + END

    assert keys.feed(paste + b"\x1cd") == Typed(paste, detaches=True)


def test_prefix_before_a_paste_is_swallowed_and_the_paste_passes() -> None:
    paste = START + b"\x1cd" + END

    assert DetachKeys().feed(b"\x1c" + paste) == Typed(paste, rings=True)


@given(st.data(), st.sampled_from(["C-\\ d", "C-]"]))
def test_cuts_anywhere_change_nothing(data: st.DataObject, text: str) -> None:
    pieces = st.sampled_from([b"\x1c", b"\x1d", b"d", b"x", START, END, b"\x1b[A", b"\x1c\x1c"])
    typed = b"".join(data.draw(st.lists(pieces, max_size=12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(typed)), max_size=6)))
    # ESC alone is a key, so that no cut comes behind one.
    cuts = [cut for cut in cuts if not typed[:cut].endswith(b"\x1b")]
    whole = DetachKeys(text).feed(typed)

    keys, passed, detaches, rings = DetachKeys(text), b"", False, False
    for start, end in zip([0, *cuts], [*cuts, len(typed)], strict=True):
        if not detaches:
            piece = keys.feed(typed[start:end])
            passed, detaches = passed + piece.passed, piece.detaches
            rings = rings or piece.rings

    assert Typed(passed, detaches, rings) == whole

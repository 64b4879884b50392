"""Keys by name, and those with which one detaches."""

from __future__ import annotations

import pytest

from ptymux.cli.options.key_names import DetachKeys, key_bytes
from ptymux.errors import InvalidValueError


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("C-c", b"\x03"),
        ("c-C", b"\x03"),
        ("C-\\", b"\x1c"),
        ("C-Space", b"\0"),
        ("C-@", b"\0"),
        ("C-?", b"\x7f"),
        ("C--", None),
        ("Enter", b"\r"),
        ("ESC", b"\x1b"),
        ("Tab", b"\t"),
        ("S-Tab", b"\x1b[Z"),
        ("BSpace", b"\x7f"),
        ("Up", b"\x1b[A"),
        ("C-Right", b"\x1b[1;5C"),
        ("M-S-Up", b"\x1b[1;4A"),
        ("Home", b"\x1b[H"),
        ("PgDn", b"\x1b[6~"),
        ("C-Delete", b"\x1b[3;5~"),
        ("F1", b"\x1bOP"),
        ("S-F4", b"\x1b[1;2S"),
        ("F5", b"\x1b[15~"),
        ("F12", b"\x1b[24~"),
        ("M-x", b"\x1bx"),
        ("M-Enter", b"\x1b\r"),
        ("C-M-a", b"\x1b\x01"),
        ("S-a", b"A"),
        ("a", b"a"),
        ("-", b"-"),
        ("é", "é".encode()),
        ("", None),
        ("F13", None),
        ("Ctrl-c", None),
        ("C-", None),
        ("C-C-c", None),
        ("C-é", None),
        ("\x03", None),
    ],
)
def test_name_of_a_key(name: str, sent: bytes | None) -> None:
    if sent is not None:
        assert key_bytes(name) == sent
        return

    with pytest.raises(InvalidValueError):
        key_bytes(name)


@pytest.mark.parametrize("text", ["", "d", "C-a b c", "Up d", "C-a Up", "C-a M-x"])
def test_detach_keys_are_a_control_key_and_another(text: str) -> None:
    with pytest.raises(InvalidValueError, match="--detach-keys"):
        DetachKeys(text)


@pytest.mark.parametrize(
    ("typed", "passed", "detaches"),
    [
        (b"ls\r", b"ls\r", False),
        (b"ls\x1cd", b"ls", True),
        (b"\x1c\x1c", b"\x1c", False),
        (b"\x1c\x1cd", b"\x1cd", False),
        (b"\x1cx", b"\x1cx", False),
        (b"\x1c", b"", False),
        (b"a\x1cdrest", b"a", True),
        (b"\x1b[92;5u\x1b[100u", b"", True),  # kitty
        (b"\x1b[92;5:1u\x1b[92;5:3u\x1b[57442;5:3ud", b"", True),  # with releases
        (b"\x1b[92;133ud", b"", True),  # with num lock
        (b"\x1b[27;5;92~d", b"", True),  # xterm
        (b"\x1b[92;5u\x1b[92;5u", b"\x1b[92;5u", False),
        (b"\x1b[92;5ux", b"\x1b[92;5ux", False),
        (b"\x1b[92;6u\x1b[97;5u\x1b[A", b"\x1b[92;6u\x1b[97;5u\x1b[A", False),
        (b"\x1b[92;5:3ud", b"\x1b[92;5:3ud", False),  # only a release
    ],
)
def test_prefix(typed: bytes, passed: bytes, detaches: bool) -> None:
    assert DetachKeys().feed(typed) == (passed, detaches)


def test_prefix_and_key_may_come_apart() -> None:
    keys = DetachKeys("C-a q")

    assert keys.feed(b"x\x01") == (b"x", False)
    assert keys.feed(b"q") == (b"", True)


def test_prefix_alone_takes_d() -> None:
    keys = DetachKeys("C-]")

    assert keys.shown == "C-] d"
    assert keys.feed(b"\x1c\x1dd") == (b"\x1c", True)


def test_a_long_paste_passes() -> None:
    paste = bytes(b for b in range(256) if b != 0x1C) * 4000

    assert DetachKeys().feed(paste) == (paste, False)

"""Keys by name."""

from __future__ import annotations

import pytest

from ptymux.cli.options.key_names import key_bytes
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

"""Keys by name."""

from __future__ import annotations

import pytest

from ptymux.core.key_names import is_key_word, key_bytes
from ptymux.core.terminal_modes import TerminalModes
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
        ("Ctr-c", None),
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


@pytest.mark.parametrize(
    ("modes", "name", "sent"),
    [
        (b"", "Up", b"\x1b[A"),
        (b"\x1b[?1h", "Up", b"\x1bOA"),
        (b"\x1b[?1h", "End", b"\x1bOF"),
        (b"\x1b[?1h", "C-Up", b"\x1b[1;5A"),
        (b"\x1b[?1h", "F5", b"\x1b[15~"),
        (b"\x1b[?67h", "BSpace", b"\x08"),
        (b"\x1b[?67h", "C-?", b"\x7f"),
        (b"\x1b[20h", "Enter", b"\r\n"),
        (b"\x1b[>1u", "Esc", b"\x1b[27u"),
        (b"\x1b[>1u", "C-c", b"\x1b[99;5u"),
        (b"\x1b[>1u", "M-x", b"\x1b[120;3u"),
        (b"\x1b[>1u", "x", b"x"),
        (b"\x1b[>1u", "Enter", b"\r"),
        (b"\x1b[=9u", "x", b"\x1b[120u"),
        (b"\x1b[=9u", "Enter", b"\x1b[13u"),
        (b"\x1b[>1u\x1b[<u", "Esc", b"\x1b"),
    ],
)
def test_key_in_a_terminal_with_modes(modes: bytes, name: str, sent: bytes) -> None:
    terminal = TerminalModes()
    terminal.see(modes)

    assert key_bytes(name, terminal) == sent


@pytest.mark.parametrize(
    ("name", "same"),
    [
        *(("Ctrl-C", "C-c"), ("ctrl+c", "C-c"), ("^C", "C-c"), ("^[", "Esc"), ("^?", "Backspace")),
        *(("Alt-x", "M-x"), ("Meta+x", "M-x"), ("Shift-Tab", "S-Tab"), ("Control-Alt-x", "C-M-x")),
        *(("KPEnter", "Enter"), ("KP_Enter", "Enter"), ("KP7", "7"), ("Page_Up", "PageUp")),
        *(("Del", "Delete"), ("Ctrl-Up", "C-Up"), ("BackTab", "S-Tab")),
    ],
)
def test_keys_have_the_spellings_of_others_too(name: str, same: str) -> None:
    assert key_bytes(name) == key_bytes(same)


def test_keys_without_a_byte_of_their_own_are_sent_as_xterm_does() -> None:
    assert key_bytes("C-Tab") == b"\x1b[27;5;9~"
    assert key_bytes("S-Enter") == b"\x1b[27;2;13~"


@pytest.mark.parametrize(("name", "meant"), [("Entr", "enter"), ("C-PageDwn", "pagedown")])
def test_a_key_that_is_nearly_one_is_understood(name: str, meant: str) -> None:
    with pytest.raises(InvalidValueError, match=f"did you mean '{meant}'"):
        key_bytes(name)


@pytest.mark.parametrize("word", ["Up", "C-c", "^C", "Ctrl-C", "KP_Enter", "F5", "M-x", "Entr"])
def test_a_word_that_names_a_key_is_told_from_others(word: str) -> None:
    assert is_key_word(word)


@pytest.mark.parametrize("word", ["", "x", "2", "-", "^", "name", "1,2", "--key", "file.txt"])
def test_a_word_that_names_no_key_is_told_from_those_that_do(word: str) -> None:
    assert not is_key_word(word)

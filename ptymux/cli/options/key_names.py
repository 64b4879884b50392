"""Names of keys such as C-c: the bytes that a terminal sends for them, and the keys that detach."""

from __future__ import annotations

import re
from typing import Final

from ptymux.errors import InvalidValueError

__all__ = ["DEFAULT_DETACH", "DetachKeys", "key_bytes"]

DEFAULT_DETACH: Final = "C-\\ d"

_PLAIN: Final = {
    "enter": b"\r",
    "return": b"\r",
    "tab": b"\t",
    "btab": b"\x1b[Z",
    "esc": b"\x1b",
    "escape": b"\x1b",
    "space": b" ",
    "backspace": b"\x7f",
    "bspace": b"\x7f",
}
# Final letter, or number before a tilde. Source: XTerm Control Sequences, PC-style function keys.
# Limit: a program that switched on application cursor keys gets the ordinary ones; most take both.
_LETTERS: Final = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}
_NUMBERS: Final = {
    "insert": 2,
    "ic": 2,
    "delete": 3,
    "dc": 3,
    "pageup": 5,
    "pgup": 5,
    "ppage": 5,
    "pagedown": 6,
    "pgdn": 6,
    "npage": 6,
} | dict(zip((f"f{n}" for n in range(5, 13)), (15, 17, 18, 19, 20, 21, 23, 24), strict=True))
_FUNCTIONS: Final = {"f1": "P", "f2": "Q", "f3": "R", "f4": "S"}

_SHIFT, _ALT, _CONTROL = 1, 2, 4  # as terminals count modifiers
_MODIFIERS: Final = {"S-": _SHIFT, "M-": _ALT, "C-": _CONTROL}
_EXPECTED: Final = "a key such as C-c, Enter, Up, F5, M-x or S-Tab"


def key_bytes(name: str) -> bytes:
    """Return the bytes that a terminal sends for a key: a character or a word, after C-, M- and S-.

    Raises:
        InvalidValueError: there is no such key.
    """
    modifiers, base = 0, name
    while len(base) > 2 and (bit := _MODIFIERS.get(base[:2].upper(), 0)) and not modifiers & bit:
        modifiers, base = modifiers | bit, base[2:]
    found = _special(base.lower(), modifiers) or _character(base, modifiers)
    if found is None:
        raise InvalidValueError("key", name, _EXPECTED)
    return found


def _special(word: str, modifiers: int) -> bytes | None:
    if word == "tab" and modifiers == _SHIFT:
        return _PLAIN["btab"]
    if word in _LETTERS or word in _FUNCTIONS:
        letter = _LETTERS.get(word) or _FUNCTIONS[word]
        if modifiers:
            return f"\x1b[1;{modifiers + 1}{letter}".encode()
        return f"\x1b{'[' if word in _LETTERS else 'O'}{letter}".encode()
    if word in _NUMBERS:
        more = f";{modifiers + 1}" if modifiers else ""
        return f"\x1b[{_NUMBERS[word]}{more}~".encode()
    return None


def _character(base: str, modifiers: int) -> bytes | None:
    data = _PLAIN.get(base.lower()) or (base.encode(errors="replace") if len(base) == 1 else None)
    if data is None or (len(base) == 1 and not base.isprintable()):
        return None
    if modifiers & _SHIFT:
        if not base.isalpha() or len(base) > 1:
            return None
        data = base.upper().encode()
    if modifiers & _CONTROL:
        control = _control(data)
        if control is None:
            return None
        data = control
    return b"\x1b" + data if modifiers & _ALT else data


def _control(data: bytes) -> bytes | None:
    if data == b"?":
        return b"\x7f"
    if data == b" ":
        return b"\0"
    upper = data.upper()
    return bytes([upper[0] & 0x1F]) if len(upper) == 1 and 0x40 <= upper[0] <= 0x5F else None


# A key as kitty's protocol and as xterm's modifyOtherKeys send it.
_CODED: Final = re.compile(
    rb"\x1b\[(?:27;(?P<xterm_mods>[0-9]{1,3});(?P<xterm>[0-9]{1,7})~"
    rb"|(?P<kitty>[0-9]{1,7})(?::[0-9:]{0,20})?"
    rb"(?:;(?P<mods>[0-9]{0,3})(?::(?P<event>[0-9]))?(?:;[0-9:]{0,40})?)?u)"
)
_LOCKS: Final = 64 | 128  # caps and num; they change nothing
_RELEASED: Final = b"3"
_MODIFIER_KEYS: Final = range(57441, 57455)  # Source: kitty's keyboard protocol, functional keys


class DetachKeys:
    """Finds the keys that detach in what is typed: a prefix and the key after it.

    The prefix typed twice reaches the program once. Before any other key it reaches it, too.
    Keys are recognised as bytes and in the keyboard protocols of kitty and xterm.
    """

    def __init__(self, text: str = DEFAULT_DETACH) -> None:
        """Take a prefix such as `C-a`, and after a blank the key that detaches, `d` by default.

        Raises:
            InvalidValueError: it is something else.
        """
        words = text.split()
        keys = [key_bytes(word) for word in words]
        if not 1 <= len(keys) <= 2 or any(len(key) != 1 for key in keys) or keys[0] >= b" ":
            expected = "a key with Control such as C-a, then one that detaches: C-a d"
            raise InvalidValueError("--detach-keys", text, expected)
        self.shown = " ".join([*words, "d"][:2])
        self._prefix, self._detach = keys[0][0], [*keys, b"d"][1][0]
        self._search = re.compile(re.escape(keys[0]) + b"|" + _CODED.pattern)
        self._held = b""  # a prefix that waits for the key after it

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Take typed bytes; return those for the program, and whether to detach.

        What follows the keys that detach is dropped.
        """
        if not self._held and self._search.search(data) is None:
            return data, False
        passed = b""
        at = 0
        while at < len(data):
            if self._held:
                token, key = _next_key(data, at)
                at += len(token)
                if key is None and token:
                    continue
                if key == self._detach:
                    self._held = b""
                    return passed, True
                passed += token if key == self._prefix else self._held + token
                self._held = b""
                continue
            found = self._find_prefix(data, at)
            if found is None:
                return passed + data[at:], False
            passed += data[at : found.start()]
            self._held, at = found[0], found.end()
        return passed, False

    def _find_prefix(self, data: bytes, at: int) -> re.Match[bytes] | None:
        for found in self._search.finditer(data, at):
            if _next_key(data, found.start())[1] == self._prefix:
                return found
        return None


def _next_key(data: bytes, at: int) -> tuple[bytes, int | None]:
    """Return the key at `at` as it was sent, and its byte; None for what is no press of a key."""
    coded = _CODED.match(data, at)
    if coded is None:
        return data[at : at + 1], data[at]
    code = int(coded["kitty"] or coded["xterm"])
    modifiers = int(coded["mods"] or coded["xterm_mods"] or 1) - 1 & ~_LOCKS
    if coded["event"] == _RELEASED or code in _MODIFIER_KEYS:
        return coded[0], None
    if modifiers == _CONTROL and 0x40 <= code < 0x80:
        return coded[0], code & 0x1F
    return coded[0], code if code < 0x80 and not modifiers else -1

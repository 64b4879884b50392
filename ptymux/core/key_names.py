"""Names of keys such as C-c, and the bytes that a terminal sends for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ptymux.core.words import closest
from ptymux.errors import InvalidValueError

if TYPE_CHECKING:
    from ptymux.core.terminal_modes import TerminalModes

__all__ = ["is_key_word", "key_bytes"]

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
    "kpenter": b"\r",
    "cr": b"\r",
    "lf": b"\n",
    "backtab": b"\x1b[Z",
    **{f"kp{digit}": digit.encode() for digit in "0123456789"},
    "kpplus": b"+",
    "kpminus": b"-",
    "kpstar": b"*",
    "kpmultiply": b"*",
    "kpslash": b"/",
    "kpdivide": b"/",
    "kpdot": b".",
    "kpperiod": b".",
    "kpequal": b"=",
}
# Final letter, or number before a tilde. Source: XTerm Control Sequences, PC-style function keys.
_LETTERS: Final = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}
_NUMBERS: Final = {
    "insert": 2,
    "ic": 2,
    "ins": 2,
    "delete": 3,
    "dc": 3,
    "del": 3,
    "pageup": 5,
    "pgup": 5,
    "ppage": 5,
    "prior": 5,
    "pagedown": 6,
    "pgdn": 6,
    "npage": 6,
    "next": 6,
} | dict(zip((f"f{n}" for n in range(5, 13)), (15, 17, 18, 19, 20, 21, 23, 24), strict=True))
_FUNCTIONS: Final = {"f1": "P", "f2": "Q", "f3": "R", "f4": "S"}

# Source: XTerm Control Sequences, DECSET; kitty's keyboard protocol, progressive enhancement.
_APPLICATION_CURSOR: Final = 1
_BACKSPACE_IS_CONTROL_H: Final = 67
_ALL_AS_CODES: Final = 8
_ESCAPE: Final = 27
_BACKSPACE: Final = ("backspace", "bspace")
_KITTY: Final = {
    "enter": 13,
    "return": 13,
    "tab": 9,
    "esc": _ESCAPE,
    "escape": _ESCAPE,
    "space": 32,
    "backspace": 127,
    "bspace": 127,
}

_WORDS: Final = (*_PLAIN, *_LETTERS, *_NUMBERS, *_FUNCTIONS)
_NEARLY: Final = 0.8  # as difflib measures it: `name` is not `npage`

_SHIFT, _ALT, _CONTROL = 1, 2, 4  # as terminals count modifiers
_MODIFIERS: Final = {
    **dict.fromkeys(("s", "shift"), _SHIFT),
    **dict.fromkeys(("m", "alt", "meta", "option"), _ALT),
    **dict.fromkeys(("c", "ctrl", "control"), _CONTROL),
}
_MODIFIER: Final = re.compile(rf"({'|'.join(_MODIFIERS)})[-+](?=.)", re.IGNORECASE | re.DOTALL)
_OTHERS: Final = {"enter": 13, "return": 13, "kpenter": 13, "tab": 9, "esc": 27, "escape": 27}
_EXPECTED: Final = "a key such as C-c, Ctrl-C, ^C, Enter, Up, F5, M-x or S-Tab"


def key_bytes(name: str, modes: TerminalModes | None = None) -> bytes:
    """Return the bytes that a terminal sends for a key: a character or a word, after C-, M- and S-.

    Modifiers can be spelled Ctrl, Alt and Shift, too, with a plus, and ^C is C-c. `modes` are those
    that the program switched on in the terminal; by default none.

    Raises:
        InvalidValueError: there is no such key.
    """
    modifiers, base = _parsed(name)
    found = _special(base.lower(), modifiers) or _character(base, modifiers)
    if found is None:
        raise InvalidValueError("key", name, _expected(base))
    return found if modes is None else _encoded(found, base, modifiers, modes)


def is_key_word(name: str) -> bool:
    """Whether this names a key, or nearly so: `Up`, `C-c` or `Entr`, and no lone character."""
    base = _parsed(name)[1].lower()
    if len(name) < 2 or _special(base, 0) or _character(base, 0):
        return len(name) > 1
    from difflib import get_close_matches  # takes 5 ms, and few need it

    return bool(get_close_matches(base, _WORDS, 1, cutoff=_NEARLY))


def _parsed(name: str) -> tuple[int, str]:
    """Return the modifiers of a key and what is left, without underscores as in `KP_Enter`."""
    if len(name) == 2 and name[0] == "^":
        return _CONTROL, name[1]
    modifiers, base = 0, name
    while (found := _MODIFIER.match(base)) and not modifiers & _MODIFIERS[found[1].lower()]:
        modifiers, base = modifiers | _MODIFIERS[found[1].lower()], base[found.end() :]
    return modifiers, base.replace("_", "") if len(base) > 1 else base


def _expected(base: str) -> str:
    meant = closest(base, _WORDS) if len(base) > 1 else None
    return _EXPECTED if meant is None else f"{_EXPECTED} (did you mean {meant!r}?)"


def _encoded(sent: bytes, base: str, modifiers: int, modes: TerminalModes) -> bytes:
    """Return what a terminal in these modes sends for a key, for which it usually sends `sent`."""
    word = base.lower()
    if word in _LETTERS and not modifiers and modes.has(_APPLICATION_CURSOR):
        return b"\x1bO" + sent[-1:]
    if flags := modes.kitty_flags:
        code = _KITTY.get(word) or (ord(base.lower()) if len(base) == 1 else None)
        changes = modifiers & (_ALT | _CONTROL) or code == _ESCAPE
        if code and (changes or flags & _ALL_AS_CODES):
            return f"\x1b[{code};{modifiers + 1}u".replace(";1u", "u").encode()
    if sent == b"\x7f" and word in _BACKSPACE and modes.has(_BACKSPACE_IS_CONTROL_H):
        return b"\x08"
    return sent + b"\n" if sent == b"\r" and modes.has("ansi20") else sent


def _special(word: str, modifiers: int) -> bytes | None:
    if word == "tab" and modifiers == _SHIFT:
        return _PLAIN["btab"]
    if word in _OTHERS and modifiers & ~_ALT:  # as xterm's modifyOtherKeys has them
        return f"\x1b[27;{modifiers + 1};{_OTHERS[word]}~".encode()
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

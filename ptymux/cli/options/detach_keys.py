"""The keys that detach, and how they are found in what is typed.

What a terminal sends is taken apart into keys, pastes and reports such as those of the mouse. Keys
are recognised as bytes and in the keyboard protocols of kitty and xterm. Between the marks of a
paste nothing is a key, so that pasted text cannot detach anybody.

Source: XTerm Control Sequences; kitty's keyboard protocol; ECMA-48 for the form of sequences.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ptymux.core.key_names import key_bytes
from ptymux.errors import InvalidValueError

__all__ = ["DEFAULT_DETACH", "DETACH_KEYS_HELP", "DetachKeys", "Typed"]

DEFAULT_DETACH: Final = "C-\\ d"
DETACH_KEYS_HELP: Final = (
    "On a terminal: a prefix and the key that detaches; one key that does so alone, such as C-]; "
    "or none. The prefix typed twice is sent once, C-z after it suspends this client, and a key "
    "that means nothing there is swallowed, with a bell."
)
_NONE: Final = "none"
_EXPECTED: Final = "a key with Control (C-]), such a key and one after it (C-a d), or none"

_PASTE: Final = b"\x1b[200~"
_PASTE_END: Final = b"\x1b[201~"
_CUT: Final = len(_PASTE) - 1  # bytes of a mark that the end of what was read may cut off

# A key as kitty's protocol and as xterm's modifyOtherKeys send it.
_CODED: Final = re.compile(
    rb"\x1b\[(?:27;(?P<xterm_mods>[0-9]{1,3});(?P<xterm>[0-9]{1,7})~"
    rb"|(?P<kitty>[0-9]{1,7})(?::[0-9:]{0,20})?"
    rb"(?:;(?P<mods>[0-9]{0,3})(?::(?P<event>[0-9]))?(?:;[0-9:]{0,40})?)?u)"
)
_SUSPEND: Final = 0x1A  # ^Z
_CONTROL: Final = 4  # as terminals count modifiers
_LOCKS: Final = 64 | 128  # caps and num; they change nothing
_RELEASED: Final = b"3"
_MODIFIER_KEYS: Final = range(57441, 57455)  # Source: kitty's keyboard protocol, functional keys

# One thing that a terminal sends. What is not finished is a key all the same: ESC is one.
_TOKEN: Final = re.compile(
    rb"\x1b\[M[\x20-\xff]{3}"  # the mouse, in its oldest form
    rb"|\x1b\[[0-?]{0,64}[ -/]{0,4}[@-~]"
    rb"|\x1bO[0-9;]{0,8}[@-~]"
    rb"|\x1b[\]P_^X][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"
    rb"|\x1b?(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|.)"
    rb"|\x1b",
    re.DOTALL,
)
_UNFINISHED: Final = re.compile(
    rb"\x1b(?:O|\[[0-?]{0,64}[ -/]{0,4})"
)  # the end of what was read cut it
# What a terminal reports without a key: focus, the mouse, sizes and answers to questions.
_REPORT: Final = re.compile(
    rb"\x1b\[(?:[IO]|M...|[<?>=][0-9;:]*.|[0-9;?]*\$y|[0-9;]*[cnt]|(?!1;)[0-9]+;[0-9]+R)"
    rb"|\x1b[\]P_^X].*(?:\x07|\x1b\\)",
    re.DOTALL,
)


class Typed(NamedTuple):
    """What became of typed bytes."""

    passed: bytes  # for the program
    detaches: bool = False
    rings: bool = False  # a key after the prefix meant nothing: the bell says so
    suspends: bool = False  # ^Z after the prefix: we are to stop


class DetachKeys:
    """Finds the keys that detach: one key, or a prefix and the key after it, or none.

    The prefix typed twice reaches the program once; ^Z after it suspends us. Any other key after
    it reaches nobody: it was meant for us, and might be one that kills.
    """

    def __init__(self, text: str = DEFAULT_DETACH) -> None:
        """Take a key such as `C-]`, a prefix and a key such as `C-a d`, or `none`.

        Raises:
            InvalidValueError: it is something else.
        """
        words = [] if text == _NONE else text.split()
        keys = [key_bytes(word) for word in words]
        if text != _NONE and (not 1 <= len(keys) <= 2 or any(len(key) != 1 for key in keys)):
            raise InvalidValueError("--detach-keys", text, _EXPECTED)
        if keys and keys[0] >= b" ":
            raise InvalidValueError("--detach-keys", text, _EXPECTED)
        self.shown = " ".join(words)  # empty: no key detaches
        self._prefix = keys[0][0] if keys else None
        self._detach = keys[1][0] if len(keys) == 2 else None  # None: the prefix does it alone
        start = [re.escape(keys[0]), _CODED.pattern, re.escape(_PASTE)] if keys else []
        self._search = re.compile(b"|".join(start))
        self._is_held = False  # a prefix waits for the key after it
        self._detaches = self._rings = self._suspends = False  # what was typed just now
        self._rest = b""  # of a key that came in part
        self._is_pasting = False
        self._before = b""  # the last bytes that passed; a mark of a paste may begin in them

    def feed(self, data: bytes) -> Typed:
        """Take typed bytes; return those for the program, and what else they mean.

        What follows the keys that detach is dropped.
        """
        if self._prefix is None:
            return Typed(data)
        data, self._rest = self._rest + data, b""
        passed: list[bytes] = []
        self._detaches = self._rings = self._suspends = False
        at = 0
        while at < len(data) and not self._detaches:
            if self._is_pasting:
                at = self._paste(data, at, passed)
            elif self._is_held:
                at = self._decide(data, at, passed)
            else:
                at = self._pass(data, at, passed)
        return Typed(b"".join(passed), self._detaches, self._rings, self._suspends)

    def _decide(self, data: bytes, at: int, passed: list[bytes]) -> int:
        """Act on what comes after a prefix; return up to where."""
        if _UNFINISHED.fullmatch(data, at):
            self._rest = data[at:]
            return len(data)
        token, key = _next_key(data, at)
        if token == _PASTE:  # nobody types that: the prefix was left alone
            self._is_held, self._rings = False, True
            return at
        if key is None:  # a report, or the release of a key; the key itself is to come
            passed.append(b"" if _CODED.fullmatch(token) else token)
            return at + len(token)
        self._is_held = False
        if key == self._detach:
            self._detaches = True
        elif key == self._prefix:
            passed.append(token)
        elif key == _SUSPEND:
            self._suspends = True
        else:
            self._rings = True
        return at + len(token)

    def _pass(self, data: bytes, at: int, passed: list[bytes]) -> int:
        """Pass bytes up to a prefix or a paste; return up to where."""
        before, self._before = self._before, b""
        if before and _PASTE in before + data[at : at + _CUT]:
            self._is_pasting = True
            return at
        for found in self._search.finditer(data, at):
            if found[0] == _PASTE:
                self._is_pasting = True
                passed.append(data[at : found.end()])
                return found.end()
            if _next_key(data, found.start())[1] == self._prefix:
                passed.append(data[at : found.start()])
                self._is_held = self._detach is not None
                self._detaches = not self._is_held
                return found.end()
        passed.append(data[at:])
        self._before = (before + data[at:])[-_CUT:]
        return len(data)

    def _paste(self, data: bytes, at: int, passed: list[bytes]) -> int:
        """Pass bytes up to the end of a paste; return up to where."""
        text = self._before + data[at:]
        end = text.find(_PASTE_END)
        if end < 0:
            passed.append(data[at:])
            self._before = text[-_CUT:]
            return len(data)
        stop = at + end + len(_PASTE_END) - len(self._before)
        passed.append(data[at:stop])
        self._before, self._is_pasting = b"", False
        return stop


def _next_key(data: bytes, at: int) -> tuple[bytes, int | None]:
    """Return what was sent at `at`, and which byte the key is; -1 for other keys, None for none."""
    found = _TOKEN.match(data, at)
    assert found is not None
    token = found[0]
    coded = _CODED.fullmatch(token)
    if coded is None:
        if _REPORT.fullmatch(token):
            return token, None
        return token, token[0] if len(token) == 1 else -1
    code = int(coded["kitty"] or coded["xterm"])
    modifiers = int(coded["mods"] or coded["xterm_mods"] or 1) - 1 & ~_LOCKS
    if coded["event"] == _RELEASED or code in _MODIFIER_KEYS:
        return token, None
    if modifiers == _CONTROL and 0x40 <= code < 0x80:
        return token, code & 0x1F
    return token, code if code < 0x80 and not modifiers else -1

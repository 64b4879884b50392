"""Turns the bytes that a terminal sends for typed keys into names of keys."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["KeyDecoder"]

_NAMES: Final = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"\x1b[5~": "pageup",
    b"\x1b[6~": "pagedown",
    b"\x1b[H": "home",
    b"\x1bOH": "home",
    b"\x1b[1~": "home",
    b"\x1b[F": "end",
    b"\x1bOF": "end",
    b"\x1b[4~": "end",
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
    b"\x03": "ctrl-c",
    b"\x0c": "ctrl-l",
    b"\x1a": "ctrl-z",
    b"\x1c": "ctrl-\\",
}
# One key: CSI or SS3 with its end, ESC with a letter, ESC, a character of UTF-8, any other byte.
_KEY: Final = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[ -~]|\x1b[^\x1b\[O]|\x1b|[\xc0-\xff][\x80-\xbf]+|.", re.DOTALL
)
_BEGUN: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")
_PASTE: Final = b"\x1b[200~"
_PASTED: Final = b"\x1b[201~"
_LONGEST: Final = 64  # bytes of a sequence that has begun and does not end


class KeyDecoder:
    """Cuts bytes into keys; pasted text gives none, as nobody meant it as commands."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_paste = False

    @property
    def is_waiting(self) -> bool:
        """Whether an escape sequence has begun; if nothing follows soon, it was the Esc key."""
        return bool(self._rest) and not self._is_paste

    def feed(self, data: bytes) -> list[str]:
        """Take bytes; return the keys that are complete by now: names, or characters themselves."""
        data, self._rest = self._rest + data, b""
        keys: list[str] = []
        while data:
            if self._is_paste:
                data = self._skip_paste(data)
                continue
            begun = _BEGUN.match(data)
            if begun is not None and len(data) < _LONGEST:
                self._rest = data
                break
            match = _KEY.match(data)
            assert match is not None
            key, data = match[0], data[match.end() :]
            self._is_paste = key == _PASTE
            keys += _named(key)
        return keys

    def flush(self) -> list[str]:
        """Return the key of a sequence that has begun and that nothing follows."""
        begun, self._rest = self._rest, b""
        return ["escape"] if begun == b"\x1b" else []

    def _skip_paste(self, data: bytes) -> bytes:
        _pasted, end, rest = data.partition(_PASTED)
        self._is_paste = not end
        if self._is_paste:
            self._rest = data[-len(_PASTED) + 1 :]
            return b""
        return rest


def _named(key: bytes) -> list[str]:
    if key in _NAMES:
        return [_NAMES[key]]
    text = key.decode("utf-8", "ignore")
    return [text] if len(text) == 1 and text.isprintable() else []

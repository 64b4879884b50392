"""The title that the terminal in front of the user has while it shows a PTY."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ptymux.cli.output.exit_summary import title as short_name
from ptymux.core.terminal_title import TITLE_LENGTH
from ptymux.core.units import printable

__all__ = ["title_sequence"]

# Terminals without a title, some of which would show what sets it.
_WITHOUT: Final = re.compile(r"$|dumb|linux|unknown|ansi|cons|vt[0-9]|emacs|eterm|sun|wy")
_KEEP: Final = b"\x1b[22;2t"  # the title that the terminal has, on its stack


def title_sequence(pty: Mapping[str, Any], term: str) -> bytes:
    """Return what keeps a terminal's title and gives it that of a PTY; nothing if it has none.

    A PTY whose program gave it none has its name and command.
    """
    if _WITHOUT.match(term.lower()):
        return b""
    command = printable(" ".join(map(str, pty.get("command") or ())))
    named = f"{printable(str(pty['name']))} — {command}" if pty.get("name") else command
    text = printable(str(pty.get("title") or "")) or named or short_name(pty)
    return _KEEP + b"\x1b]2;" + text[:TITLE_LENGTH].encode("utf-8", "replace") + b"\x07"

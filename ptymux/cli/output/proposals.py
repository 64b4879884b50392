"""Commands that a message proposes: they go to the server to which the one that was typed went."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # each error message needs this, and programs ask for those, too
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["with_socket"]

_OPTION: Final = "--socket"
# A command, in the quotes of a text or at the end of `[...; ptymux logs 3]`; none that only tells
# about ptymux itself, or has a socket.
_PROPOSED: Final = (
    r"(`|; )ptymux (?!--socket|completion\b|help\b|stress\b|version\b|[a-z ]*--help)(?=[a-z])"
)


def with_socket(text: str, argv: Sequence[str] | None = None) -> str:
    """Return a text with `--socket` in each command that it proposes, if that was typed.

    `argv` is what was typed, by default to this process.
    """
    path = _typed(sys.argv if argv is None else argv)
    if path is None or "ptymux " not in text:
        return text
    import re
    from shlex import quote

    option = f"{_OPTION} {quote(path)}"
    return re.sub(_PROPOSED, lambda found: f"{found[1]}ptymux {option} ", text)


def _typed(argv: Sequence[str]) -> str | None:
    """Return the path behind the last `--socket` before the command."""
    path = None
    words = iter(argv[1:])
    for word in words:
        if word == _OPTION:
            path = next(words, None)
        elif word.startswith(f"{_OPTION}="):
            path = word[len(_OPTION) + 1 :]
        else:
            break
    return path

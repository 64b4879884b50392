"""Prints JSON or text on stdout and messages on stderr, and fits texts into cells."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys

from ptymux.cli.output.proposals import with_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

__all__ = [
    "SCHEMA",
    "columns",
    "count_of",
    "has_colour",
    "json_line",
    "last_words_seconds",
    "paint",
    "print_json",
    "print_message",
    "print_text",
    "takes_blocks",
    "times",
    "warn_of_differences",
    "wrap",
]

SCHEMA: Final = 1  # of all JSON that commands print; `schema.json` has it

_HALF: Final = 300  # characters that are kept of either end of a long message
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "magenta": "35", "green": "32"}


def json_line(value: Mapping[str, Any]) -> str:
    """Return an object as a line of JSON in ASCII; what was no UTF-8 is \\udc80 to \\udcff."""
    return json.dumps(value, separators=(",", ":"))


def print_json(**members: Any) -> None:
    """Print an object as indented JSON, after the number of the schema."""
    print_text(json.dumps({"schema": SCHEMA, **members}, indent=2))


def print_text(text: str) -> None:
    """Print a text on stdout; what its encoding does not have becomes a question mark."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()


def print_message(text: str, prefix: str = "ptymux") -> None:
    """Print one line on stderr, after `prefix` and a colon; leave it out if stderr takes nothing.

    What a terminal would act upon is taken out, so that a name cannot draw. Commands in it go to
    the server that `--socket` named.
    """
    text = with_socket(" ".join(text.split()))
    words = "".join(char for char in text if char.isprintable())
    if len(words) > 2 * _HALF:
        words = f"{words[:_HALF]} ... {words[-_HALF:]}"
    line = f"{prefix}: {words}\n" if prefix else f"{words}\n"
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        # Past sys.stderr, whose buffer would be tried again at exit and change the exit code.
        if poll.poll(0) or poll.poll(1000 * last_words_seconds()):
            os.write(2, line.encode(errors="replace"))


def last_words_seconds() -> float:
    """Return how long a full stderr is waited for; what it does not take then is left out."""
    from ptymux.core.windows import Windows  # rarely needed, and commands must start fast

    return Windows.from_environment(os.environ).last_words


def count_of(count: int, noun: str, plural: str = "") -> str:
    """Return `1 PTY` or `3 PTYs`."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def warn_of_differences(found: Sequence[str]) -> None:
    """Print on stderr what the server, and so a command that it starts, does not have as we do."""
    if found:
        print_message(
            f"the command runs as the server does, without our {', '.join(found)}; "
            "`ptymux --socket PATH run` starts a server from here"
        )


def times(count: int) -> str:
    """Return how often something was: never, once or `3 times`."""
    return "never" if not count else "once" if count == 1 else f"{count:,} times"


def has_colour() -> bool:
    """Whether stdout is a terminal, and colours are wanted."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return not plain and sys.stdout.isatty()


def columns(elsewhere: int) -> int:
    """Return how many columns there are: what COLUMNS says, else the terminal at stdout has.

    Where there is none it is `elsewhere`.
    """
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    with contextlib.suppress(OSError):
        return os.get_terminal_size(sys.stdout.fileno()).columns or elsewhere
    return elsewhere


def takes_blocks() -> bool:
    """Whether the encoding of stdout has the characters that bars are drawn with."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def paint(text: str, style: str, *, colour: bool) -> str:
    """Return the text in a style, if colours are wanted."""
    return f"\033[{_STYLES[style]}m{text}\033[0m" if colour and style and text else text


def wrap(text: str, width: int) -> list[str]:
    """Return the text in pieces of at most `width` cells, broken at blanks where there are any."""
    from ptymux.core.cells import cells, fitting  # programs ask for JSON, which is not wrapped

    pieces = []
    while cells(text) > width:
        end = max(1, fitting(text, width))
        blank = text.rfind(" ", 1, end + 1)
        end = blank if blank > 0 else end
        pieces.append(text[:end].rstrip(" "))
        text = text[end:].lstrip(" ")
    return [*pieces, text]

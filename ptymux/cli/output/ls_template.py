"""The templates of `ptymux ls --format`: text with fields such as `{name}` in it."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any, Final

from ptymux.client import answers
from ptymux.core.cells import cells
from ptymux.core.model import ENDED_STATES
from ptymux.core.units import command_words, format_age, format_size, printable
from ptymux.core.words import closest
from ptymux.errors import InvalidValueError

__all__ = ["FIELDS", "Template"]

Pty = Mapping[str, Any]


def _age(pty: Pty, now: float) -> str:
    end = pty["updated_at"] if pty["state"] in ENDED_STATES else now
    return format_age(end - pty["created_at"])


def _ended(pty: Pty, now: float) -> str:
    return f"{format_age(now - pty['updated_at'])} ago" if pty["state"] in ENDED_STATES else ""


# Fields in the words of the table; besides these there are all that `--json` has.
FIELDS: Final[Mapping[str, Callable[[Pty, float], object]]] = {
    "id": lambda pty, _now: pty["pty_id"],
    "lane": lambda pty, _now: pty["lane_id"],
    "session": lambda pty, _now: pty["session_id"],
    "command": lambda pty, _now: command_words(pty["command"]),
    "age": _age,
    "ended": _ended,
    "used": lambda pty, _now: f"{pty['buffer']['utilization']:.0%}",
    "written": lambda pty, _now: format_size(pty["buffer"]["total_written"]),
    "dropped": lambda pty, _now: format_size(pty["buffer"]["total_dropped"]),
    "cpu": lambda pty, _now: "" if pty["cpu"] is None else f"{pty['cpu']:.0%}",
    "memory": lambda pty, _now: "" if pty["memory"] is None else format_size(pty["memory"]),
}
_KNOWN: Final = (
    *FIELDS,
    *(name for name in answers.Pty.__annotations__ if name not in FIELDS and name != "buffer"),
    *(f"buffer.{name}" for name in answers.Buffer.__annotations__),
)
_WIDTH: Final = re.compile(r"([<>^]?)([0-9]{0,4})", re.ASCII)
_ESCAPES: Final = {"\\t": "\t", "\\n": "\n", "\\\\": "\\"}


class Template:
    """Text in which `{name}` stands for a field, and `{name:<10}` for it in ten cells at least."""

    def __init__(self, text: str) -> None:
        r"""Read a template; `\t` and `\n` in it are a tab and a newline, `{{` is a brace.

        Raises:
            InvalidValueError: it has a field that no PTY has, or cannot be read.
        """
        if "{{." in text:
            raise InvalidValueError("--format", text, "with fields such as {name}, not {{.Name}}")
        unescaped = re.sub(r"\\[tn\\]", lambda match: _ESCAPES[match[0]], text)
        try:
            self._pieces = list(string.Formatter().parse(unescaped))
        except ValueError:
            raise InvalidValueError("--format", text, "text with fields such as {name}") from None
        for _text, field, spec, conversion in self._pieces:
            if field is None:
                continue
            if field not in _KNOWN:
                raise InvalidValueError("--format", text, _guess(field))
            if conversion or not _WIDTH.fullmatch(spec or ""):
                raise InvalidValueError("--format", text, "with widths such as {name:<10} at most")

    @property
    def needs_usage(self) -> bool:
        """Whether it has fields that are measured: `cpu` and `memory` are to be in the PTYs."""
        return any(field in ("cpu", "memory") for _text, field, _spec, _conv in self._pieces)

    def fill(self, pty: Pty, now: float) -> str:
        """Return the text for one PTY; a field without a value is empty."""
        parts = []
        for text, field, spec, _conversion in self._pieces:
            parts.append(text)
            if field is not None:
                parts.append(_align(_value(pty, field, now), spec or ""))
        return "".join(parts)


def _guess(field: str) -> str:
    close = closest(field, _KNOWN)
    wrong = f"made of fields that there are: {{{printable(field)}}} is none"
    if close:
        return f"{wrong}, {{{close}}} is"
    return f"{wrong}; some are {', '.join(('number', 'name', 'shown', *FIELDS))}"


def _value(pty: Pty, field: str, now: float) -> str:
    if field in FIELDS:
        return printable(str(FIELDS[field](pty, now)))
    buffer, _, member = field.rpartition(".")
    value = pty["buffer"].get(member) if buffer else pty.get(field)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return printable(str(value))


def _align(text: str, spec: str) -> str:
    match = _WIDTH.fullmatch(spec)
    assert match is not None
    missing = max(0, int(match[2] or 0) - cells(text))
    if match[1] == ">":
        return " " * missing + text
    if match[1] == "^":
        return " " * (missing // 2) + text + " " * (missing - missing // 2)
    return text + " " * missing

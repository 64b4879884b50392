"""What to show of a command where there is little room: what tells it from others.

Forty rows that read `/usr/bin/python3 /home/me/too…` tell nothing. So where a command does not fit,
the folders, the interpreter and its options go first, and `env`, `nice` and the like before them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ptymux.core.cells import cells, cut, cut_amid
from ptymux.core.units import command_words, printable

__all__ = ["shorten", "shorten_all", "telling_name", "telling_words"]

# Programs that run another one: how many words stand before it, and which options take a word.
_WRAPPERS: Final[Mapping[str, tuple[int, str]]] = {
    "chrt": (1, "TPD"),
    "doas": (0, "uC"),
    "env": (0, "uCS"),
    "ionice": (0, "cn"),
    "nice": (0, "n"),
    "nohup": (0, ""),
    "setsid": (0, ""),
    "stdbuf": (0, "ioe"),
    "sudo": (0, "ugChpRrTtU"),
    "taskset": (1, ""),
    "time": (0, "fo"),
    "timeout": (1, "ks"),
}


@dataclass(frozen=True, slots=True)
class _Interpreter:
    """The letters of its options behind which a word of their own, or its program, stands."""

    takes_word: str = ""
    code: str = ""
    module: str = ""


# By their names without a version.
_SHELL: Final = _Interpreter("oO", code="c")
_INTERPRETERS: Final[Mapping[str, _Interpreter]] = {
    **dict.fromkeys(("bash", "dash", "fish", "ksh", "sh", "zsh"), _SHELL),
    **dict.fromkeys(("python", "pypy"), _Interpreter("WX", code="c", module="m")),
    **dict.fromkeys(("node", "nodejs", "tsx"), _Interpreter("r", code="ep")),
    **dict.fromkeys(("perl", "ruby"), _Interpreter("I", code="eE")),
    **dict.fromkeys(("lua", "luajit", "Rscript"), _Interpreter(code="e")),
    "php": _Interpreter(code="r"),
    "java": _Interpreter(module="m"),
}
_CODE: Final = frozenset(("--eval", "--print"))
_MODULE: Final = frozenset(("-jar", "--module"))
_PATHS: Final = frozenset(("-cp", "-classpath", "--class-path", "-p", "--module-path"))  # of java
_VERSION: Final = re.compile(r"[\d.]+\Z")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")


def telling_words(command: Sequence[str]) -> str:
    """Return a command without folders, interpreters and wrappers, safe to show.

    `python3 -u tools/worker.py --queue=a` is `worker.py --queue=a`, `bash -c LINE` is the line.
    """
    name, rest = _told(command)
    return printable(" ".join((name, *rest)))


def telling_name(command: Sequence[str]) -> str:
    """Return the first word of that, or the whole line of a shell: what to call the command."""
    return printable(_told(command)[0])


def shorten(command: Sequence[str], width: int, mark: str = "…") -> str:
    """Return what tells a command in at most `width` cells; all of it where there is room."""
    words = command_words(command)
    return words if cells(words) <= width else cut(telling_words(command), width, mark)


def shorten_all(commands: Sequence[Sequence[str]], width: int, mark: str = "…") -> list[str]:
    """Return each command in at most `width` cells.

    Those that look alike then, although they are not, are cut amid, so that their ends show.
    """
    short = [shorten(command, width, mark) for command in commands]
    whole = [command_words(command) for command in commands]
    by_look: dict[str, set[str]] = {}
    for look, words in zip(short, whole, strict=True):
        by_look.setdefault(look, set()).add(words)
    alike = Counter({look: len(words) for look, words in by_look.items()})
    return [
        cut_amid(telling_words(command), width, mark) if alike[look] > 1 else look
        for command, look in zip(commands, short, strict=True)
    ]


def _told(command: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return what a command is to be called, and the words after that."""
    words = _unwrapped(command)
    if not words:
        return "", ()
    name = _base(words[0])
    interpreter = _INTERPRETERS.get(_VERSION.sub("", name))
    return (name, words[1:]) if interpreter is None else _script(interpreter, name, words)


def _unwrapped(command: Sequence[str]) -> Sequence[str]:
    """Return the words of the program that runs in the end."""
    words = command
    while words and (wrapper := _WRAPPERS.get(_base(words[0]))) is not None:
        before, takes_word = wrapper
        at = 1
        while at < len(words) and (words[at].startswith("-") or _ASSIGNMENT.match(words[at])):
            at += 1 + _takes_word(words[at], takes_word)
        if at + before >= len(words):
            return words  # it runs nothing: `env` prints the environment
        words = words[at + before :]
    return words


def _script(
    interpreter: _Interpreter, name: str, words: Sequence[str]
) -> tuple[str, Sequence[str]]:
    """Return what an interpreter runs, and its arguments; the interpreter if it runs nothing."""
    at = 1
    while at < len(words):
        word, rest = words[at], words[at + 1 :]
        if _ends_with(word, interpreter.code) or (interpreter.code and word in _CODE):
            if not rest:
                break
            # Behind the line of a shell stands what the shell is to call itself.
            return rest[0], rest[2:] if interpreter is _SHELL else rest[1:]
        is_module = _ends_with(word, interpreter.module) or word in _MODULE
        if is_module or not word.startswith("-"):
            if is_module and not rest:
                break
            return (_base(rest[0]), rest[1:]) if is_module else (_base(word), rest)
        takes_word = _takes_word(word, interpreter.takes_word) or word in _PATHS
        at += 1 + takes_word
    return name, words[1:]


def _ends_with(option: str, letters: str) -> bool:
    """Whether short options, such as -c, -lc or -euxc, end in one of these letters."""
    is_short = len(option) > 1 and option[0] == "-" and option[1:].isalpha()
    return is_short and option[-1] in letters


def _takes_word(option: str, letters: str) -> bool:
    return len(option) == 2 and option[1] in letters


def _base(word: str) -> str:
    return word.rstrip("/").rpartition("/")[2] or word

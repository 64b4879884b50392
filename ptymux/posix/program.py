"""Programs: which file a command means, and why the kernel refused to execute it."""

from __future__ import annotations

import errno
import os
import stat
import struct

from ptymux.errors import (
    ArgumentsTooLongError,
    CommandNotFoundError,
    NotExecutableError,
    PtymuxError,
)
from ptymux.posix.resource_errors import resource_error

__all__ = ["find_program", "interpreter_of", "is_binary", "refusal", "search_paths"]

_SHELL_SYNTAX = frozenset(" \t\n|&;<>()$`\\\"'*?")
_SHELL_OPERATORS = frozenset(("|", "||", "&", "&&", ";", "<", ">", ">>", "2>&1"))
_SHELL_WORDS = frozenset(
    (
        *(
            ".",
            "alias",
            "bg",
            "cd",
            "declare",
            "eval",
            "exec",
            "exit",
            "export",
            "fg",
            "for",
            "hash",
        ),
        *(
            "history",
            "if",
            "jobs",
            "let",
            "local",
            "popd",
            "pushd",
            "set",
            "shift",
            "shopt",
            "source",
        ),
        *("trap", "ulimit", "umask", "unalias", "unset", "until", "while"),
    )
)
_HEAD = 4096  # bytes at the start of a file, which name its interpreter
_PT_INTERP = 3


def find_program(argv: tuple[str, ...], search_path: str, directory: int | None) -> str:
    """Return the path of the program `argv[0]`, searched as a child in `directory` would do it.

    `directory` is an fd, or None for the working directory of this process. The path may be
    relative to it; it contains a slash and does not begin with a dash. If the search path has a
    directory of that name, or a file without permission, the search goes on behind it.

    Raises:
        CommandNotFoundError: there is no such file.
        NotExecutableError: the file is a directory, or may not be executed.
    """
    name = argv[0]
    if "/" in name:
        (path,) = search_paths(name, search_path)
        _check_program(name, path, directory, argv)
        return path
    forbidden: NotExecutableError | None = None
    for path in search_paths(name, search_path):
        try:
            _check_program(name, path, directory, argv)
        except CommandNotFoundError:
            continue
        except NotExecutableError as error:
            forbidden = forbidden or (None if error.reason == "is a directory" else error)
            continue
        return path
    raise forbidden or CommandNotFoundError(name, _hint(argv))


def search_paths(name: str, search_path: str) -> list[str]:
    """Return the paths at which a command is looked for, in order; none begins with a dash."""
    paths = [name]
    if "/" not in name:
        paths = [f"{folder or '.'}/{name}" for folder in search_path.split(":")]
    return [f"./{path}" if path.startswith("-") else path for path in paths]


def _check_program(name: str, path: str, directory: int | None, argv: tuple[str, ...]) -> None:
    try:
        mode = os.stat(path, dir_fd=directory).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise CommandNotFoundError(name, _hint(argv)) from None
    except OSError as error:
        raise NotExecutableError(name, _words(error)) from None
    if stat.S_ISDIR(mode):
        raise NotExecutableError(name, "is a directory")
    if not os.access(path, os.X_OK, dir_fd=directory):
        raise NotExecutableError(name, "is not executable; chmod +x makes it so")


def _hint(argv: tuple[str, ...]) -> str:
    if _SHELL_SYNTAX.intersection(argv[0]) or _SHELL_OPERATORS.intersection(argv):
        return "; for a shell line: `ptymux run -c '...'`"
    variable, is_set, _value = argv[0].partition("=")
    if is_set and variable.isidentifier():
        return "; `ptymux run --env NAME=VALUE COMMAND` sets a variable"
    if argv[0] in _SHELL_WORDS:
        return f"; a shell knows it: `ptymux run -c '{argv[0]} ...'`"
    return ""


def _words(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()


def is_binary(path: str, directory: int | None) -> bool:
    """Return whether a file is binary, so that a shell cannot run it as a script either.

    Source: bash, which looks for a NUL in the first line; POSIX leaves the test open.
    """
    return b"\0" in _read_head(path, directory).partition(b"\n")[0]


def refusal(
    argv: tuple[str, ...], program: str, directory: int | None, error: OSError
) -> PtymuxError:
    """Return the exception for `error`, with which the kernel refused to execute `program`.

    The file is read again, to distinguish a missing program from a missing interpreter.
    """
    name = argv[0]
    if (shortage := resource_error(error)) is not None:
        return shortage
    match error.errno:
        case errno.E2BIG:
            return ArgumentsTooLongError(name)
        case errno.ENOEXEC:
            return NotExecutableError(name, "is not a program for this machine")
        case errno.ENOENT | errno.ENOTDIR | errno.EACCES:
            return _missing_part(argv, program, directory, error)
    return NotExecutableError(name, _words(error))


def _missing_part(
    argv: tuple[str, ...], program: str, directory: int | None, error: OSError
) -> PtymuxError:
    try:
        _check_program(argv[0], program, directory, argv)
    except PtymuxError as gone_meanwhile:
        return gone_meanwhile
    interpreter = interpreter_of(_read_head(program, directory))
    if interpreter:
        return NotExecutableError(argv[0], f"bad interpreter: {interpreter}: {_words(error)}")
    return NotExecutableError(argv[0], _words(error))


def _read_head(path: str, directory: int | None) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return b""  # a program may be executable and not readable
    try:
        return os.read(fd, _HEAD)
    except OSError:
        return b""
    finally:
        os.close(fd)


def interpreter_of(head: bytes) -> str:
    """Return the interpreter that the file names: in a script's first line, or an ELF loader.

    `head` is how the file begins; "" if it names none.
    """
    if head.startswith(b"#!"):
        words = head[2:].partition(b"\n")[0].strip(b" \t").split(b" ")
        # A CR at the line's end is a frequent cause, and would be invisible.
        return os.fsdecode(words[0]).replace("\r", "\\r")
    try:
        return os.fsdecode(_elf_loader(head))
    except (struct.error, IndexError):
        return ""


def _elf_loader(head: bytes) -> bytes:
    """Return the path of an ELF file's dynamic loader; b"" if `head` names none.

    Source: elf(5).
    """
    if head[:4] != b"\x7fELF":
        return b""
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
    entry_size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
    for at in range(table, table + entry_size * count, entry_size or 1):
        (kind,) = struct.unpack_from(order + "I", head, at)
        if kind == _PT_INTERP:
            word = order + ("Q" if wide else "I")
            (start,) = struct.unpack_from(word, head, at + (8 if wide else 4))
            (size,) = struct.unpack_from(word, head, at + (32 if wide else 16))
            return head[start : start + size].rstrip(b"\0")
    return b""

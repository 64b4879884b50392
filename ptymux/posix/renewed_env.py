"""Variables that follow whoever attaches: links beside the socket, renewed by each attach.

A detached shell has the environment of the terminal in which it was started. The agent socket and
the display that it names go away with that terminal. So the child gets the path of a link in place
of a path, and each client that attaches lets the link lead to what it has itself. What is no path,
such as DISPLAY, is kept as the target of a link all the same, for `ptymux env --refresh`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Final

from ptymux.errors import UnsafeDirectoryError
from ptymux.posix.runtime import ensure_directory, state_path

__all__ = ["RENEWED", "remove_links", "renew", "renewed"]

RENEWED: Final = ("SSH_AUTH_SOCK", "DISPLAY")  # unless the configuration has others

_MOST_LINKS: Final = 40  # Source: path_resolution(7)


def renew(socket: str, names: Iterable[str], env: Mapping[str, str]) -> dict[str, str]:
    """Let the links beside `socket` lead to what `env` has; return what a child gets instead.

    Those are the variables that have a path. Where no link can be made there are none.
    """
    folder = state_path(socket, "env")
    given: dict[str, str] = {}
    with contextlib.suppress(OSError, UnsafeDirectoryError):
        ensure_directory(os.path.dirname(socket))
        for name in names:
            value = env.get(name, "")
            link = os.path.join(folder, name)
            if not value or _leads_to(value, link):  # or we run in one of our PTYs
                continue
            os.makedirs(folder, mode=0o700, exist_ok=True)
            _point(link, value)
            if os.path.isabs(value):
                given[name] = link
    return given


def renewed(socket: str) -> dict[str, str]:
    """Return the variables as the client that attached last has them; paths by their links."""
    folder = state_path(socket, "env")
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder)):
            value = os.readlink(os.path.join(folder, name))
            found[name] = os.path.join(folder, name) if os.path.isabs(value) else value
    return found


def remove_links(socket: str) -> None:
    """Remove the links beside `socket`, and their folder, if possible."""
    folder = state_path(socket, "env")
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def _point(link: str, value: str) -> None:
    """Let `link` lead to `value`; whoever follows it meanwhile comes to the old or the new one."""
    with contextlib.suppress(OSError):
        if os.readlink(link) == value:
            return
    fresh = os.path.join(os.path.dirname(link), f".{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    os.symlink(value, fresh)
    os.replace(fresh, link)


def _leads_to(path: str, link: str) -> bool:
    """Whether `path` is `link`, or leads there by other links."""
    for _hop in range(_MOST_LINKS):
        if path == link:
            return True
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return False
    return True

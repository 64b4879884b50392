"""PTYs and lanes by name: how a shell completes them, and which one a mistyped name meant."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from ptymux.errors import PtymuxError, UnknownPtyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from click.shell_completion import CompletionItem

    _ParamType = click.ParamType[str]
else:
    _ParamType = click.ParamType  # older versions of click cannot subscript it

__all__ = ["ANY_PTY", "ENDED_PTY", "LANE", "PTY", "check_exact", "similar_pty"]


def similar_pty(word: str) -> str | None:
    """Return the name of a PTY that may have been meant by `word`, if there is one."""
    from difflib import get_close_matches

    try:
        ptys = _all_quickly()
    except PtymuxError:
        return None  # the mistake itself is reported
    names = {pty["name"] for pty in ptys if pty["name"]} - {word}  # which has ended
    close = get_close_matches(word, sorted(names), 1, cutoff=0.65)
    return close[0] if close else None


def check_exact(word: str, pty: Mapping[str, Any]) -> None:
    """Check that a PTY was named wholly: its beginning is enough for what only looks.

    Raises:
        UnknownPtyError: it was not.
    """
    if word not in (pty["pty_id"], str(pty["number"]), pty["name"]):
        raise UnknownPtyError(word)


def _all_quickly(ctx: click.Context | None = None) -> list[dict[str, Any]]:
    """Return all PTYs, or fail soon: nobody waits long for a hint."""
    from ptymux.cli.server_lookup import chosen_path
    from ptymux.client.listing import list_ptys
    from ptymux.client.server_connection import ServerConnection
    from ptymux.core.windows import Windows

    path, patience = chosen_path(ctx), Windows.from_environment(os.environ).suggestion
    with ServerConnection(path, patience, reply_timeout=patience) as connection:
        return list_ptys(connection.call, all=True).ptys


class _KnownName(_ParamType):
    """A name that the server knows; a shell completes it."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin with what is typed."""
        from click.shell_completion import CompletionItem

        try:
            words = dict(self._words(_all_quickly(ctx)))
        except PtymuxError:
            return []  # there is no place to say why
        return [CompletionItem(w, help=h) for w, h in words.items() if w.startswith(incomplete)]

    def _words(self, ptys: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        raise NotImplementedError


class _PtyName(_KnownName):
    """A PTY by id, number or name."""

    name = "PTY"

    def __init__(self, *, live: bool = True, ended: bool = False) -> None:
        self._wanted = (live, ended)

    def _words(self, ptys: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        from ptymux.core.model import ENDED_STATES
        from ptymux.core.units import printable

        for pty in ptys:
            if self._wanted[pty["state"] in ENDED_STATES]:
                word = pty["name"] or str(pty["number"])
                yield word, printable(" ".join(pty["command"]))[:40]


class _LaneName(_KnownName):
    """A lane that some PTY is in."""

    name = "LANE"

    def _words(self, ptys: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        for lane in sorted({pty["lane_id"] for pty in ptys}):
            yield lane, ""


PTY: Final = _PtyName()  # one that lives
ANY_PTY: Final = _PtyName(ended=True)  # for what looks only
ENDED_PTY: Final = _PtyName(live=False, ended=True)
LANE: Final = _LaneName()

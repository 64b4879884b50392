"""The PTY that a command runs in, which is meant where it names none."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ptymux.cli.options.pty_names import PTY
from ptymux.cli.server_lookup import chosen_path

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["complete_first", "own_pty", "own_pty_argument", "pty_and"]

_F = TypeVar("_F", bound=Callable[..., Any])


def own_pty(ctx: click.Context | None = None) -> str | None:
    """Return the id of the PTY that we run in; None if it is none of the server that is asked.

    `ctx` is the context of the command, by default of the one that runs.
    """
    own, socket = os.environ.get("PTYMUX_ID"), os.environ.get("PTYMUX_SOCKET")
    is_asked = bool(own and socket) and chosen_path(ctx) == os.path.abspath(socket or "")
    return own if is_asked else None


def own_pty_argument(type_: click.ParamType[str] = PTY) -> Callable[[_F], _F]:
    """Return a decorator for a command with an argument PTY, by default the one that we run in."""
    return click.argument("pty", type=type_, required=False, callback=_or_own)


def _or_own(ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is None and not ctx.resilient_parsing:
        value = own_pty(ctx)
        if value is None:
            raise click.UsageError("Missing argument 'PTY'", ctx)
    return value


def complete_first(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the PTYs that begin with what is typed, if it is the first word."""
    is_first = param.name is not None and not ctx.params.get(param.name)
    return PTY.shell_complete(ctx, param, incomplete) if is_first else []


def pty_and(words: tuple[str, ...], other: str) -> tuple[str, str]:
    """Return the PTY and what else was typed, which is called `other`; the PTY is ours by default.

    Raises:
        click.UsageError: there are too few words, or too many.
    """
    if len(words) > 2:
        raise click.UsageError(f"too many arguments ({' '.join(words[2:])})")
    own = own_pty() if len(words) == 1 else None
    if own is not None:
        return own, words[0]
    if len(words) < 2:
        missing = "PTY" if not words else other
        raise click.UsageError(f"Missing argument {missing!r}")
    return words[0], words[1]

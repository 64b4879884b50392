"""Programs and their arguments, as a shell completes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["complete_command"]


def complete_command(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the programs that begin with what is typed; of an argument, or a path, the files."""
    from click.shell_completion import CompletionItem

    is_first = param.name is not None and not ctx.params.get(param.name)
    if is_first and "/" not in incomplete:
        found = sorted(_programs(incomplete))
        if found:
            return [CompletionItem(name) for name in found]
    return [CompletionItem(incomplete, type="file")]


def _programs(beginning: str) -> set[str]:
    found = set()
    for folder in os.environ.get("PATH", os.defpath).split(":"):
        try:
            with os.scandir(folder or ".") as entries:
                names = [each.name for each in entries if each.name.startswith(beginning)]
        except OSError:
            continue
        found |= {name for name in names if os.access(os.path.join(folder, name), os.X_OK)}
    return found

"""`ptymux completion`: prints the script by which a shell completes commands and PTYs."""

from __future__ import annotations

import click

from ptymux.cli.options.param_types import OneOf
from ptymux.cli.output.printing import print_text

__all__ = ["completion"]


@click.command(
    epilog="""\b
Examples:
  eval "$(ptymux completion bash)"    in ~/.bashrc
  eval "$(ptymux completion zsh)"     in ~/.zshrc
  ptymux completion fish > ~/.config/fish/completions/ptymux.fish

It completes commands, options and the names of live PTYs.
"""
)
@click.argument("shell", type=OneOf("completion for", ["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what completes ptymux's commands and PTYs in a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root().command
    script = kind(root, {}, "ptymux", "_PTYMUX_COMPLETE")
    print_text(script.source_template % script.source_vars())

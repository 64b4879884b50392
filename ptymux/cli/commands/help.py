"""`ptymux help`: prints the help of a command, or a table for those who know tmux."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import click

from ptymux.cli.output.printing import print_json, print_text
from ptymux.core.units import printable
from ptymux.core.words import closest

__all__ = ["help_"]

# tmux, its key, ours, what has to exist for it.
_TMUX: Final = (
    ("tmux new -d -s web CMD", "", "ptymux run -d --name web CMD", "run"),
    ("tmux new CMD", "", "ptymux run CMD", "run"),
    ("tmux ls", "C-b s", "ptymux ls", "ls"),
    ("tmux ls -F FORMAT", "", "ptymux ls --format TEMPLATE", "ls"),
    ("tmux attach -t web", "", "ptymux attach web", "attach"),
    ("tmux attach -d -t web", "", "ptymux attach --only web", "attach"),
    ("tmux detach-client -s web", "", "ptymux detach web", "detach"),
    ("tmux choose-tree", "C-b w", "ptymux dashboard", "dashboard"),
    ("tmux send-keys -t web make Enter", "", "ptymux send --enter web make", "send"),
    ("tmux send-keys -t web C-c", "", "ptymux send web --key C-c", "send"),
    ("tmux wait-for CHANNEL", "", "ptymux wait web --text REGEX", "wait"),
    ("tmux capture-pane -p -t web", "", "ptymux capture web", "capture"),
    ("tmux capture-pane -p -S -", "", "ptymux logs --plain web", "logs"),
    ("tmux pipe-pane -t web CMD", "", "ptymux logs -f web | CMD", "logs"),
    ("tmux kill-session -t web", "C-b x", "ptymux kill web", "kill"),
    ("tmux rename-session -t web NAME", "C-b $", "ptymux rename web NAME", "rename"),
    ("tmux resize-window -x 120 -y 40", "", "ptymux resize web 120x40", "resize"),
    ("tmux clear-history -t web", "", "ptymux clear web", "clear"),
    ("tmux set-hook", "", "ptymux events -f --json | ...", "events"),
    ("tmux display-message -p FORMAT", "", "ptymux stats --json web", "stats"),
    ("tmux start-server", "", "ptymux server start", "server"),
    ("tmux kill-server", "", "ptymux server stop --force", "server"),
    ("tmux -S PATH", "", "ptymux --socket PATH", "ls"),
)


@click.command(
    "help",
    epilog="""\b
Examples:
  ptymux help tmux    what you know of tmux, and what it is here
  ptymux help run     the help of a command
""",
)
@click.argument("topic", required=False, metavar="[tmux | COMMAND]")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.pass_context
def help_(ctx: click.Context, topic: str | None, as_json: bool) -> None:
    """Show the help of ptymux or of a command, or what is what for those who know tmux."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    if topic == "tmux":
        _print_tmux(root.command.list_commands(root), as_json)
        return
    if as_json:
        raise click.UsageError("--json is for `help tmux`", ctx)
    if topic is not None and closest(topic, [*root.command.list_commands(root), "tmux"]) == "tmux":
        raise click.UsageError(f"no help on {printable(topic)!r}, did you mean 'tmux'", ctx)
    if topic is None:
        print_text(root.get_help())
        return
    command = root.command.resolve_command(root, [topic])[1]
    assert command is not None
    with click.Context(command, info_name=command.name, parent=root) as of_command:
        print_text(command.get_help(of_command))


def _print_tmux(commands: Collection[str], as_json: bool) -> None:
    rows = [row for row in _TMUX if row[3] in commands]
    if as_json:
        print_json(rows=[{"tmux": tmux, "key": key, "ptymux": ours} for tmux, key, ours, _ in rows])
        return
    lines = [("TMUX", "KEY", "PTYMUX"), *((tmux, key, ours) for tmux, key, ours, _ in rows)]
    wide = max(len(tmux) for tmux, _, _ in lines)
    print_text("\n".join(f"{tmux:<{wide}}  {key:<5}  {ours}" for tmux, key, ours in lines))

"""`ptymux dashboard`: shows all PTYs at a glance, live on a terminal, else once."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from ptymux.cli.options.param_types import OneOf
from ptymux.cli.options.pty_names import LANE
from ptymux.cli.output.printing import columns, print_json, print_message, print_text, takes_blocks
from ptymux.cli.output.proposals import with_socket
from ptymux.cli.server_lookup import chosen_path, connect
from ptymux.client.listing import list_ptys
from ptymux.core.model import ENDED_STATES
from ptymux.errors import PtymuxError

if TYPE_CHECKING:
    from ptymux.tui.choice import Visit
    from ptymux.tui.overview import Overview
    from ptymux.tui.widgets import Glyphs, Line

__all__ = ["dashboard"]

_SORTS: Final = ("rate", "drops", "trouble", "name", "age")
_PLAIN_WIDTH: Final = 160  # where nobody says how wide it is
_SVG_WIDTH: Final = 110
_BETWEEN_SECONDS: Final = 0.5  # two samples make a rate
_PAST_EVENTS: Final = 200

_EPILOG: Final = """\b
Examples:
  ptymux dashboard                  which PTY is noisy, stuck or losing data?
  ptymux top --lane ci --sort drops
  ptymux dashboard --once | less    one picture, plain
  ptymux dashboard --svg ptys.svg   one picture, in colour
  ptymux dashboard --json | jq '.ptys[] | [.number, .rate]'

? shows the keys; Enter opens the selected PTY, and its detach keys lead back. What failed stays
on top in red until somebody has looked at it. DROPPED is red, with a !, for what somebody attached
did not get; grey is what nobody read.
"""


@click.command(epilog=_EPILOG)
@click.option("--lane", type=LANE, help="Show one lane only.")
@click.option("--sort", type=OneOf("order", _SORTS), default="rate", show_default=True)
@click.option("--once", is_flag=True, help="Print one picture and exit.")
@click.option(
    "--svg", type=click.Path(dir_okay=False), metavar="FILE", help="Write one picture as SVG."
)
@click.option("--json", "as_json", is_flag=True, help="Print one sample, with rates, as JSON.")
def dashboard(lane: str | None, sort: str, once: bool, svg: str | None, as_json: bool) -> int:
    """Show all PTYs: utilization, rates, drops, backpressure and the last events.

    On a terminal it is live, elsewhere it is printed once.
    """
    if as_json:
        _print_sample(lane)
        return 0
    overview = _overview(lane, sort)
    if svg is not None:
        _sample(overview)
        _write_svg(overview, svg)
    elif once or not _can_be_live():
        _sample(overview)
        _print(overview)
    else:
        from ptymux.core.windows import Windows
        from ptymux.tui.overview_loop import OverviewLoop

        windows = Windows.from_environment(os.environ)
        return OverviewLoop(chosen_path(), overview, _glyphs(), windows, _visit).run()
    return 0


def _overview(lane: str | None, sort: str) -> Overview:
    from ptymux.tui.choice import Choice, Sort
    from ptymux.tui.overview import Overview
    from ptymux.tui.pty_samples import Model

    return Overview(Model(own=os.environ.get("PTYMUX_ID")), Choice(Sort(sort), lane))


def _visit(visit: Visit) -> int | None:
    """Attach to a live PTY, or print the end of what an ended one said; then come back."""
    if visit.is_live:
        status = _command("attach", visit.pty_id)
        # A signal to us ends an attach, too; but the PTY's own end by one is no matter of ours.
        return status if status > 128 and _is_live(visit.pty_id) else None
    print_message(f"[the end of what {visit.label} wrote]", prefix="")
    _command("logs", "--tail", str(max(1, _height() - 6)), visit.pty_id)
    _command("attach", visit.pty_id)  # which only says how it ended
    return None


def _command(*words: str) -> int:
    """Run a command of ours as if it were typed, with the user's configuration."""
    root = click.get_current_context().find_root().command
    try:
        status = root.main(["--socket", chosen_path(), *words], "ptymux", standalone_mode=False)
    except click.ClickException as error:  # as a mistake in the configuration
        raise PtymuxError(error.format_message()) from error
    return int(status or 0)


def _is_live(pty_id: str) -> bool:
    with connect() as connection:
        return connection.call("get", pty=pty_id)["pty"]["state"] not in ENDED_STATES


def _height() -> int:
    import shutil

    return shutil.get_terminal_size().lines


def _can_be_live() -> bool:
    return os.isatty(0) and os.isatty(1) and not _is_dumb()


def _is_dumb() -> bool:
    """Whether the terminal, if there is one, knows no escape codes."""
    return os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")


# One picture ---------------------------------------------------------------------------------


def _two_samples() -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Return all PTYs twice, and the seconds between."""
    with connect() as connection:
        before = list_ptys(connection.call, all=True).ptys
        first_at = time.monotonic()
        if before:
            time.sleep(_BETWEEN_SECONDS)  # what a rate is measured over
        after = list_ptys(connection.call, all=True).ptys
        return before, after, max(time.monotonic() - first_at, 1e-6)


def _sample(overview: Overview) -> None:
    """Fill an overview with two samples and the last events."""
    from ptymux.errors import NoServerError
    from ptymux.tui.source import NO_PTYS, last_events

    before, after, seconds = _two_samples()
    overview.model.take(before, 0.0)
    overview.model.take(after, seconds)
    overview.hint = with_socket(NO_PTYS)
    try:
        last_events(chosen_path(), _PAST_EVENTS, overview.news)
    except NoServerError:
        overview.hint = with_socket(f"no server runs; {NO_PTYS.partition('; ')[2]}")
    overview.choice.update(overview.model.rows, seconds)


def _print_sample(lane: str | None) -> None:
    before, after, seconds = _two_samples()
    written = {pty["pty_id"]: pty["buffer"]["total_written"] for pty in before}
    ptys = []
    for pty in after:
        new = pty["buffer"]["total_written"] - written.get(pty["pty_id"], 0)
        if lane in (None, pty["lane_id"]):
            ptys.append(pty | {"rate": round(new / seconds)})
    print_json(seconds=round(seconds, 3), rate=sum(pty["rate"] for pty in ptys), ptys=ptys)


def _print(overview: Overview) -> None:
    from ptymux.tui.overview import draw_list
    from ptymux.tui.painter import color_system, to_text

    styled = sys.stdout.isatty() and not _is_dumb()
    lines = draw_list(overview, columns(_PLAIN_WIDTH), time.time(), _glyphs())
    colors = color_system(os.environ)
    print_text("\n".join(to_text(line, colors, styled=styled) for line in lines))


def _glyphs() -> Glyphs:
    from ptymux.tui.widgets import ASCII, BLOCKS

    return BLOCKS if takes_blocks() else ASCII


def _apart(line: Line) -> Line:
    """Return the line with its blanks in pieces of their own: SVG drops those before a text."""
    from rich.segment import Segment

    pieces = []
    for text, style, _control in line:
        rest = text.lstrip(" ")
        pieces += [Segment(" " * (len(text) - len(rest)), style), Segment(rest, style)]
    return [piece for piece in pieces if piece.text]


def _write_svg(overview: Overview, path: str) -> None:
    import io

    from rich.console import Console
    from rich.segment import Segment, Segments

    from ptymux.tui.overview import draw_list

    width = columns(_SVG_WIDTH) if sys.stdout.isatty() else _SVG_WIDTH
    console = Console(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        legacy_windows=False,
    )
    for line in draw_list(overview, width, time.time()):
        console.print(Segments([*_apart(line), Segment.line()]), no_wrap=True, crop=False, end="")
    picture = console.export_svg(title="ptymux dashboard")
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(picture)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise click.ClickException(f"cannot write {path}: {reason}") from None

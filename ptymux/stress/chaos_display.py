"""The progress of `ptymux stress --chaos`: gauges on a terminal, else a line for each kill."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group
from rich.text import Text

from ptymux.core.units import format_size
from ptymux.stress.chaos import ChaosPlan
from ptymux.stress.chaos_runner import ChaosProgress
from ptymux.stress.live_display import Stage, bar

__all__ = ["ChaosDisplay", "chaos_frame"]


class ChaosDisplay(Stage):
    """Shows the progress of a run: `update` is what `run_chaos` calls.

    Elsewhere than on a terminal `say` gets a line for each kill.
    """

    def __init__(self, plan: ChaosPlan, say: Callable[[str], None]) -> None:
        super().__init__()
        self._plan = plan
        self._say = say
        self._kills = 0

    def update(self, progress: ChaosProgress) -> None:
        """Take the next progress."""
        kills, silence = progress.kills, progress.silence_seconds
        if (size := self.size) is not None:
            self.draw(chaos_frame(self._plan, kills, progress.offsets, silence, size[0]))
        elif kills > self._kills:
            got = format_size(sum(progress.offsets))
            self._say(f"[{kills}/{self._plan.kills}] the server was killed at {got}")
        self._kills = kills


def chaos_frame(
    plan: ChaosPlan, kills: int, offsets: Sequence[int], silence_seconds: float, width: int
) -> Group:
    """Return the picture of a run that goes on, at most `width` columns wide."""
    room = max(4, min(width, 100) - 18)
    lines = [
        Text.assemble(
            (plan.title, "bold"),
            f"  server killed {kills} of {plan.kills} times, ",
            f"longest silence {1000 * silence_seconds:.0f} ms",
            no_wrap=True,
            overflow="crop",
        )
    ]
    for reader, offset in zip(plan.readers, offsets, strict=True):
        share = offset / plan.child_bytes
        lines.append(
            Text.assemble(
                (f"{reader.name:<9}", "dim"),
                bar(share, room),
                f"{100 * share:>5.0f} %",
                no_wrap=True,
                overflow="crop",
            )
        )
    return Group(*lines)

"""Runs one command in the foreground of this process: in a pipe, or on a terminal."""

from __future__ import annotations

import asyncio
import time

from ptymux.cli.message import tell
from ptymux.cli.passage import Passage
from ptymux.cli.pipe import PipePassage
from ptymux.cli.terminal import TerminalPassage
from ptymux.core.escalation import signal_name
from ptymux.core.model import PtyRecord, SpawnOptions
from ptymux.core.output import BufferStats
from ptymux.core.units import format_duration, format_size, printable
from ptymux.posix.spawn import close_on_exec_from

__all__ = ["run_in_foreground"]

_NAME_LENGTH = 40  # of the command, in the line that sums it up


def run_in_foreground(
    options: SpawnOptions, *, on_terminal: bool, sized: bool, summary_of: str | None
) -> int:
    """Run a command until it ends; return the exit code to end with.

    On a terminal the size is the terminal's unless it is `sized`. `summary_of` is what the line
    that sums it up calls the command; None for no such line.

    Raises:
        PtymuxError: it could not be started, or its output has nowhere to go.
    """
    close_on_exec_from(3)
    started = time.monotonic()
    passage: Passage
    passage = TerminalPassage(options, sized=sized) if on_terminal else PipePassage(options)
    with asyncio.Runner() as runner:
        status = runner.run(passage.run())
    if summary_of is not None and passage.end is not None:
        tell(_summary(summary_of, *passage.end, time.monotonic() - started), who="")
    return status


def _summary(name: str, record: PtyRecord, stats: BufferStats, seconds: float) -> str:
    if record.signal is not None:
        end = f"killed ({signal_name(record.signal)})"
    else:
        end = f"exit {'unknown' if record.exit_code is None else record.exit_code}"
    return (
        f"[{printable(name)[:40]}: {end}, {format_duration(seconds)}, "
        f"{format_size(stats.total_written)}, {stats.total_dropped:,} dropped]"
    )

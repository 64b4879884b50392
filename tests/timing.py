"""How long tests wait: one unit of time, one factor that stretches it, one way to wait.

A deadline says when a test gives up, not how fast something has to be. It is so long that only
what is really broken reaches it. PTYMUX_TEST_FACTOR stretches it for a slow or busy machine; while
coverage is measured it is tripled, because processes then take about three times as long to start.
"""

from __future__ import annotations

import ast
import asyncio
import linecache
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Generic, TypeVar

__all__ = [
    "FACTOR",
    "Wait",
    "deadline_seconds",
    "deadline_text",
    "is_measured",
    "wait_until",
    "wait_until_async",
]

_UNIT_SECONDS: Final = 30.0  # far longer than anything that a test waits for takes
_FIRST_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.02
_LONGEST_SHOWN: Final = 1000  # characters of a value

T = TypeVar("T")


def is_measured() -> bool:
    """Whether coverage is measured, in this process or in those that it starts."""
    coverage = sys.modules.get("coverage")
    if coverage is not None and coverage.Coverage.current() is not None:
        return True
    return "COVERAGE_PROCESS_CONFIG" in os.environ


FACTOR: Final = float(os.environ.get("PTYMUX_TEST_FACTOR", "1")) * (3 if is_measured() else 1)


def deadline_seconds(units: float = 1) -> float:
    """Return how long to wait for what must happen; `units`: for what takes longer than most."""
    return units * _UNIT_SECONDS * FACTOR


def deadline_text(units: float = 1) -> str:
    """Return the same as the commands take it after `--timeout`."""
    return f"{deadline_seconds(units):.0f}s"


class Wait(Generic[T]):
    """One wait for a condition: a look at a time, with pauses that grow, until the deadline.

    `what` says what is waited for; without it the condition is shown as it is written. `ignoring`:
    errors that mean "not yet".
    """

    def __init__(
        self,
        condition: Callable[[], T],
        what: str = "",
        *,
        units: float = 1,
        ignoring: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> None:
        self.value: T | None = None  # what the condition was at the last look
        self._condition = condition
        self._what = what
        self._ignoring = ignoring
        self._error: Exception | None = None  # instead of a value
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._began = time.monotonic()
        self._deadline = self._began + deadline_seconds(units)

    def is_over(self) -> bool:
        """Look whether the condition has come true.

        Raises:
            AssertionError: it has not, and the deadline is past.
        """
        is_late = time.monotonic() > self._deadline  # before the look, so that the last one counts
        self.value, self._error = None, None
        try:
            self.value = self._condition()
        except self._ignoring as error:
            self._error = error
        if not self.value and is_late:
            raise AssertionError(self._failure())
        return bool(self.value)

    def next_pause(self) -> float:
        """Return how many seconds to leave until the next look."""
        pause = self._pause_seconds
        self._pause_seconds = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)
        return pause

    def result(self) -> T:
        """Return what made the condition true."""
        assert self.value is not None
        return self.value

    def _failure(self) -> str:
        seconds = time.monotonic() - self._began
        written = _as_written(self._condition)
        last = _short(self._error) if self._error else _values(self._condition, written)
        last = last or f"it is {_short(self.value)}"
        return f"waited {seconds:.1f} s for: {self._what or written}; in the end {last}"


def wait_until(
    condition: Callable[[], T],
    what: str = "",
    *,
    units: float = 1,
    ignoring: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Return what the condition is once it is true; see `Wait` for the rest.

    Raises:
        AssertionError: it did not come true within the deadline, which is broken.
    """
    wait = Wait(condition, what, units=units, ignoring=ignoring)
    while not wait.is_over():
        time.sleep(wait.next_pause())
    return wait.result()


async def wait_until_async(
    condition: Callable[[], T],
    what: str = "",
    *,
    units: float = 1,
    ignoring: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Do as `wait_until` while the event loop goes on."""
    wait = Wait(condition, what, units=units, ignoring=ignoring)
    while not wait.is_over():
        await asyncio.sleep(wait.next_pause())
    return wait.result()


# What a failure shows -------------------------------------------------------------------------


def _as_written(condition: Callable[[], object]) -> str:
    """Return the source of a lambda's body, or the name of anything else."""
    code = getattr(condition, "__code__", None)
    if code is None or code.co_name != "<lambda>":
        return str(getattr(condition, "__qualname__", condition))
    starts, ends = [], []
    for first, last, start, end in code.co_positions():
        if first and last and end:  # else an instruction that nobody wrote
            starts.append((first, start))
            ends.append((last, end))
    (first, start), (last, end) = min(starts), max(ends)
    lines = [linecache.getline(code.co_filename, number) for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    return " ".join(" ".join(lines).split())


def _values(condition: Callable[[], object], written: str) -> str:
    """Return what each part of a lambda's body is now: both sides of a comparison, for example."""
    code, cells = getattr(condition, "__code__", None), getattr(condition, "__closure__", None)
    if code is None or code.co_name != "<lambda>":
        return ""
    with suppress(Exception):  # whatever is not there any more
        scope = dict(getattr(condition, "__globals__", {}))
        scope |= zip(code.co_varnames, getattr(condition, "__defaults__", None) or (), strict=False)
        scope |= zip(code.co_freevars, (cell.cell_contents for cell in cells or ()), strict=True)
        parts = [ast.unparse(part) for part in _parts(ast.parse(written, mode="eval").body)]
        return ", ".join(f"{part} is {_short(eval(part, scope))}" for part in parts)
    return ""


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                yield from _parts(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from _parts(operand)
        case ast.Compare(left=left, comparators=others):
            yield from (side for side in (left, *others) if not isinstance(side, ast.Constant))
        case _:
            yield node


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."

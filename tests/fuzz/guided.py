"""A small fuzzer: bytes that reach new edges of ptymux are kept, and changed again.

hypothesis makes a target's values of the bytes; the edges are pairs of lines, seen by
`sys.settrace`. Slower than a fuzzer in C, and it needs nothing that is not there.
"""

from __future__ import annotations

import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FrameType, TracebackType
from typing import Any

import ptymux

__all__ = ["Found", "fuzz"]

_PACKAGE = os.path.dirname(ptymux.__file__) + os.sep
_LONGEST = 4096
_MOST_KEPT = 4000
_WORDS = (b"\0", b"\1", b"\xff", b"\x7f", b"\x80", bytes(8), b"\xff" * 8)

Edge = tuple[CodeType, int, int]
Feed = Callable[[bytes], bytes | None]
Target = Callable[[], None]


@dataclass(slots=True)
class Found:
    """What came of it."""

    seed: int
    seconds: float = 0.0
    executions: int = 0
    edges: set[Edge] = field(default_factory=set)
    kept: list[bytes] = field(default_factory=lambda: [b"", bytes(64)])
    findings: dict[str, str] = field(default_factory=dict)  # by where they are; as told

    def line(self) -> str:
        """Return it in one line."""
        return (
            f"{self.executions / self.seconds:6.0f} executions/s, {len(self.edges):4} edges, "
            f"{len(self.kept):4} inputs kept, {len(self.findings)} findings, "
            f"{self.seconds:.0f} s, seed {self.seed}"
        )


def fuzz(
    target: Target,
    seconds: float,
    seed: int | None = None,
    most_findings: int = 20,
    is_enough: Callable[[Found], bool] = lambda _found: False,
) -> Found:
    """Feed a hypothesis test with bytes for so long; what fails is a finding, once per place.

    `is_enough` is asked after each feeding, and ends it early.
    """
    found = Found(random.SystemRandom().randrange(1 << 32) if seed is None else seed)
    chance = random.Random(found.seed)
    feed: Feed = target.hypothesis.fuzz_one_input  # type: ignore[attr-defined]
    began = time.monotonic()
    while found.seconds < seconds and len(found.findings) < most_findings:
        data = _changed(chance, found.kept)
        before = len(found.edges)
        used = _run(feed, data, found)
        if used and len(found.edges) > before and len(found.kept) < _MOST_KEPT:
            found.kept.append(used)
        found.executions += 1
        found.seconds = time.monotonic() - began
        if is_enough(found):
            break
    return found


def _run(feed: Feed, data: bytes, found: Found) -> bytes | None:
    outer = sys.gettrace()
    sys.settrace(_tracer(found.edges))
    try:
        return feed(data)
    except Exception as error:
        sys.settrace(outer)
        found.findings.setdefault(_place(error), "".join(traceback.format_exception(error)))
        return None
    finally:
        sys.settrace(outer)


def _tracer(edges: set[Edge]) -> Callable[[FrameType, str, Any], Any]:
    def enter(frame: FrameType, _event: str, _arg: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            return None
        last = 0

        def step(frame: FrameType, event: str, _arg: Any) -> Any:
            nonlocal last
            if event == "line":
                edges.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step

    return enter


def _place(error: BaseException) -> str:
    """Return what failed where: the same for what is the same."""
    where: TracebackType | None = error.__traceback__
    place = ""
    while where is not None:
        name = where.tb_frame.f_code.co_filename
        if name.startswith(_PACKAGE) or "targets" in name:
            place = f"{name}:{where.tb_lineno}"
        where = where.tb_next
    return f"{type(error).__name__} {place}"


def _changed(chance: random.Random, kept: list[bytes]) -> bytes:
    """Return one of what was kept, changed in some places."""
    data = bytearray(chance.choice(kept))
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(1, 600))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) + 1)
        size = chance.randrange(1, 17)
        match chance.randrange(6):
            case 0:
                data[at : at + size] = chance.randbytes(min(size, len(data) - at))
            case 1:
                data[at:at] = chance.randbytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = chance.choice(_WORDS)
            case 4:
                other = chance.choice(kept)
                begin = chance.randrange(len(other) + 1)
                data[at:] = other[begin : begin + 4 * size * size]
            case _:
                data += chance.randbytes(4 * size)
    return bytes(data[:_LONGEST])

"""A search for a regular expression in a PTY's output as it comes, escape codes left out."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from ptymux.client.plain_text import Plain, Run
from ptymux.client.pty_reader import PtyReader
from ptymux.errors import InvalidValueError, WaitTimeoutError

__all__ = ["Found", "Matcher", "search"]

_WINDOW: Final = 64 * 1024  # bytes of text in which a match has to be


class Found(NamedTuple):
    """A match, and its offsets in the output, in which escape codes count."""

    text: str
    offset: int
    end: int


class Matcher:
    """A regular expression, searched for in text as it comes; `^` and `$` match at lines.

    The text is what a person sees: a line that is begun anew by a carriage return is a line as it
    was and as it becomes, and what was erased is gone.
    """

    def __init__(self, pattern: str) -> None:
        """Prepare to search for `pattern`; call `skip` with the offset of the first output.

        Raises:
            InvalidValueError: it is no regular expression.
        """
        try:
            self._pattern = re.compile(pattern, re.MULTILINE)
        except (re.error, OverflowError, RecursionError) as error:
            expected = f"a regular expression ({error})"
            raise InvalidValueError("the pattern", pattern, expected) from error
        self._plain = Plain(versions=True)
        self._text = b""
        self._places: list[tuple[int, int]] = []  # place in the text, offset in the output
        self._searched_from = 0  # 1: the first byte is what stood before the window

    def feed(self, data: bytes) -> Found | None:
        """Take more output; return the first match in it and what came before."""
        return self._search(self._plain.feed(data))

    def skip(self, offset: int) -> None:
        """Go on at `offset`, at the beginning or after a gap; no match goes across it."""
        self._plain.skip(offset)
        self._text, self._places, self._searched_from = b"", [], 0

    def finish(self) -> Found | None:
        """Return a match that needs the bytes held back, as no more output comes."""
        return self._search(self._plain.finish())

    def _search(self, runs: list[Run]) -> Found | None:
        """Search in complete lines, with these new ones, and in the one that is not complete."""
        self._add(runs)
        complete, places = len(self._text), len(self._places)
        self._add(self._plain.pending())
        text = self._text.decode(errors="surrogateescape")
        match = self._pattern.search(text, self._searched_from) if text else None
        if match is not None:
            start, end = (_size(text[:place]) for place in match.span())
            return Found(match[0], *self._offsets(start, end))
        self._text, self._places = self._text[:complete], self._places[:places]
        self._forget()
        return None

    def _add(self, runs: list[Run]) -> None:
        at = len(self._text)
        for run in runs:
            self._places.append((at, run.offset))
            at += len(run.data)
        self._text += b"".join(run.data for run in runs)

    def _offsets(self, start: int, end: int) -> tuple[int, int]:
        """Return where a match begins in the output, and where the last of it that came ends."""
        first = self._offset(start)
        if end == start:
            return first, first
        # What was overwritten in parts has offsets in no order.
        runs = (offset + min(end, after) - at for at, after, offset in self._runs(start, end))
        return first, max(runs)

    def _runs(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        index = bisect_right(self._places, start, key=lambda known: known[0]) - 1
        while index < len(self._places) and self._places[index][0] < end:
            at, offset = self._places[index]
            index += 1
            is_last = index == len(self._places)
            yield at, len(self._text) if is_last else self._places[index][0], offset

    def _offset(self, place: int) -> int:
        index = bisect_right(self._places, place, key=lambda known: known[0]) - 1
        at, offset = self._places[index]
        return offset + place - at

    def _forget(self) -> None:
        """Forget text before the last window, up to the end of a line if there is one."""
        excess = len(self._text) - _WINDOW
        if excess <= 0:
            return
        line = self._text.find(b"\n", excess)
        cut = line if line >= 0 else excess
        while cut < len(self._text) and 0x80 <= self._text[cut] < 0xC0:
            cut += 1  # not within a letter
        last = bisect_right(self._places, cut, key=lambda known: known[0]) - 1
        at, offset = self._places[last]
        rest = [(place - cut, known) for place, known in self._places[last + 1 :]]
        self._places = [(0, offset + cut - at), *rest]
        # The first byte stays for `^`, which matches behind a newline and not behind a cut.
        self._text, self._searched_from = self._text[cut:], 1


def search(reader: PtyReader, matcher: Matcher, timeout: float | None = None) -> Found | None:
    """Return the first match in what `reader` reads; None if the PTY ends before.

    Raises:
        WaitTimeoutError: there was none in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    matcher.skip(reader.offset)
    while (part := reader.read(_left(deadline))) is not None:
        if part.skipped:
            matcher.skip(part.offset)
        found = matcher.feed(part.data)
        if found is not None:
            return found
        if _left(deadline) == 0 and not reader.is_over:
            break
    if not reader.is_over:
        raise WaitTimeoutError(f"PTY {reader.pty['pty_id']} wrote nothing like it", timeout or 0)
    return matcher.finish()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))

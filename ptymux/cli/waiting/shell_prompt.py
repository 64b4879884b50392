"""Waits until a shell is back at its prompt, without any setup of the shell.

There are two signs. Some shells mark each prompt with an escape code (OSC 133;A); that counts at
once. Any shell, the first process of its session, is in the terminal's foreground again and waits
for input, and nothing was written for a moment. We look at that process ourselves in /proc, as it
runs as the same user.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Mapping
from typing import Any, Final

from ptymux.cli.waiting.conditions import Outcome, facts_of, observe
from ptymux.client.stream import Stream
from ptymux.posix.prompt import reads_terminal, waits_for_typing
from ptymux.protocol.framing import Exit, Gap, Out

__all__ = ["Marks", "for_input", "for_prompt"]

_SILENCE_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 0.1  # between two looks at a leader that is busy and says nothing

_MARK: Final = re.compile(rb"\x1b\]133;A")


class Marks:
    """A search for the mark of a prompt in output as it comes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bool:
        """Take output; return whether a mark ends in it."""
        text = self._rest + data
        self._rest = text[1 - len(b"\x1b]133;A") :]
        return _MARK.search(text) is not None

    def skip(self) -> None:
        """Take notice of a gap: no mark goes across it."""
        self._rest = b""


def for_input(pty: Mapping[str, Any], start: int | str | None) -> Outcome:
    """Return once a program reads the terminal and waits; `start` as in `for_prompt`."""
    watch, found = observe(
        pty["pty_id"],
        "now" if start is None else start,
        lambda offset: _InputWatch(pty["pid"], offset, needs_output=start is not None),
    )
    if isinstance(found, Exit):
        return None, facts_of("input", found.pty, came_true=False)
    return str(watch.offset), facts_of("input", pty) | {"offset": watch.offset}


def for_prompt(pty: Mapping[str, Any], start: int | str | None) -> Outcome:
    """Return once the prompt is there; with a `start` only after output from that offset on."""
    watch, found = observe(
        pty["pty_id"],
        "now" if start is None else start,
        lambda offset: _PromptWatch(pty["pid"], offset, needs_output=start is not None),
    )
    if isinstance(found, Exit):
        return None, facts_of("prompt", found.pty, came_true=False)
    return str(watch.offset), facts_of("prompt", pty) | {"offset": watch.offset, "sign": found}


class _PromptWatch:
    """A look at the output and one at the shell's process in turn; a `Watch`."""

    def __init__(self, pid: int | None, offset: int, *, needs_output: bool) -> None:
        self.offset = offset
        self._pid = pid
        self._needs_output = needs_output
        self._marks = Marks()
        self._silent_since = time.monotonic()

    def wait(self, stream: Stream) -> Exit | str:
        """Return the sign that was seen, or the end of the PTY."""
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        frames = stream.pending()
        while True:
            for frame in frames:
                if isinstance(frame, Exit):
                    return frame
                if isinstance(frame, (Out, Gap)) and self._takes(frame):
                    return "mark"
            if self._is_back() and not poll.poll(0):  # else it said more, and we were late
                return "foreground"
            frames = stream.receive() if poll.poll(1000 * self._look_after()) else []

    def _takes(self, frame: Out | Gap) -> bool:
        """Take more output; return whether a prompt's mark is complete with it."""
        self._silent_since, self._needs_output = time.monotonic(), False
        if isinstance(frame, Gap):
            self.offset = frame.end
            self._marks.skip()
            return False
        self.offset = frame.offset + len(frame.data)
        return self._marks.feed(frame.data)

    def _look_after(self) -> float:
        """Return for how many seconds to wait for output before the next look."""
        left = self._silent_since + _SILENCE_SECONDS - time.monotonic()
        return max(left, 0.001) if left > 0 else _LOOK_SECONDS

    def _is_back(self) -> bool:
        silent = time.monotonic() - self._silent_since >= _SILENCE_SECONDS
        ready = silent and not self._needs_output and self._pid is not None
        return ready and self._waits(self._pid or 0)

    def _waits(self, pid: int) -> bool:
        return waits_for_typing(pid)


class _InputWatch(_PromptWatch):
    """A look at the output and one at who reads the terminal in turn; a `Watch`."""

    def _takes(self, frame: Out | Gap) -> bool:
        super()._takes(frame)
        return False  # a mark says nothing about who reads

    def _waits(self, pid: int) -> bool:
        return reads_terminal(pid)

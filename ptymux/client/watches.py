"""Watches of a PTY's output: for silence, for a shell's prompt, for a program that wants input.

There are two signs of a prompt. Some shells mark each one with an escape code (OSC 133;A); that
counts at once. Any shell, the first process of its session, is in the terminal's foreground again
and waits for input, and nothing was written for a moment. We look at that process ourselves in
/proc, as it runs as the same user. Nothing has to be set up.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable
from typing import Final, TypeVar

from ptymux.client.attach_request import AttachRequest
from ptymux.client.followed_stream import FollowedStream
from ptymux.client.reconnect import RETRY_POLICY, RetryPolicy
from ptymux.client.stream import Stream
from ptymux.posix.prompt import reads_terminal, waits_for_typing
from ptymux.protocol.framing import Exit, Gap, Out

__all__ = ["InputWatch", "Marks", "PromptWatch", "Silence", "TimeIsUpError", "Watch", "observe"]

_SILENCE_SECONDS: Final = 0.2
_LONGEST_SECONDS: Final = 1e6  # of one poll
_LOOK_SECONDS: Final = 0.1  # between two looks at a leader that is busy and says nothing

_MARK: Final = re.compile(rb"\x1b\]133;A")


class TimeIsUpError(Exception):
    """A watch saw nothing until the time at which it gives up."""


class Watch:
    """One condition on a PTY's output; `offset` is up to where it has looked at the output."""

    def __init__(self, offset: int, until: float | None = None) -> None:
        """Begin at `offset`; give up at the time `until`, of the monotonic clock."""
        self.offset = offset
        self._gives_up_at = until

    def wait(self, stream: Stream) -> Exit | str:
        """Return the sign that was seen, or the end of the PTY.

        Raises:
            ConnectionClosedError: the server died.
            TimeIsUpError: nothing was seen in time.
        """
        raise NotImplementedError

    def _comes(self, poll: select.poll, seconds: float) -> bool:
        """Whether there is something to receive within so many seconds."""
        if self._gives_up_at is None:
            return bool(poll.poll(1000 * seconds))
        left = self._gives_up_at - time.monotonic()
        if left <= 0:
            raise TimeIsUpError
        comes = bool(poll.poll(1000 * min(seconds, left)))
        if not comes and seconds > left:
            raise TimeIsUpError
        return comes


_Watch = TypeVar("_Watch", bound=Watch)


def observe(
    path: str,
    pty_id: str,
    start: int | str,
    begin: Callable[[int], _Watch],
    policy: RetryPolicy = RETRY_POLICY,
) -> tuple[_Watch, Exit | str]:
    """Show a PTY's output from `start` on to a watch; return the watch and what it saw.

    `begin` makes the watch, from the offset at which it begins. After the server was replaced it
    goes on where it was.

    Raises:
        ConnectionClosedError: the server went away, and none came in its place.
        UnknownPtyError: there is no such PTY.
        TimeIsUpError: nothing was seen in time.
    """
    request = AttachRequest.to_read(pty_id, "observer", start)
    with FollowedStream(path, request, policy) as followed:
        watch = begin(followed.wait().offset)
        return watch, followed.run(watch.wait)


class Silence(Watch):
    """Silence since the last byte of output; it lasts while a server is replaced."""

    def __init__(self, seconds: float, offset: int, until: float | None = None) -> None:
        """Wait until nothing was written for so many seconds."""
        super().__init__(offset, until)
        self._seconds = seconds
        self._silent_at = time.monotonic() + seconds

    def wait(self, stream: Stream) -> Exit | str:
        """Return once it lasted long enough, or the end of the PTY if that came before."""
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        frames = stream.pending()
        while True:
            for frame in frames:
                if isinstance(frame, Exit):
                    return frame
            if stream.offset != self.offset:
                self.offset = stream.offset
                self._silent_at = time.monotonic() + self._seconds
            left = max(0.0, self._silent_at - time.monotonic())
            if self._comes(poll, min(left, _LONGEST_SECONDS)):  # also if we were late to look
                frames = stream.receive()
            elif left <= _LONGEST_SECONDS:
                return "silence"
            else:
                frames = []


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


class PromptWatch(Watch):
    """A look at the output and one at the shell's process in turn."""

    def __init__(
        self, pid: int | None, offset: int, *, needs_output: bool, until: float | None = None
    ) -> None:
        """Watch the shell `pid` from `offset` on; with `needs_output` it has to say something."""
        super().__init__(offset, until)
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
            frames = stream.receive() if self._comes(poll, self._look_after()) else []

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


class InputWatch(PromptWatch):
    """A look at the output and one at who reads the terminal in turn."""

    def _takes(self, frame: Out | Gap) -> bool:
        super()._takes(frame)
        return False  # a mark says nothing about who reads

    def _waits(self, pid: int) -> bool:
        return reads_terminal(pid)

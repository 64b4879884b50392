"""Gets the output of a PTY from a server, and prints it with a message for each gap."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Final

from ptymux.cli.output.gaps import gap_text
from ptymux.cli.output.log_view import NO_COLOUR, LogView
from ptymux.cli.output.outlet import Outlet
from ptymux.cli.output.printing import print_message
from ptymux.client.attach_request import AttachRequest
from ptymux.client.followed_stream import FollowedStream
from ptymux.client.stream import Stream
from ptymux.errors import ClosedOutputError
from ptymux.protocol.framing import Exit, Gap, Out

__all__ = ["Printer", "Tail", "follow"]

_END_OF_LINE_MS: Final = 200  # for what ends a line that a gap has cut, and may be a prompt
_LONGEST_LINE: Final = 64 * 1024  # bytes; what has no newline so far is not taken for one


class Printer:
    """Prints output on an fd as a `LogView` says.

    A gap is reported on stderr, or with `inline` between the lines. The rest of a line that it cut
    is left out, unless the view is raw, or there is no end of that line yet. With `live` the line
    in which the cursor is can be seen, too.
    """

    def __init__(self, fd: int, view: LogView, *, inline: bool, live: bool = False) -> None:
        self._outlet = Outlet(fd)
        self._view = view
        self._inline = inline
        self._live = live
        self._at_line_start = True
        self._gap: Gap | None = None  # not reported yet
        self._behind = b""  # the gap
        self._shown = b""  # of the line that is not complete

    def __enter__(self) -> Printer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            with contextlib.suppress(BrokenPipeError, ClosedOutputError):
                if kind is None:
                    self._report_gap()
                    rest = self._view.finish()
                    self._write(self._drawn(rest) if self._live else rest)
                if self._view.has_colours:
                    self._outlet.write(NO_COLOUR, 0.1)
        finally:
            self._outlet.close()

    def wait_beside(self, stream: Stream) -> None:
        """Return when there is something to receive.

        Raises:
            BrokenPipeError: nobody reads any more, although there was nothing to write.
        """
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        poll.register(self._outlet, 0)
        if self._behind and not poll.poll(_END_OF_LINE_MS):
            self._report_gap()
        if any(fd == self._outlet.fileno() for fd, _events in poll.poll()):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def print(self, piece: Out | Gap) -> None:
        """Print a piece; returns once it was taken.

        Raises:
            BrokenPipeError: nobody reads any more.
            ClosedOutputError: it cannot be written.
        """
        if isinstance(piece, Gap):
            self._report_gap()
            self._gap = piece
        elif self._gap is None:
            self._show(piece.data)
        else:
            self._behind += piece.data
            if b"\n" in piece.data or len(self._behind) > _LONGEST_LINE or self._view.is_raw:
                self._report_gap()

    def _show(self, data: bytes) -> None:
        complete = self._view.feed(data)
        if not self._live:
            self._write(complete)
            return
        line = self._view.line()
        if complete:
            self._write(self._drawn(complete) + line)
        elif line != self._shown:
            self._write(self._drawn(line))
        self._shown = line

    def _report_gap(self) -> None:
        """Report the gap that waits, and print what came behind it, from the next line on."""
        gap, behind = self._gap, self._behind
        if gap is None:
            return
        self._gap, self._behind = None, b""
        cut = 0 if self._view.is_raw else behind.find(b"\n") + 1
        rest = self._view.skip(gap.end + cut)
        if self._live:
            rest, self._shown = b"", b""  # it is there already
        self._write(rest)
        text = gap_text(gap.end - gap.start, gap.start, cut=cut)
        if self._inline:
            colour = NO_COLOUR if self._view.has_colours else b""
            start = b"" if self._at_line_start else b"\n"
            self._write(colour + start + f"[ptymux: {text}]\n".encode())
        else:
            print_message(text)
        self._show(behind[cut:])

    def _drawn(self, after: bytes) -> bytes:
        """Return what makes this of the line that is shown, which is the last one."""
        if after.startswith(self._shown):
            return after[len(self._shown) :]
        is_long = len(self._shown) >= os.get_terminal_size(self._outlet.fileno()).columns
        return (b"\n" if is_long else b"\r\x1b[K") + after

    def _write(self, data: bytes) -> None:
        if data:
            self._outlet.write(data)
            self._at_line_start = data.endswith(b"\n")


def follow(
    path: str,
    pty_id: str,
    offset: int | str,
    kind: str,
    *,
    until: int | None = None,
    printer: Printer | None = None,
    inside: str | None = None,
) -> Iterator[Out | Gap | Exit]:
    """Give the output of a PTY from `offset` to its end, also when the server is replaced.

    Where the oldest output is gone, it begins with that gap. A reader of kind "one-shot" gets what
    is there by now, any other one all up to `until`, or to the end. With a `printer`, it is noticed
    that nobody reads from that any more, also while there is nothing to give.

    Raises:
        BrokenPipeError: nobody reads from `printer` any more.
        CircleError: the PTY `inside`, into which it is printed, is shown in this one.
        PtymuxError: the server went away for good, or refuses.
    """
    followed = FollowedStream(path, AttachRequest.to_read(pty_id, kind, offset, inside=inside))
    first = followed.wait()
    pty = first.pty
    last = int(pty["buffer"]["total_written"]) if until is None and kind == "one-shot" else until
    # While the lifeline is open we are attached, whichever server is there.
    with followed.take_lifeline() or nullcontext(), followed:
        if offset == "oldest" and first.offset > 0:
            yield Gap(0, first.offset)
        while True:
            followed.wait()
            with followed.until_lost() as stream:
                yield from _frames(stream, printer, last)
                return


def _frames(
    stream: Stream, printer: Printer | None, last: int | None
) -> Iterator[Out | Gap | Exit]:
    """Give what the stream gives up to its end, or to the offset `last`."""
    frames = stream.pending()
    while True:
        for frame in frames:
            if isinstance(frame, Out) and last is not None:
                frame = Out(frame.offset, frame.data[: max(0, last - frame.offset)])
            if isinstance(frame, (Out, Gap, Exit)):
                yield frame
        if stream.is_over or (last is not None and stream.offset >= last):
            return
        if printer is not None:
            printer.wait_beside(stream)
        frames = stream.receive()


class Tail:
    """Where the last lines of what it is given begin; one without a newline at the end counts."""

    def __init__(self, lines: int) -> None:
        self._end: int | None = None  # the offset behind what it was given
        self._lines = lines
        self._newlines = 0  # in what is held
        self._held: deque[Out | Gap] = deque()

    def add(self, piece: Out | Gap) -> None:
        """Take a piece, and forget what cannot be among the last lines any more."""
        self._end = piece.end if isinstance(piece, Gap) else piece.offset + len(piece.data)
        self._held.append(piece)
        self._newlines += _newlines(piece)
        # The last newline may end the last line, and one stands before the first.
        while self._newlines - _newlines(self._held[0]) > self._lines:
            self._newlines -= _newlines(self._held.popleft())

    @property
    def start(self) -> int | None:
        """The offset of the last lines, or of a gap in front of them; None if it got nothing."""
        data = b"".join(piece.data for piece in self._held if isinstance(piece, Out))
        unwanted = _start_of_last(data, self._lines)
        for piece in self._held:
            if isinstance(piece, Gap):
                if not unwanted:
                    return piece.start
            elif unwanted < len(piece.data):
                return piece.offset + unwanted
            else:
                unwanted -= len(piece.data)
        return self._end


def _start_of_last(data: bytes, lines: int) -> int:
    start = len(data)
    end = start - data.endswith(b"\n")
    for _ in range(lines):
        found = data.rfind(b"\n", 0, end)
        start = found + 1
        if found < 0:
            break
        end = found
    return start


def _newlines(piece: Out | Gap) -> int:
    return piece.data.count(b"\n") if isinstance(piece, Out) else 0

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
from ptymux.cli.output.outlet import Outlet
from ptymux.cli.output.printing import print_message
from ptymux.client.attach_request import AttachRequest
from ptymux.client.followed_stream import FollowedStream
from ptymux.client.plain_text import Plain, Run
from ptymux.client.stream import Stream
from ptymux.errors import ClosedOutputError
from ptymux.protocol.framing import Exit, Gap, Out

__all__ = ["Printer", "Tail", "follow"]

_NO_COLOUR: Final = b"\x1b[0m"


class Printer:
    """Prints output on an fd: `raw`, as `plain` text, or as text with `colours`.

    A gap is reported on stderr, or with `inline` between the lines.
    """

    def __init__(self, fd: int, view: str, *, inline: bool) -> None:
        self._outlet = Outlet(fd)
        self._plain = None if view == "raw" else Plain(colours=view == "colours")
        self._inline = inline
        self._at_line_start = True
        self._is_coloured = False

    def __enter__(self) -> Printer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            with contextlib.suppress(BrokenPipeError, ClosedOutputError):
                if kind is None and self._plain is not None:
                    self._write_runs(self._plain.finish())
                if self._is_coloured:
                    self._outlet.write(_NO_COLOUR, 0.1)
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
        if any(fd == self._outlet.fileno() for fd, _events in poll.poll()):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def print(self, piece: Out | Gap) -> None:
        """Print a piece; returns once it was taken.

        Raises:
            BrokenPipeError: nobody reads any more.
            ClosedOutputError: it cannot be written.
        """
        if isinstance(piece, Gap):
            self._print_gap(piece)
        elif self._plain is None:
            self._write(piece.data)
        else:
            self._write_runs(self._plain.feed(piece.data))

    def _write_runs(self, runs: list[Run]) -> None:
        data = b"".join(run.data for run in runs)
        self._is_coloured = self._is_coloured or b"\x1b" in data
        self._write(data)

    def _write(self, data: bytes) -> None:
        if data:
            self._outlet.write(data)
            self._at_line_start = data.endswith(b"\n")

    def _print_gap(self, gap: Gap) -> None:
        if self._plain is not None:
            self._write_runs(self._plain.skip(gap.end))
        text = gap_text(gap.end - gap.start, gap.start)
        if self._inline:
            colour = _NO_COLOUR if self._is_coloured else b""
            start = b"" if self._at_line_start else b"\n"
            self._write(colour + start + f"[ptymux: {text}]\n".encode())
        else:
            print_message(text)


def follow(
    path: str, pty_id: str, offset: int | str, kind: str, *, printer: Printer | None = None
) -> Iterator[Out | Gap | Exit]:
    """Give the output of a PTY from `offset` to its end, also when the server is replaced.

    A reader of kind "one-shot" gets what is there by now. With a `printer`, it is noticed that
    nobody reads from that any more, also while there is nothing to give.

    Raises:
        BrokenPipeError: nobody reads from `printer` any more.
        PtymuxError: the server went away for good, or refuses.
    """
    followed = FollowedStream(path, AttachRequest.to_read(pty_id, kind, offset))
    pty = followed.wait().pty
    last = int(pty["buffer"]["total_written"]) if kind == "one-shot" else None
    # While the lifeline is open we are attached, whichever server is there.
    with followed.take_lifeline() or nullcontext(), followed:
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
    """The last lines of what it is given; one without a newline at the end counts."""

    def __init__(self, lines: int) -> None:
        self.end: int | None = None  # the offset behind what it was given
        self._lines = lines
        self._newlines = 0  # in what is held
        self._held: deque[Out | Gap] = deque()

    def add(self, piece: Out | Gap) -> None:
        """Take a piece, and forget what cannot be among the last lines any more."""
        self.end = piece.end if isinstance(piece, Gap) else piece.offset + len(piece.data)
        self._held.append(piece)
        self._newlines += _newlines(piece)
        # The last newline may end the last line, and one stands before the first.
        while self._newlines - _newlines(self._held[0]) > self._lines:
            self._newlines -= _newlines(self._held.popleft())

    def take(self) -> list[Out | Gap]:
        """Return the last lines."""
        data = b"".join(piece.data for piece in self._held if isinstance(piece, Out))
        unwanted = _start_of_last(data, self._lines)
        kept: list[Out | Gap] = []
        for piece in self._held:
            if isinstance(piece, Gap):
                kept += [piece] if kept else []
                continue
            cut = min(unwanted, len(piece.data))
            unwanted -= cut
            if cut < len(piece.data):
                kept.append(Out(piece.offset + cut, piece.data[cut:]))
        return kept


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

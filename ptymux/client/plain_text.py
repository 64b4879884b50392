"""Output as a terminal leaves it: text in lines, as people read it, and colours if wanted.

A machine that is fed bytes in pieces of any size. It returns the lines in runs, each with its
offset in the output. A carriage return begins the line anew, so that a progress bar is its last
state; backspaces, and moves and erasures within the line, do as on a terminal. A move to another
line ends the line. What a bell, a title or a question would do is left out.

Limit: it knows one line. What moves up and changes an earlier line (docker pull) gives a line
for each change, and a line is not broken where a narrow terminal would break it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ptymux.client.escape_parser import EscapeParser
from ptymux.client.text_line import LONGEST, Piece, TextLine

__all__ = ["Plain", "Run"]

_COLOUR: Final = re.compile(rb"\x1b\[[0-9;:]*m")
_NOT_SHOWN: Final = re.compile(rb"\r+(?=\n)")  # of whole lines
_NOT_TEXT: Final = re.compile(rb"\r+(?=\n)|\x1b\[[0-9;:]*m")
_RESETS: Final = re.compile(rb"\x1b\[0*[;m]")
_SIMPLE: Final = re.compile(rb"\x1b\[([0-9]{0,5})(?:;[0-9]{0,5}){0,4}([@-~])")
_NEW_LINE: Final = frozenset(b"\n\v\f")
_OTHER_LINE: Final = frozenset(b"ABEFHLMSTdefkr")  # finals of CSI that move to or change others
_SCREENS: Final = re.compile(rb"\x1b\[\?[0-9;]*(?:47|1047|1049)[0-9;]*[hl]")
_LONGEST_PEN: Final = 256  # bytes
_LEAD: Final = b"\xc2"  # of a C1 control in UTF-8
_FOLLOWS_LEAD: Final = bytes(range(0x80, 0xA0))
_NO_COLOUR: Final = b"\x1b[0m"


class Run(NamedTuple):
    """Bytes of text that are next to each other in the output, too; the first one is at `offset`.

    One byte alone may have been none of the output: a newline or a blank that a move stands for.
    """

    offset: int
    data: bytes


class Plain:
    """The machine; it begins at `offset`.

    With `colours` it keeps what sets colours and styles. With `versions` a line that is begun anew
    is returned as it was, too, as a line of its own.
    """

    def __init__(self, offset: int = 0, *, colours: bool = False, versions: bool = False) -> None:
        self.is_at_start = True  # of a line of which there is nothing yet
        self._parser = EscapeParser(self, offset)
        self._colours = colours
        self._versions = versions
        self._line = TextLine()
        self._is_begun = False  # the line was too long, and its beginning was returned
        self._is_version_due = False
        self._saved: int | None = None  # a column of this line
        self._last = b""  # characters, for what repeats the last of them
        self._last_end = 0  # the offset behind them
        self._pen = self._shown = b""  # for what is written, and what was returned last
        self._done: list[Run] = []

    def feed(self, data: bytes) -> list[Run]:
        """Return the lines that `data` completes, each with its newline."""
        self._parser.feed(data)
        return self._take()

    def pending(self) -> list[Run]:
        """Return the line in which the cursor is, as it is by now."""
        return [run for piece in _apart(self._line.pieces) for run in _runs(piece)]

    def draw(self) -> bytes:
        """Return the same as bytes to show now: with its colours, and without any at its end."""
        data, pen = (_NO_COLOUR if self._shown else b""), b""
        for piece in _apart(self._line.pieces):
            data += (_change(pen, piece.pen) if piece.pen != pen else b"") + piece.data
            pen = piece.pen
        self._shown = b""  # so that what is returned next sets its own
        return data + (_NO_COLOUR if pen else b"")

    def finish(self) -> list[Run]:
        """Return the last line, without a newline as nothing follows directly."""
        self._parser.finish()
        self._return_line()
        self._begin_line()
        self._is_begun = False
        return self._take()

    def skip(self, offset: int) -> list[Run]:
        """Go on at `offset`, after a gap; return what `finish` does."""
        runs = self.finish()
        self._parser.skip(offset)
        return runs

    def _take(self) -> list[Run]:
        done, self._done = self._done, []
        return done

    # What the parser finds: it is the `Screen` ----------------------------------------------------

    def lines(self, offset: int, data: bytes) -> None:
        """Take whole lines."""
        self._last = b""
        self._change_colours(offset, self._pen)
        at = 0
        for found in (_NOT_SHOWN if self._colours else _NOT_TEXT).finditer(data):
            if found.start() > at:
                self._done.append(Run(offset + at, data[at : found.start()]))
            at = found.end()
        self._done.append(Run(offset + at, data[at:]))
        if self._colours and b"\x1b" in data:
            for colour in _COLOUR.findall(data):
                self._set_pen(colour)
            self._shown = self._pen

    def text(self, offset: int, data: bytes) -> None:
        """Write characters into the line."""
        self._return_version(offset)
        self._line.write(offset, data, self._pen)
        self._last, self._last_end = data, offset + len(data)
        self._note_change()

    def control(self, offset: int, byte: int) -> None:
        """Do what a control character says."""
        self._last = b""  # as in tmux: only what stands right before a repetition is repeated
        if byte in _NEW_LINE:
            self._end_line(offset)
        elif byte == 0x0D:
            self._move(0)
        elif byte == 0x08:
            self._line.move(self._line.column - 1)
        elif byte == 0x09:
            self._line.tab(offset, self._pen)
            self._note_change()

    def sequence(self, offset: int, data: bytes) -> None:
        """Do what an escape sequence says, as far as it is about this line."""
        if _COLOUR.fullmatch(data):
            self._set_pen(data)
            return
        simple = _SIMPLE.fullmatch(data)
        if simple is not None:
            self._act(offset, simple[2], simple[1])
        elif data in (b"\x1bD", b"\x1bE"):
            self._end_line(offset)
        elif data == b"\x1bM" or _SCREENS.fullmatch(data):
            self._leave_line(offset)
        elif data == b"\x1bc":
            self._line.clear()
            self._leave_line(offset)
        elif data == b"\x1b7":
            self._saved = self._line.column
        elif data == b"\x1b8":
            self._restore(offset)
        elif data in (b"\x1b[?J", b"\x1b[?K"):
            self._act(offset, data[-1:], b"")

    def _act(self, offset: int, final: bytes, number: bytes) -> None:
        given = int(number or 0)
        count = min(max(given, 1), LONGEST)
        if final in b"CaDG`":
            self._move_within(final, count)
        elif final in b"KJ":
            self._erase(offset, given)
        elif final in b"XP@b":
            self._change(offset, final, count)
        elif final == b"s":
            self._saved = self._line.column
        elif final == b"u":
            self._restore(offset)
        elif final[0] in _OTHER_LINE:
            self._leave_line(offset)
        self._note_change()

    def _move_within(self, final: bytes, count: int) -> None:
        if final in b"G`":
            self._move(count - 1)
        else:
            self._line.move(self._line.column + (-count if final == b"D" else count))

    def _change(self, offset: int, final: bytes, count: int) -> None:
        line = self._line
        if final == b"X":
            line.erase(offset, line.column, line.column + count)
        elif final == b"P":
            line.delete(count)
        elif final == b"@":
            line.insert(offset, count)
        else:
            self._repeat(count)

    def _erase(self, offset: int, part: int) -> None:
        line = self._line
        if part == 1:
            line.erase(offset, 0, line.column + 1)
        elif part in (0, 2):
            line.erase(offset, 0 if part == 2 else line.column, line.width)
            self._is_version_due = self._is_version_due and line.width > 0

    def _repeat(self, count: int) -> None:
        """Write the last character again; its bytes are those at its own offset."""
        last = self._last.decode(errors="surrogateescape")[-1:].encode(errors="surrogateescape")
        for _ in range(count if last else 0):
            self._line.write(self._last_end - len(last), last, self._pen)

    def _restore(self, offset: int) -> None:
        if self._saved is None:
            self._leave_line(offset)
        else:
            self._move(self._saved)

    def _move(self, column: int) -> None:
        self._line.move(column)
        if column == 0:
            self._is_version_due = self._line.width > 0

    def _set_pen(self, data: bytes) -> None:
        if not self._colours:
            return
        if _RESETS.match(data):
            self._pen = b""
        if data not in (b"\x1b[m", _NO_COLOUR):
            pen = self._pen + data
            self._pen = pen if len(pen) <= _LONGEST_PEN else data

    # Lines ------------------------------------------------------------------------------------

    def _note_change(self) -> None:
        if self._line.is_full:
            self._return_line()
            self._begin_line()
            self._is_begun = True
        self.is_at_start = not self._is_begun and not self._line.width and not self._line.column

    def _return_version(self, offset: int) -> None:
        if self._is_version_due and self._versions:
            self._return_line()
            self._done.append(Run(offset, b"\n"))
        self._is_version_due = False

    def _return_line(self) -> None:
        for piece in _apart(self._line.pieces):
            self._change_colours(piece.offset, piece.pen)
            self._done += _runs(piece)

    def _end_line(self, offset: int) -> None:
        """Return the line, ended by what is at `offset`."""
        self._return_line()
        self._change_colours(offset, self._pen)
        self._done.append(Run(offset, b"\n"))
        self._begin_line()
        self._is_begun = False
        self._note_change()

    def _leave_line(self, offset: int) -> None:
        """Go to another line; an empty one was never there."""
        if self._is_begun or self._line.pieces:
            self._end_line(offset)
        else:
            self._begin_line()
            self._note_change()

    def _begin_line(self) -> None:
        self._line.clear()
        self._is_version_due = False
        self._saved = None

    def _change_colours(self, offset: int, pen: bytes) -> None:
        if pen != self._shown:
            self._done.append(Run(offset, _change(self._shown, pen)))
            self._shown = pen


def _change(before: bytes, after: bytes) -> bytes:
    """Return what changes the colours set by one pen to those of another."""
    if after.startswith(before):
        return after[len(before) :]
    return _NO_COLOUR + after


def _apart(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield pieces that were apart in the output, without bytes that together are a control."""
    last = b""
    for piece in pieces:
        if last == _LEAD:
            kept = piece.data.lstrip(_FOLLOWS_LEAD)
            offset = piece.offset + len(piece.data) - len(kept)
            piece = piece._replace(data=kept, offset=offset)
        if piece.data:
            last = piece.data[-1:]
            yield piece


def _runs(piece: Piece) -> list[Run]:
    if piece.is_made:
        return [Run(piece.offset, bytes([byte])) for byte in piece.data]
    return [Run(piece.offset, piece.data)]

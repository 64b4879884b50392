"""One line of a terminal: what is written into it, over it, and erased from it, column by column.

It is kept in pieces that were written at once, so that plain output costs little. Each piece knows
at which offset of the output it was, and the colours that were set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

__all__ = ["LONGEST", "Piece", "TextLine"]

LONGEST: Final = 10_000  # columns, as many as a terminal can have
_MOST_PIECES: Final = 4096
_TAB: Final = 8


class Piece(NamedTuple):
    """Something in a line; `is_made`: its bytes were not in the output, but stand for blanks."""

    width: int  # columns
    data: bytes
    offset: int
    pen: bytes  # the sequences that set its colours and style
    is_made: bool = False


class TextLine:
    """A line and the cursor in it."""

    def __init__(self) -> None:
        self.column = 0
        self.width = 0
        self._pieces: list[Piece] = []

    @property
    def pieces(self) -> list[Piece]:
        """What is in the line, from left to right, without blanks that erasing left at its end."""
        end = len(self._pieces)
        while end and self._pieces[end - 1].is_made and not self._pieces[end - 1].data.strip():
            end -= 1
        return self._pieces[:end]

    @property
    def is_full(self) -> bool:
        """Whether it is too long to be changed any more."""
        return self.width >= LONGEST or len(self._pieces) >= _MOST_PIECES

    def clear(self) -> None:
        """Begin another line."""
        self.column = self.width = 0
        self._pieces = []

    def write(self, offset: int, data: bytes, pen: bytes) -> None:
        """Write characters where the cursor is, over what is there."""
        if data.isascii():
            self._write(Piece(len(data), data, offset, pen))
            return
        marks, width = _measure(data)  # marks belong to the character before them
        if marks:
            self._write(Piece(0, data[:marks], offset, pen))
        if marks < len(data):
            self._write(Piece(width, data[marks:], offset + marks, pen))

    def _write(self, piece: Piece) -> None:
        width, data, offset, pen, _ = piece
        if self.column == self.width and self._pieces:
            last = self._pieces[-1]
            follows = last.offset + len(last.data) == offset
            if follows and last.pen == pen and not last.is_made and last.data != b"\t":
                self._pieces[-1] = Piece(last.width + width, last.data + data, last.offset, pen)
                self.column = self.width = self.width + width
                return
        self._put(piece)

    def tab(self, offset: int, pen: bytes) -> None:
        """Go to the next tab stop; behind the end of the line a tab is what is written."""
        width = _TAB - self.column % _TAB
        if self.column >= self.width:
            self._put(Piece(width, b"\t", offset, pen))
        else:
            self.column += width

    def move(self, column: int) -> None:
        """Set the cursor, within what a terminal can have."""
        self.column = min(max(column, 0), LONGEST)

    def erase(self, offset: int, start: int, end: int) -> None:
        """Make the columns [start, end) blank; at the end of the line they are gone."""
        end = min(end, self.width)
        if end <= start:
            return
        if end == self.width:
            self._pieces = list(self._part(0, start))
            self.width = start
            return
        blanks = _blanks(end - start, offset)
        self._pieces = [*self._part(0, start), blanks, *self._part(end, self.width)]

    def delete(self, count: int) -> None:
        """Take characters out at the cursor; the rest moves to the left."""
        if self.column < self.width:
            after = self._part(self.column + count, self.width)
            self._pieces = [*self._part(0, self.column), *after]
            self.width = max(self.column, self.width - count)

    def insert(self, offset: int, count: int) -> None:
        """Put blanks in at the cursor; the rest moves to the right."""
        if self.column < self.width:
            before, after = self._part(0, self.column), self._part(self.column, self.width)
            self._pieces = [*before, _blanks(count, offset), *after]
            self.width += count

    def _put(self, piece: Piece) -> None:
        end = self.column + piece.width
        if self.column > self.width:
            self._pieces.append(_blanks(self.column - self.width, piece.offset))
            self.width = self.column
        if self.column == self.width:
            self._pieces.append(piece)
        elif self.column == 0 and end >= self.width:
            self._pieces = [piece]
        else:
            self._replace(piece, end)
        self.column = end
        self.width = max(self.width, end)

    def _replace(self, piece: Piece, end: int) -> None:
        """Put a piece in the place of what is in the columns from the cursor to `end`."""
        first, start = self._find(self.column)
        last, at = first, start
        while last < len(self._pieces) and (at < end or self._pieces[last].width == 0):
            at += self._pieces[last].width
            last += 1
        touched = self._pieces[first:last]
        before = _part(touched, start, start, self.column)
        after = _part(touched, start, end, at)
        self._pieces[first:last] = [*before, piece, *after]

    def _find(self, column: int) -> tuple[int, int]:
        """Return the place of a piece before which nothing reaches `column`, and its column.

        It is looked for from the nearer end of the line: most changes are at one.
        """
        if 2 * column > self.width:
            index, at = len(self._pieces), self.width
            while at > column:
                index -= 1
                at -= self._pieces[index].width
            return index, at
        index = at = 0
        while at + self._pieces[index].width < column:
            at += self._pieces[index].width
            index += 1
        return index, at

    def _part(self, start: int, end: int) -> Iterator[Piece]:
        """Return what is in the columns [start, end)."""
        return _part(self._pieces, 0, start, end)


def _part(pieces: Iterable[Piece], at: int, start: int, end: int) -> Iterator[Piece]:
    """Yield what is in the columns [start, end) of pieces that begin at the column `at`."""
    for piece in pieces:
        first, last = max(start - at, 0), min(end - at, piece.width)
        if first < last:
            yield from [piece] if last - first == piece.width else _cut(piece, first, last)
        elif piece.width == 0 and start < at <= end:
            yield piece  # a mark on the character before it
        at += piece.width
        if at > end:
            return


def _blanks(count: int, offset: int) -> Piece:
    return Piece(count, b" " * count, offset, b"", is_made=True)


def _cut(piece: Piece, start: int, end: int) -> Iterator[Piece]:
    """Yield a part of a piece; of a tab and of half a wide character it is blank."""
    if piece.is_made or piece.data == b"\t":
        yield Piece(end - start, b" " * (end - start), piece.offset, piece.pen, is_made=True)
    elif len(piece.data) == piece.width:
        yield Piece(end - start, piece.data[start:end], piece.offset + start, piece.pen)
    else:
        yield from _cut_letters(piece, start, end)


def _cut_letters(piece: Piece, start: int, end: int) -> Iterator[Piece]:
    column = at = 0
    for width, size in _characters(piece.data):
        first, last = max(start, column), min(end, column + width)
        whole = start <= column and column + width <= end and (width or column > start)
        if whole:
            data = piece.data[at : at + size]
            yield Piece(width, data, piece.offset + at, piece.pen)
        elif first < last:
            yield Piece(last - first, b" " * (last - first), piece.offset + at, piece.pen, True)
        column += width
        at += size


def _measure(data: bytes) -> tuple[int, int]:
    """Return the bytes of marks that it begins with, and the columns of all."""
    marks = columns = 0
    for width, size in _characters(data):
        marks += 0 if width or columns else size
        columns += width
    return marks, columns


def _characters(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the columns and the bytes of each character; a byte that is no UTF-8 takes one."""
    import unicodedata  # for output that is not ASCII only

    for char in data.decode(errors="surrogateescape"):
        size = len(char.encode(errors="surrogateescape"))
        if unicodedata.combining(char) or unicodedata.category(char) in ("Cf", "Me", "Mn"):
            yield 0, size
        else:
            yield 2 if unicodedata.east_asian_width(char) in "WF" else 1, size

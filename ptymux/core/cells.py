"""How many cells of a terminal a text takes, and texts cut to so many."""

from __future__ import annotations

__all__ = ["cells", "cut", "cut_amid", "fitting"]

_MARK = "…"  # where something was left out


def cells(text: str) -> int:
    """Return how many cells of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def cut(text: str, width: int, mark: str = _MARK) -> str:
    """Return the text in at most `width` cells; what was cut off is marked."""
    if cells(text) <= width:
        return text
    return text[: fitting(text, width - 1)] + mark if width > 0 else ""


def cut_amid(text: str, width: int, mark: str = _MARK) -> str:
    """Return the text in at most `width` cells, its end among them; what is left out is marked."""
    if cells(text) <= width or width < 4:
        return cut(text, width, mark)
    end = text[::-1][: fitting(text[::-1], (width - 1) // 2)][::-1]
    return text[: fitting(text, width - 1 - cells(end))] + mark + end


def fitting(text: str, width: int) -> int:
    """Return how many characters from the beginning fit into so many cells."""
    if text.isascii():
        return max(0, min(len(text), width))
    for index, char in enumerate(text):
        width -= _width(char)
        if width < 0:
            return index
    return len(text)


def _width(char: str) -> int:
    import unicodedata  # for names that are not ASCII only

    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1

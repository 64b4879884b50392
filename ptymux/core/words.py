"""Closed sets of words: which one was meant by a word that is none of them, and how to say so."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["alternatives", "closest"]

_ALIKE = 0.65  # as difflib measures it: 1 is the same
_ALIKE_FROM_START = 0.75  # if they begin otherwise: `search` is not `detach`
_SHORT = 16  # words; a longer list is not shown where one of them was probably meant


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the word that was probably meant, whatever its case; None if none is alike.

    The only one that begins so comes before those that are alike.
    """
    from difflib import get_close_matches  # takes 5 ms, and only mistakes need it

    by_case = {each.lower(): each for each in known}
    begun = [each for each in by_case if len(word) > 1 and each.startswith(word.lower())]
    if len(begun) == 1:
        return by_case[begun[0]]
    others = [each for each in by_case if each[:1] != word[:1].lower()]
    same = [each for each in by_case if each not in others]
    found = get_close_matches(word.lower(), same, 1, cutoff=_ALIKE)
    found = found or get_close_matches(word.lower(), others, 1, cutoff=_ALIKE_FROM_START)
    return by_case[found[0]] if found else None


def alternatives(word: str, known: Iterable[str]) -> str:
    """Return what to say to a word that is none of these: a guess, and the list if it is short."""
    known = list(known)
    meant = closest(word, known)
    if meant is None:
        return f"there are {', '.join(known)}"
    if len(known) > _SHORT:
        return f"did you mean {meant!r}?"
    return f"did you mean {meant!r}? there are {', '.join(known)}"

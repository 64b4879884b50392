"""Bytes cut into pieces, as a socket delivers them."""

from __future__ import annotations

from hypothesis import strategies as st

CUTS = st.lists(st.integers(1, 40))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut `data` into pieces of these sizes, what is left at the end."""
    found, at = [], 0
    for size in cuts:
        found.append(data[at : at + size])
        at += size
    return [*found, data[at:]]

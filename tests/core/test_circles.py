"""PTYs that show each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ptymux.core.circles import Shows
from ptymux.core.model import PtyId

A, B, C, D = map(PtyId, "abcd")


def test_a_pty_that_shows_itself_is_a_circle() -> None:
    assert Shows().would_be_circle(A, A)


def test_a_way_back_is_a_circle_also_by_way_of_others() -> None:
    shows = Shows()
    shows.begin(A, B)
    shows.begin(B, C)

    assert shows.would_be_circle(B, A)
    assert shows.would_be_circle(C, A)
    assert not shows.would_be_circle(A, C)
    assert not shows.would_be_circle(D, A)


def test_one_of_two_that_ends_leaves_the_other() -> None:
    shows = Shows()
    shows.begin(A, B)
    shows.begin(A, B)

    shows.end(A, B)
    assert shows.would_be_circle(B, A)
    shows.end(A, B)
    assert not shows.would_be_circle(B, A)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_with_circles_refused_there_never_is_one(pairs: list[tuple[int, int]]) -> None:
    shows, edges = Shows(), set()
    for what, where in pairs:
        shown, inside = PtyId(str(what)), PtyId(str(where))
        if not shows.would_be_circle(shown, inside):
            shows.begin(shown, inside)
            edges.add((what, where))

    order: list[int] = []
    left = set(range(6))
    while free := {node for node in left if not any(a == node and b in left for a, b in edges)}:
        order += free
        left -= free
    assert not left

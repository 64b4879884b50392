"""The lines in the place of what a terminal does not get, and their arithmetic."""

from __future__ import annotations

from ptymux.cli.terminal.gaps import Gaps


def test_what_is_shown_in_its_place_is_counted_against_what_is_missing() -> None:
    gaps = Gaps()
    lines = gaps.add(12_345) + gaps.add(7)
    assert b"[ptymux: 12,345 bytes not shown]\r\n" in lines
    assert b"[ptymux: 7 bytes not shown]\r\n" in lines
    # The lines themselves are among what is left out next: with this it comes out exact.
    assert gaps.forget() + len(lines) == 12_352


def test_what_was_shown_is_forgotten() -> None:
    gaps = Gaps()
    gaps.add(5)
    gaps.forget()
    assert gaps.forget() == 0

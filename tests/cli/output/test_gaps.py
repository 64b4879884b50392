"""What people read in the place of output that is missing."""

from __future__ import annotations

import pytest

from ptymux.cli.output.gaps import PipeGaps, ScreenGaps, gap_text


def test_the_words_say_how_much_is_missing_and_where_as_far_as_that_is_known() -> None:
    assert gap_text(1234) == "1,234 bytes not shown"
    assert gap_text(1234, 0) == "1,234 bytes of output are missing here, from offset 0 on"
    assert gap_text(7, 12_345) == "7 bytes of output are missing here, from offset 12,345 on"
    assert gap_text(9, places=1) == "9 more bytes of output are missing, in one place"
    assert gap_text(9, places=2000) == "9 more bytes of output are missing, in 2,000 places"


def test_what_is_shown_in_its_place_is_counted_against_what_is_missing() -> None:
    gaps = ScreenGaps()
    lines = gaps.add(12_345) + gaps.add(7)
    assert b"[ptymux: 12,345 bytes not shown]\r\n" in lines
    assert b"[ptymux: 7 bytes not shown]\r\n" in lines
    # The lines themselves are among what is left out next: with this it comes out exact.
    assert gaps.forget() + len(lines) == 12_352


def test_what_was_shown_is_forgotten() -> None:
    gaps = ScreenGaps()
    gaps.add(5)
    gaps.forget()
    assert gaps.forget() == 0


def test_a_pipe_gets_a_line_for_the_first_gap_and_one_for_all_of_the_next_second(
    capfd: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    gaps = PipeGaps(clock=lambda: now)

    gaps.add(0, 10)
    gaps.add(20, 25)
    gaps.add(30, 36)
    now += 1.0
    gaps.add(50, 57)
    gaps.print_rest()

    lines = [gap_text(10, 0), gap_text(11, places=2), gap_text(7, 50)]
    assert capfd.readouterr().err == "".join(f"ptymux: {line}\n" for line in lines)

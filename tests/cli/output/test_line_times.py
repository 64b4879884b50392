from __future__ import annotations

from collections.abc import Sequence

from ptymux.cli.output.line_times import LineTimes, format_second
from ptymux.cli.output.log_view import LogView, Stamped, Text, Unterminal
from ptymux.core.time_index import Stamp, Times


def by_offset(offset: int) -> bytes:
    return b"%d " % offset


def shown(view: LogView, pieces: Sequence[bytes]) -> bytes:
    stamped = Stamped(view, 0, by_offset)
    return b"".join([*map(stamped.feed, pieces), stamped.finish()])


def test_each_line_has_the_time_of_its_first_byte_however_it_is_cut() -> None:
    data = b"one\r\n\r\nthree"

    for view in (Unterminal, lambda: Text(colours=False)):
        for pieces in ([data], [data[n : n + 1] for n in range(len(data))]):
            assert shown(view(), pieces) == b"0 one\n5 \n7 three"


def test_a_line_that_a_gap_cuts_ends_and_the_next_has_its_time() -> None:
    view = Stamped(Unterminal(), 0, by_offset)

    assert view.feed(b"one\ntw") + view.skip(50) + view.feed(b"five\n") == b"0 one\n4 tw\n50 five\n"


def test_the_line_with_the_cursor_has_a_time() -> None:
    view = Stamped(Text(colours=False), 0, by_offset)

    assert (view.feed(b"a\nb"), view.line()) == (b"0 a\n", b"2 b")
    assert view.finish() == b"2 b"


def test_later_output_is_asked_for_once_in_a_second() -> None:
    answers = [Times((Stamp(0, 100),), 5), Times((Stamp(0, 100), Stamp(5, 102)), 9)]
    clock = [100.0]
    times = LineTimes(lambda: answers.pop(0), lambda: clock[0])

    assert times.stamp(7) == f"{format_second(100)} ".encode()  # of the same second
    clock[0] = 102.5
    assert times.stamp(7) == f"{format_second(102)} ".encode()
    assert times.stamp(20) == f"{format_second(102)} ".encode()  # asks no more
    assert not answers


def test_what_has_no_time_is_as_wide() -> None:
    times = LineTimes(lambda: Times((), 9, is_known=False), lambda: 0.0)

    assert len(times.stamp(3)) == len(format_second(0)) + 1
